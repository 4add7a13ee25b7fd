/* Linked statically, so that nothing can be loaded into it.
   `pno-static-program echo`: copies its standard input to its standard output, which are one
   socket. `pno-static-program serve FAMILY`: listens on a port of the family's (4, 6) loopback
   address, which it writes to its standard output, and echoes on one connection after the other,
   until it is killed or its standard input ends. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int echo(int from, int to)
{
    char bytes[1024];
    ssize_t got;
    while ((got = read(from, bytes, sizeof(bytes))) > 0) {
        for (ssize_t put = 0, now; put < got; put += now) {
            now = write(to, bytes + put, (size_t)(got - put));
            if (now < 0)
                return 1;
        }
    }
    return got == 0 ? 0 : 1;
}

static int listen_on_loopback(int is_v6)
{
    struct sockaddr_in6 name = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = is_v6 ? sizeof(name) : sizeof(v4);
    if (!is_v6)
        memcpy(&name, &v4, sizeof(v4));
    int fd = socket(is_v6 ? AF_INET6 : AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&name, length) < 0 || listen(fd, 16) < 0 ||
        getsockname(fd, (struct sockaddr *)&name, &length) < 0)
        return -1;
    (void)printf("%u\n", ntohs(name.sin6_port)); /* where IPv4's lies, too */
    (void)fflush(stdout);
    return fd;
}

static int serve(int is_v6)
{
    int listener = listen_on_loopback(is_v6);
    struct pollfd pollfds[] = {{.fd = listener, .events = POLLIN}, {.fd = STDIN_FILENO}};
    while (listener >= 0 && poll(pollfds, 2, -1) > 0 && pollfds[1].revents == 0) {
        int fd = accept(listener, NULL, NULL);
        if (fd >= 0) {
            (void)echo(fd, fd);
            close(fd);
        }
    }
    return listener >= 0 ? 0 : 1;
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "echo") == 0)
        return echo(STDIN_FILENO, STDOUT_FILENO);
    if (argc == 3 && strcmp(argv[1], "serve") == 0)
        return serve(argv[2][0] == '6');
    return 2;
}

/*
 * Connections that do nothing: what `make bench-idle` and its test hold in memory.
 *
 *     idle-connections serve PORT [epoll]            accept; with epoll, into a set
 *     idle-connections connect ADDRESS PORT COUNT    connect, and say one byte on each
 *
 * Each says how many it has whenever that is a multiple of STEP or all, and stays until it is
 * ended. A server reads the byte, so that what it holds was used once.
 */
#include <arpa/inet.h>
#include <err.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define STEP    100
#define BACKLOG 4096

static void say(unsigned long count)
{
    if (printf("%lu\n", count) < 0 || fflush(stdout) != 0)
        err(1, "standard output");
}

static int make_socket(void)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0)
        err(1, "socket");
    return fd;
}

static struct sockaddr_in address_of(const char *address, const char *port)
{
    struct sockaddr_in name = {.sin_family = AF_INET};
    name.sin_port = htons((uint16_t)strtoul(port, NULL, 10));
    if (inet_pton(AF_INET, address, &name.sin_addr) != 1)
        errx(1, "%s: not an IPv4 address", address);
    return name;
}

static void serve(const char *port, int set)
{
    int listener = make_socket();
    int on = 1;
    struct sockaddr_in name = address_of("0.0.0.0", port);
    if (setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
        bind(listener, (struct sockaddr *)&name, sizeof(name)) < 0 || listen(listener, BACKLOG) < 0)
        err(1, "port %s", port);
    for (unsigned long count = 0;;) {
        char byte;
        int fd = accept(listener, NULL, NULL);
        if (fd < 0)
            err(1, "accept");
        if (read(fd, &byte, 1) != 1) { /* who only looks whether we are there */
            (void)close(fd);
            continue;
        }
        struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
        if (set >= 0 && epoll_ctl(set, EPOLL_CTL_ADD, fd, &event) < 0)
            err(1, "epoll_ctl");
        if (++count % STEP == 0)
            say(count);
    }
}

static void connect_all(const char *address, const char *port, unsigned long count)
{
    struct sockaddr_in name = address_of(address, port);
    for (unsigned long i = 0; i < count; i++) {
        int fd = make_socket();
        if (connect(fd, (struct sockaddr *)&name, sizeof(name)) < 0)
            err(1, "connect");
        if (write(fd, "x", 1) != 1)
            err(1, "write");
    }
    say(count);
    pause();
}

int main(int argc, char **argv)
{
    if (argc >= 3 && strcmp(argv[1], "serve") == 0) {
        int set = argc > 3 ? epoll_create1(EPOLL_CLOEXEC) : -1;
        if (argc > 3 && set < 0)
            err(1, "epoll_create1");
        serve(argv[2], set);
    }
    if (argc != 5 || strcmp(argv[1], "connect") != 0) {
        (void)fprintf(stderr, "usage: %s serve PORT [epoll] | connect ADDRESS PORT COUNT\n",
                      argv[0]);
        return 2;
    }
    connect_all(argv[2], argv[3], strtoul(argv[4], NULL, 10));
    return 0;
}

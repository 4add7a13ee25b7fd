/* Data: the read and write families and their flags. */
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "case.h"

static void read_write(const struct case_context *context)
{
    int pair[2];
    char bytes[16];
    make_pair(context, pair);
    say_result("write", write(pair[0], "hello", 5));
    say_bytes("read", read(pair[1], bytes, sizeof(bytes)), bytes);
    say_result("write back", write(pair[1], "world!", 6));
    say_bytes("read 3", read(pair[0], bytes, 3), bytes);
    say_bytes("read rest", read(pair[0], bytes, sizeof(bytes)), bytes);
    say_result("read 0 bytes", read(pair[0], bytes, 0));
    say_result("write 0 bytes", write(pair[0], bytes, 0));
    set_nonblocking(pair[0], true);
    say_result("read nothing", read(pair[0], bytes, sizeof(bytes)));
    close_pair(pair);
}

static void vectors(const struct case_context *context)
{
    int pair[2];
    char a[3] = "", b[4] = "", c[8] = "";
    make_pair(context, pair);
    char one[] = "one", none[] = "", two[] = "twotwo";
    struct iovec out[] = {{one, 3}, {none, 0}, {two, 6}};
    say_result("writev", writev(pair[0], out, 3));
    wait_for(pair[1], POLLIN);
    struct iovec in[] = {{a, 3}, {b, 4}, {c, 8}};
    say_result("readv", readv(pair[1], in, 3));
    say("'%.3s' '%.4s' '%.8s'", a, b, c);
    say_result("writev of none", writev(pair[0], out, 0));
    say_result("readv of none", readv(pair[1], in, 0));
    say_result("pwritev2 at -1", pwritev2(pair[0], out, 3, -1, 0));
    wait_for(pair[1], POLLIN);
    say_result("preadv2 at -1", preadv2(pair[1], in, 3, -1, 0));
    say_result("pread", pread(pair[1], a, 3, 0));
    say_result("pwrite", pwrite(pair[1], a, 3, 0));
    say_result("lseek", lseek(pair[1], 0, SEEK_CUR));
    close_pair(pair);
}

static void peek(const struct case_context *context)
{
    int pair[2];
    char bytes[16];
    make_pair(context, pair);
    send(pair[0], "abcdef", 6, 0);
    wait_for(pair[1], POLLIN);
    say_bytes("peek 3", recv(pair[1], bytes, 3, MSG_PEEK), bytes);
    say_bytes("peek all", recv(pair[1], bytes, sizeof(bytes), MSG_PEEK), bytes);
    say_bytes("recv 2", recv(pair[1], bytes, 2, 0), bytes);
    say_bytes("peek rest", recv(pair[1], bytes, sizeof(bytes), MSG_PEEK), bytes);
    say_bytes("recv rest", recv(pair[1], bytes, sizeof(bytes), 0), bytes);
    say_result("peek nothing", recv(pair[1], bytes, 1, MSG_PEEK | MSG_DONTWAIT));
    close_pair(pair);
}

static void truncate_discards(const struct case_context *context)
{
    int pair[2];
    char bytes[16] = "untouched";
    make_pair(context, pair);
    send(pair[0], "abcdef", 6, 0);
    wait_for(pair[1], POLLIN);
    say_result("recv MSG_TRUNC", recv(pair[1], bytes, 4, MSG_TRUNC));
    say("buffer '%s'", bytes);
    say_bytes("recv", recv(pair[1], bytes, 4, 0), bytes);
    close_pair(pair);
}

static void *send_later(void *argument)
{
    usleep(20000);
    send(*(int *)argument, "later", 5, 0);
    usleep(20000);
    send(*(int *)argument, "latest", 6, 0);
    return NULL;
}

static void wait_all(const struct case_context *context)
{
    int pair[2];
    char bytes[16];
    pthread_t thread;
    make_pair(context, pair);
    send(pair[0], "now", 3, 0);
    pthread_create(&thread, NULL, send_later, &pair[0]);
    say_bytes("MSG_WAITALL", recv(pair[1], bytes, 14, MSG_WAITALL), bytes);
    pthread_join(thread, NULL);
    send(pair[0], "abc", 3, 0);
    wait_for(pair[1], POLLIN);
    say_bytes("WAITALL|DONTWAIT", recv(pair[1], bytes, 14, MSG_WAITALL | MSG_DONTWAIT), bytes);
    send(pair[0], "xyz", 3, 0);
    shutdown(pair[0], SHUT_WR);
    say_bytes("WAITALL at the end", recv(pair[1], bytes, 14, MSG_WAITALL), bytes);
    say_result("WAITALL after it", recv(pair[1], bytes, 14, MSG_WAITALL));
    close_pair(pair);
}

static void blocked_read_wakes(const struct case_context *context)
{
    int pair[2];
    char bytes[16];
    pthread_t thread;
    make_pair(context, pair);
    pthread_create(&thread, NULL, send_later, &pair[0]);
    say_bytes("recv", recv(pair[1], bytes, sizeof(bytes), 0), bytes);
    say_bytes("recv", recv(pair[1], bytes, sizeof(bytes), 0), bytes);
    pthread_join(thread, NULL);
    close_pair(pair);
}

static void receive_timeout(const struct case_context *context)
{
    int pair[2];
    char byte;
    struct timeval timeout = {.tv_usec = 40000};
    make_pair(context, pair);
    setsockopt(pair[1], SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
    say_result("recv", recv(pair[1], &byte, 1, 0));
    timeout = (struct timeval){0};
    socklen_t length = sizeof(timeout);
    getsockopt(pair[1], SOL_SOCKET, SO_RCVTIMEO, &timeout, &length);
    say("timeout %ld s %ld us", (long)timeout.tv_sec, (long)timeout.tv_usec);
    close_pair(pair);
}

static void fill(int fd)
{
    static char bytes[65536];
    set_nonblocking(fd, true);
    for (;;) {
        while (write(fd, bytes, sizeof(bytes)) > 0)
            ;
        usleep(CASE_QUIET_MS * 1000);
        if (write(fd, bytes, 1) < 0)
            break;
    }
    say("writes until %s", strerrorname_np(errno));
}

static void *drain_later(void *argument)
{
    static char bytes[65536];
    usleep(20000);
    set_nonblocking(*(int *)argument, true);
    while (wait_for(*(int *)argument, POLLIN) & POLLIN) {
        if (read(*(int *)argument, bytes, sizeof(bytes)) <= 0)
            break;
        if (!(events_now(*(int *)argument, POLLIN) & POLLIN))
            break;
    }
    return NULL;
}

static void full_buffer(const struct case_context *context)
{
    int pair[2];
    pthread_t thread;
    make_pair(context, pair);
    fill(pair[0]);
    say_events("poll when full", events_now(pair[0], POLLOUT | POLLIN));
    set_nonblocking(pair[0], false);
    pthread_create(&thread, NULL, drain_later, &pair[1]);
    say_events("poll while read", wait_for(pair[0], POLLOUT));
    pthread_join(thread, NULL);
    say_result("send", send(pair[0], "x", 1, 0));
    close_pair(pair);
}

struct transfer {
    int fd;
    size_t bytes;
};

static void *receive_pattern(void *argument)
{
    const struct transfer *transfer = argument;
    static unsigned char bytes[30000];
    size_t total = 0;
    bool good = true;
    for (;;) {
        ssize_t got = recv(transfer->fd, bytes, sizeof(bytes), 0);
        if (got <= 0)
            break;
        good = good && is_pattern(bytes, (size_t)got, total);
        total += (size_t)got;
    }
    say("received %zu of %zu, %s", total, transfer->bytes, good ? "intact" : "corrupt");
    return NULL;
}

static void bulk(const struct case_context *context)
{
    static unsigned char bytes[100000];
    int pair[2];
    pthread_t thread;
    make_pair(context, pair);
    struct transfer transfer = {.fd = pair[1], .bytes = 10000000};
    pthread_create(&thread, NULL, receive_pattern, &transfer);
    for (size_t sent = 0; sent < transfer.bytes; sent += sizeof(bytes)) {
        fill_pattern(bytes, sizeof(bytes), sent);
        if (send(pair[0], bytes, sizeof(bytes), 0) != sizeof(bytes))
            say("short send");
    }
    shutdown(pair[0], SHUT_WR);
    pthread_join(thread, NULL);
    close_pair(pair);
}

static void messages(const struct case_context *context)
{
    int pair[2];
    char a[4] = "", b[16] = "", control[64];
    make_pair(context, pair);
    char head[] = "head", tail[] = "tail";
    struct iovec out[] = {{head, 4}, {tail, 4}};
    struct msghdr message = {.msg_iov = out, .msg_iovlen = 2};
    say_result("sendmsg", sendmsg(pair[0], &message, 0));
    wait_for(pair[1], POLLIN);
    struct sockaddr_storage name;
    struct iovec in[] = {{a, 4}, {b, 16}};
    message = (struct msghdr){.msg_iov = in,
                              .msg_iovlen = 2,
                              .msg_name = &name,
                              .msg_namelen = sizeof(name),
                              .msg_control = control,
                              .msg_controllen = sizeof(control),
                              .msg_flags = -1};
    say_result("recvmsg", recvmsg(pair[1], &message, 0));
    say("'%.4s' '%s' flags %#x, control %zu, name %u", a, b, message.msg_flags,
        message.msg_controllen, message.msg_namelen);
    struct mmsghdr several[2] = {{.msg_hdr = {.msg_iov = out, .msg_iovlen = 1}},
                                 {.msg_hdr = {.msg_iov = &out[1], .msg_iovlen = 1}}};
    say_result("sendmmsg", sendmmsg(pair[0], several, 2, 0));
    say("lengths %u %u", several[0].msg_len, several[1].msg_len);
    usleep(CASE_QUIET_MS * 1000);
    struct mmsghdr arrived[3] = {{.msg_hdr = {.msg_iov = in, .msg_iovlen = 1}},
                                 {.msg_hdr = {.msg_iov = &in[1], .msg_iovlen = 1}},
                                 {.msg_hdr = {.msg_iov = in, .msg_iovlen = 1}}};
    say_result("recvmmsg", recvmmsg(pair[1], arrived, 3, MSG_WAITFORONE, NULL));
    say("lengths %u %u", arrived[0].msg_len, arrived[1].msg_len);
    say_result("sendmsg of 2000 parts",
               sendmsg(pair[0], &(struct msghdr){.msg_iov = out, .msg_iovlen = 2000}, 0));
    close_pair(pair);
}

static void sendto_and_recvfrom(const struct case_context *context)
{
    int pair[2];
    char bytes[16];
    struct sockaddr_storage address;
    socklen_t length = loopback(context, &address, 9);
    make_pair(context, pair);
    say_result("sendto", sendto(pair[0], "abc", 3, 0, (struct sockaddr *)&address, length));
    length = sizeof(address);
    ssize_t got = recvfrom(pair[1], bytes, sizeof(bytes), 0, (struct sockaddr *)&address, &length);
    say_bytes("recvfrom", got, bytes);
    say("address length %u", length);
    close_pair(pair);
}

static void send_unconnected(const struct case_context *context)
{
    char byte;
    int fd = make_socket(context, 0);
    say_result("send", send(fd, "x", 1, MSG_NOSIGNAL));
    say_result("recv", recv(fd, &byte, 1, 0));
    close(fd);
    fd = make_listener(context, 1);
    say_result("send on listener", send(fd, "x", 1, MSG_NOSIGNAL));
    say_result("recv on listener", recv(fd, &byte, 1, 0));
    close(fd);
}

static void send_file(const struct case_context *context)
{
    static unsigned char bytes[200000], back[200000];
    char path[CASE_FILE_BYTES];
    int pair[2], file = mkstemp(name_file(path));
    unlink(path);
    fill_pattern(bytes, sizeof(bytes), 0);
    if (write(file, bytes, sizeof(bytes)) != sizeof(bytes))
        say("no room for the file");
    make_pair(context, pair);
    off_t offset = 1000;
    say_result("sendfile", sendfile(pair[0], file, &offset, 50000));
    say("offset %ld, position %ld", (long)offset, (long)lseek(file, 0, SEEK_CUR));
    say_result("recv", recv(pair[1], back, 50000, MSG_WAITALL));
    say("intact: %d", is_pattern(back, 50000, 1000));
    lseek(file, 199990, SEEK_SET);
    say_result("past the end", sendfile(pair[0], file, NULL, 1000));
    say_result("at the end", sendfile(pair[0], file, NULL, 1000));
    say_result("recv", recv(pair[1], back, 10, MSG_WAITALL));
    close(file);
    close_pair(pair);
}

static void splice_both_ways(const struct case_context *context)
{
    int pair[2], ends[2];
    char bytes[16];
    make_pair(context, pair);
    if (pipe(ends) < 0 || write(ends[1], "through a pipe", 14) != 14)
        say("no pipe");
    say_result("splice in", splice(ends[0], NULL, pair[0], NULL, 100, 0));
    wait_for(pair[1], POLLIN);
    say_result("splice out", splice(pair[1], NULL, ends[1], NULL, 100, 0));
    say_bytes("read", read(ends[0], bytes, sizeof(bytes)), bytes);
    set_nonblocking(pair[1], true);
    say_result("splice of nothing", splice(pair[1], NULL, ends[1], NULL, 100, SPLICE_F_NONBLOCK));
    close(ends[0]);
    close(ends[1]);
    close_pair(pair);
}

static void unread_bytes(const struct case_context *context)
{
    int pair[2], count = -1;
    char bytes[4];
    make_pair(context, pair);
    say_result("FIONREAD", ioctl(pair[1], FIONREAD, &count));
    say("count %d", count);
    send(pair[0], "abcdef", 6, 0);
    wait_for(pair[1], POLLIN);
    ioctl(pair[1], FIONREAD, &count);
    say("count %d", count);
    usleep(CASE_QUIET_MS * 1000);
    ioctl(pair[0], TIOCOUTQ, &count);
    say("unacknowledged %d", count);
    (void)!read(pair[1], bytes, 4);
    ioctl(pair[1], FIONREAD, &count);
    say("count %d", count);
    usleep(CASE_QUIET_MS * 1000);
    ioctl(pair[0], TIOCOUTQ, &count);
    say("unacknowledged %d", count);
    close_pair(pair);
    int listener = make_listener(context, 1);
    say_result("FIONREAD of listener", ioctl(listener, FIONREAD, &count));
    close(listener);
}

static void stdio_stream(const struct case_context *context)
{
    int pair[2];
    char line[64];
    make_pair(context, pair);
    FILE *out = fdopen(pair[0], "w"), *in = fdopen(pair[1], "r");
    (void)fprintf(out, "line %d\nand more\n", 1);
    (void)fflush(out);
    if (fgets(line, sizeof(line), in) != NULL)
        say("'%s', fileno right: %d", strtok(line, "\n"), fileno(in) == pair[1]);
    (void)fclose(out);
    if (fgets(line, sizeof(line), in) != NULL)
        say("'%s'", strtok(line, "\n"));
    say("end: %d", fgets(line, sizeof(line), in) == NULL && feof(in));
    (void)fclose(in);
}

/* As programs that are started for one request answer it: what comes to descriptor 1 is stdout. */
static void stdio_standard_streams(const struct case_context *context)
{
    char bytes[64];
    int listener = make_listener(context, 2), status = -1;
    (void)fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        char line[64] = "";
        (void)setvbuf(stdout, NULL, _IOFBF, BUFSIZ);
        printf("written before; ");
        close(STDOUT_FILENO);
        if (accept(listener, NULL, NULL) != STDOUT_FILENO ||
            dup2(STDOUT_FILENO, STDIN_FILENO) != STDIN_FILENO)
            _exit(98);
        if (fgets(line, sizeof(line), stdin) == NULL)
            _exit(97);
        printf("asked '%s'", strtok(line, "\n"));
        _exit(fflush(stdout) != 0);
    }
    int client = make_socket(context, 0);
    connect_to(context, client, port_of(listener));
    send(client, "question\n", 9, 0);
    say_bytes("it said", read_to_end(client, bytes, sizeof(bytes)), bytes);
    waitpid(pid, &status, 0);
    say("status %d", status);
    close(client);
    close(listener);
}

static void low_water(const struct case_context *context)
{
    int pair[2], low = 4;
    char bytes[16];
    make_pair(context, pair);
    say_result("SO_RCVLOWAT", setsockopt(pair[1], SOL_SOCKET, SO_RCVLOWAT, &low, sizeof(low)));
    send(pair[0], "ab", 2, 0);
    say_events("2 of 4", events_now(pair[1], POLLIN));
    send(pair[0], "cd", 2, 0);
    say_events("4 of 4", wait_for(pair[1], POLLIN));
    say_bytes("recv", recv(pair[1], bytes, sizeof(bytes), 0), bytes);
    close_pair(pair);
}

/* The reader waits elsewhere than in socket calls: all that it reads opens the window. */
static void small_window(const struct case_context *context)
{
    enum { BYTES = 20000, LOOKS = 5000 };
    static char bytes[BYTES];
    struct sockaddr_storage address;
    int size = 4096;
    int listener = make_listener(context, 1), fd = make_socket(context, 0);
    socklen_t length = loopback(context, &address, port_of(listener));
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
    say_result("connect", connect(fd, (struct sockaddr *)&address, length));
    int accepted = accept(listener, NULL, NULL);
    say_result("send", send(accepted, bytes, BYTES, 0));
    size_t received = 0;
    for (int looks = 0; received < BYTES && looks < LOOKS; looks++) {
        ssize_t got = recv(fd, bytes, BYTES, MSG_DONTWAIT);
        received += got > 0 ? (size_t)got : 0;
        usleep(1000);
    }
    say("received %zu", received);
    close(accepted);
    close(fd);
    close(listener);
}

/* Over loopback a megabyte is taken before anybody reads. */
static void megabyte_unread(const struct case_context *context)
{
    enum { BYTES = 1 << 20, LOOKS = 2000 };
    static char bytes[BYTES];
    int pair[2];
    make_pair(context, pair);
    for (int from = 0; from < 2; from++) {
        size_t sent = 0;
        for (int looks = 0; sent < BYTES && looks < LOOKS; looks++) {
            ssize_t taken = send(pair[from], bytes, BYTES - sent, MSG_DONTWAIT);
            sent += taken > 0 ? (size_t)taken : 0;
            usleep(1000);
        }
        say("sent %zu", sent);
        say_result("received", recv(pair[1 - from], bytes, BYTES,
                                    MSG_WAITALL | (sent < BYTES ? MSG_DONTWAIT : 0)));
    }
    close_pair(pair);
}

/* SO_SNDBUF of a listener is an accepted connection's from its first byte on. */
static void small_send_buffer(const struct case_context *context)
{
    static char bytes[1 << 20];
    struct sockaddr_storage address;
    int size = 4096;
    int listener = make_listener(context, 1), fd = make_socket(context, 0);
    socklen_t length = loopback(context, &address, port_of(listener));
    setsockopt(listener, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
    say_result("connect", connect(fd, (struct sockaddr *)&address, length));
    int accepted = accept(listener, NULL, NULL);
    ssize_t sent = send(accepted, bytes, sizeof(bytes), MSG_DONTWAIT);
    say("sent some %d, not much %d", sent > 0, sent <= 4 * size);
    close(accepted);
    close(fd);
    close(listener);
}

/* What one send takes that may not wait: it goes beyond a small SO_SNDBUF, and fills a larger one.
 */
static void filled_send_buffer(const struct case_context *context)
{
    static char bytes[1 << 20];
    for (int asked = 2048; asked <= 65536; asked *= 32) {
        int pair[2], size = 0;
        socklen_t length = sizeof(size);
        make_pair(context, pair);
        setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &asked, sizeof(asked));
        getsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &size, &length);
        size_t wanted = asked < 65536 ? 10000 : sizeof(bytes);
        ssize_t sent = send(pair[0], bytes, wanted, MSG_DONTWAIT);
        say("%d: at least 10000: %d, at least nine tenths: %d, at most twice as much: %d", asked,
            sent >= 10000, sent * 10 >= (ssize_t)size * 9, sent <= 10000 + 2 * (ssize_t)size);
        say_result("rest", recv(pair[1], bytes, (size_t)sent, MSG_WAITALL) - sent);
        say_events("poll", wait_for(pair[0], POLLOUT));
        close_pair(pair);
    }
}

static void on_alarm(int number)
{
    (void)number;
}

static void start_alarm(int flags)
{
    struct sigaction action = {.sa_handler = on_alarm, .sa_flags = flags};
    struct itimerval timer = {.it_value = {.tv_usec = 20000}};
    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &timer, NULL);
}

static void interrupted(const struct case_context *context)
{
    int pair[2];
    char bytes[16];
    pthread_t thread;
    sigset_t alarm_only;
    make_pair(context, pair);
    start_alarm(0);
    say_result("recv without SA_RESTART", recv(pair[1], bytes, sizeof(bytes), 0));
    sigemptyset(&alarm_only);
    sigaddset(&alarm_only, SIGALRM);
    pthread_sigmask(SIG_BLOCK, &alarm_only, NULL);
    pthread_create(&thread, NULL, send_later, &pair[0]);
    pthread_sigmask(SIG_UNBLOCK, &alarm_only, NULL);
    struct sigaction action = {.sa_handler = on_alarm, .sa_flags = SA_RESTART};
    struct itimerval timer = {.it_value = {.tv_usec = 5000}};
    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &timer, NULL);
    say_bytes("recv with SA_RESTART", recv(pair[1], bytes, sizeof(bytes), 0), bytes);
    pthread_join(thread, NULL);
    close_pair(pair);
}

const struct socket_case cases_data[] = {
    {"read_write", read_write},
    {"vectors", vectors},
    {"peek", peek},
    {"truncate_discards", truncate_discards},
    {"wait_all", wait_all},
    {"blocked_read_wakes", blocked_read_wakes},
    {"receive_timeout", receive_timeout},
    {"full_buffer", full_buffer},
    {"bulk", bulk},
    {"messages", messages},
    {"sendto_and_recvfrom", sendto_and_recvfrom},
    {"send_unconnected", send_unconnected},
    {"send_file", send_file},
    {"splice_both_ways", splice_both_ways},
    {"unread_bytes", unread_bytes},
    {"stdio_standard_streams", stdio_standard_streams},
    {"stdio_stream", stdio_stream},
    {"low_water", low_water},
    {"megabyte_unread", megabyte_unread},
    {"small_send_buffer", small_send_buffer},
    {"filled_send_buffer", filled_send_buffer},
    {"small_window", small_window},
    {"interrupted", interrupted},
    {0},
};

/* Endings: shutdown, close, resets, lingering. */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "case.h"

#define ALL_EVENTS (POLLIN | POLLOUT | POLLRDHUP | POLLPRI)

static void let_it_arrive(void)
{
    usleep(CASE_QUIET_MS * 1000);
}

static void shutdown_write(const struct case_context *context)
{
    int pair[2];
    char bytes[16];
    make_pair(context, pair);
    send(pair[0], "last", 4, 0);
    say_result("shutdown", shutdown(pair[0], SHUT_WR));
    say_events("own", events_now(pair[0], ALL_EVENTS));
    let_it_arrive();
    say_events("peer", events_now(pair[1], ALL_EVENTS));
    say_bytes("recv", recv(pair[1], bytes, sizeof(bytes), 0), bytes);
    say_result("recv", recv(pair[1], bytes, sizeof(bytes), 0));
    say_result("send after shutdown", send(pair[0], "x", 1, MSG_NOSIGNAL));
    say_result("peer still sends", send(pair[1], "reply", 5, 0));
    say_bytes("and is heard", recv(pair[0], bytes, sizeof(bytes), 0), bytes);
    say_result("peer shuts too", shutdown(pair[1], SHUT_WR));
    let_it_arrive();
    say_events("own at the end", events_now(pair[0], ALL_EVENTS));
    say_events("peer at the end", events_now(pair[1], ALL_EVENTS));
    close_pair(pair);
}

static void shutdown_read(const struct case_context *context)
{
    int pair[2];
    char bytes[16];
    make_pair(context, pair);
    send(pair[0], "before", 6, 0);
    let_it_arrive();
    say_result("shutdown", shutdown(pair[1], SHUT_RD));
    say_events("poll", events_now(pair[1], ALL_EVENTS));
    say_bytes("what was there", recv(pair[1], bytes, sizeof(bytes), 0), bytes);
    say_result("then", recv(pair[1], bytes, sizeof(bytes), 0));
    say_result("still sends", send(pair[1], "x", 1, 0));
    say_bytes("peer", recv(pair[0], bytes, sizeof(bytes), 0), bytes);
    close_pair(pair);
}

static void shutdown_both(const struct case_context *context)
{
    int pair[2];
    char byte;
    make_pair(context, pair);
    say_result("shutdown", shutdown(pair[0], SHUT_RDWR));
    say_events("poll", events_now(pair[0], ALL_EVENTS));
    say_result("recv", recv(pair[0], &byte, 1, 0));
    say_result("send", send(pair[0], "x", 1, MSG_NOSIGNAL));
    let_it_arrive();
    say_events("peer", events_now(pair[1], ALL_EVENTS));
    say_result("peer recv", recv(pair[1], &byte, 1, 0));
    close_pair(pair);
}

static void shutdown_wrong(const struct case_context *context)
{
    int pair[2];
    int fd = make_socket(context, 0);
    say_result("unconnected", shutdown(fd, SHUT_WR));
    close(fd);
    make_pair(context, pair);
    say_result("how 7", shutdown(pair[0], 7));
    close_pair(pair);
    fd = make_listener(context, 1);
    say_result("listener, write", shutdown(fd, SHUT_WR));
    say_result("listener, read", shutdown(fd, SHUT_RD));
    say_events("listener after", events_now(fd, ALL_EVENTS));
    say_result("accept after", accept(fd, NULL, NULL));
    close(fd);
}

static void close_with_unread(const struct case_context *context)
{
    int pair[2];
    char byte;
    make_pair(context, pair);
    send(pair[0], "never read", 10, 0);
    let_it_arrive();
    close(pair[1]);
    let_it_arrive();
    say_events("poll", events_now(pair[0], ALL_EVENTS));
    say_result("recv", recv(pair[0], &byte, 1, 0));
    say_result("recv again", recv(pair[0], &byte, 1, 0));
    say_result("send", send(pair[0], "x", 1, MSG_NOSIGNAL));
    close(pair[0]);
}

static void close_then_send(const struct case_context *context)
{
    int pair[2];
    char byte;
    make_pair(context, pair);
    close(pair[1]);
    let_it_arrive();
    say_events("poll", events_now(pair[0], ALL_EVENTS));
    say_result("recv", recv(pair[0], &byte, 1, 0));
    say_result("first send", send(pair[0], "x", 1, MSG_NOSIGNAL));
    let_it_arrive();
    say_events("poll", events_now(pair[0], ALL_EVENTS));
    say_result("second send", send(pair[0], "x", 1, MSG_NOSIGNAL));
    say_socket_error("SO_ERROR", pair[0]);
    say_result("recv", recv(pair[0], &byte, 1, 0));
    close(pair[0]);
}

static volatile sig_atomic_t pipe_signals;

static void on_pipe(int number)
{
    (void)number;
    pipe_signals = pipe_signals + 1;
}

static void broken_pipe_signal(const struct case_context *context)
{
    int pair[2];
    signal(SIGPIPE, on_pipe);
    make_pair(context, pair);
    shutdown(pair[0], SHUT_WR);
    say_result("write", write(pair[0], "x", 1));
    say("signals %d", (int)pipe_signals);
    say_result("send NOSIGNAL", send(pair[0], "x", 1, MSG_NOSIGNAL));
    say("signals %d", (int)pipe_signals);
    close_pair(pair);
}

static void linger_zero_resets(const struct case_context *context)
{
    int pair[2];
    char byte;
    struct linger linger = {.l_onoff = 1};
    make_pair(context, pair);
    say_result("SO_LINGER", setsockopt(pair[1], SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)));
    close(pair[1]);
    let_it_arrive();
    say_events("poll", events_now(pair[0], ALL_EVENTS));
    say_result("recv", recv(pair[0], &byte, 1, 0));
    say_result("recv", recv(pair[0], &byte, 1, 0));
    close(pair[0]);
}

static void linger_waits(const struct case_context *context)
{
    int pair[2];
    char bytes[16];
    struct linger linger = {.l_onoff = 1, .l_linger = 2};
    make_pair(context, pair);
    setsockopt(pair[0], SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
    send(pair[0], "parting", 7, 0);
    say_result("close", close(pair[0]));
    say_bytes("recv", recv(pair[1], bytes, sizeof(bytes), 0), bytes);
    say_result("recv", recv(pair[1], bytes, sizeof(bytes), 0));
    close(pair[1]);
}

/* All is acknowledged when close() begins: it has nothing to wait for. */
static void linger_after_peer_ended(const struct case_context *context)
{
    enum { ROUNDS = 5, LINGER_S = 3, LATE_S = 2 };
    struct linger linger = {.l_onoff = 1, .l_linger = LINGER_S};
    char bytes[16];
    for (int i = 0; i < ROUNDS; i++) {
        int pair[2];
        make_pair(context, pair);
        setsockopt(pair[0], SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
        send(pair[0], "parting", 7, 0);
        say_bytes("recv", recv(pair[1], bytes, sizeof(bytes), 0), bytes);
        close(pair[1]);
        say_result("end", recv(pair[0], bytes, sizeof(bytes), 0));
        time_t start = time(NULL);
        close(pair[0]);
        say("late %d", time(NULL) - start >= LATE_S);
    }
}

static void reset_while_data_waits(const struct case_context *context)
{
    int pair[2];
    char bytes[16];
    struct linger linger = {.l_onoff = 1};
    make_pair(context, pair);
    send(pair[1], "data", 4, 0);
    let_it_arrive();
    setsockopt(pair[1], SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
    close(pair[1]);
    let_it_arrive();
    say_bytes("recv", recv(pair[0], bytes, sizeof(bytes), 0), bytes);
    say_result("recv", recv(pair[0], bytes, sizeof(bytes), 0));
    say_result("recv", recv(pair[0], bytes, sizeof(bytes), 0));
    close(pair[0]);
}

static void close_listener_with_queue(const struct case_context *context)
{
    int listener = make_listener(context, 4), client = make_socket(context, 0);
    char byte;
    connect_to(context, client, port_of(listener));
    let_it_arrive();
    close(listener);
    let_it_arrive();
    say_events("poll", events_now(client, ALL_EVENTS));
    say_result("recv", recv(client, &byte, 1, 0));
    close(client);
}

static void *close_later(void *argument)
{
    usleep(20000);
    shutdown(*(int *)argument, SHUT_RDWR);
    return NULL;
}

static void shutdown_wakes_reader(const struct case_context *context)
{
    int pair[2];
    char byte;
    pthread_t thread;
    make_pair(context, pair);
    pthread_create(&thread, NULL, close_later, &pair[1]);
    say_result("recv", recv(pair[1], &byte, 1, 0));
    pthread_join(thread, NULL);
    close_pair(pair);
}

static void shutdown_wakes_accept(const struct case_context *context)
{
    int listener = make_listener(context, 1);
    pthread_t thread;
    pthread_create(&thread, NULL, close_later, &listener);
    say_result("accept", accept(listener, NULL, NULL));
    pthread_join(thread, NULL);
    close(listener);
}

static void use_after_close(const struct case_context *context)
{
    int pair[2];
    char byte;
    make_pair(context, pair);
    close_pair(pair);
    say_result("read", read(pair[0], &byte, 1));
    say_result("send", send(pair[1], "x", 1, MSG_NOSIGNAL));
    say_result("close", close(pair[0]));
    say_result("accept", accept(pair[0], NULL, NULL));
}

const struct socket_case cases_end[] = {
    {"shutdown_write", shutdown_write},
    {"shutdown_read", shutdown_read},
    {"shutdown_both", shutdown_both},
    {"shutdown_wrong", shutdown_wrong},
    {"close_with_unread", close_with_unread},
    {"close_then_send", close_then_send},
    {"broken_pipe_signal", broken_pipe_signal},
    {"linger_zero_resets", linger_zero_resets},
    {"linger_waits", linger_waits},
    {"linger_after_peer_ended", linger_after_peer_ended},
    {"reset_while_data_waits", reset_while_data_waits},
    {"close_listener_with_queue", close_listener_with_queue},
    {"shutdown_wakes_reader", shutdown_wakes_reader},
    {"shutdown_wakes_accept", shutdown_wakes_accept},
    {"use_after_close", use_after_close},
    {0},
};

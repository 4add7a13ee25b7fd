/* Sending and receiving: flags, lengths of nothing, urgent data, timeouts, what is unread. */
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <unistd.h>

#include "case.h"

#define ALL_EVENTS (POLLIN | POLLOUT | POLLRDHUP | POLLPRI | POLLRDBAND)

/* Start a pair with `text` arrived at pair[1]. */
static void pair_with(const struct case_context *context, int pair[2], const char *text)
{
    make_pair(context, pair);
    if (send(pair[0], text, strlen(text), 0) != (ssize_t)strlen(text))
        say("short send");
    settle();
}

static void say_recv(const char *what, int fd, size_t size, int flags)
{
    char bytes[64] = "";
    ssize_t result = recv(fd, bytes, size, flags);
    say_bytes(what, result <= 64 ? result : 64, bytes);
}

/* ---- Nothing ------------------------------------------------------------------------------- */

static void receive_nothing_with_data(const struct case_context *context)
{
    int pair[2];
    char bytes[8];
    struct iovec none = {bytes, 0};
    struct msghdr message = {.msg_iov = &none, .msg_iovlen = 1};
    pair_with(context, pair, "data");
    say_result("read", read(pair[1], bytes, 0));
    say_result("recv", recv(pair[1], bytes, 0, 0));
    say_result("recv peek", recv(pair[1], bytes, 0, MSG_PEEK));
    say_result("recv trunc", recv(pair[1], bytes, 0, MSG_TRUNC));
    say_result("readv", readv(pair[1], &none, 1));
    say_result("readv of none", readv(pair[1], &none, 0));
    say_result("recvmsg", recvmsg(pair[1], &message, 0));
    message.msg_iovlen = 0;
    say_result("recvmsg of none", recvmsg(pair[1], &message, 0));
    say_recv("all there", pair[1], 8, 0);
    close_pair(pair);
}

static void receive_nothing_without_data(const struct case_context *context)
{
    int pair[2];
    char bytes[8];
    make_pair(context, pair);
    say_result("read", read(pair[1], bytes, 0));
    say_result("recv, not waiting", recv(pair[1], bytes, 0, MSG_DONTWAIT));
    say_result("recv waitall, not waiting", recv(pair[1], bytes, 0, MSG_DONTWAIT | MSG_WAITALL));
    shutdown(pair[0], SHUT_WR);
    settle();
    say_result("recv at the end", recv(pair[1], bytes, 0, 0));
    close_pair(pair);
}

static void send_nothing(const struct case_context *context)
{
    int pair[2];
    struct iovec none = {NULL, 0};
    struct msghdr message = {.msg_iov = &none, .msg_iovlen = 1};
    make_pair(context, pair);
    say_result("write", write(pair[0], "", 0));
    say_result("send", send(pair[0], "", 0, 0));
    say_result("writev", writev(pair[0], &none, 1));
    say_result("sendmsg", sendmsg(pair[0], &message, 0));
    say_result("send oob", send(pair[0], "", 0, MSG_OOB));
    say_events("peer", events_now(pair[1], ALL_EVENTS));
    shutdown(pair[0], SHUT_WR);
    say_result("after shutdown", send(pair[0], "", 0, MSG_NOSIGNAL));
    say_result("write", write(pair[1], "", 0));
    close_pair(pair);
}

static void send_nothing_to_closed_peer(const struct case_context *context)
{
    int pair[2];
    make_pair(context, pair);
    close(pair[1]);
    settle();
    say_result("send", send(pair[0], "", 0, MSG_NOSIGNAL));
    say_result("send", send(pair[0], "x", 1, MSG_NOSIGNAL));
    settle();
    say_result("send", send(pair[0], "", 0, MSG_NOSIGNAL));
    say_result("send", send(pair[0], "x", 1, MSG_NOSIGNAL));
    close(pair[0]);
}

/* ---- MSG_PEEK, MSG_TRUNC, MSG_WAITALL, MSG_DONTWAIT ---------------------------------------- */

static void peek_twice_then_read(const struct case_context *context)
{
    int pair[2];
    pair_with(context, pair, "abcdef");
    say_recv("peek 3", pair[1], 3, MSG_PEEK);
    say_recv("peek 6", pair[1], 6, MSG_PEEK);
    say_recv("peek 60", pair[1], 60, MSG_PEEK);
    say_recv("read 2", pair[1], 2, 0);
    say_recv("peek 60", pair[1], 60, MSG_PEEK);
    say_events("events", events_now(pair[1], ALL_EVENTS));
    close_pair(pair);
}

static void peek_across_segments(const struct case_context *context)
{
    int pair[2];
    pair_with(context, pair, "abc");
    send(pair[0], "def", 3, 0);
    settle();
    say_recv("peek", pair[1], 60, MSG_PEEK);
    say_recv("peek waitall", pair[1], 6, MSG_PEEK | MSG_WAITALL);
    say_recv("read", pair[1], 60, 0);
    close_pair(pair);
}

static void peek_at_the_end(const struct case_context *context)
{
    int pair[2];
    pair_with(context, pair, "last");
    shutdown(pair[0], SHUT_WR);
    settle();
    say_recv("peek", pair[1], 60, MSG_PEEK);
    say_recv("read", pair[1], 60, 0);
    say_recv("peek", pair[1], 60, MSG_PEEK);
    say_recv("peek", pair[1], 60, MSG_PEEK | MSG_DONTWAIT);
    close_pair(pair);
}

static void peek_nothing_not_waiting(const struct case_context *context)
{
    int pair[2];
    make_pair(context, pair);
    say_recv("peek", pair[1], 8, MSG_PEEK | MSG_DONTWAIT);
    say_recv("oob", pair[1], 8, MSG_OOB | MSG_DONTWAIT);
    say_recv("errqueue", pair[1], 8, MSG_ERRQUEUE | MSG_DONTWAIT);
    say_recv("errqueue, blocking", pair[1], 8, MSG_ERRQUEUE);
    close_pair(pair);
}

static void truncating_peek(const struct case_context *context)
{
    int pair[2];
    pair_with(context, pair, "abcdef");
    char bytes[8] = "-------";
    say_result("peek and truncate", recv(pair[1], bytes, 3, MSG_PEEK | MSG_TRUNC));
    say("untouched '%.7s'", bytes);
    say_result("truncate into NULL", recv(pair[1], NULL, 2, MSG_TRUNC));
    say_recv("left", pair[1], 8, 0);
    close_pair(pair);
}

static void wait_all_ends_by_fin(const struct case_context *context)
{
    int pair[2];
    pair_with(context, pair, "abc");
    shutdown(pair[0], SHUT_WR);
    say_recv("waitall", pair[1], 10, MSG_WAITALL);
    say_recv("waitall", pair[1], 10, MSG_WAITALL);
    close_pair(pair);
}

static void wait_all_ends_by_reset(const struct case_context *context)
{
    int pair[2];
    struct linger linger = {.l_onoff = 1};
    pair_with(context, pair, "abc");
    setsockopt(pair[0], SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
    close(pair[0]);
    settle();
    say_recv("waitall", pair[1], 10, MSG_WAITALL);
    say_recv("again", pair[1], 10, MSG_WAITALL);
    say_recv("again", pair[1], 10, MSG_WAITALL);
    close(pair[1]);
}

static void wait_all_not_waiting(const struct case_context *context)
{
    int pair[2];
    pair_with(context, pair, "abc");
    say_recv("waitall dontwait", pair[1], 10, MSG_WAITALL | MSG_DONTWAIT);
    say_recv("waitall dontwait", pair[1], 10, MSG_WAITALL | MSG_DONTWAIT);
    send(pair[0], "d", 1, 0);
    set_nonblocking(pair[1], true);
    settle();
    say_recv("waitall nonblocking", pair[1], 10, MSG_WAITALL);
    close_pair(pair);
}

static void wait_all_times_out(const struct case_context *context)
{
    int pair[2];
    struct timeval timeout = {.tv_usec = 50000};
    pair_with(context, pair, "abc");
    setsockopt(pair[1], SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
    say_recv("waitall", pair[1], 10, MSG_WAITALL);
    say_recv("waitall", pair[1], 10, MSG_WAITALL);
    close_pair(pair);
}

static void on_alarm(int number)
{
    (void)number;
}

static void alarm_in_20_ms(int flags)
{
    struct sigaction action = {.sa_handler = on_alarm, .sa_flags = flags};
    struct itimerval timer = {.it_value = {.tv_usec = 20000}};
    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &timer, NULL);
}

static void wait_all_interrupted_after_some(const struct case_context *context)
{
    for (int restart = 0; restart < 2; restart++) {
        int pair[2];
        pair_with(context, pair, "abc");
        alarm_in_20_ms(restart ? SA_RESTART : 0);
        say_recv("waitall", pair[1], 10, MSG_WAITALL);
        close_pair(pair);
    }
}

static void timeouts_are_interrupted_despite_restart(const struct case_context *context)
{
    int pair[2];
    struct timeval timeout = {.tv_sec = 2};
    make_pair(context, pair);
    setsockopt(pair[1], SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
    alarm_in_20_ms(SA_RESTART);
    say_recv("recv", pair[1], 10, 0);
    int listener = make_listener(context, 1);
    setsockopt(listener, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
    alarm_in_20_ms(SA_RESTART);
    say_result("accept", accept(listener, NULL, NULL));
    close(listener);
    close_pair(pair);
}

static void accept_times_out(const struct case_context *context)
{
    struct timeval timeout = {.tv_usec = 30000};
    int listener = make_listener(context, 1);
    setsockopt(listener, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
    say_result("accept", accept(listener, NULL, NULL));
    close(listener);
}

static void fill_buffers(int fd)
{
    static char bytes[65536];
    while (send(fd, bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
        ;
    settle();
    while (send(fd, bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
        ;
}

static void send_times_out(const struct case_context *context)
{
    int pair[2];
    struct timeval timeout = {.tv_usec = 30000};
    make_pair(context, pair);
    fill_buffers(pair[0]);
    setsockopt(pair[0], SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
    say_result("send", send(pair[0], "x", 1, 0));
    close_pair(pair);
}

static void send_not_waiting_when_full(const struct case_context *context)
{
    int pair[2];
    make_pair(context, pair);
    fill_buffers(pair[0]);
    say_result("send", send(pair[0], "x", 1, MSG_DONTWAIT));
    say_result("nothing", send(pair[0], "x", 0, MSG_DONTWAIT));
    say_events("events", events_now(pair[0], ALL_EVENTS));
    shutdown(pair[0], SHUT_WR);
    say_events("shut", events_now(pair[0], ALL_EVENTS));
    say_result("send", send(pair[0], "x", 1, MSG_DONTWAIT | MSG_NOSIGNAL));
    close_pair(pair);
}

/* ---- Urgent data --------------------------------------------------------------------------- */

static void urgent_byte_apart(const struct case_context *context)
{
    int pair[2];
    make_pair(context, pair);
    say_result("send oob", send(pair[0], "abcX", 4, MSG_OOB));
    settle();
    say_events("events", events_now(pair[1], ALL_EVENTS));
    say("at mark %d", sockatmark(pair[1]));
    say_recv("before", pair[1], 60, 0);
    say("at mark %d", sockatmark(pair[1]));
    say_events("events", events_now(pair[1], ALL_EVENTS));
    say_recv("peek oob", pair[1], 8, MSG_OOB | MSG_PEEK);
    say_recv("oob", pair[1], 8, MSG_OOB);
    say_recv("oob again", pair[1], 8, MSG_OOB);
    say_recv("rest", pair[1], 8, MSG_DONTWAIT);
    close_pair(pair);
}

static void urgent_byte_first(const struct case_context *context)
{
    int pair[2];
    make_pair(context, pair);
    send(pair[0], "X", 1, MSG_OOB);
    settle();
    send(pair[0], "after", 5, 0);
    settle();
    say("at mark %d", sockatmark(pair[1]));
    say_recv("oob", pair[1], 8, MSG_OOB);
    say_recv("read", pair[1], 8, 0);
    say("at mark %d", sockatmark(pair[1]));
    close_pair(pair);
}

static void urgent_byte_skipped(const struct case_context *context)
{
    int pair[2];
    make_pair(context, pair);
    send(pair[0], "abX", 3, MSG_OOB);
    settle();
    send(pair[0], "cd", 2, 0);
    settle();
    say_recv("read", pair[1], 8, 0);
    say_recv("read on", pair[1], 8, 0);
    say_recv("oob too late", pair[1], 8, MSG_OOB);
    close_pair(pair);
}

static void urgent_byte_inline(const struct case_context *context)
{
    int pair[2], on = 1;
    make_pair(context, pair);
    setsockopt(pair[1], SOL_SOCKET, SO_OOBINLINE, &on, sizeof(on));
    send(pair[0], "abX", 3, MSG_OOB);
    settle();
    say_events("events", events_now(pair[1], ALL_EVENTS));
    say_recv("oob", pair[1], 8, MSG_OOB);
    say_recv("read", pair[1], 8, 0);
    say("at mark %d", sockatmark(pair[1]));
    say_recv("read", pair[1], 8, MSG_DONTWAIT);
    close_pair(pair);
}

static void urgent_none(const struct case_context *context)
{
    int pair[2];
    pair_with(context, pair, "plain");
    say_recv("oob", pair[1], 8, MSG_OOB);
    say("at mark %d", sockatmark(pair[1]));
    shutdown(pair[0], SHUT_WR);
    settle();
    say_recv("oob at the end", pair[1], 8, MSG_OOB);
    close_pair(pair);
}

/* ---- Unread and unsent --------------------------------------------------------------------- */

static void unread_at_the_end(const struct case_context *context)
{
    int pair[2], count = -1;
    pair_with(context, pair, "abc");
    shutdown(pair[0], SHUT_WR);
    settle();
    say_result("FIONREAD", ioctl(pair[1], FIONREAD, &count));
    say("count %d", count);
    say_recv("read", pair[1], 60, 0);
    say_result("FIONREAD", ioctl(pair[1], FIONREAD, &count));
    say("count %d", count);
    close_pair(pair);
}

static void unread_after_reset(const struct case_context *context)
{
    int pair[2], count = -1;
    struct linger linger = {.l_onoff = 1};
    pair_with(context, pair, "abc");
    setsockopt(pair[0], SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
    close(pair[0]);
    settle();
    say_result("FIONREAD", ioctl(pair[1], FIONREAD, &count));
    say("count %d", count);
    say_result("TIOCOUTQ", ioctl(pair[1], TIOCOUTQ, &count));
    say("count %d", count);
    close(pair[1]);
}

static void low_water_and_blocking_read(const struct case_context *context)
{
    int pair[2], low = 5;
    struct timeval timeout = {.tv_usec = 50000};
    pair_with(context, pair, "abc");
    setsockopt(pair[1], SOL_SOCKET, SO_RCVLOWAT, &low, sizeof(low));
    setsockopt(pair[1], SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
    say_recv("smaller buffer", pair[1], 2, 0);
    say_recv("less than the mark", pair[1], 10, 0);
    say_recv("nonblocking", pair[1], 10, MSG_DONTWAIT);
    send(pair[0], "12345", 5, 0);
    say_recv("as much as the mark", pair[1], 10, 0);
    close_pair(pair);
}

static void corked_bytes_wait(const struct case_context *context)
{
    int pair[2], on = 1, off = 0;
    make_pair(context, pair);
    setsockopt(pair[0], IPPROTO_TCP, TCP_CORK, &on, sizeof(on));
    send(pair[0], "held", 4, 0);
    say_events("corked", events_now(pair[1], POLLIN));
    setsockopt(pair[0], IPPROTO_TCP, TCP_CORK, &off, sizeof(off));
    say_events("uncorked", wait_for(pair[1], POLLIN));
    say_recv("read", pair[1], 8, 0);
    settle(); /* an acknowledgement that came now would let MSG_MORE's bytes go */
    send(pair[0], "more", 4, MSG_MORE);
    say_events("more", events_now(pair[1], POLLIN));
    send(pair[0], "!", 1, 0);
    say_events("no more", wait_for(pair[1], POLLIN));
    say_recv("read", pair[1], 8, 0);
    close_pair(pair);
}

static void corked_bytes_leave_with_shutdown(const struct case_context *context)
{
    int pair[2], on = 1;
    make_pair(context, pair);
    setsockopt(pair[0], IPPROTO_TCP, TCP_CORK, &on, sizeof(on));
    send(pair[0], "held", 4, 0);
    shutdown(pair[0], SHUT_WR);
    settle();
    say_recv("read", pair[1], 8, MSG_WAITALL);
    close_pair(pair);
}

/* ---- Messages ------------------------------------------------------------------------------ */

static void message_flags(const struct case_context *context)
{
    static const int flags[] = {0,         MSG_PEEK,         MSG_DONTWAIT,   MSG_WAITALL,
                                MSG_TRUNC, MSG_CMSG_CLOEXEC, MSG_WAITFORONE, MSG_CTRUNC};
    for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
        int pair[2];
        char bytes[8] = "", control[64];
        struct iovec vector = {bytes, 4};
        struct msghdr message = {.msg_iov = &vector,
                                 .msg_iovlen = 1,
                                 .msg_control = control,
                                 .msg_controllen = sizeof(control),
                                 .msg_flags = 0x5555};
        pair_with(context, pair, "abcd");
        say_result("recvmsg", recvmsg(pair[1], &message, flags[i]));
        say("flags %#x, control %zu, name %u", message.msg_flags, message.msg_controllen,
            message.msg_namelen);
        close_pair(pair);
    }
}

static void several_messages_stop_at_nothing(const struct case_context *context)
{
    int pair[2];
    char bytes[3][4];
    struct iovec vectors[3];
    struct mmsghdr messages[3];
    memset(messages, 0, sizeof(messages));
    for (int i = 0; i < 3; i++) {
        vectors[i] = (struct iovec){bytes[i], 4};
        messages[i].msg_hdr = (struct msghdr){.msg_iov = &vectors[i], .msg_iovlen = 1};
    }
    pair_with(context, pair, "abcdef");
    say_result("nonblocking", recvmmsg(pair[1], messages, 3, MSG_DONTWAIT, NULL));
    say("lengths %u %u", messages[0].msg_len, messages[1].msg_len);
    say_result("nothing", recvmmsg(pair[1], messages, 3, MSG_DONTWAIT, NULL));
    struct timespec timeout = {.tv_nsec = 1000000};
    send(pair[0], "abcdef", 6, 0);
    say_result("with a timeout", recvmmsg(pair[1], messages, 1, 0, &timeout));
    timeout.tv_nsec = -1;
    say_result("bad timeout", recvmmsg(pair[1], messages, 1, 0, &timeout));
    say_result("sendmmsg", sendmmsg(pair[0], messages, 3, 0));
    close_pair(pair);
}

/* Three of four bytes each. */
static void receive_three(const char *what, int fd, int flags, struct timespec *timeout)
{
    char bytes[3][4];
    struct iovec vectors[3];
    struct mmsghdr messages[3];
    memset(messages, 0, sizeof(messages));
    for (int i = 0; i < 3; i++) {
        vectors[i] = (struct iovec){bytes[i], 4};
        messages[i].msg_hdr = (struct msghdr){.msg_iov = &vectors[i], .msg_iovlen = 1};
        messages[i].msg_len = 77;
    }
    say_result(what, recvmmsg(fd, messages, 3, flags, timeout));
    say("lengths %u %u %u", messages[0].msg_len, messages[1].msg_len, messages[2].msg_len);
}

static void several_messages_at_the_end(const struct case_context *context)
{
    const struct linger now = {.l_onoff = 1};
    struct timespec timeout = {.tv_sec = 5};
    int pair[2];
    pair_with(context, pair, "abcdef");
    shutdown(pair[0], SHUT_WR);
    settle();
    receive_three("with the end", pair[1], 0, NULL);
    receive_three("beyond", pair[1], 0, &timeout);
    say("left %d", timeout.tv_sec == 4);
    receive_three("not waiting", pair[1], MSG_DONTWAIT, NULL);
    close_pair(pair);

    pair_with(context, pair, "abcdef");
    timeout = (struct timespec){0};
    receive_three("no time", pair[1], 0, &timeout);
    say("left %ld %ld", (long)timeout.tv_sec, timeout.tv_nsec);
    setsockopt(pair[0], SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    close(pair[0]);
    settle();
    receive_three("reset", pair[1], 0, NULL);
    receive_three("again", pair[1], 0, NULL);
    close(pair[1]);
}

static void urgent_ends_several_messages(const struct case_context *context)
{
    int pair[2];
    pair_with(context, pair, "abcdef");
    send(pair[0], "!", 1, MSG_OOB);
    settle();
    receive_three("urgent", pair[1], MSG_OOB, NULL);
    receive_three("the rest", pair[1], MSG_DONTWAIT, NULL);
    close_pair(pair);
}

/* What ends it is told by the next call. */
static void several_messages_and_a_bad_one(const struct case_context *context)
{
    int pair[2];
    char byte;
    struct iovec vectors[2] = {{&byte, 1}, {&byte, (size_t)-1}};
    struct mmsghdr messages[2];
    memset(messages, 0, sizeof(messages));
    for (int i = 0; i < 2; i++)
        messages[i].msg_hdr = (struct msghdr){.msg_iov = &vectors[i], .msg_iovlen = 1};
    pair_with(context, pair, "ab");
    say_result("recvmmsg", recvmmsg(pair[1], messages, 2, 0, NULL));
    say_events("poll", events_now(pair[1], POLLIN | POLLOUT));
    receive_three("next", pair[1], MSG_DONTWAIT, NULL);
    receive_three("then", pair[1], MSG_DONTWAIT, NULL);
    close_pair(pair);
}

static void send_control_messages(const struct case_context *context)
{
    int pair[2];
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec vector = {(char[]){'x'}, 1};
    struct msghdr message = {.msg_iov = &vector,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof(control)};
    make_pair(context, pair);
    memset(&control, 0, sizeof(control));
    control.header.cmsg_len = CMSG_LEN(sizeof(int));
    control.header.cmsg_level = SOL_SOCKET;
    control.header.cmsg_type = 9999;
    say_result("unknown of SOL_SOCKET", sendmsg(pair[0], &message, 0));
    control.header.cmsg_type = SCM_RIGHTS;
    say_result("SCM_RIGHTS", sendmsg(pair[0], &message, 0));
    control.header.cmsg_level = IPPROTO_IP;
    control.header.cmsg_type = IP_TTL;
    say_result("of IPPROTO_IP", sendmsg(pair[0], &message, 0));
    control.header.cmsg_len = 1;
    say_result("too short", sendmsg(pair[0], &message, 0));
    close_pair(pair);
}

static void send_flags_unknown(const struct case_context *context)
{
    static const int flags[] = {MSG_CONFIRM,  MSG_DONTROUTE, MSG_EOR,  MSG_SYN,   MSG_FIN,  MSG_RST,
                                MSG_ERRQUEUE, MSG_WAITALL,   MSG_PEEK, MSG_TRUNC, MSG_PROXY};
    for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
        int pair[2];
        make_pair(context, pair);
        say_result("send", send(pair[0], "x", 1, flags[i] | MSG_NOSIGNAL));
        say_recv("recv", pair[1], 8, 0);
        close_pair(pair);
    }
}

static void receive_flags_unknown(const struct case_context *context)
{
    static const int flags[] = {MSG_CONFIRM, MSG_DONTROUTE, MSG_EOR,   MSG_SYN,   MSG_FIN,
                                MSG_RST,     MSG_MORE,      MSG_PROXY, MSG_CTRUNC};
    for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
        int pair[2];
        pair_with(context, pair, "abc");
        say_recv("recv", pair[1], 8, flags[i]);
        close_pair(pair);
    }
}

static void zerocopy_send(const struct case_context *context)
{
    int pair[2], on = 1;
    make_pair(context, pair);
    say_result("without the option", send(pair[0], "abc", 3, MSG_ZEROCOPY));
    say_recv("recv", pair[1], 8, 0);
    say_result("SO_ZEROCOPY", setsockopt(pair[0], SOL_SOCKET, SO_ZEROCOPY, &on, sizeof(on)));
    close_pair(pair);
}

static void huge_counts(const struct case_context *context)
{
    int pair[2];
    static char bytes[16];
    volatile size_t huge = SSIZE_MAX;
    pair_with(context, pair, "abc");
    say_result("recv", recv(pair[1], bytes, huge, 0));
    set_nonblocking(pair[1], true);
    say_result("recv", recv(pair[1], bytes, huge, 0));
    say_result("read", read(pair[1], bytes, huge));
    close_pair(pair);
}

static void send_with_address(const struct case_context *context)
{
    int pair[2];
    struct sockaddr_storage address;
    socklen_t length = loopback(context, &address, 1);
    const struct sockaddr *name = (const struct sockaddr *)&address;
    make_pair(context, pair);
    say_result("length 1", sendto(pair[0], "x", 1, 0, name, 1));
    say_result("length 1000", sendto(pair[0], "x", 1, 0, name, 1000));
    say_result("NULL", sendto(pair[0], "x", 1, 0, NULL, 0));
    say_result("NULL, length 16", sendto(pair[0], "x", 1, 0, NULL, 16));
    int fd = make_socket(context, 0);
    say_result("unconnected", sendto(fd, "x", 1, MSG_NOSIGNAL, name, length));
    close(fd);
    close_pair(pair);
}

const struct socket_case cases_flags[] = {
    {"receive_nothing_with_data", receive_nothing_with_data},
    {"receive_nothing_without_data", receive_nothing_without_data},
    {"send_nothing", send_nothing},
    {"send_nothing_to_closed_peer", send_nothing_to_closed_peer},
    {"peek_twice_then_read", peek_twice_then_read},
    {"peek_across_segments", peek_across_segments},
    {"peek_at_the_end", peek_at_the_end},
    {"peek_nothing_not_waiting", peek_nothing_not_waiting},
    {"truncating_peek", truncating_peek},
    {"wait_all_ends_by_fin", wait_all_ends_by_fin},
    {"wait_all_ends_by_reset", wait_all_ends_by_reset},
    {"wait_all_not_waiting", wait_all_not_waiting},
    {"wait_all_times_out", wait_all_times_out},
    {"wait_all_interrupted_after_some", wait_all_interrupted_after_some},
    {"timeouts_are_interrupted_despite_restart", timeouts_are_interrupted_despite_restart},
    {"accept_times_out", accept_times_out},
    {"send_times_out", send_times_out},
    {"send_not_waiting_when_full", send_not_waiting_when_full},
    {"urgent_byte_apart", urgent_byte_apart},
    {"urgent_byte_first", urgent_byte_first},
    {"urgent_byte_skipped", urgent_byte_skipped},
    {"urgent_byte_inline", urgent_byte_inline},
    {"urgent_none", urgent_none},
    {"unread_at_the_end", unread_at_the_end},
    {"unread_after_reset", unread_after_reset},
    {"low_water_and_blocking_read", low_water_and_blocking_read},
    {"corked_bytes_wait", corked_bytes_wait},
    {"corked_bytes_leave_with_shutdown", corked_bytes_leave_with_shutdown},
    {"message_flags", message_flags},
    {"several_messages_stop_at_nothing", several_messages_stop_at_nothing},
    {"several_messages_at_the_end", several_messages_at_the_end},
    {"urgent_ends_several_messages", urgent_ends_several_messages},
    {"several_messages_and_a_bad_one", several_messages_and_a_bad_one},
    {"send_control_messages", send_control_messages},
    {"send_flags_unknown", send_flags_unknown},
    {"receive_flags_unknown", receive_flags_unknown},
    {"zerocopy_send", zerocopy_send},
    {"huge_counts", huge_counts},
    {"send_with_address", send_with_address},
    {0},
};

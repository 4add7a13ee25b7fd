/* io_uring, as programs linked with liburing use it: operations, their order, cancelling. */
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "case.h"
#include "uring_case.h"

/* ---- Opening -------------------------------------------------------------------------------- */

static void uring_open(const struct case_context *context)
{
    struct io_uring ring;
    struct sockaddr_storage address, peer;
    socklen_t length, peer_length = sizeof(peer);
    int listener = make_listener(context, 4);
    if (!open_ring(&ring, 0))
        return;
    length = loopback(context, &address, port_of(listener));
    struct io_uring_sqe *sqe = entry(&ring, "accept");
    io_uring_prep_accept(sqe, listener, (struct sockaddr *)&peer, &peer_length, SOCK_CLOEXEC);
    name_entry(sqe, "accept");
    say_result("submit", io_uring_submit(&ring));
    nothing_yet(&ring);
    int fd = make_socket(context, 0);
    sqe = entry(&ring, "connect");
    io_uring_prep_connect(sqe, fd, (struct sockaddr *)&address, length);
    name_entry(sqe, "connect");
    say_result("submit", io_uring_submit(&ring));
    int accepted = -1;
    for (int i = 0; i < 2; i++) {
        struct io_uring_cqe *cqe;
        if (io_uring_wait_cqe(&ring, &cqe) < 0)
            break;
        if (strcmp((const char *)(uintptr_t)cqe->user_data, "accept") == 0)
            accepted = cqe->res;
        else
            say("connect %d", cqe->res);
        io_uring_cqe_seen(&ring, cqe);
    }
    say("accepted: %d, name of %u bytes, family %d", accepted >= 0, peer_length,
        peer.ss_family == context->family);
    char bytes[16] = "";
    receive(&ring, "receive", accepted, bytes, sizeof(bytes), 0);
    transmit(&ring, "send", fd, "hello", 5, 0);
    say_result("submit", io_uring_submit_and_wait(&ring, 2));
    complete(&ring);
    complete(&ring);
    say_bytes("got", 5, bytes);
    close(fd);
    close(accepted);
    close(listener);
    io_uring_queue_exit(&ring);
}

static void uring_refused(const struct case_context *context)
{
    struct io_uring ring;
    struct sockaddr_storage address;
    int listener = make_listener(context, 1);
    socklen_t length = loopback(context, &address, port_of(listener));
    close(listener);
    if (!open_ring(&ring, 0))
        return;
    int fd = make_socket(context, SOCK_NONBLOCK);
    struct io_uring_sqe *sqe = entry(&ring, "connect");
    io_uring_prep_connect(sqe, fd, (struct sockaddr *)&address, length);
    name_entry(sqe, "connect");
    io_uring_submit(&ring);
    complete(&ring);
    char byte;
    receive(&ring, "receive of unconnected", fd, &byte, 1, 0);
    io_uring_submit(&ring);
    complete(&ring);
    close(fd);
    io_uring_queue_exit(&ring);
}

static void uring_multishot_accept(const struct case_context *context)
{
    struct io_uring ring;
    int listener = make_listener(context, 8);
    if (!open_ring(&ring, 0))
        return;
    struct io_uring_sqe *sqe = entry(&ring, "accept");
    io_uring_prep_multishot_accept(sqe, listener, NULL, NULL, 0);
    name_entry(sqe, "accept");
    io_uring_submit(&ring);
    for (int i = 0; i < 3; i++) {
        int fd = make_socket(context, 0);
        say_result("connect", connect_to(context, fd, port_of(listener)));
        close(complete_descriptor(&ring));
        close(fd);
    }
    sqe = entry(&ring, "cancel");
    io_uring_prep_cancel(sqe, (void *)(uintptr_t) "accept", 0);
    name_entry(sqe, "cancel");
    sqe->addr = (uintptr_t) "accept";
    sqe->cancel_flags = IORING_ASYNC_CANCEL_ANY;
    io_uring_submit(&ring);
    int sum = complete(&ring) < 0;
    sum += complete(&ring) < 0;
    say("of both, failed: %d", sum);
    close(listener);
    io_uring_queue_exit(&ring);
}

/* ---- Data ----------------------------------------------------------------------------------- */

static void uring_data(const struct case_context *context)
{
    struct io_uring ring;
    int pair[2];
    char bytes[64] = "";
    make_pair(context, pair);
    if (!open_ring(&ring, 0))
        return;
    receive(&ring, "nothing there", pair[1], bytes, sizeof(bytes), MSG_DONTWAIT);
    io_uring_submit(&ring);
    complete(&ring);
    receive(&ring, "receive", pair[1], bytes, sizeof(bytes), 0);
    io_uring_submit(&ring);
    nothing_yet(&ring);
    send(pair[0], "abc", 3, 0);
    complete(&ring);
    say_bytes("got", 3, bytes);
    send(pair[0], "defghi", 6, 0);
    settle();
    receive(&ring, "peek", pair[1], bytes, 2, MSG_PEEK);
    io_uring_submit(&ring);
    complete(&ring);
    receive(&ring, "part", pair[1], bytes, 4, 0);
    io_uring_submit(&ring);
    complete(&ring);
    receive(&ring, "all of it", pair[1], bytes, 6, MSG_WAITALL);
    io_uring_submit(&ring);
    nothing_yet(&ring);
    send(pair[0], "jklm", 4, 0);
    complete(&ring);
    say_bytes("got", 6, bytes);
    struct iovec vector[2] = {{(void *)(uintptr_t) "no", 2}, {(void *)(uintptr_t) "pq", 2}};
    struct io_uring_sqe *sqe = entry(&ring, "");
    io_uring_prep_writev(sqe, pair[1], vector, 2, 0);
    name_entry(sqe, "writev");
    io_uring_submit(&ring);
    complete(&ring);
    sqe = entry(&ring, "");
    io_uring_prep_read(sqe, pair[0], bytes, sizeof(bytes), 0);
    name_entry(sqe, "read");
    io_uring_submit(&ring);
    complete(&ring);
    say_bytes("got", 4, bytes);
    sqe = entry(&ring, "");
    io_uring_prep_shutdown(sqe, pair[0], SHUT_WR);
    name_entry(sqe, "shutdown");
    io_uring_submit(&ring);
    complete(&ring);
    receive(&ring, "end", pair[1], bytes, sizeof(bytes), 0);
    io_uring_submit(&ring);
    complete(&ring);
    transmit(&ring, "send to nowhere", pair[0], "x", 1, 0);
    io_uring_submit(&ring);
    complete(&ring);
    close_pair(pair);
    io_uring_queue_exit(&ring);
}

/* Sockets that don't block wait all the same. */
static void uring_nonblocking(const struct case_context *context)
{
    struct io_uring ring;
    int pair[2];
    char bytes[8];
    make_pair(context, pair);
    set_nonblocking(pair[1], true);
    if (!open_ring(&ring, 0))
        return;
    receive(&ring, "receive", pair[1], bytes, sizeof(bytes), 0);
    io_uring_submit(&ring);
    nothing_yet(&ring);
    send(pair[0], "x", 1, 0);
    complete(&ring);
    close_pair(pair);
    io_uring_queue_exit(&ring);
}

static void uring_messages(const struct case_context *context)
{
    struct io_uring ring;
    int pair[2];
    char first[3], second[8], name[64];
    make_pair(context, pair);
    if (!open_ring(&ring, 0))
        return;
    struct iovec vector[2] = {{first, sizeof(first)}, {second, sizeof(second)}};
    struct msghdr message = {
        .msg_iov = vector, .msg_iovlen = 2, .msg_name = name, .msg_namelen = sizeof(name)};
    struct io_uring_sqe *sqe = entry(&ring, "");
    io_uring_prep_recvmsg(sqe, pair[1], &message, 0);
    name_entry(sqe, "recvmsg");
    io_uring_submit(&ring);
    send(pair[0], "abcdef", 6, 0);
    complete(&ring);
    say("name of %u bytes, flags %x, '%.3s' '%.3s'", message.msg_namelen, message.msg_flags, first,
        second);
    struct msghdr answer = {.msg_iov = vector, .msg_iovlen = 1};
    sqe = entry(&ring, "");
    io_uring_prep_sendmsg(sqe, pair[1], &answer, 0);
    name_entry(sqe, "sendmsg");
    sqe = entry(&ring, "");
    io_uring_prep_send_zc(sqe, pair[1], "zero", 4, 0, 0);
    name_entry(sqe, "send_zc");
    io_uring_submit(&ring);
    complete(&ring);
    complete(&ring);
    complete(&ring);
    settle();
    say_bytes("all", recv(pair[0], second, sizeof(second), 0), second);
    close_pair(pair);
    io_uring_queue_exit(&ring);
}

static void uring_much(const struct case_context *context)
{
    enum { COUNT = 4 << 20 };
    struct io_uring ring;
    int pair[2];
    unsigned char *out = malloc(COUNT), *in = malloc(COUNT);
    make_pair(context, pair);
    if (!open_ring(&ring, 0))
        return;
    fill_pattern(out, COUNT, 0);
    transmit(&ring, "send", pair[0], out, COUNT, MSG_WAITALL);
    receive(&ring, "receive", pair[1], in, COUNT, MSG_WAITALL);
    io_uring_submit(&ring);
    int sum = 0;
    for (int i = 0; i < 2; i++) {
        struct io_uring_cqe *cqe;
        io_uring_wait_cqe(&ring, &cqe);
        sum += cqe->res;
        io_uring_cqe_seen(&ring, cqe);
    }
    say("both: %d, right: %d", sum, is_pattern(in, COUNT, 0));
    free(out);
    free(in);
    close_pair(pair);
    io_uring_queue_exit(&ring);
}

static void uring_reset(const struct case_context *context)
{
    struct io_uring ring;
    int pair[2];
    char bytes[8];
    struct linger abort = {.l_onoff = 1};
    make_pair(context, pair);
    if (!open_ring(&ring, 0))
        return;
    receive(&ring, "receive", pair[1], bytes, sizeof(bytes), 0);
    io_uring_submit(&ring);
    setsockopt(pair[0], SOL_SOCKET, SO_LINGER, &abort, sizeof(abort));
    close(pair[0]);
    complete(&ring);
    close(pair[1]);
    io_uring_queue_exit(&ring);
}

/* What is closed by a ring has ended at the other end too when the call that submits it returns:
   the completion queue is looked at without another. */
static void uring_ends_at_once(const struct case_context *context)
{
    struct io_uring ring;
    char bytes[8];
    if (!open_ring(&ring, 0))
        return;
    for (int i = 0; i < 3; i++) {
        int pair[2];
        make_pair(context, pair);
        receive(&ring, "", pair[1], bytes, sizeof(bytes), 0);
        io_uring_submit(&ring);
        struct io_uring_sqe *sqe = entry(&ring, "");
        io_uring_prep_close(sqe, pair[0]);
        name_entry(sqe, "");
        io_uring_submit(&ring);
        say("there %u", io_uring_cq_ready(&ring));
        complete(&ring);
        complete(&ring);
        close(pair[1]);
    }
    io_uring_queue_exit(&ring);
}

/* ---- Readiness ------------------------------------------------------------------------------ */

static void uring_poll(const struct case_context *context)
{
    struct io_uring ring;
    int pair[2];
    char bytes[8];
    make_pair(context, pair);
    if (!open_ring(&ring, 0))
        return;
    struct io_uring_sqe *sqe = entry(&ring, "");
    io_uring_prep_poll_add(sqe, pair[1], POLLIN);
    name_entry(sqe, "poll");
    io_uring_submit(&ring);
    nothing_yet(&ring);
    send(pair[0], "x", 1, 0);
    complete(&ring);
    sqe = entry(&ring, "");
    io_uring_prep_poll_add(sqe, pair[1], POLLIN | POLLOUT);
    name_entry(sqe, "poll again");
    io_uring_submit(&ring);
    complete(&ring);
    say_result("recv", recv(pair[1], bytes, sizeof(bytes), 0));
    sqe = entry(&ring, "");
    io_uring_prep_poll_multishot(sqe, pair[1], POLLIN);
    name_entry(sqe, "many");
    io_uring_submit(&ring);
    for (int i = 0; i < 2; i++) {
        send(pair[0], "y", 1, 0);
        complete(&ring);
        say_result("recv", recv(pair[1], bytes, sizeof(bytes), 0));
    }
    sqe = entry(&ring, "");
    io_uring_prep_poll_add(sqe, pair[0], POLLIN);
    sqe->user_data = 77;
    io_uring_submit(&ring);
    sqe = entry(&ring, "");
    io_uring_prep_poll_remove(sqe, 77);
    sqe->user_data = 78;
    io_uring_submit(&ring);
    for (int i = 0; i < 2; i++) {
        struct io_uring_cqe *cqe;
        io_uring_wait_cqe(&ring, &cqe);
        say("of %d: %d", cqe->user_data == 77, cqe->res);
        io_uring_cqe_seen(&ring, cqe);
    }
    sqe = entry(&ring, "");
    io_uring_prep_poll_remove(sqe, 79);
    name_entry(sqe, "remove what is not there");
    io_uring_submit(&ring);
    complete(&ring);
    close_pair(pair);
    io_uring_queue_exit(&ring);
}

/* ---- Cancelling, links, timeouts ------------------------------------------------------------ */

static void say_two(struct io_uring *ring)
{
    int results[2] = {1, 1};
    for (int i = 0; i < 2; i++) {
        struct io_uring_cqe *cqe;
        struct __kernel_timespec limit = milliseconds(CASE_WAIT_MS / 2);
        if (io_uring_wait_cqe_timeout(ring, &cqe, &limit) < 0)
            break;
        results[cqe->user_data & 1] = cqe->res;
        io_uring_cqe_seen(ring, cqe);
    }
    say("operation %d, cancel %d", results[0], results[1]);
}

static void uring_cancel(const struct case_context *context)
{
    struct io_uring ring;
    int pair[2];
    char bytes[8];
    make_pair(context, pair);
    if (!open_ring(&ring, 0))
        return;
    for (int way = 0; way < 3; way++) {
        receive(&ring, "", pair[1], bytes, sizeof(bytes), 0);
        ring.sq.sqes[(ring.sq.sqe_tail - 1) & *ring.sq.kring_mask].user_data = 10;
        io_uring_submit(&ring);
        struct io_uring_sqe *sqe = entry(&ring, "");
        if (way == 0)
            io_uring_prep_cancel64(sqe, 10, 0);
        else if (way == 1)
            io_uring_prep_cancel_fd(sqe, pair[1], 0);
        else
            io_uring_prep_cancel64(sqe, 0, IORING_ASYNC_CANCEL_ANY);
        sqe->user_data = 11;
        io_uring_submit(&ring);
        say_two(&ring);
    }
    struct io_uring_sqe *sqe = entry(&ring, "");
    io_uring_prep_cancel64(sqe, 12, 0);
    name_entry(sqe, "cancel of none");
    io_uring_submit(&ring);
    complete(&ring);
    say_result("send", send(pair[0], "x", 1, 0));
    say_result("recv", recv(pair[1], bytes, sizeof(bytes), 0));
    close_pair(pair);
    io_uring_queue_exit(&ring);
}

static void uring_links(const struct case_context *context)
{
    struct io_uring ring;
    int pair[2];
    char bytes[8] = "";
    make_pair(context, pair);
    if (!open_ring(&ring, 0))
        return;
    struct io_uring_sqe *sqe = entry(&ring, "first");
    io_uring_prep_nop(sqe);
    name_entry(sqe, "nop");
    sqe->flags |= IOSQE_IO_LINK;
    transmit(&ring, "then send", pair[0], "abc", 3, 0);
    ring.sq.sqes[(ring.sq.sqe_tail - 1) & *ring.sq.kring_mask].flags |= IOSQE_IO_LINK;
    receive(&ring, "then receive", pair[1], bytes, sizeof(bytes), 0);
    ring.sq.sqes[(ring.sq.sqe_tail - 1) & *ring.sq.kring_mask].flags |= IOSQE_IO_LINK;
    sqe = entry(&ring, "");
    io_uring_prep_nop(sqe);
    name_entry(sqe, "then nop");
    say_result("submit", io_uring_submit(&ring));
    for (int i = 0; i < 4; i++)
        complete(&ring);
    say_bytes("got", 3, bytes);
    /* What fails breaks the chain. */
    receive(&ring, "fails", pair[1], bytes, sizeof(bytes), MSG_DONTWAIT);
    ring.sq.sqes[(ring.sq.sqe_tail - 1) & *ring.sq.kring_mask].flags |= IOSQE_IO_LINK;
    transmit(&ring, "is cancelled", pair[0], "abc", 3, 0);
    io_uring_submit(&ring);
    complete(&ring);
    complete(&ring);
    receive(&ring, "fails", pair[1], bytes, sizeof(bytes), MSG_DONTWAIT);
    ring.sq.sqes[(ring.sq.sqe_tail - 1) & *ring.sq.kring_mask].flags |= IOSQE_IO_HARDLINK;
    transmit(&ring, "goes on", pair[0], "xyz", 3, 0);
    io_uring_submit(&ring);
    complete(&ring);
    complete(&ring);
    settle();
    say_bytes("sent", recv(pair[1], bytes, sizeof(bytes), 0), bytes);
    close_pair(pair);
    io_uring_queue_exit(&ring);
}

static void uring_send_to_nowhere(const struct case_context *context)
{
    struct io_uring ring;
    struct sockaddr_storage address = {.ss_family = AF_INET};
    int pair[2];
    make_pair(context, pair);
    if (!open_ring(&ring, 0))
        return;
    for (int zero_copy = 0; zero_copy < 2; zero_copy++) {
        const void *names[] = {(void *)1, &address, &address};
        unsigned lengths[] = {sizeof(address), sizeof(address) + 1, 0};
        for (int i = 0; i < 3; i++) {
            struct io_uring_sqe *sqe = entry(&ring, "");
            if (zero_copy)
                io_uring_prep_send_zc(sqe, pair[0], "abc", 3, 0, 0);
            else
                io_uring_prep_send(sqe, pair[0], "abc", 3, 0);
            io_uring_prep_send_set_addr(sqe, names[i], (uint16_t)lengths[i]);
            name_entry(sqe, "send");
            io_uring_submit(&ring);
            if (complete(&ring) >= 0 && zero_copy)
                complete(&ring);
        }
    }
    close_pair(pair);
    io_uring_queue_exit(&ring);
}

/* What the kernel completes meanwhile, at the thread that waits, does not end the wait. */
static void uring_wait_goes_on(const struct case_context *context)
{
    struct io_uring ring;
    int pair[2];
    char bytes[8];
    struct __kernel_timespec soon = milliseconds(20), later = milliseconds(60);
    make_pair(context, pair);
    if (!open_ring(&ring, 0))
        return;
    receive(&ring, "receive", pair[1], bytes, sizeof(bytes), 0);
    io_uring_submit(&ring);
    io_uring_prep_timeout(entry(&ring, ""), &soon, 0, 0);
    io_uring_prep_timeout(entry(&ring, ""), &later, 0, 0);
    io_uring_submit(&ring);
    struct io_uring_cqe *cqe;
    say("wait for two: %d", io_uring_wait_cqe_nr(&ring, &cqe, 2));
    send(pair[0], "x", 1, 0);
    say("wait for three: %d", io_uring_wait_cqe_nr(&ring, &cqe, 3));
    close_pair(pair);
    io_uring_queue_exit(&ring);
}

static void uring_link_timeout(const struct case_context *context)
{
    struct io_uring ring;
    int pair[2];
    char bytes[8];
    struct __kernel_timespec soon = milliseconds(20), late = milliseconds(CASE_WAIT_MS);
    make_pair(context, pair);
    if (!open_ring(&ring, 0))
        return;
    for (int fires = 1; fires >= 0; fires--) {
        receive(&ring, "", pair[1], bytes, sizeof(bytes), 0);
        struct io_uring_sqe *sqe = &ring.sq.sqes[(ring.sq.sqe_tail - 1) & *ring.sq.kring_mask];
        sqe->flags |= IOSQE_IO_LINK;
        sqe->user_data = 20;
        sqe = entry(&ring, "");
        io_uring_prep_link_timeout(sqe, fires ? &soon : &late, 0);
        sqe->user_data = 21;
        io_uring_submit(&ring);
        if (!fires)
            send(pair[0], "x", 1, 0);
        say_two(&ring);
    }
    close_pair(pair);
    io_uring_queue_exit(&ring);
}

const struct socket_case cases_uring[] = {
    {"uring_open", uring_open},
    {"uring_refused", uring_refused},
    {"uring_multishot_accept", uring_multishot_accept},
    {"uring_data", uring_data},
    {"uring_nonblocking", uring_nonblocking},
    {"uring_messages", uring_messages},
    {"uring_much", uring_much},
    {"uring_reset", uring_reset},
    {"uring_ends_at_once", uring_ends_at_once},
    {"uring_poll", uring_poll},
    {"uring_cancel", uring_cancel},
    {"uring_links", uring_links},
    {"uring_link_timeout", uring_link_timeout},
    {"uring_send_to_nowhere", uring_send_to_nowhere},
    {"uring_wait_goes_on", uring_wait_goes_on},
    {NULL, NULL},
};

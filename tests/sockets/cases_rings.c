/* What a ring has (buffers, registered files), the kinds of rings, ways to wait, and ends. */
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "case.h"
#include "uring_case.h"

/* ---- Buffers -------------------------------------------------------------------------------- */

static void uring_provided(const struct case_context *context)
{
    struct io_uring ring;
    int pair[2];
    char buffers[2][4];
    make_pair(context, pair);
    if (!open_ring(&ring, 0))
        return;
    struct io_uring_sqe *sqe = entry(&ring, "");
    io_uring_prep_provide_buffers(sqe, buffers, 4, 2, 3, 5);
    name_entry(sqe, "provide");
    io_uring_submit(&ring);
    complete(&ring);
    send(pair[0], "abcdefghij", 10, 0);
    settle();
    for (int i = 0; i < 3; i++) {
        receive(&ring, "receive", pair[1], NULL, 4, 0);
        sqe = &ring.sq.sqes[(ring.sq.sqe_tail - 1) & *ring.sq.kring_mask];
        sqe->flags |= IOSQE_BUFFER_SELECT;
        sqe->buf_group = 3;
        io_uring_submit(&ring);
        complete(&ring);
    }
    say_bytes("first", 4, buffers[0]);
    say_bytes("second", 4, buffers[1]);
    close_pair(pair);
    io_uring_queue_exit(&ring);
}

static void provide(struct io_uring *ring, const char *name, void *bytes, unsigned size, int count,
                    int first)
{
    struct io_uring_sqe *sqe = entry(ring, "");
    io_uring_prep_provide_buffers(sqe, bytes, (int)size, count, 3, first);
    name_entry(sqe, name);
    io_uring_submit(ring);
    complete(ring);
}

static void uring_wrong_provisions(const struct case_context *context)
{
    struct io_uring ring;
    char bytes[64];
    (void)context;
    if (!open_ring(&ring, 0))
        return;
    provide(&ring, "none", bytes, 16, 0, 0);
    provide(&ring, "a negative number", bytes, 16, -1, 0);
    provide(&ring, "too many", bytes, 16, 65537, 0);
    provide(&ring, "of no length", bytes, 0, 1, 0);
    provide(&ring, "wrapping round", (void *)(uintptr_t)-8, 16, 1, 0);
    provide(&ring, "not of ours", (void *)((uintptr_t)-1 - 4096), 16, 1, 0);
    provide(&ring, "nowhere", NULL, 16, 1, 0);
    provide(&ring, "the last number", bytes, 16, 1, 65535);
    provide(&ring, "a number too high", bytes, 16, 1, 65536);
    provide(&ring, "a negative number", bytes, 16, 1, -1);
    provide(&ring, "beyond the last number", bytes, 16, 2, 65535);
    provide(&ring, "all numbers", bytes, 1, 65536, 0);
    provide(&ring, "one more", bytes, 16, 1, 0);
    struct io_uring_sqe *sqe = entry(&ring, "");
    io_uring_prep_remove_buffers(sqe, 65536, 3);
    name_entry(sqe, "remove all");
    io_uring_submit(&ring);
    complete(&ring);
    io_uring_queue_exit(&ring);
}

/* What names an entry beyond the queue's end the kernel drops; what came before it goes on. */
static void uring_entry_beyond_the_end(const struct case_context *context)
{
    struct io_uring ring;
    int pair[2];
    char bytes[8];
    make_pair(context, pair);
    if (!open_ring(&ring, 0))
        return;
    transmit(&ring, "send", pair[0], "abc", 3, 0);
    struct io_uring_sqe *sqe = &ring.sq.sqes[(ring.sq.sqe_tail - 1) & *ring.sq.kring_mask];
    sqe->flags |= IOSQE_IO_LINK;
    transmit(&ring, "dropped", pair[0], "def", 3, 0);
    atomic_store_explicit((_Atomic unsigned *)ring.sq.ktail, ring.sq.sqe_tail,
                          memory_order_release);
    unsigned *array = ring.sq.array;
    if (array == NULL) {
        say("no array");
        return;
    }
    array[(*ring.sq.ktail - 1) & *ring.sq.kring_mask] = 0x10000000;
    say("entered: %d", syscall(SYS_io_uring_enter, ring.ring_fd, 2, 0, 0, NULL, 0) > 0);
    complete(&ring);
    settle();
    say_bytes("got", recv(pair[1], bytes, sizeof(bytes), 0), bytes);
    close_pair(pair);
    io_uring_queue_exit(&ring);
}

static void uring_multishot_receive(const struct case_context *context)
{
    struct io_uring ring;
    int pair[2];
    static char buffers[4][8];
    make_pair(context, pair);
    if (!open_ring(&ring, 0))
        return;
    void *memory = NULL;
    if (posix_memalign(&memory, 4096, 4096) != 0)
        return;
    struct io_uring_buf_ring *provided = memory;
    struct io_uring_buf_reg registration = {
        .ring_addr = (uintptr_t)provided, .ring_entries = 4, .bgid = 9};
    say_result("register", io_uring_register_buf_ring(&ring, &registration, 0));
    io_uring_buf_ring_init(provided);
    for (unsigned short i = 0; i < 3; i++)
        io_uring_buf_ring_add(provided, buffers[i], 8, i, io_uring_buf_ring_mask(4), i);
    io_uring_buf_ring_advance(provided, 3);
    struct io_uring_sqe *sqe = entry(&ring, "");
    io_uring_prep_recv_multishot(sqe, pair[1], NULL, 0, 0);
    name_entry(sqe, "receive");
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = 9;
    io_uring_submit(&ring);
    send(pair[0], "abc", 3, 0);
    complete(&ring);
    send(pair[0], "defghijklm", 10, 0);
    complete(&ring);
    complete(&ring);
    say_bytes("first", 3, buffers[0]);
    say_bytes("second", 8, buffers[1]);
    say_bytes("third", 2, buffers[2]);
    send(pair[0], "x", 1, 0);
    complete(&ring);
    say_result("unregister", io_uring_unregister_buf_ring(&ring, 9));
    close_pair(pair);
    io_uring_queue_exit(&ring);
    free(memory);
}

/* ---- Registered files ----------------------------------------------------------------------- */

static void uring_files(const struct case_context *context)
{
    struct io_uring ring;
    int pair[2];
    char bytes[8];
    make_pair(context, pair);
    if (!open_ring(&ring, 0))
        return;
    int files[3] = {pair[1], -1, pair[0]};
    say_result("register", io_uring_register_files(&ring, files, 3));
    transmit(&ring, "send", 2, "abc", 3, 0);
    ring.sq.sqes[(ring.sq.sqe_tail - 1) & *ring.sq.kring_mask].flags |= IOSQE_FIXED_FILE;
    io_uring_submit(&ring);
    complete(&ring);
    receive(&ring, "receive", 0, bytes, sizeof(bytes), 0);
    ring.sq.sqes[(ring.sq.sqe_tail - 1) & *ring.sq.kring_mask].flags |= IOSQE_FIXED_FILE;
    io_uring_submit(&ring);
    complete(&ring);
    receive(&ring, "of an empty slot", 1, bytes, sizeof(bytes), 0);
    ring.sq.sqes[(ring.sq.sqe_tail - 1) & *ring.sq.kring_mask].flags |= IOSQE_FIXED_FILE;
    io_uring_submit(&ring);
    complete(&ring);
    close(pair[0]);
    transmit(&ring, "send of closed", 2, "def", 3, 0);
    ring.sq.sqes[(ring.sq.sqe_tail - 1) & *ring.sq.kring_mask].flags |= IOSQE_FIXED_FILE;
    io_uring_submit(&ring);
    complete(&ring);
    settle();
    say_bytes("got", recv(pair[1], bytes, sizeof(bytes), 0), bytes);
    int none = -1;
    say_result("update", io_uring_register_files_update(&ring, 2, &none, 1));
    say_events("end", wait_for(pair[1], POLLIN | POLLRDHUP));
    close(pair[1]);
    io_uring_queue_exit(&ring);
}

static void uring_direct(const struct case_context *context)
{
    struct io_uring ring;
    char bytes[8];
    int listener = make_listener(context, 4);
    if (!open_ring(&ring, 0))
        return;
    say_result("register", io_uring_register_files_sparse(&ring, 4));
    int fd = make_socket(context, 0);
    say_result("connect", connect_to(context, fd, port_of(listener)));
    struct io_uring_sqe *sqe = entry(&ring, "");
    io_uring_prep_accept_direct(sqe, listener, NULL, NULL, 0, 2);
    name_entry(sqe, "accept");
    io_uring_submit(&ring);
    complete(&ring);
    send(fd, "abc", 3, 0);
    receive(&ring, "receive", 2, bytes, sizeof(bytes), 0);
    ring.sq.sqes[(ring.sq.sqe_tail - 1) & *ring.sq.kring_mask].flags |= IOSQE_FIXED_FILE;
    io_uring_submit(&ring);
    complete(&ring);
    sqe = entry(&ring, "");
    io_uring_prep_close_direct(sqe, 2);
    name_entry(sqe, "close");
    io_uring_submit(&ring);
    complete(&ring);
    say_events("end", wait_for(fd, POLLIN | POLLRDHUP));
    close(fd);
    fd = make_socket(context, 0);
    say_result("connect", connect_to(context, fd, port_of(listener)));
    sqe = entry(&ring, "");
    io_uring_prep_accept_direct(sqe, listener, NULL, NULL, 0, IORING_FILE_INDEX_ALLOC - 1);
    sqe->file_index = IORING_FILE_INDEX_ALLOC;
    name_entry(sqe, "accept anywhere");
    io_uring_submit(&ring);
    complete(&ring);
    close(fd);
    close(listener);
    io_uring_queue_exit(&ring);
}

/* ---- Ways to wait --------------------------------------------------------------------------- */

static void uring_waited_elsewhere(const struct case_context *context)
{
    struct io_uring ring;
    int pair[2];
    char bytes[8];
    make_pair(context, pair);
    if (!open_ring(&ring, 0))
        return;
    int event = eventfd(0, EFD_NONBLOCK);
    say_result("eventfd", io_uring_register_eventfd(&ring, event));
    receive(&ring, "by eventfd", pair[1], bytes, sizeof(bytes), 0);
    io_uring_submit(&ring);
    send(pair[0], "x", 1, 0);
    say_events("event", wait_for(event, POLLIN));
    complete(&ring);
    io_uring_unregister_eventfd(&ring);
    receive(&ring, "by poll", pair[1], bytes, sizeof(bytes), 0);
    io_uring_submit(&ring);
    send(pair[0], "x", 1, 0);
    say_events("ring", wait_for(ring.ring_fd, POLLIN));
    complete(&ring);
    int epoll = epoll_create1(0);
    struct epoll_event events = {.events = EPOLLIN};
    epoll_ctl(epoll, EPOLL_CTL_ADD, ring.ring_fd, &events);
    receive(&ring, "by epoll", pair[1], bytes, sizeof(bytes), 0);
    io_uring_submit(&ring);
    say_result("epoll", epoll_wait(epoll, &events, 1, CASE_QUIET_MS));
    send(pair[0], "x", 1, 0);
    say_result("epoll", epoll_wait(epoll, &events, 1, CASE_WAIT_MS));
    complete(&ring);
    receive(&ring, "by looking", pair[1], bytes, sizeof(bytes), 0);
    io_uring_submit(&ring);
    send(pair[0], "x", 1, 0);
    for (int i = 0; i < CASE_WAIT_MS && *ring.cq.khead == *(volatile unsigned *)ring.cq.ktail; i++)
        usleep(1000);
    complete(&ring);
    close(epoll);
    close(event);
    close_pair(pair);
    io_uring_queue_exit(&ring);
}

static void echo_once(const struct case_context *context, unsigned flags)
{
    struct io_uring ring;
    int pair[2];
    char bytes[8];
    make_pair(context, pair);
    if (!open_ring(&ring, flags))
        return;
    receive(&ring, "receive", pair[1], bytes, sizeof(bytes), 0);
    io_uring_submit(&ring);
    send(pair[0], "abc", 3, 0);
    complete(&ring);
    transmit(&ring, "send", pair[1], bytes, 3, 0);
    io_uring_submit_and_wait(&ring, 1);
    complete(&ring);
    settle();
    say_bytes("back", recv(pair[0], bytes, sizeof(bytes), 0), bytes);
    close_pair(pair);
    io_uring_queue_exit(&ring);
}

static void uring_kinds_of_rings(const struct case_context *context)
{
    echo_once(context, IORING_SETUP_SQPOLL);
    echo_once(context, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN);
    echo_once(context, IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG);
    echo_once(context, IORING_SETUP_SQE128 | IORING_SETUP_CQE32);
}

/* ---- Ends ----------------------------------------------------------------------------------- */

/* An operation keeps the connection although its descriptor is closed; the ring's end ends it. */
static void uring_closed_meanwhile(const struct case_context *context)
{
    struct io_uring ring;
    int pair[2];
    char bytes[8];
    make_pair(context, pair);
    if (!open_ring(&ring, 0))
        return;
    receive(&ring, "receive", pair[1], bytes, sizeof(bytes), 0);
    io_uring_submit(&ring);
    close(pair[1]);
    say_events("still there", events_now(pair[0], POLLIN | POLLRDHUP));
    say_result("send", send(pair[0], "abc", 3, 0));
    complete(&ring);
    say_events("end", wait_for(pair[0], POLLIN | POLLRDHUP));
    close(pair[0]);
    make_pair(context, pair);
    receive(&ring, "receive", pair[1], bytes, sizeof(bytes), 0);
    io_uring_submit(&ring);
    close(pair[1]);
    io_uring_queue_exit(&ring);
    say_events("end", wait_for(pair[0], POLLIN | POLLRDHUP));
    close(pair[0]);
}

static void uring_child(const struct case_context *context)
{
    struct io_uring ring;
    int pair[2];
    char bytes[8];
    make_pair(context, pair);
    if (!open_ring(&ring, 0))
        return;
    receive(&ring, "receive", pair[1], bytes, sizeof(bytes), 0);
    io_uring_submit(&ring);
    pid_t child = fork();
    if (child == 0) {
        struct io_uring own;
        int made[2];
        if (io_uring_queue_init(RING_ENTRIES, &own, 0) < 0)
            _exit(1);
        make_pair(context, made);
        receive(&own, "", made[1], bytes, sizeof(bytes), 0);
        io_uring_submit(&own);
        send(made[0], "x", 1, 0);
        struct io_uring_cqe *cqe;
        _exit(io_uring_wait_cqe(&own, &cqe) == 0 && cqe->res == 1 ? 0 : 2);
    }
    int status;
    waitpid(child, &status, 0);
    say("child: %d", WEXITSTATUS(status));
    send(pair[0], "abc", 3, 0);
    complete(&ring);
    close_pair(pair);
    io_uring_queue_exit(&ring);
}

static void uring_descriptors(const struct case_context *context)
{
    struct io_uring ring;
    int pair[2];
    char bytes[8];
    make_pair(context, pair);
    if (!open_ring(&ring, 0))
        return;
    struct io_uring_sqe *sqe = entry(&ring, "");
    io_uring_prep_close(sqe, pair[0]);
    name_entry(sqe, "close");
    io_uring_submit(&ring);
    complete(&ring);
    say_events("end", wait_for(pair[1], POLLIN | POLLRDHUP));
    say_result("recv of closed", recv(pair[0], bytes, sizeof(bytes), 0));
    sqe = entry(&ring, "");
    io_uring_prep_socket(sqe, context->family, SOCK_STREAM, 0, 0);
    name_entry(sqe, "socket");
    io_uring_submit(&ring);
    int fd = complete_descriptor(&ring);
    int listener = make_listener(context, 1);
    say_result("connect", connect_to(context, fd, port_of(listener)));
    int epoll = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLOUT};
    sqe = entry(&ring, "");
    io_uring_prep_epoll_ctl(sqe, epoll, fd, EPOLL_CTL_ADD, &event);
    name_entry(sqe, "epoll_ctl");
    io_uring_submit(&ring);
    complete(&ring);
    say_result("epoll", epoll_wait(epoll, &event, 1, CASE_WAIT_MS));
    receive(&ring, "bad descriptor", 9999, bytes, sizeof(bytes), 0);
    io_uring_submit(&ring);
    complete(&ring);
    sqe = entry(&ring, "");
    io_uring_prep_shutdown(sqe, fd, 77);
    name_entry(sqe, "bad shutdown");
    io_uring_submit(&ring);
    complete(&ring);
    close(epoll);
    close(fd);
    close(listener);
    close(pair[1]);
    io_uring_queue_exit(&ring);
}

const struct socket_case cases_rings[] = {
    {"uring_provided", uring_provided},
    {"uring_wrong_provisions", uring_wrong_provisions},
    {"uring_entry_beyond_the_end", uring_entry_beyond_the_end},
    {"uring_multishot_receive", uring_multishot_receive},
    {"uring_files", uring_files},
    {"uring_direct", uring_direct},
    {"uring_waited_elsewhere", uring_waited_elsewhere},
    {"uring_kinds_of_rings", uring_kinds_of_rings},
    {"uring_closed_meanwhile", uring_closed_meanwhile},
    {"uring_child", uring_child},
    {"uring_descriptors", uring_descriptors},
    {NULL, NULL},
};

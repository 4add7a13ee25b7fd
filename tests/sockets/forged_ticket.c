/*
 * A stranger sends a descriptor that looks like a socket of pnod's, and answers in pnod's place: no
 * program under PnO may share memory with him. The same by the receiver's own user, whom nothing
 * keeps from its memory anyway, is followed; that shows that the forgery would do.
 *
 *     pno-forged-ticket LIBPNO          exit status 0: so it is; 77: takes root's rights
 *     pno-forged-ticket receive         the receiver, under LIBPNO
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hostlib/deed.h"
#include "hostlink/control.h"
#include "hostlink/region.h"

enum { WAIT_MS = 5000, REGION = 64 << 20, STRANGER = 65533, TO_BE_SKIPPED = 77 };

static const uint8_t token[16] = "a tenant of mine";

union control {
    char bytes[CMSG_SPACE(sizeof(int))];
    struct cmsghdr alignment;
};

/* ---- The receiver ---------------------------------------------------------------------------- */

/* @return 0: it got a socket that is of no use; 1: one that it can use, or none. */
static int receive(void)
{
    union control control;
    char byte;
    struct iovec part = {&byte, 1};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = control.bytes,
                             .msg_controllen = sizeof(control)};
    struct cmsghdr *header =
        recvmsg(STDIN_FILENO, &message, 0) == 1 ? CMSG_FIRSTHDR(&message) : NULL;
    int fd = -1;
    if (header == NULL || header->cmsg_type != SCM_RIGHTS)
        return 1;
    memcpy(&fd, CMSG_DATA(header), sizeof(fd));
    return recv(fd, &byte, 1, 0) < 0 && errno == ENOTCONN ? 0 : 1;
}

/* ---- The forger ------------------------------------------------------------------------------ */

static void send_ticket(int channel, int ticket)
{
    union control control = {{0}};
    char byte = 't';
    struct iovec part = {&byte, 1};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = control.bytes,
                             .msg_controllen = sizeof(control)};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(ticket));
    memcpy(CMSG_DATA(header), &ticket, sizeof(ticket));
    (void)!sendmsg(channel, &message, 0);
}

/* A ticket, whose other end is returned. */
static int forge(int channel)
{
    int ends[2];
    struct deed deed = {.magic = DEED_MAGIC, .bytes = sizeof(deed), .ticket_process = 1};
    memcpy(deed.tenant_token, token, sizeof(token));
    deed.socket.has_slot = true;
    deed.socket.state = SOCKET_CONNECTED;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
        return -1;
    (void)!write(ends[1], &deed, sizeof(deed));
    send_ticket(channel, ends[0]);
    close(ends[0]);
    return ends[1];
}

/* Answer a hello as pnod would, with memories of our own. */
static bool pose_as_engine(int fd)
{
    struct link_hello hello;
    struct link_layout layout;
    const struct link_layout_sizes sizes = {.engine_cores = 1,
                                            .channels = 1,
                                            .ring_slots = LINK_RING_SLOTS_MIN,
                                            .receive_region_bytes = REGION,
                                            .host_region_bytes = REGION};
    if (link_control_receive(fd, &hello, sizeof(hello), NULL, 0, NULL, NULL, WAIT_MS) < 0 ||
        link_layout_compute(&layout, &sizes) < 0)
        return false;
    struct link_hello_reply reply = {
        .magic = LINK_MAGIC,
        .abi_version = LINK_ABI_VERSION,
        .process_id = 2,
        .engine_cores = 1,
        .arena_bytes = layout.arena_bytes,
        .window_bytes = layout.window_bytes,
        .receive_region_offset = layout.receive_region,
        .receive_region_bytes = REGION,
        .host_region_offset = layout.host_region,
        .host_region_bytes = REGION,
        .slots = 16,
        .host_slots = 8,
        .send_buffer_initial = 4096,
    };
    memcpy(reply.tenant_token, token, sizeof(token));
    const int memories[] = {link_region_create("forged", layout.arena_bytes),
                            link_region_create("forged", layout.window_bytes),
                            eventfd(0, EFD_CLOEXEC)};
    return link_control_send(fd, &reply, sizeof(reply), memories, 3, WAIT_MS) == 0;
}

/* @return whether the receiver goes on with what it was answered. */
static bool is_believed(int engine_fd)
{
    struct link_request request;
    unsigned count = 0;
    int fd = -1;
    if (link_control_receive(engine_fd, &request, sizeof(request), &fd, 1, &count, NULL, WAIT_MS) <
            0 ||
        count != 1 || !pose_as_engine(fd))
        return false;
    bool believed =
        link_control_receive(fd, &request, sizeof(request), NULL, 0, NULL, NULL, WAIT_MS) == 0 &&
        request.type == LINK_REQUEST_CHANNEL;
    close(fd);
    return believed;
}

static pid_t start_receiver(const char *library, int channel)
{
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    dup2(channel, STDIN_FILENO);
    setenv("LD_PRELOAD", library, 1);
    setenv("PNO_SOCKET", "/nonexistent/pnod.sock", 1);
    execl("/proc/self/exe", "pno-forged-ticket", "receive", (char *)NULL);
    _exit(99);
}

static bool try_forgery(const char *library, bool by_stranger)
{
    int channel[2], status = -1;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, channel) < 0)
        return false;
    pid_t pid = start_receiver(library, channel[1]);
    if (by_stranger && setresuid(STRANGER, STRANGER, 0) < 0)
        return false;
    int engine_fd = forge(channel[0]);
    bool believed = is_believed(engine_fd);
    close(engine_fd);
    if (by_stranger)
        (void)!setresuid(0, 0, 0);
    (void)waitpid(pid, &status, 0);
    printf("a forgery by %s: %s, the receiver %s\n", by_stranger ? "a stranger" : "its own user",
           believed ? "believed" : "refused",
           status == 0 ? "has a dead descriptor" : "does not have a dead descriptor");
    return believed == !by_stranger && status == 0;
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "receive") == 0)
        return receive();
    if (geteuid() != 0)
        return TO_BE_SKIPPED;
    bool own = try_forgery(argv[1], false);
    bool strangers = try_forgery(argv[1], true);
    return argc == 2 && own && strangers ? 0 : 1;
}

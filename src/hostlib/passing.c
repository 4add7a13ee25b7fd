#include "hostlib/passing.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/log.h"
#include "hostlib/deed.h"
#include "hostlib/engine_attach.h"
#include "hostlib/epoll.h"
#include "hostlib/epoll_shared.h"
#include "hostlib/interpose.h"
#include "hostlib/joined_links.h"
#include "hostlib/loadable.h"
#include "hostlib/placeholder.h"
#include "hostlib/pump.h"
#include "hostlib/user_memory.h"

/* As much of /proc/PID/maps as is looked at in one go. */
#define MAPS_BYTES 4096

union control_buffer {
    char bytes[CMSG_SPACE(SET_DEED_FDS * sizeof(int))];
    struct cmsghdr alignment;
};

static void close_raw(int fd)
{
    if (fd >= 0)
        syscall(SYS_close, fd);
}

/* ---- Messages ------------------------------------------------------------------------------- */

/* @return false: go no further. */
typedef bool visit_fn(void *context, int *fd);

/* Each descriptor in the control part of a message; what is not well formed ends it. */
static void visit_descriptors(struct msghdr *message, visit_fn *visit, void *context)
{
    for (struct cmsghdr *part = CMSG_FIRSTHDR(message); part != NULL;
         part = CMSG_NXTHDR(message, part)) {
        size_t left =
            (size_t)((char *)message->msg_control + message->msg_controllen - (char *)part);
        if (part->cmsg_len < CMSG_LEN(0) || part->cmsg_len > left)
            return;
        if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS)
            continue;
        size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        int *fds = (int *)(void *)CMSG_DATA(part);
        for (size_t i = 0; i < count; i++) {
            if (!visit(context, &fds[i]))
                return;
        }
    }
}

/* ---- Sending -------------------------------------------------------------------------------- */

/* With up to SET_DEED_FDS descriptors. */
static bool write_deed(int fd, const void *deed, size_t bytes, const int *fds, size_t count)
{
    struct iovec part = {.iov_base = (void *)(uintptr_t)deed, .iov_len = bytes};
    union control_buffer control = {{0}};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (count > 0) {
        message.msg_control = control.bytes;
        message.msg_controllen = CMSG_SPACE(count * sizeof(int));
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(count * sizeof(int));
        memcpy(CMSG_DATA(header), fds, count * sizeof(int));
    }
    return syscall(SYS_sendmsg, fd, &message, MSG_NOSIGNAL) == (long)bytes;
}

/* @return the ticket for a socket of the engine's; a negative errno. */
static int issue(struct socket *socket, int fd)
{
    struct engine_link *link = socket->link;
    struct engine_ticket ticket;
    struct deed deed = {.magic = DEED_MAGIC, .bytes = sizeof(deed)};
    engine_link_flush(link);
    engine_link_poll(link);
    lock_acquire(&link->consume_lock);
    lock_acquire(&socket->lock);
    socket->shared = true;
    lock_release(&socket->lock);
    engine_link_settle(link);
    int error = engine_attach_issue_ticket(link, &socket->name, &ticket);
    if (error == 0) {
        memcpy(deed.tenant_token, link->hello.tenant_token, sizeof(deed.tenant_token));
        deed.ticket_process = ticket.process_id;
        socket_lock(socket);
        left_socket_describe(socket, &deed.socket);
        socket_unlock(socket);
        if (!write_deed(ticket.engine_fd, &deed, sizeof(deed), &fd, socket->is_accepted ? 0 : 1))
            error = -errno;
        close_raw(ticket.engine_fd);
        if (error < 0)
            close_raw(ticket.passed_fd);
    }
    lock_release(&link->consume_lock);
    return error < 0 ? error : ticket.passed_fd;
}

/* @return what travels in place of an epoll set; -ENOTSOCK: the set itself, of which there is
   nothing to tell; another negative errno. */
static int issue_set(struct epoll_set *set, int fd)
{
    struct engine_link *link = engine_link_current();
    struct set_deed deed = {.magic = SET_DEED_MAGIC};
    int ends[2];
    if (link == NULL)
        return -ENOTSOCK;
    struct epoll_shared_parts parts = epoll_share_out(set, link);
    if (parts.memory_fd < 0)
        return -ENOTSOCK;
    memcpy(deed.tenant_token, parts.tenant_token, sizeof(deed.tenant_token));
    const int fds[SET_DEED_FDS] = {[SET_DEED_EPOLL] = fd,
                                   [SET_DEED_MEMORY] = parts.memory_fd,
                                   [SET_DEED_BELL] = parts.bell_fd};
    if (syscall(SYS_socketpair, AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
        return -errno;
    int error = write_deed(ends[0], &deed, sizeof(deed), fds, SET_DEED_FDS) ? 0 : -errno;
    close_raw(ends[0]);
    if (error == 0)
        return ends[1];
    close_raw(ends[1]);
    return error;
}

/* Whether a process has libpno.so mapped; if that can't be told, it may. */
static bool may_be_under_pno(pid_t pid)
{
    char path[64], text[MAPS_BYTES + 1];
    if (pid == getpid())
        return true;
    (void)snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
    int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0)
        return true;
    const char *library = strrchr(loadable_library_path(), '/');
    bool found = library == NULL;
    bool any = false;
    size_t kept = 0;
    ssize_t got;
    while (!found && (got = syscall(SYS_read, fd, text + kept, MAPS_BYTES - kept)) > 0) {
        size_t length = kept + (size_t)got;
        any = true;
        text[length] = '\0';
        found = strstr(text, library) != NULL;
        /* The name may continue in the next piece. */
        kept = length < strlen(library) ? length : strlen(library);
        memmove(text, text + length - kept, kept);
    }
    close_raw(fd);
    return found || !any;
}

/* Who will receive what is sent by fd; whom we can't tell is taken for one of us. */
static bool receiver_may_redeem(int fd, const struct msghdr *message)
{
    struct ucred peer;
    socklen_t length = sizeof(peer);
    if (message->msg_namelen != 0 ||
        REAL(getsockopt)(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) < 0 || peer.pid <= 0)
        return true;
    return may_be_under_pno(peer.pid);
}

/* What may be replaced. */
static bool count_ours(void *context, int *fd)
{
    size_t *count = context;
    const struct file *file = fd_peek(*fd);
    *count += file != NULL && (file->kind == FILE_SOCKET || file->kind == FILE_EPOLL);
    return true;
}

static int substitute_set(int fd, bool for_pno)
{
    struct epoll_set *set = for_pno ? epoll_get(fd) : NULL;
    if (set == NULL)
        return -ENOTSOCK;
    int result = issue_set(set, fd);
    file_put((struct file *)set);
    return result;
}

/* What goes in place of fd. @return -ENOTSOCK: fd itself. */
static int substitute(int fd, bool for_pno)
{
    struct socket *socket = interpose_offloaded(fd);
    if (socket == NULL)
        return substitute_set(fd, for_pno);
    int result = -ENOTSOCK;
    if (socket->link != NULL && !atomic_load_explicit(&socket->link->dead, memory_order_relaxed))
        result = for_pno ? issue(socket, fd) : pump_promote(fd, -1);
    file_put(&socket->file);
    return result;
}

struct replacement {
    struct passing *passing;
    bool for_pno;
};

static bool replace(void *context, int *fd)
{
    struct replacement *replacement = context;
    struct passing *passing = replacement->passing;
    int sent = substitute(*fd, replacement->for_pno);
    if (sent == -ENOTSOCK)
        return true;
    if (sent < 0) {
        log_warning("descriptor %d can't be sent: %s", *fd, strerror(-sent));
        passing->error = -ETOOMANYREFS;
        return false;
    }
    passing->sent[passing->sent_count++] = sent;
    *fd = sent;
    return true;
}

const struct msghdr *passing_begin(struct passing *passing, int fd, const struct msghdr *message)
{
    *passing = (struct passing){0};
    if (user_memory_unreadable(message, sizeof(*message)) ||
        message->msg_controllen < CMSG_LEN(sizeof(int)) ||
        user_memory_unreadable(message->msg_control, message->msg_controllen))
        return message;
    size_t count = 0;
    passing->message = *message;
    visit_descriptors(&passing->message, count_ours, &count);
    if (count == 0)
        return message;
    passing->control = malloc(message->msg_controllen);
    passing->sent = calloc(count, sizeof(*passing->sent));
    if (passing->control == NULL || passing->sent == NULL) {
        passing->error = -ENOMEM;
        return NULL;
    }
    memcpy(passing->control, message->msg_control, message->msg_controllen);
    passing->message.msg_control = passing->control;
    struct replacement replacement = {.passing = passing,
                                      .for_pno = receiver_may_redeem(fd, message)};
    visit_descriptors(&passing->message, replace, &replacement);
    return passing->error < 0 ? NULL : &passing->message;
}

void passing_end(struct passing *passing)
{
    int saved_errno = errno;
    for (size_t i = 0; i < passing->sent_count; i++)
        close_raw(passing->sent[i]);
    free(passing->sent);
    free(passing->control);
    errno = saved_errno;
}

/* ---- Receiving ------------------------------------------------------------------------------ */

#define PEEKS (MSG_PEEK | MSG_DONTWAIT)

/* How what lies in fd's receive buffer begins; 0: with nothing of ours. */
static uint64_t peek_magic(int fd)
{
    int domain = 0;
    socklen_t length = sizeof(domain);
    uint64_t magic = 0;
    if (REAL(getsockopt)(fd, SOL_SOCKET, SO_DOMAIN, &domain, &length) < 0 || domain != AF_UNIX ||
        syscall(SYS_recvfrom, fd, &magic, sizeof(magic), PEEKS, NULL, NULL) != sizeof(magic))
        return 0;
    return magic;
}

/* Look at a deed, and take the `count` descriptors that come with it; -1 where none does.
   @return false: it is not of that size, and nothing is taken. */
static bool peek_deed(int fd, void *deed, size_t bytes, int *fds, size_t count)
{
    struct iovec part = {.iov_base = deed, .iov_len = bytes};
    union control_buffer control = {{0}};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = control.bytes,
                             .msg_controllen = CMSG_LEN(count * sizeof(int))};
    for (size_t i = 0; i < count; i++)
        fds[i] = -1;
    long got = syscall(SYS_recvmsg, fd, &message, PEEKS | MSG_CMSG_CLOEXEC);
    struct cmsghdr *header = got < 0 ? NULL : CMSG_FIRSTHDR(&message);
    if (header != NULL && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS)
        memcpy(fds, CMSG_DATA(header), header->cmsg_len - CMSG_LEN(0));
    if (got == (long)bytes)
        return true;
    for (size_t i = 0; i < count; i++)
        close_raw(fds[i]);
    return false;
}

/* The socket of this name in this process, with a reference. consume_lock held.
   @return false: it is being closed by another thread; look again later. */
static bool find_own(struct engine_link *link, const struct link_socket_name *name,
                     struct socket **found)
{
    *found = NULL;
    if (name->slot >= link->hello.slots)
        return true;
    struct socket *socket = atomic_load_explicit(&link->slots[name->slot], memory_order_acquire);
    if (socket == NULL || socket->name.incarnation != name->incarnation)
        return true;
    if (socket->detached) {
        /* Closed, and kept only until its bytes are acknowledged: the newcomer sees to that. */
        socket_release_slot(socket);
        socket_free(socket);
        return true;
    }
    if (!file_hold_living(&socket->file))
        return false;
    *found = socket;
    return true;
}

static struct socket *redeem_own(struct engine_link *link, const struct deed *deed)
{
    struct socket *socket = NULL;
    for (bool settled = false; !settled;) {
        lock_acquire(&link->consume_lock);
        settled = find_own(link, &deed->socket.name, &socket);
        if (settled && socket == NULL && engine_attach_share(link, deed->ticket_process) == 0)
            socket = left_socket_revive(&deed->socket, link);
        lock_release(&link->consume_lock);
        if (!settled)
            sched_yield();
    }
    return socket;
}

struct adoption {
    const struct deed *deed;
    struct socket *socket;
};

static void adopt(struct engine_link *link, void *context)
{
    struct adoption *adoption = context;
    adoption->socket = left_socket_revive(&adoption->deed->socket, link);
}

static struct socket *redeem(int ticket_fd, const struct deed *deed)
{
    struct adoption adoption = {.deed = deed};
    struct engine_link *link = engine_link_current();
    if (link == NULL && engine_link_join(ticket_fd, deed->tenant_token, deed->ticket_process, adopt,
                                         &adoption) != NULL)
        return adoption.socket;
    link = engine_link_current();
    if (link != NULL &&
        memcmp(link->hello.tenant_token, deed->tenant_token, sizeof(deed->tenant_token)) == 0)
        return redeem_own(link, deed);
    /* A joined link is given up under this lock. */
    lock_acquire(engine_link_fork_lock());
    link = joined_links_find(deed->tenant_token);
    adoption.socket = link != NULL ? redeem_own(link, deed) : NULL;
    lock_release(engine_link_fork_lock());
    if (link == NULL &&
        !joined_links_join(ticket_fd, deed->tenant_token, deed->ticket_process, adopt, &adoption))
        log_warning("a socket was received that can't be used here: see pnod's log");
    return adoption.socket;
}

/* Put the kernel's descriptor where the ticket was. */
static bool take_place(int fd, int kernel_fd)
{
    int close_on_exec = (int)syscall(SYS_fcntl, fd, F_GETFD) & FD_CLOEXEC;
    if (kernel_fd < 0)
        return false;
    bool placed = syscall(SYS_dup3, kernel_fd, fd, close_on_exec ? O_CLOEXEC : 0) >= 0;
    close_raw(kernel_fd);
    return placed;
}

/* A TCP socket without an address may become the engine's here. */
static struct socket *adopt_fresh(int fd)
{
    int domain = 0, protocol = 0;
    socklen_t length = sizeof(int), info_length = sizeof(struct tcp_info);
    struct tcp_info info;
    struct sockaddr_storage name;
    socklen_t name_length = sizeof(name);
    if (REAL(getsockopt)(fd, SOL_SOCKET, SO_DOMAIN, &domain, &length) < 0 ||
        (domain != AF_INET && domain != AF_INET6) ||
        REAL(getsockopt)(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &length) < 0 ||
        protocol != IPPROTO_TCP ||
        REAL(getsockopt)(fd, IPPROTO_TCP, TCP_INFO, &info, &info_length) < 0 ||
        info.tcpi_state != TCP_CLOSE ||
        REAL(getsockname)(fd, (struct sockaddr *)&name, &name_length) < 0 ||
        ((struct sockaddr_in *)&name)->sin_port != 0)
        return NULL;
    struct socket *socket = socket_create(domain == AF_INET6);
    if (socket != NULL)
        atomic_store_explicit(&socket->nonblocking,
                              (syscall(SYS_fcntl, fd, F_GETFL) & O_NONBLOCK) != 0,
                              memory_order_relaxed);
    return socket;
}

/* The socket that the ticket stands for, which it is replaced by. */
static struct socket *receive_socket(int fd)
{
    struct deed deed;
    int kernel_fd;
    if (!peek_deed(fd, &deed, sizeof(deed), &kernel_fd, 1))
        return NULL;
    if (deed.bytes != sizeof(deed) || !deed.socket.has_slot) {
        close_raw(kernel_fd);
        return NULL;
    }
    struct socket *socket = redeem(fd, &deed);
    if (kernel_fd < 0)
        kernel_fd = placeholder_open(deed.socket.is_v6, true);
    if (take_place(fd, kernel_fd))
        return socket;
    if (socket != NULL)
        file_put(&socket->file);
    return NULL;
}

/* A set that can't be followed is the kernel's alone. */
static void receive_set(int fd)
{
    struct set_deed deed;
    int fds[SET_DEED_FDS];
    struct epoll_set *set = NULL;
    if (!peek_deed(fd, &deed, sizeof(deed), fds, SET_DEED_FDS))
        return;
    const struct epoll_shared_parts parts = {.tenant_token = deed.tenant_token,
                                             .memory_fd = fds[SET_DEED_MEMORY],
                                             .bell_fd = fds[SET_DEED_BELL]};
    if (take_place(fd, fds[SET_DEED_EPOLL]) && (set = epoll_find_shared(parts.memory_fd)) == NULL)
        set = epoll_adopt_shared(fd, &parts);
    close_raw(parts.memory_fd);
    close_raw(parts.bell_fd);
    if (set != NULL && !fd_set_file(fd, (struct file *)set))
        file_put((struct file *)set);
}

static bool receive_descriptor(void *context, int *fd)
{
    (void)context;
    /* Whatever was known of this number is gone. */
    fd_set_file(*fd, NULL);
    uint64_t magic = peek_magic(*fd);
    if (magic == SET_DEED_MAGIC) {
        receive_set(*fd);
        return true;
    }
    struct socket *socket = magic == DEED_MAGIC ? receive_socket(*fd) : adopt_fresh(*fd);
    if (socket == NULL)
        return true;
    file_hold(&socket->file);
    if (fd_set_file(*fd, &socket->file)) {
        interpose_standard_stream(*fd);
        epoll_socket_came(socket);
    } else {
        file_put(&socket->file);
    }
    file_put(&socket->file);
    return true;
}

void passing_received(struct msghdr *message)
{
    int saved_errno = errno;
    if (message->msg_control != NULL && message->msg_controllen >= CMSG_LEN(sizeof(int)))
        visit_descriptors(message, receive_descriptor, NULL);
    errno = saved_errno;
}

#define _GNU_SOURCE
#include "hostlink/control.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

/* Enough for the daemon to be busy for a moment while a program forks many workers. */
#define LISTEN_BACKLOG 128

#define LOCK_PATH_MAX (sizeof(((struct sockaddr_un *)0)->sun_path) + sizeof(".lock"))

static_assert(sizeof(((struct link_control_listener *)0)->path) ==
                  sizeof(((struct sockaddr_un *)0)->sun_path),
              "any path that fits an address fits the listener");

/* ---- System calls, by number ---------------------------------------------------------------- */

static long result_of(long returned)
{
    return returned < 0 ? -errno : returned;
}

static void close_descriptor(int fd)
{
    (void)syscall(SYS_close, fd);
}

/** Wait for `events` until the deadline. @return 0, -ETIMEDOUT or another negative errno. */
static int wait_for(int fd, short events, const struct timespec *deadline)
{
    for (;;) {
        struct timespec left;
        if (deadline != NULL) {
            struct timespec now;
            (void)clock_gettime(CLOCK_MONOTONIC, &now);
            left.tv_sec = deadline->tv_sec - now.tv_sec;
            left.tv_nsec = deadline->tv_nsec - now.tv_nsec;
            if (left.tv_nsec < 0) {
                left.tv_nsec += 1000000000;
                left.tv_sec--;
            }
            if (left.tv_sec < 0)
                return -ETIMEDOUT;
        }
        struct pollfd pollfd = {.fd = fd, .events = events};
        long ready =
            result_of(syscall(SYS_ppoll, &pollfd, 1, deadline != NULL ? &left : NULL, NULL, 0));
        if (ready > 0)
            return 0;
        if (ready < 0 && ready != -EINTR)
            return (int)ready;
    }
}

/** @return deadline, or NULL when there is none. */
static const struct timespec *deadline_after(struct timespec *deadline, int timeout_ms)
{
    if (timeout_ms < 0)
        return NULL;
    (void)clock_gettime(CLOCK_MONOTONIC, deadline);
    deadline->tv_sec += timeout_ms / 1000;
    deadline->tv_nsec += (timeout_ms % 1000) * 1000000L;
    if (deadline->tv_nsec >= 1000000000) {
        deadline->tv_nsec -= 1000000000;
        deadline->tv_sec++;
    }
    return deadline;
}

static int address_of(struct sockaddr_un *address, const char *path)
{
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    size_t length = strlen(path);
    if (length == 0)
        return -ENOENT;
    if (length >= sizeof(address->sun_path))
        return -ENAMETOOLONG;
    memcpy(address->sun_path, path, length + 1);
    return 0;
}

/* ---- Listening ------------------------------------------------------------------------------ */

/** Make the directory that `path` lies in, if only that one is missing. */
static int make_parent_directory(const char *path)
{
    const char *slash = strrchr(path, '/');
    if (slash == NULL || slash == path)
        return 0;
    char directory[sizeof(((struct sockaddr_un *)0)->sun_path)];
    size_t length = (size_t)(slash - path);
    memcpy(directory, path, length);
    directory[length] = '\0';
    return mkdir(directory, 0755) < 0 && errno != EEXIST ? -errno : 0;
}

static void format_lock_path(char *lock, const char *path)
{
    (void)snprintf(lock, LOCK_PATH_MAX, "%s.lock", path);
}

/** Take PATH.lock. After a sudden death the file stays behind, harmlessly. */
static int lock_path(const char *path)
{
    char lock[LOCK_PATH_MAX];
    format_lock_path(lock, path);
    for (;;) {
        int fd = open(lock, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (fd < 0)
            return -errno;
        if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
            int error = errno == EWOULDBLOCK ? -EADDRINUSE : -errno;
            close_descriptor(fd);
            return error;
        }
        /* A daemon that ended in between took the file away: another may lock a new one. */
        struct stat held, named;
        if (fstat(fd, &held) == 0 && stat(lock, &named) == 0 && held.st_dev == named.st_dev &&
            held.st_ino == named.st_ino)
            return fd;
        close_descriptor(fd);
    }
}

/** The lock is ours, so a socket at path has no daemon any more. */
static int remove_stale_socket(const char *path)
{
    struct stat status;
    if (lstat(path, &status) < 0)
        return errno == ENOENT ? 0 : -errno;
    if (!S_ISSOCK(status.st_mode))
        return -ENOTSOCK;
    return unlink(path) < 0 ? -errno : 0;
}

static int bind_to(const struct sockaddr_un *address, mode_t mode)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    /* Nobody can connect before listen(), so nobody slips in under the wrong mode. */
    if (bind(fd, (const struct sockaddr *)address, sizeof(*address)) < 0 ||
        chmod(address->sun_path, mode) < 0) {
        int error = -errno;
        close_descriptor(fd);
        return error;
    }
    return fd;
}

int link_control_bind(struct link_control_listener *listener, const char *path, mode_t mode)
{
    *listener = (struct link_control_listener){.fd = -1, .lock_fd = -1};
    struct sockaddr_un address;
    int error = address_of(&address, path);
    if (error == 0)
        error = make_parent_directory(path);
    if (error < 0)
        return error;
    int lock_fd = lock_path(path);
    if (lock_fd < 0)
        return lock_fd;
    error = remove_stale_socket(path);
    int fd = error < 0 ? error : bind_to(&address, mode);
    if (fd < 0) {
        close_descriptor(lock_fd);
        return fd;
    }
    listener->fd = fd;
    listener->lock_fd = lock_fd;
    memcpy(listener->path, address.sun_path, sizeof(listener->path));
    return 0;
}

int link_control_listen(const struct link_control_listener *listener)
{
    return listen(listener->fd, LISTEN_BACKLOG) < 0 ? -errno : 0;
}

void link_control_unlisten(struct link_control_listener *listener)
{
    if (listener->fd < 0)
        return;
    char lock[LOCK_PATH_MAX];
    format_lock_path(lock, listener->path);
    (void)unlink(listener->path);
    (void)unlink(lock); /* while it is ours; see lock_path() */
    close_descriptor(listener->fd);
    close_descriptor(listener->lock_fd);
    listener->fd = -1;
    listener->lock_fd = -1;
}

/* ---- Connecting ----------------------------------------------------------------------------- */

int link_control_connect(const char *path)
{
    struct sockaddr_un address;
    int error = address_of(&address, path);
    if (error < 0)
        return error;
    int fd = (int)result_of(syscall(SYS_socket, AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (fd < 0)
        return fd;
    /* A full back-log would block without bound; non-blocking it answers -EAGAIN. */
    error = (int)result_of(syscall(SYS_fcntl, fd, F_SETFL, O_NONBLOCK));
    if (error == 0)
        error = (int)result_of(syscall(SYS_connect, fd, &address, sizeof(address)));
    if (error == 0)
        error = (int)result_of(syscall(SYS_fcntl, fd, F_SETFL, 0));
    if (error < 0) {
        close_descriptor(fd);
        return error;
    }
    return fd;
}

/* ---- Messages ------------------------------------------------------------------------------- */

union control_buffer {
    char bytes[CMSG_SPACE(LINK_CONTROL_DESCRIPTORS_MAX * sizeof(int)) +
               CMSG_SPACE(sizeof(struct ucred))];
    struct cmsghdr alignment;
};

static void attach_descriptors(struct msghdr *header, union control_buffer *control,
                               const int *descriptors, unsigned descriptor_count)
{
    size_t bytes = descriptor_count * sizeof(int);
    memset(control, 0, sizeof(*control));
    header->msg_control = control->bytes;
    header->msg_controllen = CMSG_SPACE(bytes);
    struct cmsghdr *part = CMSG_FIRSTHDR(header);
    part->cmsg_level = SOL_SOCKET;
    part->cmsg_type = SCM_RIGHTS;
    part->cmsg_len = CMSG_LEN(bytes);
    memcpy(CMSG_DATA(part), descriptors, bytes);
}

int link_control_send(int fd, const void *message, size_t bytes, const int *descriptors,
                      unsigned descriptor_count, int timeout_ms)
{
    if (descriptor_count > LINK_CONTROL_DESCRIPTORS_MAX)
        return -EINVAL;
    struct timespec deadline_space;
    const struct timespec *deadline = deadline_after(&deadline_space, timeout_ms);
    size_t sent = 0;
    while (sent < bytes) {
        struct iovec part = {.iov_base = (char *)(uintptr_t)message + sent,
                             .iov_len = bytes - sent};
        struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1};
        union control_buffer control;
        if (sent == 0 && descriptor_count > 0)
            attach_descriptors(&header, &control, descriptors, descriptor_count);
        long done = result_of(syscall(SYS_sendmsg, fd, &header, MSG_NOSIGNAL | MSG_DONTWAIT));
        if (done >= 0) {
            sent += (size_t)done;
            continue;
        }
        if (done == -EINTR)
            continue;
        int error = done == -EAGAIN ? wait_for(fd, POLLOUT, deadline) : (int)done;
        if (error < 0)
            return error;
    }
    return 0;
}

void link_control_reader_init(struct link_control_reader *reader, void *buffer, size_t bytes)
{
    reader->buffer = buffer;
    reader->wanted = bytes;
    reader->received = 0;
    reader->descriptor_count = 0;
    reader->sender = (struct ucred){.uid = (uid_t)-1, .gid = (gid_t)-1};
}

/** Each part of a message must be of the same user's: who holds the other end too may write there.
 */
static bool keep_sender(struct link_control_reader *reader, const struct cmsghdr *part)
{
    struct ucred sender;
    memcpy(&sender, CMSG_DATA(part), sizeof(sender));
    bool first = reader->sender.uid == (uid_t)-1;
    bool same = first || reader->sender.uid == sender.uid;
    reader->sender = sender;
    return same;
}

/** Keep the descriptors, and the sender's name, of one received part. @return 0 or -EPROTO, with
 * the surplus closed. */
static int keep_descriptors(struct link_control_reader *reader, struct msghdr *header)
{
    bool is_wrong = (header->msg_flags & MSG_CTRUNC) != 0;
    for (struct cmsghdr *part = CMSG_FIRSTHDR(header); part != NULL;
         part = CMSG_NXTHDR(header, part)) {
        if (part->cmsg_level != SOL_SOCKET)
            continue;
        if (part->cmsg_type == SCM_CREDENTIALS && part->cmsg_len == CMSG_LEN(sizeof(struct ucred)))
            is_wrong = !keep_sender(reader, part) || is_wrong;
        if (part->cmsg_type != SCM_RIGHTS)
            continue;
        size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(part) + i * sizeof(int), sizeof(int));
            if (reader->descriptor_count < LINK_CONTROL_DESCRIPTORS_MAX) {
                reader->descriptors[reader->descriptor_count++] = fd;
            } else {
                close_descriptor(fd);
                is_wrong = true;
            }
        }
    }
    return is_wrong ? -EPROTO : 0;
}

int link_control_reader_step(struct link_control_reader *reader, int fd)
{
    while (reader->received < reader->wanted) {
        struct iovec part = {.iov_base = reader->buffer + reader->received,
                             .iov_len = reader->wanted - reader->received};
        union control_buffer control = {0};
        struct msghdr header = {.msg_iov = &part,
                                .msg_iovlen = 1,
                                .msg_control = control.bytes,
                                .msg_controllen = sizeof(control)};
        long done = result_of(syscall(SYS_recvmsg, fd, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC));
        if (done == -EINTR)
            continue;
        if (done == -EAGAIN)
            return 0;
        if (done <= 0)
            return done == 0 ? -ECONNRESET : (int)done;
        reader->received += (size_t)done;
        int error = keep_descriptors(reader, &header);
        if (error < 0)
            return error;
    }
    return 1;
}

void link_control_reader_discard(struct link_control_reader *reader)
{
    for (unsigned i = 0; i < reader->descriptor_count; i++)
        close_descriptor(reader->descriptors[i]);
    reader->descriptor_count = 0;
}

int link_control_receive(int fd, void *message, size_t bytes, int *descriptors,
                         unsigned descriptor_max, unsigned *descriptor_count, struct ucred *sender,
                         int timeout_ms)
{
    struct timespec deadline_space;
    const struct timespec *deadline = deadline_after(&deadline_space, timeout_ms);
    struct link_control_reader reader;
    link_control_reader_init(&reader, message, bytes);
    int state;
    while ((state = link_control_reader_step(&reader, fd)) == 0) {
        state = wait_for(fd, POLLIN, deadline);
        if (state < 0)
            break;
    }
    if (state > 0 && reader.descriptor_count > descriptor_max)
        state = -EPROTO;
    if (state < 0) {
        link_control_reader_discard(&reader);
        return state;
    }
    for (unsigned i = 0; i < reader.descriptor_count; i++)
        descriptors[i] = reader.descriptors[i];
    if (descriptor_count != NULL)
        *descriptor_count = reader.descriptor_count;
    if (sender != NULL)
        *sender = reader.sender;
    return 0;
}

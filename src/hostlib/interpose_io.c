/* Reading and writing. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "hostlib/epoll.h"
#include "hostlib/interpose.h"
#include "hostlib/passing.h"
#include "hostlib/socket_control.h"
#include "hostlib/socket_stamps.h"
#include "hostlib/user_memory.h"

/* How much one splice() moves between a socket and a pipe. */
#define SPLICE_BYTES_MAX (64u << 10)

static size_t clamp(size_t count)
{
    return count < SOCKET_IO_BYTES_MAX ? count : SOCKET_IO_BYTES_MAX;
}

static ssize_t receive_buffer(struct socket *socket, void *buffer, size_t count, int flags)
{
    struct iovec vector = {.iov_base = buffer, .iov_len = clamp(count)};
    return interpose_end(socket, socket_receive(socket, &vector, 1, flags, NULL));
}

static ssize_t send_buffer(struct socket *socket, const void *buffer, size_t count, int flags)
{
    struct iovec vector = {.iov_base = (void *)(uintptr_t)buffer, .iov_len = clamp(count)};
    return interpose_end(socket, socket_send(socket, &vector, 1, flags));
}

int interpose_check_vector(const struct iovec *vector, size_t count)
{
    size_t total = 0;
    if (count > IOV_MAX)
        return -EINVAL;
    if (count > 0 && user_memory_unreadable(vector, count * sizeof(*vector)))
        return -EFAULT;
    for (size_t i = 0; i < count; i++) {
        if (vector[i].iov_len > (size_t)SSIZE_MAX - total)
            return -EINVAL;
        total += vector[i].iov_len;
    }
    return 0;
}

static size_t vector_bytes(const struct iovec *vector, int count)
{
    size_t total = 0;
    for (int i = 0; i < count; i++)
        total += vector[i].iov_len;
    return total;
}

PNO_EXPORT ssize_t read(int fd, void *buffer, size_t count)
{
    struct socket *socket = interpose_cancellable(fd);
    if (socket == NULL)
        return REAL(read)(fd, buffer, count);
    if (count == 0)
        return interpose_end(socket, 0);
    if (__builtin_expect(count > SOCKET_IO_BYTES_MAX, 0) && !user_memory_holds(buffer, count))
        return interpose_end(socket, -EFAULT);
    return receive_buffer(socket, buffer, count, 0);
}

PNO_EXPORT ssize_t __read_chk(int fd, void *buffer, size_t count, size_t buffer_length)
{
    if (fd_peek(fd) == NULL || count > buffer_length)
        return REAL(__read_chk)(fd, buffer, count, buffer_length);
    return read(fd, buffer, count);
}

PNO_EXPORT ssize_t write(int fd, const void *buffer, size_t count)
{
    struct socket *socket = interpose_cancellable(fd);
    if (socket == NULL) {
        turned_round_before_telling_by(fd);
        return REAL(write)(fd, buffer, count);
    }
    if (__builtin_expect(count > SOCKET_IO_BYTES_MAX, 0) && !user_memory_holds(buffer, count))
        return interpose_end(socket, -EFAULT);
    return send_buffer(socket, buffer, count, 0);
}

static ssize_t read_vector(struct socket *socket, const struct iovec *vector, int count, int flags)
{
    int error = count < 0 ? -EINVAL : interpose_check_vector(vector, (size_t)count);
    if (error < 0 || vector_bytes(vector, count) == 0)
        return interpose_end(socket, error);
    return interpose_end(socket, socket_receive(socket, vector, (size_t)count, flags, NULL));
}

static ssize_t write_vector(struct socket *socket, const struct iovec *vector, int count, int flags)
{
    int error = count < 0 ? -EINVAL : interpose_check_vector(vector, (size_t)count);
    if (error < 0 || vector_bytes(vector, count) == 0)
        return interpose_end(socket, error);
    return interpose_end(socket, socket_send(socket, vector, (size_t)count, flags));
}

PNO_EXPORT ssize_t readv(int fd, const struct iovec *vector, int count)
{
    struct socket *socket = interpose_cancellable(fd);
    if (socket == NULL)
        return REAL(readv)(fd, vector, count);
    return read_vector(socket, vector, count, 0);
}

PNO_EXPORT ssize_t writev(int fd, const struct iovec *vector, int count)
{
    struct socket *socket = interpose_cancellable(fd);
    if (socket == NULL) {
        turned_round_before_telling_by(fd);
        return REAL(writev)(fd, vector, count);
    }
    return write_vector(socket, vector, count, 0);
}

/* With offset -1 these are readv() and writev(); with any other the kernel's placeholder says
   ESPIPE. */
static bool is_streaming(off64_t offset, int flags)
{
    return offset == -1 && (flags & ~(RWF_NOWAIT | RWF_HIPRI)) == 0;
}

PNO_EXPORT ssize_t preadv2(int fd, const struct iovec *vector, int count, off_t offset, int flags)
{
    struct socket *socket = is_streaming(offset, flags) ? interpose_cancellable(fd) : NULL;
    if (socket == NULL)
        return REAL(preadv2)(fd, vector, count, offset, flags);
    return read_vector(socket, vector, count, flags & RWF_NOWAIT ? MSG_DONTWAIT : 0);
}

PNO_EXPORT ssize_t pwritev2(int fd, const struct iovec *vector, int count, off_t offset, int flags)
{
    struct socket *socket = is_streaming(offset, flags) ? interpose_cancellable(fd) : NULL;
    if (socket == NULL) {
        turned_round_before_telling_by(fd);
        return REAL(pwritev2)(fd, vector, count, offset, flags);
    }
    return write_vector(socket, vector, count, flags & RWF_NOWAIT ? MSG_DONTWAIT : 0);
}

PNO_EXPORT ssize_t preadv64v2(int fd, const struct iovec *vector, int count, off64_t offset,
                              int flags)
{
    return preadv2(fd, vector, count, offset, flags);
}

PNO_EXPORT ssize_t pwritev64v2(int fd, const struct iovec *vector, int count, off64_t offset,
                               int flags)
{
    return pwritev2(fd, vector, count, offset, flags);
}

PNO_EXPORT ssize_t recv(int fd, void *buffer, size_t count, int flags)
{
    struct socket *socket = interpose_cancellable(fd);
    if (socket == NULL)
        return REAL(recv)(fd, buffer, count, flags);
    return receive_buffer(socket, buffer, count, flags);
}

PNO_EXPORT ssize_t __recv_chk(int fd, void *buffer, size_t count, size_t buffer_length, int flags)
{
    if (fd_peek(fd) == NULL || count > buffer_length)
        return REAL(__recv_chk)(fd, buffer, count, buffer_length, flags);
    return recv(fd, buffer, count, flags);
}

/* TCP leaves the sender's address alone: its length becomes 0. */
PNO_EXPORT ssize_t recvfrom(int fd, void *buffer, size_t count, int flags, struct sockaddr *address,
                            socklen_t *length)
{
    struct socket *socket = interpose_cancellable(fd);
    if (socket == NULL)
        return REAL(recvfrom)(fd, buffer, count, flags, address, length);
    ssize_t result = receive_buffer(socket, buffer, count, flags);
    if (result >= 0 && address != NULL) {
        if (user_memory_unwritable(length, sizeof(*length))) {
            errno = EFAULT;
            return -1;
        }
        if ((int)*length < 0) {
            errno = EINVAL;
            return -1;
        }
        *length = 0;
    }
    return result;
}

PNO_EXPORT ssize_t __recvfrom_chk(int fd, void *buffer, size_t count, size_t buffer_length,
                                  int flags, struct sockaddr *address, socklen_t *length)
{
    if (fd_peek(fd) == NULL || count > buffer_length)
        return REAL(__recvfrom_chk)(fd, buffer, count, buffer_length, flags, address, length);
    return recvfrom(fd, buffer, count, flags, address, length);
}

ssize_t interpose_receive_message(struct socket *socket, struct msghdr *message, int flags)
{
    if (user_memory_unwritable(message, sizeof(*message)))
        return -EFAULT;
    if (message->msg_name != NULL && (int)message->msg_namelen < 0)
        return -EINVAL;
    int error = interpose_check_vector(message->msg_iov, message->msg_iovlen);
    if (message->msg_iovlen > IOV_MAX)
        return -EMSGSIZE;
    if (error < 0)
        return error;
    struct socket_received received = {0};
    struct control_room room = control_room_of(message);
    ssize_t result;
    if (flags & MSG_ERRQUEUE) {
        received.flags = MSG_ERRQUEUE;
        result = socket_take_report(socket, &room);
    } else {
        result = socket_receive(socket, message->msg_iov, message->msg_iovlen, flags, &received);
    }
    if (result >= 0 && socket_stamps_put(socket->options, &room, received.stamp_ns) < 0)
        return -EFAULT;
    if (result >= 0 && socket->options->tells_inq && (flags & MSG_ERRQUEUE) == 0) {
        int inq = socket_inq(socket);
        if (control_put(&room, IPPROTO_TCP, TCP_CM_INQ, &inq, sizeof(inq)) < 0)
            return -EFAULT;
    }
    if (result < 0)
        return result;
    message->msg_flags =
        received.flags | (room.truncated ? MSG_CTRUNC : 0) | (flags & MSG_CMSG_CLOEXEC);
    message->msg_controllen = room.used;
    if (message->msg_name != NULL)
        message->msg_namelen = 0;
    return result;
}

/* Source: Linux net/core/sock.c, sock_cmsg_send(). What it would note is nothing that TCP sends. */
static int check_control(const struct msghdr *message)
{
    struct msghdr copy = *message;
    for (struct cmsghdr *header = CMSG_FIRSTHDR(&copy); header != NULL;
         header = CMSG_NXTHDR(&copy, header)) {
        size_t left = (size_t)((char *)copy.msg_control + copy.msg_controllen - (char *)header);
        if (header->cmsg_len < sizeof(*header) || header->cmsg_len > left)
            return -EINVAL;
        if (header->cmsg_level == SOL_SOCKET && header->cmsg_type != SO_MARK &&
            header->cmsg_type != SO_TIMESTAMPING && header->cmsg_type != SCM_TXTIME &&
            header->cmsg_type != SO_PRIORITY && header->cmsg_type != SCM_RIGHTS &&
            header->cmsg_type != SCM_CREDENTIALS)
            return -EINVAL;
    }
    return 0;
}

ssize_t interpose_send_message(struct socket *socket, const struct msghdr *message, int flags)
{
    if (user_memory_unreadable(message, sizeof(*message)))
        return -EFAULT;
    if (message->msg_name != NULL && (int)message->msg_namelen < 0)
        return -EINVAL;
    if (message->msg_iovlen > IOV_MAX)
        return -EMSGSIZE;
    int error = interpose_check_vector(message->msg_iov, message->msg_iovlen);
    if (error == 0 && message->msg_controllen > 0)
        error = message->msg_control != NULL &&
                        user_memory_unreadable(message->msg_control, message->msg_controllen)
                    ? -EFAULT
                    : check_control(message);
    return error < 0 ? error : socket_send(socket, message->msg_iov, message->msg_iovlen, flags);
}

/* By another socket: descriptors of ours may come, or go. */
static ssize_t receive_passed(int fd, struct msghdr *message, int flags)
{
    ssize_t result = REAL(recvmsg)(fd, message, flags);
    if (result >= 0)
        passing_received(message);
    return result;
}

/* Of an array that may not be there; who uses it sees to that. */
static struct msghdr *header_of(struct mmsghdr *messages, unsigned index)
{
    _Static_assert(offsetof(struct mmsghdr, msg_hdr) == 0, "as the kernel has it");
    return (struct msghdr *)((uintptr_t)messages + index * sizeof(*messages));
}

static int receive_passed_many(int fd, struct mmsghdr *messages, unsigned count, int flags,
                               struct timespec *timeout)
{
    int result = REAL(recvmmsg)(fd, messages, count, flags, timeout);
    for (int i = 0; i < result; i++)
        passing_received(&messages[i].msg_hdr);
    return result;
}

static ssize_t send_passing(int fd, const struct msghdr *message, int flags)
{
    struct passing passing;
    const struct msghdr *sent = passing_begin(&passing, fd, message);
    ssize_t result = -1;
    if (sent != NULL)
        result = REAL(sendmsg)(fd, sent, flags);
    else
        errno = -passing.error;
    passing_end(&passing);
    return result;
}

static bool passes_control(const struct mmsghdr *messages, unsigned count)
{
    for (unsigned i = 0; i < count && !user_memory_unreadable(&messages[i], sizeof(*messages));
         i++) {
        if (messages[i].msg_hdr.msg_controllen > 0)
            return true;
    }
    return false;
}

/* One by one: as the kernel does it. */
static int send_passing_many(int fd, struct mmsghdr *messages, unsigned count, int flags)
{
    unsigned done = 0;
    while (done < count) {
        ssize_t result = send_passing(fd, &messages[done].msg_hdr, flags);
        if (result < 0)
            break;
        messages[done++].msg_len = (unsigned)result;
    }
    return done > 0 || count == 0 ? (int)done : -1;
}

PNO_EXPORT ssize_t recvmsg(int fd, struct msghdr *message, int flags)
{
    struct socket *socket = interpose_cancellable(fd);
    if (socket == NULL)
        return receive_passed(fd, message, flags);
    return interpose_end(socket, interpose_receive_message(socket, message, flags));
}

/* @return whether there is any. Which may be nothing at all, but then too a call is made of it. */
static bool time_is_left(uint64_t deadline_ns, struct timespec *left)
{
    uint64_t now_ns = waiter_now_ns();
    uint64_t left_ns = deadline_ns > now_ns ? deadline_ns - now_ns : 0;
    left->tv_sec = (time_t)(left_ns / NS_PER_S);
    left->tv_nsec = (long)(left_ns % NS_PER_S);
    return left_ns != 0;
}

/* An error that comes after a message is the next call's. */
static void leave_error(struct socket *socket, int error)
{
    socket_lock(socket);
    if (socket->error == 0)
        socket->error = error;
    socket_changed(socket, 0);
    socket_unlock(socket);
}

/* Source: Linux net/socket.c, do_recvmmsg(): blocks for the first, for the rest only without
   MSG_WAITFORONE; the timeout is looked at after each message. The end of the stream is a message
   of no bytes, again and again. */
static int receive_many(struct socket *socket, struct mmsghdr *messages, unsigned count, int flags,
                        struct timespec *timeout)
{
    uint64_t deadline_ns = waiter_deadline_ns(timeout);
    struct timespec left = {0};
    unsigned done = 0;
    ssize_t result = 0;
    int error = 0;
    socket_look_at_others(socket); /* an error that has come goes before all bytes */
    socket_lock(socket);
    if (socket->error != 0 && (flags & MSG_ERRQUEUE) == 0)
        error = socket_take_error(socket);
    socket_unlock(socket);
    if (error != 0)
        return error;
    while (done < count) {
        struct msghdr *header = header_of(messages, done);
        result = interpose_receive_message(socket, header, flags & ~MSG_WAITFORONE);
        if (result < 0)
            break;
        messages[done++].msg_len = (unsigned)result;
        if (flags & MSG_WAITFORONE)
            flags |= MSG_DONTWAIT;
        if ((timeout != NULL && !time_is_left(deadline_ns, &left)) ||
            (header->msg_flags & MSG_OOB) != 0)
            break;
    }
    if (done > 0 && timeout != NULL && user_memory_copy(timeout, &left, sizeof(left)) != 0)
        return -EFAULT;
    if (done > 0 && result < 0 && result != -EAGAIN)
        leave_error(socket, (int)-result);
    return done > 0 ? (int)done : (int)result;
}

PNO_EXPORT int recvmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags,
                        struct timespec *timeout)
{
    struct socket *socket = interpose_cancellable(fd);
    if (socket == NULL)
        return receive_passed_many(fd, messages, count, flags, timeout);
    if (timeout != NULL && user_memory_unreadable(timeout, sizeof(*timeout)))
        return interpose_end_int(socket, -EFAULT);
    if (timeout != NULL && (timeout->tv_sec < 0 || (uint64_t)timeout->tv_nsec >= NS_PER_S))
        return interpose_end_int(socket, -EINVAL);
    return interpose_end_int(socket, receive_many(socket, messages, count, flags, timeout));
}

/* MSG_FASTOPEN on a socket that has yet to connect. @return whether that was the call. */
static bool send_opens(int fd, const struct iovec *vector, size_t count, int flags,
                       const struct sockaddr *address, socklen_t length, ssize_t *result)
{
    struct socket *socket = (flags & MSG_FASTOPEN) != 0 ? interpose_socket(fd) : NULL;
    if (socket == NULL)
        return false;
    bool kernel;
    *result = socket_send_fast(socket, fd, vector, count, flags, address, length, &kernel);
    epoll_socket_moved(socket);
    if (kernel)
        file_put(&socket->file);
    else
        *result = interpose_end(socket, *result);
    return !kernel;
}

PNO_EXPORT ssize_t send(int fd, const void *buffer, size_t count, int flags)
{
    struct socket *socket = interpose_cancellable(fd);
    if (socket == NULL) {
        turned_round_before_telling();
        return REAL(send)(fd, buffer, count, flags);
    }
    return send_buffer(socket, buffer, count, flags);
}

/* TCP ignores the address of a connected socket. */
PNO_EXPORT ssize_t sendto(int fd, const void *buffer, size_t count, int flags,
                          const struct sockaddr *address, socklen_t length)
{
    const struct iovec vector = {(void *)(uintptr_t)buffer, clamp(count)};
    ssize_t opened;
    if (send_opens(fd, &vector, 1, flags, address, length, &opened))
        return opened;
    struct socket *socket = interpose_cancellable(fd);
    if (socket == NULL) {
        turned_round_before_telling();
        return REAL(sendto)(fd, buffer, count, flags, address, length);
    }
    if (address != NULL && length > sizeof(struct sockaddr_storage))
        return interpose_end(socket, -EINVAL);
    if (address != NULL && length > 0 && user_memory_unreadable(address, length))
        return interpose_end(socket, -EFAULT);
    return send_buffer(socket, buffer, count, flags);
}

PNO_EXPORT ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
    ssize_t opened;
    if ((flags & MSG_FASTOPEN) != 0 && !user_memory_unreadable(message, sizeof(*message)) &&
        send_opens(fd, message->msg_iov, message->msg_iovlen, flags, message->msg_name,
                   message->msg_namelen, &opened))
        return opened;
    struct socket *socket = interpose_cancellable(fd);
    if (socket == NULL) {
        turned_round_before_telling();
        return send_passing(fd, message, flags);
    }
    return interpose_end(socket, interpose_send_message(socket, message, flags));
}

PNO_EXPORT int sendmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags)
{
    struct socket *socket = interpose_cancellable(fd);
    if (socket == NULL) {
        turned_round_before_telling();
        return passes_control(messages, count) ? send_passing_many(fd, messages, count, flags)
                                               : REAL(sendmmsg)(fd, messages, count, flags);
    }
    unsigned done = 0;
    ssize_t result = 0;
    if (count > UIO_MAXIOV)
        count = UIO_MAXIOV; /* Linux takes no more messages at once */
    while (done < count) {
        result = interpose_send_message(socket, header_of(messages, done), flags);
        if (result < 0)
            break;
        messages[done].msg_len = (unsigned)result;
        if ((size_t)result <
            vector_bytes(messages[done].msg_hdr.msg_iov, (int)messages[done].msg_hdr.msg_iovlen)) {
            done++;
            break;
        }
        done++;
    }
    return interpose_end_int(socket, done > 0 ? (int)done : (int)result);
}

PNO_EXPORT ssize_t sendfile64(int out_fd, int in_fd, off64_t *offset, size_t count)
{
    struct socket *socket = interpose_stream(out_fd);
    if (socket == NULL)
        return REAL(sendfile64)(out_fd, in_fd, offset, count);
    if (offset != NULL && user_memory_unwritable(offset, sizeof(*offset)))
        return interpose_end(socket, -EFAULT);
    if (offset != NULL && *offset < 0)
        return interpose_end(socket, -EINVAL);
    /* sendfile() raises no SIGPIPE less than write() does. */
    return interpose_end(socket, socket_send_from_fd(socket, in_fd, offset, clamp(count), 0, true));
}

PNO_EXPORT ssize_t sendfile(int out_fd, int in_fd, off_t *offset, size_t count)
{
    return sendfile64(out_fd, in_fd, offset, count);
}

/* Until the pipe has room for a page. @return 0; -EAGAIN; -EPIPE, with the signal: nobody reads. */
static int wait_for_pipe_room(int pipe_fd, bool nonblocking)
{
    struct pollfd pollfd = {.fd = pipe_fd, .events = POLLOUT};
    int ready = REAL(poll)(&pollfd, 1, nonblocking ? 0 : -1);
    if (ready < 0)
        return -errno;
    if (pollfd.revents & POLLERR) {
        (void)raise(SIGPIPE);
        return -EPIPE;
    }
    return ready == 0 ? -EAGAIN : 0;
}

/* What fits without waiting, though the pipe itself may block: its reader may be this very thread.
   What poll() calls writable takes PIPE_BUF bytes. @return how many; negative errno: none. */
static ssize_t fill_pipe(int pipe_fd, const uint8_t *bytes, size_t count)
{
    size_t written = 0;
    while (written < count) {
        size_t part = count - written < PIPE_BUF ? count - written : PIPE_BUF;
        ssize_t result = wait_for_pipe_room(pipe_fd, true);
        if (result == 0)
            result = REAL(write)(pipe_fd, bytes + written, part);
        if (result <= 0)
            return written > 0 ? (ssize_t)written : result < 0 ? result : -errno;
        written += (size_t)result;
    }
    return (ssize_t)written;
}

/* From a socket into a pipe: look, write what the pipe takes, then consume as much. Whether to wait
   for data is the socket's own flag: SPLICE_F_NONBLOCK and the pipe's are about the pipe. */
static ssize_t splice_out(struct socket *socket, int pipe_fd, size_t count, bool nonblocking)
{
    size_t room = count < SPLICE_BYTES_MAX ? count : SPLICE_BYTES_MAX;
    ssize_t result = wait_for_pipe_room(pipe_fd, nonblocking);
    if (result < 0)
        return result;
    void *bytes = malloc(room);
    if (bytes == NULL)
        return -ENOMEM;
    struct iovec vector = {.iov_base = bytes, .iov_len = room};
    result = socket_receive(socket, &vector, 1, MSG_PEEK, NULL);
    if (result > 0)
        result = fill_pipe(pipe_fd, bytes, (size_t)result);
    if (result > 0) {
        vector.iov_len = (size_t)result;
        result = socket_receive(socket, &vector, 1, MSG_TRUNC | MSG_DONTWAIT, NULL);
    }
    free(bytes);
    return result;
}

/* Source: Linux fs/splice.c, do_splice(). @return 0; what is wrong with the end that should be a
   pipe, or with the offsets. */
static int check_splice(int pipe_fd, int mode, const off64_t *pipe_offset,
                        const off64_t *socket_offset)
{
    struct stat status;
    int flags = (int)syscall(SYS_fcntl, pipe_fd, F_GETFL);
    if (flags < 0 || fstat(pipe_fd, &status) < 0)
        return -errno;
    if ((flags & O_ACCMODE) != mode && (flags & O_ACCMODE) != O_RDWR)
        return -EBADF;
    if (!S_ISFIFO(status.st_mode))
        return -EINVAL;
    if (pipe_offset != NULL)
        return -ESPIPE;
    return socket_offset != NULL ? -EINVAL : 0;
}

PNO_EXPORT ssize_t splice(int in_fd, off64_t *in_offset, int out_fd, off64_t *out_offset,
                          size_t count, unsigned flags)
{
    struct socket *socket = interpose_cancellable(out_fd);
    if (socket != NULL) {
        int error = count == 0 ? 0 : check_splice(in_fd, O_RDONLY, in_offset, out_offset);
        if (error < 0 || count == 0)
            return interpose_end(socket, error);
        int send_flags = flags & SPLICE_F_MORE ? MSG_MORE : 0;
        return interpose_end(socket,
                             socket_send_from_fd(socket, in_fd, NULL, clamp(count), send_flags,
                                                 (flags & SPLICE_F_NONBLOCK) == 0));
    }
    socket = interpose_cancellable(in_fd);
    if (socket == NULL)
        return REAL(splice)(in_fd, in_offset, out_fd, out_offset, count, flags);
    int error = count == 0 ? 0 : check_splice(out_fd, O_WRONLY, out_offset, in_offset);
    if (error < 0 || count == 0)
        return interpose_end(socket, error);
    bool nonblocking =
        (flags & SPLICE_F_NONBLOCK) || ((int)syscall(SYS_fcntl, out_fd, F_GETFL) & O_NONBLOCK);
    return interpose_end(socket, splice_out(socket, out_fd, count, nonblocking));
}

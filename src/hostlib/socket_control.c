#include "hostlib/socket_control.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>

#include <linux/errqueue.h>

#include "hostlib/socket_extra.h"
#include "hostlib/user_memory.h"

struct control_room control_room_of(const struct msghdr *message)
{
    return (struct control_room){.at = message->msg_control,
                                 .left =
                                     message->msg_control != NULL ? message->msg_controllen : 0};
}

/* Source: Linux net/core/scm.c. */
int control_put(struct control_room *room, int level, int type, const void *data, size_t length)
{
    struct cmsghdr header = {.cmsg_len = CMSG_LEN(length), .cmsg_level = level, .cmsg_type = type};
    if (room->left < sizeof(header)) {
        room->truncated = true;
        return 0;
    }
    if (room->left < header.cmsg_len) {
        room->truncated = true;
        header.cmsg_len = room->left;
    }
    size_t taken = CMSG_SPACE(length) < room->left ? CMSG_SPACE(length) : room->left;
    if (user_memory_copy_out(room->at, &header, sizeof(header)) < 0 ||
        user_memory_copy_out(room->at + sizeof(header), data, header.cmsg_len - sizeof(header)) < 0)
        return -EFAULT;
    room->at += taken;
    room->left -= taken;
    room->used += taken;
    return 0;
}

void socket_zerocopy_sent(struct socket *socket)
{
    socket_lock(socket);
    struct socket_extra *extra = socket_extra_get(socket);
    if (extra != NULL) {
        struct socket_error_queue *queue = &extra->errors;
        if (!queue->waits)
            queue->first = queue->next;
        queue->last = queue->next++;
        queue->waits = true;
        socket_changed(socket, EPOLLERR);
        socket_async_event(socket, SOCKET_WAKE_IO, POLL_ERR);
    }
    socket_unlock(socket);
}

int socket_take_report(struct socket *socket, struct control_room *room)
{
    struct {
        struct sock_extended_err error;
        union {
            struct sockaddr_in in;
            struct sockaddr_in6 in6;
        } offender;
    } report = {
        .error = {.ee_origin = SO_EE_ORIGIN_ZEROCOPY, .ee_code = SO_EE_CODE_ZEROCOPY_COPIED}};
    bool any = false;
    socket_lock(socket);
    if (socket->extra != NULL && socket->extra->errors.waits) {
        struct socket_error_queue *queue = &socket->extra->errors;
        report.error.ee_info = queue->first;
        report.error.ee_data = queue->last;
        queue->waits = false;
        any = true;
        socket_changed(socket, 0);
    }
    socket_unlock(socket);
    if (!any)
        return -EAGAIN;
    if (room == NULL)
        return 0;
    size_t offender = socket->is_v6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
    return control_put(room, socket->is_v6 ? IPPROTO_IPV6 : IPPROTO_IP,
                       socket->is_v6 ? IPV6_RECVERR : IP_RECVERR, &report,
                       sizeof(report.error) + offender);
}

int socket_inq(struct socket *socket)
{
    int unread = socket_unread_bytes(socket);
    return unread + (socket->peer_fin ? 1 : 0);
}

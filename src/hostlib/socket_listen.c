/* Passive open: bind, listen, accept, on the engine's stack and, for the wildcard address, on the
   kernel's beside it. */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "hostlib/notes.h"
#include "hostlib/placeholder.h"
#include "hostlib/policy.h"
#include "hostlib/real.h"
#include "hostlib/rejoin.h"
#include "hostlib/socket.h"
#include "hostlib/socket_extra.h"
#include "hostlib/user_memory.h"

/* Ports that the engine may choose and the kernel refuse before port 0 fails. */
#define PORT_TRIES 32

/* net.core.somaxconn, if it can't be read. */
#define BACKLOG_MAX_DEFAULT 4096

static int real_bind(int fd, const struct sockaddr *address, socklen_t length)
{
    return REAL(bind)(fd, address, length) < 0 ? -errno : 0;
}

static int engine_bind_once(struct socket *socket, struct ip_endpoint *endpoint)
{
    struct link_descriptor operation = socket_operation(socket, LINK_OP_BIND);
    struct link_descriptor answer;
    operation.endpoints.local = endpoint->address;
    operation.endpoints.local_port = endpoint->port;
    if (socket->options->reuse_address)
        operation.flags |= LINK_FLAG_REUSEADDR;
    if (socket->options->reuse_port || socket_bound_of(socket)->shared_out)
        operation.flags |= LINK_FLAG_REUSEPORT;
    if (socket->options->v6only)
        operation.flags |= LINK_FLAG_V6ONLY;
    if (socket->is_v6)
        operation.flags |= LINK_FLAG_IPV6;
    if (socket->options->bind_no_port && endpoint->port == 0 &&
        !ip_address_is_any(&endpoint->address))
        operation.flags |= LINK_FLAG_NO_PORT;
    operation.endpoints.accept_slot = socket->options->port_range;
    int error = engine_link_call(socket->link, socket->core, &operation, &answer);
    if (error < 0)
        return error;
    if (answer.error != 0)
        return -(int)answer.error;
    endpoint->port = answer.endpoints.local_port;
    return 0;
}

/* A port closed just before is free only when the engine's present round ends; its answer ends it.
 */
static int engine_bind(struct socket *socket, struct ip_endpoint *endpoint)
{
    int error = engine_bind_once(socket, endpoint);
    return error == -EADDRINUSE ? engine_bind_once(socket, endpoint) : error;
}

/* Let go of the slot; the engine's SLOT_FREE gives it back. */
static void engine_unbind(struct socket *socket)
{
    struct link_descriptor operation = socket_operation(socket, LINK_OP_CLOSE);
    socket_push(socket, &operation);
    socket_release_slot(socket);
}

/** Without memory for it the socket keeps what it had: the kernel's own does as it was told. */
static void socket_set_v6only(struct socket *socket, bool on)
{
    struct socket_options options = *socket->options;
    options.v6only = on;
    (void)socket_options_replace(socket, &options);
}

void socket_note_v6only(struct socket *socket, int fd)
{
    int on = 0;
    socklen_t length = sizeof(on);
    if (socket->is_v6 && REAL(getsockopt)(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, &length) == 0)
        socket_set_v6only(socket, on != 0);
}

static void set_bound(struct socket *socket, const struct ip_endpoint *endpoint, bool also_kernel)
{
    socket_lock(socket);
    socket->local = *endpoint;
    socket->also_kernel = also_kernel;
    socket->state = SOCKET_BOUND;
    socket_changed(socket, 0);
    socket_unlock(socket);
    socket_options_replay(socket);
}

/* Source: Linux tcp_disconnect(), with SOCK_BINDADDR_LOCK and SOCK_BINDPORT_LOCK. */
void socket_bind_again(struct socket *socket, struct engine_link *link, bool also_kernel)
{
    if (socket_bound_of(socket) == NULL)
        return;
    struct ip_endpoint endpoint = socket_bound_of(socket)->asked;
    if (endpoint.port == 0 && ip_address_is_any(&endpoint.address) && !also_kernel)
        return;
    if (socket_take_slot(socket, link) < 0)
        return;
    if (also_kernel)
        endpoint.port = socket->local.port; /* the kernel's half can't be unbound */
    else if (endpoint.port == 0)
        socket_bound_of(socket)->former_port = socket->local.port;
    if (engine_bind(socket, &endpoint) == 0)
        set_bound(socket, &endpoint, also_kernel);
    else
        engine_unbind(socket);
}

/* CAP_NET_BIND_SERVICE; where a sandbox does not let us ask, root has it. */
static bool has_port_right(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];
    if (syscall(SYS_capget, &header, data) < 0)
        return geteuid() == 0;
    return (data[0].effective >> CAP_NET_BIND_SERVICE & 1) != 0;
}

static bool may_use_port(uint16_t port)
{
    unsigned first = 1024;
    if (port == 0 || port >= first || has_port_right())
        return true;
    FILE *file = fopen("/proc/sys/net/ipv4/ip_unprivileged_port_start", "re");
    if (file != NULL) {
        if (fscanf(file, "%u", &first) != 1)
            first = 1024;
        (void)fclose(file);
    }
    return port >= first;
}

/* With PNO_LOOPBACK=1: what programs outside PnO have bound is not free, as it would not be if all
   were the kernel's. @return 0; -EADDRINUSE. */
static int check_kernels_ports(const struct socket *socket, const struct ip_endpoint *endpoint)
{
    struct sockaddr_storage name;
    socklen_t length = sizeof(name);
    const int reuse_address = socket->options->reuse_address;
    const int reuse_port = socket->options->reuse_port;
    if (!ip_address_is_loopback(&endpoint->address) || endpoint->port == 0)
        return 0;
    bool is_v6 = !ip_address_is_v4(&endpoint->address);
    int probe = (int)syscall(SYS_socket, is_v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (probe < 0) /* nothing can be told */
        return 0;
    (void)REAL(setsockopt)(probe, SOL_SOCKET, SO_REUSEADDR, &reuse_address, sizeof(int));
    (void)REAL(setsockopt)(probe, SOL_SOCKET, SO_REUSEPORT, &reuse_port, sizeof(int));
    socket_endpoint_write(endpoint, is_v6, (struct sockaddr *)&name, &length);
    int error = real_bind(probe, (struct sockaddr *)&name, length);
    syscall(SYS_close, probe);
    return error == -EADDRINUSE ? error : 0;
}

/* Bind the kernel's socket of descriptor fd too. @return 0; negative errno. */
static int bind_kernels(const struct socket *socket, int fd, const struct ip_endpoint *endpoint)
{
    struct sockaddr_storage name;
    socklen_t length = sizeof(name);
    socket_endpoint_write(endpoint, socket->is_v6, (struct sockaddr *)&name, &length);
    return real_bind(fd, (struct sockaddr *)&name, length);
}

/* A port that is free for both, where any will do. The engine first, since its binding can be
   undone and a kernel socket's can't.
   @param fd  the kernel's socket is bound as well; -1: no, its ports are only looked at. */
static int bind_port(struct socket *socket, int fd, const struct ip_endpoint *wanted,
                     struct engine_link *link)
{
    int error = -EADDRINUSE;
    for (int i = 0; i < PORT_TRIES; i++) {
        struct ip_endpoint endpoint = *wanted;
        error = socket_take_slot(socket, link);
        if (error < 0)
            return error;
        error = engine_bind(socket, &endpoint);
        if (error == 0)
            error = fd >= 0 ? bind_kernels(socket, fd, &endpoint)
                            : check_kernels_ports(socket, &endpoint);
        if (error == 0) {
            set_bound(socket, &endpoint, fd >= 0);
            socket_bound_of(socket)->asked = *wanted;
            return 0;
        }
        engine_unbind(socket);
        if (error != -EADDRINUSE || wanted->port != 0)
            break;
    }
    return error;
}

static int bind_wildcard(struct socket *socket, int fd, const struct ip_endpoint *wanted,
                         struct engine_link *link)
{
    return socket_get_bound(socket) == NULL ? -ENOBUFS : bind_port(socket, fd, wanted, link);
}

static int bind_engine_address(struct socket *socket, const struct ip_endpoint *wanted,
                               struct engine_link *link)
{
    if (!may_use_port(wanted->port))
        return -EACCES;
    if (socket_get_bound(socket) == NULL)
        return -ENOBUFS;
    /* As Linux does: an IPv6 address serves no IPv4. */
    if (socket->is_v6 && !ip_address_is_v4(&wanted->address))
        socket_set_v6only(socket, true);
    return bind_port(socket, -1, wanted, link);
}

static int bind_kernel(struct socket *socket, int fd, const struct sockaddr *address,
                       socklen_t length, const struct policy_reason *reason)
{
    int error = real_bind(fd, address, length);
    if (error < 0)
        return error;
    notes_set(fd, reason->reason, reason->rule);
    socket->state = SOCKET_KERNEL;
    return 0;
}

/* What has an address and no port can be bound anew: IP_BIND_ADDRESS_NO_PORT, and after a listener
   or a connection whose port was not the application's choice. */
static void give_up_address(struct socket *socket)
{
    socket_lock(socket);
    if (socket->state == SOCKET_BOUND &&
        (socket->local.port == 0 || socket_bound_of(socket)->former_port != 0)) {
        engine_unbind(socket);
        socket->state = SOCKET_FRESH;
        socket->local = socket_bound_of(socket)->asked = (struct ip_endpoint){0};
        socket_bound_of(socket)->former_port = 0;
        socket_changed(socket, 0);
    }
    socket_unlock(socket);
}

int socket_bind(struct socket *socket, int fd, const struct sockaddr *address, socklen_t length)
{
    struct ip_endpoint endpoint;
    give_up_address(socket);
    if (socket->state != SOCKET_FRESH)
        return -EINVAL;
    socket_note_v6only(socket, fd);
    struct policy_reason reason = {.reason = SOCKET_NOTE_NOT_LOCAL};
    if (socket_endpoint_parse(address, length, socket->is_v6, &endpoint) < 0)
        return bind_kernel(socket, fd, address, length, &reason);
    struct engine_link *link = policy_for_bind(&endpoint, &reason);
    if (link == NULL)
        return bind_kernel(socket, fd, address, length, &reason);
    if (ip_address_is_any(&endpoint.address) && endpoint.port == 0 && socket->options->bind_no_port)
        return real_bind(fd, address,
                         length); /* to nothing: which stack it is for is yet to come */
    if (ip_address_is_any(&endpoint.address))
        return bind_wildcard(socket, fd, &endpoint, link);
    return bind_engine_address(socket, &endpoint, link);
}

/* ---- listen ------------------------------------------------------------------------------- */

static int backlog_max(void)
{
    static _Atomic int cached;
    int limit = atomic_load_explicit(&cached, memory_order_relaxed);
    if (limit != 0)
        return limit;
    FILE *file = fopen("/proc/sys/net/core/somaxconn", "re");
    if (file == NULL || fscanf(file, "%d", &limit) != 1 || limit <= 0)
        limit = BACKLOG_MAX_DEFAULT;
    if (file != NULL)
        (void)fclose(file);
    atomic_store_explicit(&cached, limit, memory_order_relaxed);
    return limit;
}

/* The kernel's half never blocks: we poll both queues. */
static int kernel_listen(int fd, int backlog)
{
    int flags = (int)syscall(SYS_fcntl, fd, F_GETFL);
    if (flags < 0 || syscall(SYS_fcntl, fd, F_SETFL, flags | O_NONBLOCK) < 0)
        return -errno;
    return REAL(listen)(fd, backlog) < 0 ? -errno : 0;
}

static int engine_listen(struct socket *socket, int backlog)
{
    struct link_descriptor operation = socket_operation(socket, LINK_OP_LISTEN);
    struct link_descriptor answer;
    operation.option.value = (unsigned)backlog > (unsigned)backlog_max() ? backlog_max() : backlog;
    int error = engine_link_call(socket->link, socket->core, &operation, &answer);
    if (error == 0 && answer.error == 0 && socket->local.port == 0) {
        socket_lock(socket);
        socket->local.port = answer.endpoints.local_port;
        socket_unlock(socket);
    }
    return error < 0 ? error : -(int)answer.error;
}

/* The engine may announce a connection right behind its answer, and whoever reads the ring for us
   then must find a listener (socket_accept_arrived()). */
static int begin_to_listen(struct socket *socket, int backlog)
{
    socket_lock(socket);
    socket->state = SOCKET_LISTENING;
    socket_unlock(socket);
    return engine_listen(socket, backlog);
}

/* Listening without an address binds to an ephemeral port of the wildcard address. */
static int bind_implicitly(struct socket *socket, int fd)
{
    struct ip_endpoint any = {0};
    if (!socket->is_v6)
        any.address = ip_address_from_v4(&(uint32_t){0});
    struct policy_reason reason;
    struct engine_link *link = policy_for_bind(&any, &reason);
    if (link == NULL) {
        notes_set(fd, reason.reason, reason.rule);
        socket->state = SOCKET_KERNEL;
        return 0;
    }
    return bind_wildcard(socket, fd, &any, link);
}

/* What is bound to the wildcard address can still be the kernel's alone, if a rule on listen says
   so. */
static void leave_to_kernel_by_rule(struct socket *socket, int fd)
{
    struct policy_reason reason;
    if (socket->state != SOCKET_BOUND || !socket->also_kernel ||
        policy_for_listen(socket->link, &socket->local, &reason))
        return;
    notes_set(fd, reason.reason, reason.rule);
    socket_lock(socket);
    engine_unbind(socket);
    socket->state = SOCKET_KERNEL;
    socket_unlock(socket);
}

/* With PNO_LOOPBACK=1: what libc connects by itself (its resolver does), and programs outside PnO,
   find a listener on a loopback address where they look, in the kernel. The engine has granted the
   name; a kernel that does not leaves the listener the engine's alone. */
static bool listen_in_kernel_too(struct socket *socket, int fd, int backlog)
{
    struct sockaddr_storage name;
    socklen_t length = sizeof(name);
    if (!ip_address_is_loopback(&socket->local.address))
        return false;
    socket_endpoint_write(&socket->local, socket->is_v6, (struct sockaddr *)&name, &length);
    return real_bind(fd, (struct sockaddr *)&name, length) == 0 && kernel_listen(fd, backlog) == 0;
}

int socket_listen(struct socket *socket, int fd, int backlog)
{
    int error = 0;
    if (socket->state == SOCKET_FRESH)
        error = bind_implicitly(socket, fd);
    if (error < 0)
        return error;
    leave_to_kernel_by_rule(socket, fd);
    if (socket->state == SOCKET_KERNEL)
        return REAL(listen)(fd, backlog) < 0 ? -errno : 0;
    if (socket->state != SOCKET_BOUND && socket->state != SOCKET_LISTENING)
        return -EINVAL;
    if (socket->also_kernel)
        error = kernel_listen(fd, backlog);
    uint8_t before = socket->state;
    if (error == 0)
        error = begin_to_listen(socket, backlog);
    bool joined = error == 0 && before == SOCKET_BOUND && !socket->also_kernel &&
                  listen_in_kernel_too(socket, fd, backlog);
    bool engine_died = error == -ECONNRESET && socket->also_kernel;
    if (engine_died)
        error = 0; /* the kernel's half goes on */
    socket_lock(socket);
    if (error < 0) {
        socket->state = before;
        socket_unlock(socket);
        return error;
    }
    if (engine_died)
        rejoin_add(socket);
    if (joined)
        socket->also_kernel = true;
    socket_bound_of(socket)->former_port = 0;
    socket->state = SOCKET_LISTENING;
    socket_bound_of(socket)->backlog = backlog;
    if (before == SOCKET_LISTENING)
        socket_changed(socket, 0);
    else
        socket_state_changed(socket);
    socket_unlock(socket);
    return 0;
}

int socket_listen_again(struct socket *socket, struct engine_link *link)
{
    struct ip_endpoint endpoint = socket->local;
    bool is_retry = socket->link == link;
    if (socket->state != SOCKET_LISTENING)
        return 0;
    if (!is_retry) {
        struct link_socket_name name;
        if (!engine_link_slot_allocate(link, &name))
            return -ENOBUFS;
        socket_change_link(socket, link, &name);
    }
    int error = engine_bind(socket, &endpoint);
    if (error == -EINVAL && is_retry)
        error = 0; /* bound, the last time */
    if (error < 0)
        return error;
    socket_options_replay(socket);
    return engine_listen(socket, socket_bound_of(socket)->backlog);
}

/* ---- accept ------------------------------------------------------------------------------- */

static struct socket *pop_queue(struct socket *listener)
{
    struct socket_bound *bound = socket_bound_of(listener);
    struct socket *socket = bound->accept_first;
    if (socket == NULL)
        return NULL;
    __atomic_store_n(&bound->accept_first, socket->accept_next, __ATOMIC_RELAXED);
    if (bound->accept_first == NULL)
        bound->accept_last = NULL;
    socket->accept_next = NULL;
    socket->queued = false;
    return socket;
}

/* Whether another process that shares the listener has accepted this connection, or even a later
   one in its slot. */
static bool is_taken(const struct engine_link *link, const struct socket *socket)
{
    uint32_t claimed = atomic_load_explicit(&link->claims[socket->name.slot], memory_order_acquire);
    return (int32_t)(claimed - socket->name.incarnation) >= 0;
}

/* The queue is walked so far at most. */
#define WALKED_MAX 64

bool socket_accept_all_taken(const struct socket *listener)
{
    /* NULL when another thread has just shut it down. */
    const struct engine_link *link = listener->link;
    const struct socket *queued =
        __atomic_load_n(&socket_bound_of(listener)->accept_first, __ATOMIC_ACQUIRE);
    for (int i = 0; i < WALKED_MAX && queued != NULL; i++) {
        /* Taken out by a thread of ours meanwhile, its memory is still there. */
        if (link == NULL || !atomic_load(&queued->queued) || !is_taken(link, queued))
            return false;
        queued = __atomic_load_n(&queued->accept_next, __ATOMIC_ACQUIRE);
    }
    return queued == NULL;
}

/* @return whether no process was faster. */
static bool claim(_Atomic uint32_t *claims, const struct link_socket_name *name)
{
    _Atomic uint32_t *place = &claims[name->slot];
    uint32_t claimed = atomic_load_explicit(place, memory_order_acquire);
    while ((int32_t)(claimed - name->incarnation) < 0) {
        if (atomic_compare_exchange_weak_explicit(place, &claimed, name->incarnation,
                                                  memory_order_acq_rel, memory_order_acquire))
            return true;
    }
    return false;
}

bool socket_wakes_exclusively(struct socket *listener)
{
    const struct link_socket_name *arriving = &socket_bound_of(listener)->arriving;
    return listener->state != SOCKET_LISTENING || !listener->shared || arriving->incarnation == 0 ||
           claim(listener->link->wakes, arriving);
}

/* A process that never accepts must not gather what others have long taken. */
static void drop_taken(struct socket *listener)
{
    while (listener->shared && socket_bound_of(listener)->accept_first != NULL &&
           is_taken(listener->link, socket_bound_of(listener)->accept_first)) {
        struct socket *socket = pop_queue(listener);
        socket_release_slot(socket);
        socket_free(socket);
    }
}

/* In the order in which the engine announced them; a newcomer among the listener's processes may
   be told in another. */
static void enqueue(struct socket *listener, struct socket *socket)
{
    struct socket **place = &socket_bound_of(listener)->accept_first;
    struct socket *last = socket_bound_of(listener)->accept_last;
    if (last != NULL && (int32_t)(socket->accept_sequence - last->accept_sequence) > 0)
        place = &last->accept_next;
    while (*place != NULL && (int32_t)(socket->accept_sequence - (*place)->accept_sequence) > 0)
        place = &(*place)->accept_next;
    socket->accept_next = *place;
    socket->queued = true;
    __atomic_store_n(place, socket, __ATOMIC_RELEASE);
    if (socket->accept_next == NULL)
        socket_bound_of(listener)->accept_last = socket;
}

/* What is a listener's alone. Source: Linux net/ipv4/inet_connection_sock.c,
   inet_csk_clone_lock(). */
#define OPTIONS_OF_LISTENERS                                                                       \
    (1u << LINK_OPTION_DEFER_ACCEPT_S | 1u << LINK_OPTION_QUICKACK | 1u << LINK_OPTION_FAST_OPEN)

/* @return false: no memory. */
static bool inherit_options(struct socket *socket, const struct socket *listener)
{
    const struct socket_options *inherited = listener->options;
    struct socket_options own;
    if (inherited->set & OPTIONS_OF_LISTENERS) {
        own = *inherited;
        own.set &= ~OPTIONS_OF_LISTENERS;
        own.values[LINK_OPTION_DEFER_ACCEPT_S] = own.values[LINK_OPTION_QUICKACK] =
            own.values[LINK_OPTION_FAST_OPEN] = 0;
        inherited = &own;
    }
    if (!socket_options_replace(socket, inherited))
        return false;
    if (listener->extra == NULL || !listener->extra->peeks_onward)
        return true;
    struct socket_extra *extra = socket_extra_get(socket);
    if (extra == NULL)
        return false;
    extra->peeks_onward = true;
    extra->peek_offset = listener->extra->peek_offset;
    return true;
}

/* No memory for a connection: its peer is reset, rather than left with one that nobody ever
   accepts, unless another process that shares the listener takes it. */
static void refuse(struct engine_link *link, unsigned core, uint32_t slot, uint32_t incarnation)
{
    const struct link_descriptor operation = {.type = LINK_OP_CLOSE,
                                              .flags = LINK_FLAG_ABORT,
                                              .socket = {.slot = slot, .incarnation = incarnation}};
    engine_link_push(link, core, &operation);
}

void socket_accept_arrived(struct socket *listener, unsigned core,
                           const struct link_descriptor *descriptor)
{
    struct engine_link *link = listener->link;
    uint32_t slot = descriptor->endpoints.accept_slot;
    if (listener->state != SOCKET_LISTENING || slot >= link->hello.slots)
        return;
    struct socket *before = atomic_load_explicit(&link->slots[slot], memory_order_acquire);
    if (before != NULL && before->name.incarnation == descriptor->accept_incarnation)
        return;
    if (before != NULL && before->detached) {
        socket_release_slot(before);
        socket_free(before);
    }
    /* Any other one before it was accepted and ended by another process; it is in our queue yet. */
    drop_taken(listener);
    struct socket *socket = socket_create(listener->is_v6);
    if (socket == NULL || !inherit_options(socket, listener)) {
        if (socket != NULL)
            socket_free(socket);
        refuse(link, core, slot, descriptor->accept_incarnation);
        return;
    }
    socket->link = link;
    socket->name.slot = slot;
    socket->name.incarnation = descriptor->accept_incarnation;
    socket->core = (uint8_t)core;
    socket->is_accepted = true;
    socket->connect_reported = true;
    socket->state = SOCKET_CONNECTED;
    socket->send_limit = socket_first_send_limit(socket, link);
    socket->local.address = descriptor->endpoints.local;
    socket->local.port = descriptor->endpoints.local_port;
    socket->remote.address = descriptor->endpoints.remote;
    socket->remote.port = descriptor->endpoints.remote_port;
    socket->accept_sequence = descriptor->request_id;
    socket_bound_of(listener)->arrived++;
    enqueue(listener, socket);
    engine_link_slot_set(link, slot, socket);
    socket_bound_of(listener)->arriving = socket->name;
    socket_changed(listener, SOCKET_EVENTS_OF_DATA);
    socket_bound_of(listener)->arriving.incarnation = 0;
    socket_async_event(listener, SOCKET_WAKE_READERS, POLL_IN);
}

void socket_accept_discard(struct socket *listener)
{
    struct socket *socket;
    while ((socket = pop_queue(listener)) != NULL) {
        socket_release_slot(socket);
        socket_free(socket);
    }
}

/* Take a connection off the queue for this process, if no other process that shares the listener
   was faster. */
static struct socket *take_connection(struct socket *listener)
{
    struct socket *socket;
    socket_lock(listener);
    while ((socket = pop_queue(listener)) != NULL) {
        if (!listener->shared || claim(socket->link->claims, &socket->name))
            break;
        socket_release_slot(socket);
        socket_free(socket);
    }
    socket_changed(listener, 0);
    socket_unlock(listener);
    return socket;
}

static void begin_accepted(struct socket *socket, const struct socket *listener, bool nonblocking)
{
    socket_lock(socket);
    if (!atomic_load_explicit(&socket->link->dead, memory_order_relaxed)) {
        struct link_descriptor operation = socket_operation(socket, LINK_OP_ACCEPTED);
        operation.option.value = listener->name.slot;
        socket_push(socket, &operation);
    }
    socket_attach_block(socket);
    if (socket->shared) /* queued at a fork: as socket_lock() does where there is a block */
        lock_acquire_shared(&socket->block->lock);
    atomic_store_explicit(&socket->nonblocking, nonblocking, memory_order_relaxed);
    socket_changed(socket, 0);
    socket_unlock(socket);
}

/* @return a descriptor; -EAGAIN; or why none can be made (then the connection stays queued). */
static int accept_offloaded(struct socket *listener, struct sockaddr *address, socklen_t *length,
                            int flags)
{
    socket_look(listener);
    if (!socket_has_pending(listener))
        return -EAGAIN;
    int fd = placeholder_open(listener->is_v6, (flags & SOCK_CLOEXEC) != 0);
    if (fd < 0)
        return fd;
    struct socket *socket = take_connection(listener);
    if (socket == NULL) {
        syscall(SYS_close, fd);
        return -EAGAIN;
    }
    begin_accepted(socket, listener, (flags & SOCK_NONBLOCK) != 0);
    if (address != NULL)
        socket_endpoint_write(&socket->remote, socket->is_v6, address, length);
    if (!fd_set_file(fd, &socket->file)) {
        file_put(&socket->file);
        syscall(SYS_close, fd);
        return -EMFILE;
    }
    return fd;
}

static int accept_once(struct socket *listener, int fd, struct sockaddr *address, socklen_t *length,
                       int flags)
{
    int result = accept_offloaded(listener, address, length, flags);
    if (result != -EAGAIN)
        return result;
    /* Never blocks; and no cancellation point, unlike libc's accept4(). Where the kernel's socket
       does not listen, this says whether a descriptor is free: Linux takes that before it looks
       into the queue. */
    result = (int)syscall(SYS_accept4, fd, address, length, flags);
    if (result < 0)
        return listener->also_kernel || errno == EMFILE || errno == ENFILE ? -errno : -EAGAIN;
    notes_set(result, SOCKET_NOTE_KERNEL_HALF, 0);
    return result;
}

static int check_accept(const struct socket *socket, struct sockaddr *address, socklen_t *length,
                        int flags)
{
    if ((flags & ~(SOCK_CLOEXEC | SOCK_NONBLOCK)) != 0 || socket->state != SOCKET_LISTENING)
        return -EINVAL;
    if (address != NULL && (user_memory_unwritable(length, sizeof(*length)) ||
                            ((int)*length > 0 && user_memory_unwritable(address, *length))))
        return -EFAULT;
    return address != NULL && (int)*length < 0 ? -EINVAL : 0;
}

int socket_try_accept(struct socket *socket, int fd, struct sockaddr *address, socklen_t *length,
                      int flags)
{
    int error = check_accept(socket, address, length, flags);
    if (error < 0)
        return error;
    atomic_store_explicit(&socket_bound_of(socket)->accepts, true, memory_order_relaxed);
    rejoin_poll();
    return accept_once(socket, fd, address, length, flags);
}

int socket_accept(struct socket *socket, int fd, struct sockaddr *address, socklen_t *length,
                  int flags)
{
    int error = check_accept(socket, address, length, flags);
    if (error < 0)
        return error;
    uint64_t deadline_ns = socket_deadline_ns(socket->options->receive_timeout_ns);
    atomic_store_explicit(&socket_bound_of(socket)->accepts, true, memory_order_relaxed);
    rejoin_poll();
    for (;;) {
        int result = accept_once(socket, fd, address, length, flags);
        if (result != -EAGAIN || atomic_load_explicit(&socket->nonblocking, memory_order_relaxed))
            return result;
        result = socket_wait(socket, EPOLLIN | EPOLLHUP, socket->also_kernel ? fd : -1, deadline_ns,
                             deadline_ns == TIME_NEVER);
        if (socket->state != SOCKET_LISTENING)
            return -EINVAL;
        if (result < 0)
            return result == -ETIMEDOUT ? -EAGAIN : result;
    }
}

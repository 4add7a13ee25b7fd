#include "engine/control.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "engine/control_json.h"
#include "engine/engine_core.h"
#include "engine/port_right.h"
#include "engine/socket.h"

#define CONNECTIONS_MAX             8192
#define TENANTS_MAX                 1024
#define USER_QUARTERS               3 /* of both, one user's; not root's, nor pnod's own */
#define REQUEST_BYTES_MAX           4096
#define SOCKET_MODE                 0666 /* as anybody may use the kernel's TCP */
#define CAPABILITY_NET_BIND_SERVICE 10

enum connection_kind { CONNECTION_NEW, CONNECTION_JSON, CONNECTION_PROCESS, CONNECTION_CAPTURE };

struct control_connection {
    int fd;
    uid_t uid;
    enum connection_kind kind;
    struct process *process;
    uint32_t handed_by; /**< the process whose LINK_REQUEST_CONNECT it came by; 0: by the path */
    struct capture_reader *capture;
    struct link_control_reader reader;
    union {
        uint8_t first;
        struct link_hello hello;
        struct link_request request;
        char text[REQUEST_BYTES_MAX];
    } input;
    char *output; /**< an answer being written; NULL: none */
    size_t output_bytes, output_sent;
    LIST_ENTRY(control_connection) link;
};

/* ---- Connections
 * --------------------------------------------------------------------------------- */

static void sweep_tenants(struct control *control)
{
    struct tenant *tenant, *next;
    for (tenant = LIST_FIRST(&control->tenants); tenant != NULL; tenant = next) {
        next = LIST_NEXT(tenant, link);
        /* Acquire pairs with the release in socket_free(): the core is done with its sockets. */
        if (!LIST_EMPTY(&tenant->processes) ||
            atomic_load_explicit(&tenant->sockets_live, memory_order_acquire) != 0)
            continue;
        LIST_REMOVE(tenant, link);
        control->tenant_count--;
        log_info("tenant %u ended", tenant->id);
        tenant_destroy(tenant);
    }
}

static void drop_connection(struct control *control, struct control_connection *connection)
{
    if (connection->process != NULL) {
        if (!connection->process->is_ticket)
            log_info("process %u (%s, pid %d) left tenant %u", connection->process->id,
                     connection->process->program, (int)connection->process->pid,
                     connection->process->tenant->id);
        process_destroy(connection->process);
    }
    if (connection->capture != NULL) {
        capture_finish(&control->capture, connection->capture);
        (void)capture_write(connection->capture);
        capture_close(&control->capture, connection->capture);
    }
    link_control_reader_discard(&connection->reader);
    (void)close(connection->fd);
    LIST_REMOVE(connection, link);
    control->connection_count--;
    free(connection->output);
    free(connection);
}

static void expect(struct control_connection *connection, size_t bytes)
{
    link_control_reader_discard(&connection->reader);
    link_control_reader_init(&connection->reader, (uint8_t *)&connection->input, bytes);
}

static struct ucred peer_of(int fd)
{
    struct ucred peer = {.uid = (uid_t)-1};
    socklen_t length = sizeof(peer);
    (void)getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length);
    return peer;
}

static bool is_trusted(uid_t uid)
{
    return uid == 0 || uid == geteuid();
}

/** Whether one more fits beside `count` of all users' and `own` of this one's. */
static bool has_room(unsigned count, unsigned own, unsigned max, uid_t uid)
{
    return count < max && (is_trusted(uid) || own < max / 4 * USER_QUARTERS);
}

static bool may_connect(const struct control *control, uid_t uid)
{
    const struct control_connection *connection;
    unsigned own = 0;
    LIST_FOREACH(connection, &control->connections, link)
    own += connection->uid == uid;
    return has_room(control->connection_count, own, CONNECTIONS_MAX, uid);
}

static bool may_make_tenant(const struct control *control, uid_t uid)
{
    const struct tenant *tenant;
    unsigned own = 0;
    LIST_FOREACH(tenant, &control->tenants, link)
    own += tenant->uid == uid;
    return has_room(control->tenant_count, own, TENANTS_MAX, uid);
}

/** @param handed_by  see struct control_connection; what a process sent only speaks the link. */
static void add_connection(struct control *control, int fd, uint32_t handed_by)
{
    struct control_connection *connection = NULL;
    uid_t uid = peer_of(fd).uid;
    if (may_connect(control, uid))
        connection = calloc(1, sizeof(*connection));
    if (connection == NULL) {
        (void)close(fd);
        return;
    }
    int on = 1;
    (void)setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)); /* LINK_REQUEST_PROCESS */
    connection->fd = fd;
    connection->uid = uid;
    connection->handed_by = handed_by;
    link_control_reader_init(&connection->reader, &connection->input.first, 1);
    struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP, .data = {.ptr = connection}};
    if (epoll_ctl(control->epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0) {
        (void)close(fd);
        free(connection);
        return;
    }
    LIST_INSERT_HEAD(&control->connections, connection, link);
    control->connection_count++;
}

static void accept_connection(struct control *control)
{
    int fd = accept4(control->listener.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd >= 0)
        add_connection(control, fd, 0);
}

/* ---- Hello
 * --------------------------------------------------------------------------------------- */

/** Capabilities count in the user namespace that they are of. Whose that is can't be seen under all
    sandboxes of pnod's own; the peer's user is in terms of ours. */
static bool is_of_our_user_namespace(const struct ucred *peer)
{
    char path[64];
    struct stat theirs, ours;
    (void)snprintf(path, sizeof(path), "/proc/%d/ns/user", (int)peer->pid);
    if (stat("/proc/self/ns/user", &ours) != 0 || stat(path, &theirs) != 0)
        return peer->uid == 0;
    return theirs.st_dev == ours.st_dev && theirs.st_ino == ours.st_ino;
}

/** Does the peer have CAP_NET_BIND_SERVICE? Asked of /proc, for it joins under its own rights. Not
    those of a set-user-ID program that it has become since it connected. */
static bool may_bind_low_ports(const struct ucred *peer)
{
    char path[64];
    char line[256];
    unsigned long long effective = 0;
    unsigned long user = (unsigned long)-1;
    (void)snprintf(path, sizeof(path), "/proc/%d/status", (int)peer->pid);
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return false;
    while (fgets(line, sizeof(line), file) != NULL) {
        char *rest;
        if (strncmp(line, "CapEff:", 7) == 0)
            effective = strtoull(line + 7, NULL, 16);
        if (strncmp(line, "Uid:", 4) == 0) { /* real, effective, … */
            (void)strtoul(line + 4, &rest, 10);
            user = strtoul(rest, NULL, 10);
        }
    }
    (void)fclose(file);
    return (effective >> CAPABILITY_NET_BIND_SERVICE & 1) != 0 && user == peer->uid &&
           is_of_our_user_namespace(peer);
}

/** Its name goes to terminals and logs. */
static void make_printable(char *name)
{
    for (; *name != '\0'; name++)
        if (*name < ' ' || *name > '~')
            *name = '?';
}

static int send_refusal(struct control_connection *connection, int error, const char *why)
{
    struct link_hello_reply reply = {
        .magic = LINK_MAGIC,
        .abi_version = LINK_ABI_VERSION,
        .error = (uint16_t)-error,
    };
    (void)snprintf(reply.message, sizeof(reply.message), "%s", why);
    (void)link_control_send(connection->fd, &reply, sizeof(reply), NULL, 0, 0);
    log_warning("an application was refused: %s", why);
    return error;
}

static void fill_reply(const struct control *control, const struct process *process,
                       struct link_hello_reply *reply)
{
    const struct tenant *tenant = process->tenant;
    const struct engine_options *options = &control->engine->options;
    *reply = (struct link_hello_reply){
        .magic = LINK_MAGIC,
        .abi_version = LINK_ABI_VERSION,
        .process_id = process->id,
        .engine_cores = control->engine->core_count,
        .arena_bytes = tenant->layout.arena_bytes,
        .window_bytes = tenant->layout.window_bytes,
        .receive_region_offset = tenant->layout.receive_region,
        .receive_region_bytes = tenant->layout.sizes.receive_region_bytes,
        .host_region_offset = tenant->layout.host_region,
        .host_region_bytes = tenant->layout.sizes.host_region_bytes,
        .slots = tenant->slots,
        .host_slots = TENANT_HOST_SLOTS,
        .send_buffer_initial = options->stack.tcp.send_buffer_initial,
        .congestion = options->stack.tcp.congestion,
        .address_count = options->address_count,
        .gateway_v4 = options->has_gateway_v4,
        .gateway_v6 = options->has_gateway_v6,
        .fast_open = (options->stack.tcp.fast_open & TCP_FAST_OPEN_CLIENT) != 0,
    };
    memcpy(reply->tenant_token, tenant->token, sizeof(reply->tenant_token));
    if (tenant->may_bind_low_ports)
        port_right_make(&control->port_right_key, reply->port_right);
    for (unsigned i = 0; i < options->address_count; i++) {
        reply->addresses[i].address = options->addresses[i].address;
        reply->addresses[i].prefix_length = options->addresses[i].prefix_length;
    }
}

static int send_welcome(const struct control *control, struct control_connection *connection)
{
    const struct tenant *tenant = connection->process->tenant;
    struct link_hello_reply reply;
    int descriptors[2 + LINK_CORES_MAX] = {tenant->arena_fd, tenant->window_fd};
    for (unsigned i = 0; i < control->engine->core_count; i++)
        descriptors[2 + i] = tenant->doorbells[i];
    fill_reply(control, connection->process, &reply);
    return link_control_send(connection->fd, &reply, sizeof(reply), descriptors,
                             2 + control->engine->core_count, 0);
}

static struct process *find_process(const struct tenant *tenant, uint32_t id)
{
    struct process *process;
    LIST_FOREACH(process, &tenant->processes, link)
    {
        if (process->id == id)
            return process;
    }
    return NULL;
}

static int find_family(struct control *control, const struct link_hello *hello,
                       struct tenant **tenant, struct process **parent)
{
    LIST_FOREACH(*tenant, &control->tenants, link)
    {
        if (memcmp((*tenant)->token, hello->tenant_token, sizeof(hello->tenant_token)) != 0)
            continue;
        *parent = find_process(*tenant, hello->parent_process);
        if (*parent != NULL)
            return 0;
    }
    return -ESRCH;
}

/** LINK_HELLO_SHARE. @return 0: it is done. */
static int share(struct control_connection *connection, struct process *ticket)
{
    struct process *process = find_process(ticket->tenant, connection->input.hello.process);
    if (!ticket->is_ticket || process == NULL || process->is_ticket)
        return send_refusal(connection, -ESRCH, "no such ticket or process");
    process_share(ticket, process);
    struct link_hello_reply reply = {.magic = LINK_MAGIC, .abi_version = LINK_ABI_VERSION};
    expect(connection, sizeof(struct link_request));
    return link_control_send(connection->fd, &reply, sizeof(reply), NULL, 0, 0);
}

/** LINK_HELLO_PASS, once the connection has become a process. */
static int issue_ticket(const struct control *control, struct control_connection *connection,
                        struct process *sender)
{
    struct process *ticket = connection->process;
    struct link_hello_reply reply;
    ticket->is_ticket = true;
    int result = process_pass(sender, ticket, connection->input.hello.socket);
    if (result != 0)
        return send_refusal(connection, result, "the socket to pass is not the sender's");
    fill_reply(control, ticket, &reply);
    expect(connection, sizeof(struct link_request));
    return link_control_send(connection->fd, &reply, sizeof(reply), NULL, 0, 0);
}

/** To join a family by a socket that it sent is to share its memory: not with other users, root not
    excepted, whom it could be used against. */
static bool may_join(const struct process *parent, const struct ucred *peer)
{
    return !parent->is_ticket || peer->uid == parent->uid || peer->uid == parent->tenant->uid;
}

/** The token alone, which travels in tickets, gives no rights: who speaks for a process, or for a
    ticket, does so by a connection that came over that one's. */
static bool is_handed_rightly(const struct control_connection *connection)
{
    const struct link_hello *hello = &connection->input.hello;
    return connection->handed_by ==
           (hello->kind == LINK_HELLO_SHARE ? hello->process : hello->parent_process);
}

static int join(struct control *control, struct control_connection *connection)
{
    struct link_hello *hello = &connection->input.hello;
    struct ucred peer = peer_of(connection->fd);
    hello->program[LINK_PROGRAM_MAX - 1] = '\0';
    make_printable(hello->program);
    struct tenant *tenant = NULL;
    struct process *parent = NULL;
    int result;
    bool passes = hello->kind == LINK_HELLO_PASS;
    if (hello->kind == LINK_HELLO_FORK || hello->kind == LINK_HELLO_SHARE || passes) {
        result = find_family(control, hello, &tenant, &parent);
        if (result != 0 || !is_handed_rightly(connection))
            return send_refusal(connection, -ESRCH, "fork: no such tenant or parent process");
        if (hello->kind == LINK_HELLO_SHARE)
            return share(connection, parent);
        if (!may_join(parent, &peer))
            return send_refusal(connection, -EPERM,
                                "a socket sent by another user's application, not under its user");
    } else if (hello->kind != LINK_HELLO_TENANT) {
        return send_refusal(connection, -EPROTO, "unknown kind of hello");
    } else if (!may_make_tenant(control, peer.uid)) {
        return send_refusal(connection, -EUSERS, "too many applications");
    } else {
        result = tenant_create(control->engine, ++control->next_tenant_id, &tenant);
        if (result != 0)
            return send_refusal(connection, result, "no memory for another application");
        tenant->uid = peer.uid;
        tenant->may_bind_low_ports =
            may_bind_low_ports(&peer) ||
            port_right_is_good(&control->port_right_key, hello->port_right);
        LIST_INSERT_HEAD(&control->tenants, tenant, link);
        control->tenant_count++;
    }
    result = process_create(tenant, passes ? NULL : parent, ++control->next_process_id, peer.pid,
                            hello->program, &connection->process);
    if (result != 0)
        return send_refusal(connection, result, "too many processes in this application");
    connection->kind = CONNECTION_PROCESS;
    connection->process->uid = peer.uid;
    if (passes)
        return issue_ticket(control, connection, parent);
    log_info("process %u (%s, pid %d) joined tenant %u", connection->process->id,
             connection->process->program, (int)peer.pid, tenant->id);
    expect(connection, sizeof(struct link_request));
    return send_welcome(control, connection);
}

/** @return 0: go on reading; negative: drop the connection. */
static int receive_hello(struct control *control, struct control_connection *connection)
{
    struct link_hello *hello = &connection->input.hello;
    if (connection->reader.wanted == 1) {
        if (connection->input.first == '{' && connection->handed_by == 0) {
            connection->kind = CONNECTION_JSON;
            connection->reader.wanted = REQUEST_BYTES_MAX;
        } else {
            connection->reader.wanted = offsetof(struct link_hello, pid);
        }
        return 0;
    }
    if (hello->magic != LINK_MAGIC)
        return -EPROTO;
    if (hello->abi_version != LINK_ABI_VERSION) {
        char why[112];
        (void)snprintf(why, sizeof(why),
                       "libpno.so speaks link version %u, pnod %u: install matching versions",
                       hello->abi_version, LINK_ABI_VERSION);
        return send_refusal(connection, -EPROTONOSUPPORT, why);
    }
    if (connection->reader.wanted < sizeof(*hello)) {
        connection->reader.wanted = sizeof(*hello);
        return 0;
    }
    return join(control, connection);
}

/* ---- Requests
 * ------------------------------------------------------------------------------------ */

static int receive_request(struct control *control, struct control_connection *connection)
{
    struct link_request request = connection->input.request;
    struct link_channel_reply reply = {.magic = LINK_MAGIC};
    struct channel *channel = NULL;
    pid_t sender = connection->reader.sender.pid;
    if (request.magic != LINK_MAGIC)
        return -EPROTO;
    int handed = -1;
    if (request.type == LINK_REQUEST_CONNECT && connection->reader.descriptor_count > 0)
        handed = connection->reader.descriptors[--connection->reader.descriptor_count];
    expect(connection, sizeof(struct link_request));
    if (handed >= 0) {
        add_connection(control, handed, connection->process->id);
        return 0;
    }
    if (request.type == LINK_REQUEST_PROCESS) {
        if (sender > 0)
            connection->process->pid = sender;
        return 0;
    }
    if (request.type != LINK_REQUEST_CHANNEL || connection->process->is_ticket)
        return -EPROTO;
    int result = channel_create(connection->process, &channel, &reply);
    reply.error = (uint32_t)-result;
    return link_control_send(connection->fd, &reply, sizeof(reply),
                             result == 0 ? &channel->doorbell_fd : NULL, result == 0 ? 1 : 0, 0);
}

/** @return 0: more is to be written; negative: done, or the reader is gone. */
static int write_answer(struct control_connection *connection)
{
    while (connection->output_sent < connection->output_bytes) {
        ssize_t sent = send(connection->fd, connection->output + connection->output_sent,
                            connection->output_bytes - connection->output_sent, MSG_NOSIGNAL);
        if (sent < 0)
            return errno == EAGAIN || errno == EINTR ? 0 : -errno;
        connection->output_sent += (size_t)sent;
    }
    return -ESHUTDOWN;
}

/** Others' traffic is for those who could capture it on a kernel's interface, or are pnod's own. */
static bool may_capture(int fd)
{
    return is_trusted(peer_of(fd).uid);
}

/** @return the refusal, NULL: no memory for it; unless the connection becomes a capture. */
static char *begin_capture(struct control *control, struct control_connection *connection,
                           const char *filter)
{
    char problem[512] = "to capture takes root's rights, or those of pnod's user";
    int result = may_capture(connection->fd)
                     ? capture_open(&control->capture, connection->fd, filter, &connection->capture,
                                    problem, sizeof(problem))
                     : -EPERM;
    if (result != 0)
        return control_json_error(problem);
    connection->kind = CONNECTION_CAPTURE;
    return NULL;
}

/** Readers get what there is for them; those that are gone, or have all, are let go. */
static void serve_captures(struct control *control)
{
    struct control_connection *connection, *next;
    if (!capture_is_on(&control->capture))
        return;
    capture_collect(&control->capture);
    for (connection = LIST_FIRST(&control->connections); connection != NULL; connection = next) {
        next = LIST_NEXT(connection, link);
        if (connection->capture != NULL && capture_write(connection->capture) < 0)
            drop_connection(control, connection);
    }
}

/** Something from a reader: he ends the capture by closing, or shutting down, his end. */
static int receive_from_capture(struct control *control, struct control_connection *connection)
{
    char ignored[256];
    ssize_t received = recv(connection->fd, ignored, sizeof(ignored), MSG_DONTWAIT);
    if (received < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -errno;
    if (received > 0)
        return 0;
    capture_finish(&control->capture, connection->capture);
    /* The end of his stream is no longer news. */
    struct epoll_event event = {.events = EPOLLOUT, .data = {.ptr = connection}};
    (void)epoll_ctl(control->epoll_fd, EPOLL_CTL_MOD, connection->fd, &event);
    return capture_write(connection->capture);
}

static int receive_json(struct control *control, struct control_connection *connection)
{
    size_t received = connection->reader.received;
    const char *end = memchr(connection->input.text, '\n', received);
    if (end == NULL)
        return -EMSGSIZE;
    size_t length = (size_t)(end - connection->input.text);
    char *filter = control_json_capture_filter(connection->input.text, length);
    if (filter == NULL)
        connection->output = control_json_answer(control, connection->input.text, length);
    else
        connection->output = begin_capture(control, connection, filter);
    free(filter);
    if (connection->kind == CONNECTION_CAPTURE)
        return capture_write(connection->capture);
    if (connection->output == NULL)
        return -ENOMEM;
    connection->output_bytes = strlen(connection->output);
    int result = write_answer(connection);
    if (result == 0) {
        struct epoll_event event = {.events = EPOLLOUT, .data = {.ptr = connection}};
        (void)epoll_ctl(control->epoll_fd, EPOLL_CTL_MOD, connection->fd, &event);
    }
    return result;
}

/** @return 0, or negative: drop the connection. */
static int serve(struct control *control, struct control_connection *connection)
{
    if (connection->output != NULL)
        return write_answer(connection);
    if (connection->kind == CONNECTION_CAPTURE)
        return receive_from_capture(control, connection);
    for (;;) {
        int result = link_control_reader_step(&connection->reader, connection->fd);
        /* Who asks may close his half right after: the request still counts. */
        if (connection->kind == CONNECTION_JSON &&
            memchr(connection->input.text, '\n', connection->reader.received) != NULL)
            return receive_json(control, connection);
        if (result <= 0)
            return result;
        result = connection->kind == CONNECTION_NEW ? receive_hello(control, connection)
                                                    : receive_request(control, connection);
        if (result < 0)
            return result;
    }
}

/* ---- The loop
 * ------------------------------------------------------------------------------------ */

static void cut_off_hopeless(struct control *control)
{
    struct control_connection *connection, *next;
    for (connection = LIST_FIRST(&control->connections); connection != NULL; connection = next) {
        next = LIST_NEXT(connection, link);
        const struct process *process = connection->process;
        if (process == NULL ||
            !atomic_load_explicit(&process->tenant->hopeless, memory_order_acquire))
            continue;
        log_warning("tenant %u is cut off: %d invalid descriptors in its rings",
                    process->tenant->id, TENANT_GARBAGE_MAX);
        drop_connection(control, connection);
    }
}

static int watch(struct control *control, int fd, void *what)
{
    struct epoll_event event = {.events = EPOLLIN, .data = {.ptr = what}};
    return epoll_ctl(control->epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0 ? 0 : -errno;
}

static int open_descriptors(struct control *control)
{
    sigset_t signals;
    (void)sigemptyset(&signals);
    (void)sigaddset(&signals, SIGTERM);
    (void)sigaddset(&signals, SIGINT);
    (void)sigprocmask(SIG_BLOCK, &signals, NULL);
    control->signal_fd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
    control->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    control->engine->control_event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (control->signal_fd < 0 || control->epoll_fd < 0 || control->engine->control_event_fd < 0)
        return -errno;
    int result = watch(control, control->signal_fd, &control->signal_fd);
    if (result == 0)
        result = watch(control, control->listener.fd, &control->listener);
    if (result == 0)
        result = watch(control, control->engine->control_event_fd, control->engine);
    return result;
}

int control_open(struct control *control, struct engine *engine, char *problem,
                 size_t problem_bytes)
{
    *control = (struct control){.engine = engine, .epoll_fd = -1, .signal_fd = -1};
    LIST_INIT(&control->tenants);
    LIST_INIT(&control->connections);
    capture_init(&control->capture, engine);
    const char *path = engine->options.socket_path;
    int result = link_control_bind(&control->listener, path, SOCKET_MODE);
    if (result == -EADDRINUSE)
        (void)snprintf(problem, problem_bytes,
                       "--socket %s: another pnod serves it already (stop it, or choose another)",
                       path);
    else if (result != 0)
        (void)snprintf(problem, problem_bytes, "--socket %s: %s", path, strerror(-result));
    if (result != 0)
        return result;
    result = port_right_load_key(&control->port_right_key, path);
    if (result != 0)
        log_warning("%s.key: %s; programs without root's rights will not get ports below 1024 back "
                    "after a restart",
                    path, strerror(-result));
    result = open_descriptors(control);
    if (result != 0)
        (void)snprintf(problem, problem_bytes, "cannot watch the control socket: %s",
                       strerror(-result));
    return result;
}

static bool handle(struct control *control, const struct epoll_event *event)
{
    void *what = event->data.ptr;
    if (what == &control->signal_fd)
        return false;
    if (what == &control->listener) {
        accept_connection(control);
    } else if (what == control->engine) {
        eventfd_t count;
        (void)eventfd_read(control->engine->control_event_fd, &count);
        /* Connections may be dropped, so this is the last event looked at this time. */
        cut_off_hopeless(control);
    } else if (serve(control, what) < 0) {
        drop_connection(control, what);
    }
    return true;
}

void control_run(struct control *control)
{
    struct epoll_event event;
    bool running = true;
    while (running) {
        int timeout_ms = capture_is_on(&control->capture) ? CAPTURE_PERIOD_MS : -1;
        int count = epoll_wait(control->epoll_fd, &event, 1, timeout_ms);
        if (count == 1)
            running = handle(control, &event);
        serve_captures(control);
        sweep_tenants(control);
    }
}

static bool abort_connection(void *context, struct tcp_connection *connection)
{
    struct engine_core *core = context;
    if (tcp_user(connection) != NULL)
        tcp_abort(core->stack, connection, core->now_ns);
    return true;
}

static void abort_connections(struct engine_core *core, void *context)
{
    (void)context;
    stack_for_each_connection(core->stack, abort_connection, core);
    engine_core_settle(core);
}

void control_close(struct control *control)
{
    for (unsigned i = 0; i < control->engine->core_count; i++)
        engine_core_call(control->engine->cores[i], abort_connections, NULL);
    while (!LIST_EMPTY(&control->connections))
        drop_connection(control, LIST_FIRST(&control->connections));
    sweep_tenants(control);
    link_control_unlisten(&control->listener);
    (void)close(control->epoll_fd);
    (void)close(control->signal_fd);
}

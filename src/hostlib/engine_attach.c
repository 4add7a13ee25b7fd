#include "hostlib/engine_attach.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/log.h"
#include "hostlib/environment.h"
#include "hostlib/fd_table.h"
#include "hostlib/socket.h"
#include "hostlink/control.h"
#include "hostlink/region.h"

#define ENGINE_TIMEOUT_MS 5000

/* Descriptors of a hello reply: arena, window, a doorbell per core. */
#define HELLO_DESCRIPTORS_MAX (2 + LINK_CORES_MAX)

/* See struct link_hello_reply; of the engine that this process knew last. */
static uint64_t port_right[2];

/* Whose pnod it is that PNO_SOCKET led to. */
static uint32_t known_engine_uid = (uint32_t)-1;

static void close_fd(int *fd)
{
    fd_close_internal(*fd);
    *fd = -1;
}

static void attachment_close(struct engine_attachment *attachment)
{
    close_fd(&attachment->control_fd);
    close_fd(&attachment->arena_fd);
    close_fd(&attachment->window_fd);
    close_fd(&attachment->doorbell_fd);
    for (unsigned core = 0; core < LINK_CORES_MAX; core++)
        close_fd(&attachment->engine_doorbell_fd[core]);
}

/* The kernel's name of the program: argv[0] may have been written over (setproctitle). */
static void name_program(char name[LINK_PROGRAM_MAX])
{
    memset(name, 0, LINK_PROGRAM_MAX);
    (void)prctl(PR_GET_NAME, name);
}

/* Have the kernel say who answers; before anybody can. */
static void ask_for_names(int control_fd, int on)
{
    (void)syscall(SYS_setsockopt, control_fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on));
}

/* Whether it is a pnod whose memory we may share. */
static bool is_trusted_engine(uint32_t uid)
{
    return uid != (uint32_t)-1 &&
           (uid == 0 || uid == (uint32_t)geteuid() || uid == known_engine_uid);
}

/* As link_control_receive(). @return -EPERM: by somebody else than attachment's pnod may be. */
static int receive_answer(struct engine_attachment *attachment, void *reply, size_t bytes,
                          int *descriptors, unsigned descriptors_max, unsigned *count)
{
    struct ucred sender;
    int error = link_control_receive(attachment->control_fd, reply, bytes, descriptors,
                                     descriptors_max, count, &sender, ENGINE_TIMEOUT_MS);
    if (error < 0)
        return error;
    if (sender.uid != (uid_t)-1)
        attachment->engine_uid = sender.uid;
    if (!attachment->is_by_ticket || is_trusted_engine(sender.uid))
        return 0;
    for (unsigned i = 0; i < *count; i++)
        syscall(SYS_close, descriptors[i]);
    *count = 0;
    log_warning("a socket was received from a program of user %u that is not pnod's: refused",
                sender.uid);
    return -EPERM;
}

/* @return 0, whatever the answer is; a negative errno: there is none. */
static int ask(struct engine_attachment *attachment, struct link_hello *hello,
               struct link_hello_reply *reply, int descriptors[HELLO_DESCRIPTORS_MAX],
               unsigned *count)
{
    const int control_fd = attachment->control_fd;
    hello->magic = LINK_MAGIC;
    hello->abi_version = LINK_ABI_VERSION;
    hello->pid = (uint32_t)getpid();
    name_program(hello->program);
    int error = link_control_send(control_fd, hello, sizeof(*hello), NULL, 0, ENGINE_TIMEOUT_MS);
    if (error == 0)
        error = receive_answer(attachment, reply, sizeof(*reply), descriptors,
                               HELLO_DESCRIPTORS_MAX, count);
    return error;
}

/* A further control connection by way of one that there is: the path may be out of reach.
   @param by_ticket  who answers is to be named.
   @return one end; the other is the engine's, and *engine_fd's if that is asked for. */
static int connect_through(int control_fd, bool by_ticket, int *engine_fd)
{
    int ends[2] = {-1, -1};
    struct link_request request = {.magic = LINK_MAGIC, .type = LINK_REQUEST_CONNECT};
    if (syscall(SYS_socketpair, AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
        return -errno;
    if (by_ticket)
        ask_for_names(ends[0], 1);
    int error =
        link_control_send(control_fd, &request, sizeof(request), &ends[1], 1, ENGINE_TIMEOUT_MS);
    if (engine_fd == NULL || error < 0)
        syscall(SYS_close, ends[1]);
    else
        *engine_fd = ends[1];
    if (error < 0) {
        syscall(SYS_close, ends[0]);
        return error;
    }
    return ends[0];
}

static int say_hello(struct engine_attachment *attachment, struct link_hello *hello)
{
    struct link_hello_reply *reply = &attachment->hello;
    int descriptors[HELLO_DESCRIPTORS_MAX];
    unsigned count = 0;
    int error = ask(attachment, hello, reply, descriptors, &count);
    if (error < 0)
        return error;
    for (unsigned i = 0; i < count; i++) {
        int fd = fd_make_internal(descriptors[i]);
        if (i == 0)
            attachment->arena_fd = fd;
        else if (i == 1)
            attachment->window_fd = fd;
        else
            attachment->engine_doorbell_fd[i - 2] = fd;
        if (fd < 0)
            error = fd;
    }
    reply->message[sizeof(reply->message) - 1] = '\0';
    if (reply->magic != LINK_MAGIC || reply->abi_version != LINK_ABI_VERSION)
        return -EPROTO;
    if (reply->error != 0) {
        log_warning("pnod refuses: %s", reply->message);
        return -(int)reply->error;
    }
    if (error == 0 && (reply->engine_cores == 0 || reply->engine_cores > LINK_CORES_MAX ||
                       count != 2 + reply->engine_cores))
        return -EPROTO;
    return error;
}

static int request_channel(struct engine_attachment *attachment)
{
    struct link_request request = {.magic = LINK_MAGIC, .type = LINK_REQUEST_CHANNEL};
    struct link_channel_reply *reply = &attachment->channel;
    unsigned count = 0;
    int doorbell = -1;
    int error = link_control_send(attachment->control_fd, &request, sizeof(request), NULL, 0,
                                  ENGINE_TIMEOUT_MS);
    if (error == 0)
        error = receive_answer(attachment, reply, sizeof(*reply), &doorbell, 1, &count);
    if (error < 0)
        return error;
    if (count == 1)
        attachment->doorbell_fd = fd_make_internal(doorbell);
    if (reply->magic != LINK_MAGIC)
        return -EPROTO;
    if (reply->error != 0)
        return -(int)reply->error;
    return attachment->doorbell_fd < 0 ? -EPROTO : 0;
}

/* @param through_fd  a control connection that there is already; -1: by PNO_SOCKET. */
static int attachment_make(struct engine_attachment *attachment, struct link_hello *hello,
                           int through_fd, bool is_by_ticket)
{
    *attachment = (struct engine_attachment){.control_fd = -1,
                                             .arena_fd = -1,
                                             .window_fd = -1,
                                             .doorbell_fd = -1,
                                             .is_by_ticket = is_by_ticket,
                                             .engine_uid = known_engine_uid};
    for (unsigned core = 0; core < LINK_CORES_MAX; core++)
        attachment->engine_doorbell_fd[core] = -1;
    const char *path = environment_value("PNO_SOCKET");
    if (path == NULL || path[0] == '\0')
        path = LINK_SOCKET_PATH_DEFAULT;
    int fd = through_fd >= 0 ? connect_through(through_fd, is_by_ticket, NULL)
                             : link_control_connect(path);
    if (fd < 0) {
        log_info("no pnod at %s (%s): sockets stay with the kernel", path, strerror(-fd));
        return fd;
    }
    if (through_fd < 0)
        ask_for_names(fd, 1);
    attachment->control_fd = fd_make_internal(fd);
    int error = attachment->control_fd < 0 ? attachment->control_fd : say_hello(attachment, hello);
    if (error == 0)
        error = request_channel(attachment);
    if (error < 0) {
        /* One that is just ending is none, as the attempt before and the next one find. */
        log_message(error == -ECONNRESET || error == -EPIPE ? LOG_LEVEL_INFO : LOG_LEVEL_WARNING,
                    "cannot attach to pnod at %s: %s", path, strerror(-error));
        attachment_close(attachment);
    }
    return error;
}

/* Rings, feedback and doorbells of a channel: a process has one. */
static void use_channel(struct engine_link *link, const struct engine_attachment *attachment)
{
    const struct link_channel_reply *channel = &attachment->channel;
    for (unsigned core = 0; core < link->hello.engine_cores; core++) {
        struct link_descriptor *to_engine =
            (void *)(link->window + channel->core[core].to_engine_ring);
        struct link_descriptor *to_host = (void *)(link->arena + channel->core[core].to_host_ring);
        struct link_feedback *of_engine =
            (void *)(link->arena + channel->core[core].to_engine_feedback);
        struct link_feedback *of_host =
            (void *)(link->window + channel->core[core].to_host_feedback);
        link_producer_init(&link->producers[core], to_engine, of_engine, channel->ring_slots);
        link_consumer_init(&link->consumers[core], to_host, of_host, channel->ring_slots);
        link->armed[core] = &of_host->armed;
        link->engine_doorbell_fd[core] = attachment->engine_doorbell_fd[core];
    }
    link->control_fd = attachment->control_fd;
    link->doorbell_fd = attachment->doorbell_fd;
}

static void register_descriptors(struct engine_link *link)
{
    fd_register_internal(&link->control_fd);
    fd_register_internal(&link->doorbell_fd);
    for (unsigned core = 0; core < link->hello.engine_cores; core++)
        fd_register_internal(&link->engine_doorbell_fd[core]);
}

static uint64_t align(uint64_t offset)
{
    return (offset + 63) & ~(uint64_t)63;
}

static_assert(sizeof(struct socket_block) + 4 * sizeof(uint32_t) <= LINK_HOST_SLOT_BYTES,
              "what the engine checks the size of the host region by");

static_assert(sizeof(struct socket_block) == LINK_SLOT_BLOCK_BYTES &&
                  offsetof(struct socket_block, incarnation) ==
                      offsetof(struct link_slot_block, incarnation) &&
                  offsetof(struct socket_block, read_offset) ==
                      offsetof(struct link_slot_block, read_offset) &&
                  offsetof(struct socket_block, shut) == offsetof(struct link_slot_block, flags),
              "what the engine reads of them");

/* Divide the host region: socket blocks, slot book-keeping, claims of connections and of wake-ups
   for them; the rest is send chunks. */
static int lay_out_host_region(struct engine_link *link, bool is_first)
{
    const struct link_hello_reply *hello = &link->hello;
    uint64_t offset = hello->host_region_offset;
    uint64_t end = hello->host_region_offset + hello->host_region_bytes;
    link->blocks = link->arena + offset;
    offset = align(offset + (uint64_t)hello->slots * LINK_SLOT_BLOCK_BYTES);
    link->shared = (void *)(link->arena + offset);
    offset = align(offset + sizeof(*link->shared));
    link->incarnations = (void *)(link->arena + offset);
    offset = align(offset + hello->host_slots * sizeof(uint32_t));
    link->free_slots = (void *)(link->arena + offset);
    offset = align(offset + hello->host_slots * sizeof(uint32_t));
    link->claims = (void *)(link->arena + offset);
    offset = align(offset + hello->slots * sizeof(uint32_t));
    link->wakes = (void *)(link->arena + offset);
    offset = align(offset + hello->slots * sizeof(uint32_t));
    if (offset >= end)
        return -ENOSPC;
    link->send_memory.arena = link->arena;
    if (is_first)
        return send_pool_create(&link->send_memory.pool, link->arena, offset, end - offset);
    send_pool_adopt(&link->send_memory.pool, link->arena, offset);
    return 0;
}

static int map_memories(struct engine_link *link, struct engine_attachment *attachment,
                        bool is_first)
{
    const struct link_hello_reply *hello = &link->hello;
    int error = link_region_map(attachment->arena_fd, hello->arena_bytes, &link->arena);
    if (error == 0)
        error = link_region_map(attachment->window_fd, hello->window_bytes, &link->window);
    if (error < 0)
        return error;
    close_fd(&attachment->arena_fd);
    close_fd(&attachment->window_fd);
    link->header = (void *)link->arena;
    void *slots = mmap(NULL, hello->slots * sizeof(*link->slots), PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (slots == MAP_FAILED)
        return -ENOMEM;
    link->slots = slots;
    return lay_out_host_region(link, is_first);
}

/* A fork that finds no memory for its child's attachment would leave it without sockets. */
struct link_with_heir {
    struct engine_link link;
    struct engine_attachment heir;
};

/* is_first: of its tenant's processes, so that the host region is still to be laid out. */
static struct engine_link *make_link(struct engine_attachment *attachment, bool is_first)
{
    struct link_with_heir *made = calloc(1, sizeof(*made));
    if (made == NULL) {
        attachment_close(attachment);
        return NULL;
    }
    struct engine_link *link = &made->link;
    link->hello = attachment->hello;
    link->is_by_ticket = attachment->is_by_ticket;
    if (!link->is_by_ticket)
        known_engine_uid = attachment->engine_uid;
    memcpy(port_right, link->hello.port_right, sizeof(port_right));
    int error = map_memories(link, attachment, is_first);
    if (error < 0) {
        log_warning("cannot map pnod's memory: %s", strerror(-error));
        attachment_close(attachment);
        free(made);
        return NULL;
    }
    use_channel(link, attachment);
    register_descriptors(link);
    return link;
}

struct engine_link *engine_attach_tenant(void)
{
    struct link_hello hello = {.kind = LINK_HELLO_TENANT,
                               .port_right = {port_right[0], port_right[1]}};
    struct engine_attachment attachment;
    if (attachment_make(&attachment, &hello, -1, false) < 0)
        return NULL;
    return make_link(&attachment, true);
}

bool engine_attach_is_alive(int control_fd)
{
    struct pollfd pollfd = {.fd = control_fd, .events = POLLRDHUP};
    const struct timespec now = {0};
    int saved_errno = errno;
    long result = syscall(SYS_ppoll, &pollfd, 1, &now, NULL, 0);
    errno = saved_errno;
    return result <= 0 || pollfd.revents == 0;
}

void engine_attach_close_descriptors(struct engine_link *link)
{
    fd_unregister_internal(&link->control_fd);
    fd_unregister_internal(&link->doorbell_fd);
    close_fd(&link->control_fd);
    close_fd(&link->doorbell_fd);
    for (unsigned core = 0; core < link->hello.engine_cores; core++) {
        fd_unregister_internal(&link->engine_doorbell_fd[core]);
        close_fd(&link->engine_doorbell_fd[core]);
    }
}

static int join_as_heir(const struct engine_link *link, struct engine_attachment *attachment)
{
    struct link_hello hello = {.kind = LINK_HELLO_FORK, .parent_process = link->hello.process_id};
    memcpy(hello.tenant_token, link->hello.tenant_token, sizeof(hello.tenant_token));
    return attachment_make(attachment, &hello, link->control_fd, link->is_by_ticket);
}

/* A hello that is answered without descriptors. @return 0; a negative errno: refused. */
static int ask_and_close(const struct engine_link *link, int fd, struct link_hello *hello,
                         struct link_hello_reply *reply, bool keep_open)
{
    struct engine_attachment attachment = {.control_fd = fd, .is_by_ticket = link->is_by_ticket};
    int descriptors[HELLO_DESCRIPTORS_MAX];
    unsigned count = 0;
    int error = ask(&attachment, hello, reply, descriptors, &count);
    for (unsigned i = 0; error == 0 && i < count; i++)
        syscall(SYS_close, descriptors[i]);
    if (error == 0 && reply->error != 0)
        error = -(int)reply->error;
    if (error < 0 || !keep_open)
        syscall(SYS_close, fd);
    else if (link->is_by_ticket)
        ask_for_names(fd, 0); /* what the receiver reads there is not pnod's */
    return error;
}

int engine_attach_issue_ticket(const struct engine_link *link, const struct link_socket_name *name,
                               struct engine_ticket *ticket)
{
    struct link_hello hello = {
        .kind = LINK_HELLO_PASS, .parent_process = link->hello.process_id, .socket = *name};
    struct link_hello_reply reply;
    memcpy(hello.tenant_token, link->hello.tenant_token, sizeof(hello.tenant_token));
    ticket->passed_fd = connect_through(link->control_fd, link->is_by_ticket, &ticket->engine_fd);
    if (ticket->passed_fd < 0)
        return ticket->passed_fd;
    int error = ask_and_close(link, ticket->passed_fd, &hello, &reply, true);
    if (error < 0)
        syscall(SYS_close, ticket->engine_fd);
    else
        ticket->process_id = reply.process_id;
    return error;
}

int engine_attach_share(const struct engine_link *link, uint32_t ticket_process)
{
    struct link_hello hello = {.kind = LINK_HELLO_SHARE,
                               .parent_process = ticket_process,
                               .process = link->hello.process_id};
    struct link_hello_reply reply;
    memcpy(hello.tenant_token, link->hello.tenant_token, sizeof(hello.tenant_token));
    int fd = connect_through(link->control_fd, link->is_by_ticket, NULL);
    return fd < 0 ? fd : ask_and_close(link, fd, &hello, &reply, false);
}

struct engine_link *engine_attach_join(int ticket_fd, const uint8_t tenant_token[16],
                                       uint32_t ticket_process)
{
    struct link_hello hello = {.kind = LINK_HELLO_FORK, .parent_process = ticket_process};
    struct engine_attachment attachment;
    memcpy(hello.tenant_token, tenant_token, sizeof(hello.tenant_token));
    if (attachment_make(&attachment, &hello, ticket_fd, true) < 0)
        return NULL;
    return make_link(&attachment, false);
}

void engine_attach_fork_prepare(struct engine_link *link)
{
    struct engine_attachment *heir = &((struct link_with_heir *)link)->heir;
    link->heir = NULL;
    if (join_as_heir(link, heir) < 0)
        return;
    close_fd(&heir->arena_fd);
    close_fd(&heir->window_fd);
    link->heir = heir;
}

void engine_attach_fork_parent(struct engine_link *link)
{
    if (link->heir == NULL)
        return;
    attachment_close(link->heir);
    link->heir = NULL;
}

bool engine_attach_fork_child(struct engine_link *link)
{
    struct engine_attachment *heir = link->heir;
    close_fd(&link->control_fd);
    close_fd(&link->doorbell_fd);
    for (unsigned core = 0; core < link->hello.engine_cores; core++)
        close_fd(&link->engine_doorbell_fd[core]);
    if (heir == NULL)
        return false;
    link->heir = NULL;
    link->hello.process_id = heir->hello.process_id;
    /* For people only (pno ss): that it fails changes nothing. */
    const struct link_request request = {.magic = LINK_MAGIC, .type = LINK_REQUEST_PROCESS};
    (void)link_control_send(heir->control_fd, &request, sizeof(request), NULL, 0, 0);
    use_channel(link, heir);
    for (unsigned core = 0; core < link->hello.engine_cores; core++)
        overflow_clear(&link->overflows[core]); /* the parent tells of them */
    atomic_store_explicit(&link->overflowing, false, memory_order_relaxed);
    return true;
}

typedef int change_fd_fn(int fd);

static void change_descriptors(struct engine_attachment *attachment, change_fd_fn *change)
{
    int *const single[] = {&attachment->control_fd, &attachment->arena_fd, &attachment->window_fd,
                           &attachment->doorbell_fd};
    for (size_t i = 0; i < sizeof(single) / sizeof(single[0]); i++)
        *single[i] = change(*single[i]);
    for (unsigned core = 0; core < LINK_CORES_MAX; core++)
        attachment->engine_doorbell_fd[core] = change(attachment->engine_doorbell_fd[core]);
}

static int keep_across_exec(int fd)
{
    if (fd >= 0)
        syscall(SYS_fcntl, fd, F_SETFD, 0);
    return fd;
}

static int make_internal(int fd)
{
    return fd < 0 ? -1 : fd_make_internal(fd);
}

int engine_attach_exec_prepare(const struct engine_link *link, struct engine_attachment *attachment)
{
    int error = join_as_heir(link, attachment);
    if (error == 0)
        change_descriptors(attachment, keep_across_exec);
    return error;
}

void engine_attach_exec_failed(struct engine_attachment *attachment)
{
    attachment_close(attachment);
}

struct engine_link *engine_attach_adopt(struct engine_attachment *attachment)
{
    change_descriptors(attachment, make_internal);
    return make_link(attachment, false);
}

#include "hostlib/handover.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/log.h"
#include "hostlib/fd_table.h"
#include "hostlib/interpose.h"
#include "hostlib/left_socket.h"
#include "hostlib/process.h"
#include "hostlib/socket.h"

#define HANDOVER_MAGIC 0x484f4e50u /* "PNOH" */

/* A descriptor that stays open, and what is behind it: a number of struct left_socket. */
struct left_descriptor {
    int fd;
    uint32_t socket;
};

/* A socket of the old program's that the new one doesn't inherit, and lets go of. */
struct left_behind {
    struct link_socket_name name;
    uint64_t read_offset;
    uint32_t core;
    bool aborts;
};

/* The memory: this, then descriptors, sockets, left behind. */
struct left_memory {
    uint32_t magic;
    uint32_t bytes;
    bool has_link;
    uint32_t descriptor_count, socket_count, behind_count;
    struct engine_attachment attachment;
};

struct left_parts {
    struct left_memory *memory;
    struct left_descriptor *descriptors;
    struct left_socket *sockets;
    struct left_behind *behind;
};

static size_t round_up(size_t bytes)
{
    return (bytes + 7) & ~(size_t)7;
}

/* Where the parts lie, given the counts; @return bytes in all. */
static size_t lay_out(struct left_parts *parts, void *memory, size_t descriptors, size_t sockets,
                      size_t behind)
{
    size_t at = round_up(sizeof(struct left_memory));
    parts->memory = memory;
    parts->descriptors = (void *)((char *)memory + at);
    at += round_up(descriptors * sizeof(struct left_descriptor));
    parts->sockets = (void *)((char *)memory + at);
    at += round_up(sockets * sizeof(struct left_socket));
    parts->behind = (void *)((char *)memory + at);
    return at + round_up(behind * sizeof(struct left_behind));
}

/* ---- The old program ----------------------------------------------------------------------- */

/* The socket that fd hands over; NULL: none. Looks without a reference. */
static struct socket *inherited_socket(uint32_t fd)
{
    struct file *file = fd_peek((int)fd);
    if (file == NULL || file->kind != FILE_SOCKET)
        return NULL;
    struct socket *socket = (struct socket *)file;
    if (socket->state == SOCKET_KERNEL ||
        (socket->link != NULL && socket->link != engine_link_current()))
        return NULL;
    long flags = syscall(SYS_fcntl, fd, F_GETFD);
    return flags >= 0 && (flags & FD_CLOEXEC) == 0 ? socket : NULL;
}

static uint32_t count_inherited(void)
{
    uint32_t count = 0;
    uint32_t high = atomic_load_explicit(&fd_table_high, memory_order_relaxed);
    for (uint32_t fd = 0; fd < high; fd++)
        count += inherited_socket(fd) != NULL;
    return count;
}

bool handover_includes(int fd)
{
    return inherited_socket((uint32_t)fd) != NULL;
}

bool handover_is_needed(void)
{
    uint32_t high = atomic_load_explicit(&fd_table_high, memory_order_relaxed);
    for (uint32_t fd = 0; fd < high; fd++) {
        if (inherited_socket(fd) != NULL)
            return true;
    }
    return false;
}

/* In `parts` the descriptors before this one name the sockets described so far. */
static void add_descriptor(struct left_parts *parts, int fd, const struct socket *socket)
{
    struct left_memory *memory = parts->memory;
    uint32_t index = memory->socket_count;
    for (uint32_t i = 0; i < memory->descriptor_count && index == memory->socket_count; i++) {
        if (fd_peek(parts->descriptors[i].fd) == &socket->file)
            index = parts->descriptors[i].socket;
    }
    if (index == memory->socket_count)
        left_socket_describe(socket, &parts->sockets[memory->socket_count++]);
    parts->descriptors[memory->descriptor_count++] =
        (struct left_descriptor){.fd = fd, .socket = index};
}

static bool is_handed_over(const struct left_parts *parts, const struct socket *socket)
{
    for (uint32_t i = 0; i < parts->memory->socket_count; i++) {
        if (parts->sockets[i].has_slot && parts->sockets[i].name.slot == socket->name.slot)
            return true;
    }
    return false;
}

/* The heir's connection holds all that we hold; what has no descriptor there it lets go of. A
   connection not yet accepted goes with its listener. */
static void add_left_behind(struct left_parts *parts, struct engine_link *link, size_t room)
{
    struct left_memory *memory = parts->memory;
    for (uint32_t slot = 0; slot < link->slots_high && memory->behind_count < room; slot++) {
        struct socket *socket = atomic_load_explicit(&link->slots[slot], memory_order_relaxed);
        if (socket == NULL || socket->detached || socket->block == NULL ||
            is_handed_over(parts, socket))
            continue;
        const struct linger *linger = &socket->options.linger;
        parts->behind[memory->behind_count++] = (struct left_behind){
            .name = socket->name,
            .read_offset = socket->block->read_offset,
            .core = socket->core,
            .aborts = linger->l_onoff != 0 && linger->l_linger == 0,
        };
    }
}

static uint32_t count_slots(const struct engine_link *link)
{
    uint32_t count = 0;
    for (uint32_t slot = 0; link != NULL && slot < link->slots_high; slot++)
        count += atomic_load_explicit(&link->slots[slot], memory_order_relaxed) != NULL;
    return count;
}

static int write_memory(struct handover *handover)
{
    struct engine_link *link = engine_link_current();
    uint32_t inherited = count_inherited(), slots = count_slots(link);
    struct left_parts parts;
    size_t bytes = lay_out(&parts, NULL, inherited, inherited, slots);
    int fd = (int)syscall(SYS_memfd_create, "pno-handover", 0);
    if (fd < 0)
        return -errno;
    void *memory = MAP_FAILED;
    if (syscall(SYS_ftruncate, fd, bytes) == 0)
        memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED) {
        int error = errno;
        syscall(SYS_close, fd);
        return -error;
    }
    lay_out(&parts, memory, inherited, inherited, slots);
    *parts.memory = (struct left_memory){
        .magic = HANDOVER_MAGIC, .bytes = (uint32_t)bytes, .has_link = link != NULL};
    if (link != NULL)
        parts.memory->attachment = handover->attachment;
    uint32_t high = atomic_load_explicit(&fd_table_high, memory_order_relaxed);
    for (uint32_t number = 0; number < high; number++) {
        struct socket *socket = inherited_socket(number);
        if (socket != NULL && parts.memory->descriptor_count < inherited)
            add_descriptor(&parts, (int)number, socket);
    }
    if (link != NULL)
        add_left_behind(&parts, link, slots);
    /* The parts were placed for as many sockets as descriptors; the reader is told the counts. */
    struct left_parts final;
    lay_out(&final, memory, parts.memory->descriptor_count, parts.memory->socket_count,
            parts.memory->behind_count);
    memmove(final.behind, parts.behind, parts.memory->behind_count * sizeof(struct left_behind));
    munmap(memory, bytes);
    handover->memory_fd = fd;
    return 0;
}

int handover_prepare(struct handover *handover)
{
    handover->memory_fd = -1;
    int error = process_exec_prepare(&handover->attachment);
    if (error < 0)
        return error;
    error = write_memory(handover);
    if (error < 0)
        process_exec_failed(&handover->attachment);
    return error;
}

void handover_cancel(struct handover *handover)
{
    syscall(SYS_close, handover->memory_fd);
    process_exec_failed(&handover->attachment);
}

/* ---- The new program ----------------------------------------------------------------------- */

static void revive_all(const struct left_parts *parts, struct engine_link *link)
{
    for (uint32_t i = 0; i < parts->memory->socket_count; i++) {
        struct socket *socket = left_socket_revive(&parts->sockets[i], link);
        if (socket == NULL)
            continue;
        for (uint32_t j = 0; j < parts->memory->descriptor_count; j++) {
            if (parts->descriptors[j].socket != i)
                continue;
            file_hold(&socket->file);
            int fd = parts->descriptors[j].fd;
            if (!fd_set_file(fd, &socket->file))
                file_put(&socket->file);
            else if (fd <= STDERR_FILENO)
                interpose_standard_stream(fd);
        }
        file_put(&socket->file);
    }
}

static void let_go(const struct left_parts *parts, struct engine_link *link)
{
    for (uint32_t i = 0; i < parts->memory->behind_count; i++) {
        const struct left_behind *behind = &parts->behind[i];
        struct link_descriptor operation = {.type = LINK_OP_CLOSE, .socket = behind->name};
        operation.flags = behind->aborts ? LINK_FLAG_ABORT : 0;
        operation.data.stream_offset = behind->read_offset;
        if (behind->core < link->hello.engine_cores)
            engine_link_push(link, behind->core, &operation);
    }
}

static void adopt(struct left_memory *memory, size_t bytes)
{
    struct left_parts parts;
    if (memory->magic != HANDOVER_MAGIC || memory->bytes > bytes ||
        lay_out(&parts, memory, memory->descriptor_count, memory->socket_count,
                memory->behind_count) > bytes)
        return;
    struct engine_link *link = NULL;
    if (memory->has_link)
        link = engine_link_adopt(&memory->attachment);
    revive_all(&parts, link);
    if (link != NULL)
        let_go(&parts, link);
    log_info("%u sockets go on from the program before", memory->socket_count);
}

void handover_adopt(void)
{
    const char *number = getenv(HANDOVER_VARIABLE);
    if (number == NULL)
        return;
    int fd = atoi(number);
    struct stat status;
    (void)unsetenv(HANDOVER_VARIABLE);
    if (fstat(fd, &status) < 0 || (size_t)status.st_size < sizeof(struct left_memory))
        return;
    size_t bytes = (size_t)status.st_size;
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    if (memory == MAP_FAILED)
        return;
    syscall(SYS_close, fd);
    adopt(memory, bytes);
    munmap(memory, bytes);
}

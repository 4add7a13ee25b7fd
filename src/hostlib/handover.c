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
#include "hostlib/epoll.h"
#include "hostlib/fd_table.h"
#include "hostlib/interpose.h"
#include "hostlib/joined_links.h"
#include "hostlib/left_socket.h"
#include "hostlib/process.h"
#include "hostlib/signals.h"
#include "hostlib/socket.h"

#define HANDOVER_MAGIC 0x334f4e50u /* "PNO3" */

#define NO_LINK UINT32_MAX

/* A descriptor that stays open, and what is behind it: a number of struct left_file. */
struct left_descriptor {
    int fd;
    uint32_t file;
};

/* A socket or an epoll set. */
struct left_file {
    enum file_kind kind;
    uint32_t link; /* NO_LINK: none, or a set */
    struct left_socket socket;
};

struct left_entry {
    uint32_t set, file;
    struct epoll_entry entry; /* but for its pointers */
};

/* A socket of the old program's that the new one doesn't inherit, and lets go of. */
struct left_behind {
    struct link_socket_name name;
    uint64_t read_offset;
    uint32_t core, link;
    bool aborts;
};

enum left_part { LEFT_LINKS, LEFT_DESCRIPTORS, LEFT_FILES, LEFT_ENTRIES, LEFT_BEHIND, LEFT_PARTS };

/* The memory: this, then the parts. */
struct left_memory {
    uint32_t magic;
    uint32_t bytes;
    bool has_own_link; /* the first link is the program's own, the others are joined */
    uint32_t counts[LEFT_PARTS];
    struct signals_left signals;
};

struct left_parts {
    struct left_memory *memory;
    struct engine_attachment *links;
    struct left_descriptor *descriptors;
    struct left_file *files;
    struct left_entry *entries;
    struct left_behind *behind;
};

static const size_t part_bytes[LEFT_PARTS] = {
    [LEFT_LINKS] = sizeof(struct engine_attachment),
    [LEFT_DESCRIPTORS] = sizeof(struct left_descriptor),
    [LEFT_FILES] = sizeof(struct left_file),
    [LEFT_ENTRIES] = sizeof(struct left_entry),
    [LEFT_BEHIND] = sizeof(struct left_behind),
};

static size_t round_up(size_t bytes)
{
    return (bytes + 7) & ~(size_t)7;
}

/* Where the parts lie, given the counts; @return bytes in all. */
static size_t lay_out(struct left_parts *parts, void *memory, const uint32_t counts[LEFT_PARTS])
{
    void *places[LEFT_PARTS];
    size_t at = round_up(sizeof(struct left_memory));
    for (unsigned part = 0; part < LEFT_PARTS; part++) {
        places[part] = (char *)memory + at;
        at += round_up(counts[part] * part_bytes[part]);
    }
    *parts = (struct left_parts){.memory = memory,
                                 .links = places[LEFT_LINKS],
                                 .descriptors = places[LEFT_DESCRIPTORS],
                                 .files = places[LEFT_FILES],
                                 .entries = places[LEFT_ENTRIES],
                                 .behind = places[LEFT_BEHIND]};
    return at;
}

/* ---- The old program ----------------------------------------------------------------------- */

static bool stays_open(uint32_t fd)
{
    long flags = syscall(SYS_fcntl, fd, F_GETFD);
    return flags >= 0 && (flags & FD_CLOEXEC) == 0;
}

/* The socket that fd hands over; NULL: none. Looks without a reference. */
static struct socket *inherited_socket(uint32_t fd)
{
    struct file *file = fd_peek((int)fd);
    if (file == NULL || file->kind != FILE_SOCKET)
        return NULL;
    struct socket *socket = (struct socket *)file;
    return socket->state != SOCKET_KERNEL && stays_open(fd) ? socket : NULL;
}

/* Likewise, or the epoll set. */
static struct file *inherited_file(uint32_t fd)
{
    struct file *file = fd_peek((int)fd);
    if (file != NULL && file->kind == FILE_EPOLL)
        return stays_open(fd) ? file : NULL;
    return (struct file *)inherited_socket(fd);
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

/* What is written, as it grows. While the memory is not there yet only the counts are. */
struct writing {
    struct left_parts parts;
    uint32_t counts[LEFT_PARTS];
    struct engine_link *const *links;
    unsigned link_count;
    struct file **files; /* by number of struct left_file */
};

static uint32_t number_of_file(const struct writing *writing, const struct file *file)
{
    uint32_t number = 0;
    while (number < writing->counts[LEFT_FILES] && writing->files[number] != file)
        number++;
    return number;
}

static uint32_t number_of_link(const struct writing *writing, const struct engine_link *link)
{
    for (unsigned i = 0; i < writing->link_count; i++) {
        if (writing->links[i] == link)
            return i;
    }
    return NO_LINK;
}

static void describe_file(struct writing *writing, const struct file *file)
{
    struct left_file *left = &writing->parts.files[writing->counts[LEFT_FILES]];
    left->kind = file->kind;
    left->link = NO_LINK;
    if (file->kind != FILE_SOCKET)
        return;
    const struct socket *socket = (const struct socket *)file;
    left->link = number_of_link(writing, socket->link);
    left_socket_describe(socket, &left->socket);
}

static void add_descriptor(struct writing *writing, int fd, struct file *file)
{
    uint32_t number = number_of_file(writing, file);
    if (number == writing->counts[LEFT_FILES]) {
        if (writing->parts.memory != NULL)
            describe_file(writing, file);
        writing->files[writing->counts[LEFT_FILES]++] = file;
    }
    if (writing->parts.memory != NULL)
        writing->parts.descriptors[writing->counts[LEFT_DESCRIPTORS]] =
            (struct left_descriptor){.fd = fd, .file = number};
    writing->counts[LEFT_DESCRIPTORS]++;
}

static void add_entry(void *context, const struct epoll_entry *entry)
{
    struct writing *writing = context;
    uint32_t set = number_of_file(writing, (struct file *)entry->set);
    if (set == writing->counts[LEFT_FILES])
        return; /* a set that ends with this program */
    if (writing->parts.memory != NULL)
        writing->parts.entries[writing->counts[LEFT_ENTRIES]] = (struct left_entry){
            .set = set, .file = number_of_file(writing, entry->file), .entry = *entry};
    writing->counts[LEFT_ENTRIES]++;
}

/* The heir's connection holds all that we hold; what has no descriptor there it lets go of. A
   connection not yet accepted goes with its listener. */
static void add_left_behind(struct writing *writing, uint32_t number)
{
    const struct engine_link *link = writing->links[number];
    for (uint32_t slot = 0; slot < link->slots_high; slot++) {
        struct socket *socket = atomic_load_explicit(&link->slots[slot], memory_order_relaxed);
        if (socket == NULL || socket->detached || socket->block == NULL ||
            number_of_file(writing, &socket->file) < writing->counts[LEFT_FILES])
            continue;
        const struct linger *linger = &socket->options->linger;
        if (writing->parts.memory != NULL)
            writing->parts.behind[writing->counts[LEFT_BEHIND]] = (struct left_behind){
                .name = socket->name,
                .read_offset = socket->block->read_offset,
                .core = socket->core,
                .link = number,
                .aborts = linger->l_onoff != 0 && linger->l_linger == 0,
            };
        writing->counts[LEFT_BEHIND]++;
    }
}

static void write_all(struct writing *writing)
{
    memset(writing->counts, 0, sizeof(writing->counts));
    writing->counts[LEFT_LINKS] = writing->link_count;
    uint32_t high = atomic_load_explicit(&fd_table_high, memory_order_relaxed);
    for (uint32_t fd = 0; fd < high; fd++) {
        struct file *file = inherited_file(fd);
        if (file != NULL)
            add_descriptor(writing, (int)fd, file);
    }
    for (uint32_t i = 0; i < writing->counts[LEFT_FILES]; i++)
        epoll_visit_entries(writing->files[i], add_entry, writing);
    for (unsigned i = 0; i < writing->link_count; i++)
        add_left_behind(writing, i);
}

/* Zeroed, unlike malloc() at home also where another thread was in it at a fork. */
static void *allocate(size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

/* Makes the memory. @return 0; a negative errno. */
static int write_memory(struct handover *handover, struct writing *writing)
{
    write_all(writing); /* counts */
    size_t bytes = lay_out(&writing->parts, NULL, writing->counts);
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
    lay_out(&writing->parts, memory, writing->counts);
    write_all(writing);
    memcpy(writing->parts.links, handover->attachments,
           writing->link_count * sizeof(struct engine_attachment));
    *writing->parts.memory = (struct left_memory){
        .magic = HANDOVER_MAGIC,
        .bytes = (uint32_t)bytes,
        .has_own_link = writing->link_count > 0 && writing->links[0] == engine_link_current(),
    };
    memcpy(writing->parts.memory->counts, writing->counts, sizeof(writing->counts));
    handover->memory = writing->parts.memory;
    handover->memory_fd = fd;
    signals_leave_to(&handover->memory->signals);
    return 0;
}

static size_t attachments_bytes(void)
{
    return PROCESS_LINKS_MAX * sizeof(struct engine_attachment);
}

int handover_prepare(struct handover *handover)
{
    struct engine_link *links[PROCESS_LINKS_MAX];
    struct writing writing = {.links = links, .link_count = process_links(links)};
    size_t files_bytes =
        (atomic_load_explicit(&fd_table_high, memory_order_relaxed) + 1) * sizeof(struct file *);
    handover->memory_fd = -1;
    handover->attachments = allocate(attachments_bytes());
    writing.files = allocate(files_bytes);
    int result = -ENOMEM;
    if (handover->attachments != NULL && writing.files != NULL)
        result = process_exec_prepare(links, writing.link_count, handover->attachments);
    if (result == 0) {
        result = write_memory(handover, &writing);
        if (result < 0)
            process_exec_failed(handover->attachments);
    }
    if (writing.files != NULL)
        munmap((void *)writing.files, files_bytes);
    if (result < 0 && handover->attachments != NULL)
        munmap(handover->attachments, attachments_bytes());
    return result;
}

void handover_cancel(struct handover *handover)
{
    syscall(SYS_close, handover->memory_fd);
    signals_leave_to(NULL);
    munmap(handover->memory, handover->memory->bytes);
    process_exec_failed(handover->attachments);
    munmap(handover->attachments, attachments_bytes());
}

/* ---- The new program ----------------------------------------------------------------------- */

struct reading {
    struct left_parts parts;
    struct engine_link *links[PROCESS_LINKS_MAX];
    struct file **files; /* by number; NULL: could not be had */
};

static uint32_t count_of(const struct reading *reading, enum left_part part)
{
    return reading->parts.memory->counts[part];
}

static void adopt_links(struct reading *reading)
{
    for (uint32_t i = 0; i < count_of(reading, LEFT_LINKS); i++) {
        struct engine_attachment *attachment = &reading->parts.links[i];
        reading->links[i] = i == 0 && reading->parts.memory->has_own_link
                                ? engine_link_adopt(attachment)
                                : joined_links_adopt(attachment);
    }
}

static struct file *revive(const struct reading *reading, uint32_t number)
{
    const struct left_file *left = &reading->parts.files[number];
    if (left->kind == FILE_EPOLL)
        return (struct file *)epoll_adopt(-1);
    if (left->kind != FILE_SOCKET)
        return NULL;
    struct engine_link *link =
        left->link < count_of(reading, LEFT_LINKS) ? reading->links[left->link] : NULL;
    return (struct file *)left_socket_revive(&left->socket, link);
}

static void revive_all(struct reading *reading)
{
    for (uint32_t i = 0; i < count_of(reading, LEFT_FILES); i++)
        reading->files[i] = revive(reading, i);
    for (uint32_t i = 0; i < count_of(reading, LEFT_DESCRIPTORS); i++) {
        const struct left_descriptor *left = &reading->parts.descriptors[i];
        struct file *file =
            left->file < count_of(reading, LEFT_FILES) ? reading->files[left->file] : NULL;
        if (file == NULL)
            continue;
        file_hold(file);
        if (!fd_set_file(left->fd, file))
            file_put(file);
        else if (file->kind == FILE_EPOLL)
            epoll_note_descriptor((struct epoll_set *)file, left->fd);
        else
            interpose_standard_stream(left->fd);
    }
}

static void let_go(const struct reading *reading)
{
    for (uint32_t i = 0; i < count_of(reading, LEFT_BEHIND); i++) {
        const struct left_behind *behind = &reading->parts.behind[i];
        struct engine_link *link =
            behind->link < count_of(reading, LEFT_LINKS) ? reading->links[behind->link] : NULL;
        struct link_descriptor operation = {.type = LINK_OP_CLOSE, .socket = behind->name};
        operation.flags = behind->aborts ? LINK_FLAG_ABORT : 0;
        operation.data.stream_offset = behind->read_offset;
        if (link != NULL && behind->core < link->hello.engine_cores)
            engine_link_push(link, behind->core, &operation);
    }
}

/* The engine tells again what was not read, which is no news to an edge-triggered entry: let that
   come first. */
static void hear_old_news(const struct reading *reading)
{
    for (uint32_t i = 0; i < count_of(reading, LEFT_LINKS); i++) {
        struct engine_link *link = reading->links[i];
        for (unsigned core = 0; link != NULL && core < link->hello.engine_cores; core++)
            engine_link_fence(link, core);
        if (link != NULL)
            engine_link_poll(link);
    }
}

/* Whether something has happened to the socket between the programs. */
static bool has_news(const struct left_file *left, const struct file *file)
{
    if (file->kind != FILE_SOCKET)
        return true;
    const struct socket *socket = (const struct socket *)file;
    return socket->receive.end_offset > left->socket.end_offset ||
           (atomic_load_explicit(&socket->readiness, memory_order_relaxed) &
            ~left->socket.readiness) != 0;
}

static void restore_entries(const struct reading *reading)
{
    uint32_t file_count = count_of(reading, LEFT_FILES);
    if (count_of(reading, LEFT_ENTRIES) > 0)
        hear_old_news(reading);
    for (uint32_t i = 0; i < count_of(reading, LEFT_ENTRIES); i++) {
        struct left_entry *left = &reading->parts.entries[i];
        if (left->set >= file_count || left->file >= file_count ||
            reading->files[left->set] == NULL || reading->files[left->file] == NULL ||
            reading->files[left->set]->kind != FILE_EPOLL)
            continue;
        left->entry.set = (struct epoll_set *)reading->files[left->set];
        left->entry.file = reading->files[left->file];
        epoll_restore_entry(&left->entry,
                            has_news(&reading->parts.files[left->file], left->entry.file));
    }
}

static void adopt(struct left_memory *memory, size_t bytes)
{
    struct reading reading = {0};
    if (memory->magic != HANDOVER_MAGIC || memory->bytes > bytes ||
        memory->counts[LEFT_LINKS] > PROCESS_LINKS_MAX ||
        lay_out(&reading.parts, memory, memory->counts) > bytes)
        return;
    signals_take_over(&memory->signals);
    size_t files_bytes = (memory->counts[LEFT_FILES] + 1) * sizeof(struct file *);
    reading.files = allocate(files_bytes);
    if (reading.files == NULL)
        return;
    adopt_links(&reading);
    revive_all(&reading);
    let_go(&reading);
    restore_entries(&reading);
    for (uint32_t i = 0; i < memory->counts[LEFT_FILES]; i++) {
        if (reading.files[i] != NULL)
            file_put(reading.files[i]);
    }
    munmap((void *)reading.files, files_bytes);
    log_info("%u sockets and sets go on from the program before", memory->counts[LEFT_FILES]);
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

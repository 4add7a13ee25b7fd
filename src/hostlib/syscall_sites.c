#include "hostlib/syscall_sites.h"

#include <dirent.h>
#include <emmintrin.h>
#include <errno.h>
#include <link.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/log.h"
#include "hostlib/interpose.h"
#include "hostlib/lock.h"
#include "hostlib/syscall_copy.h"
#include "hostlib/uring.h"
#include "hostlib/x86_decode.h"

/* Programs longer than that are not searched: starting them would take noticeably longer. */
#define OBJECT_BYTES_MAX (16u << 20)

/* Objects remembered as looked at; more are looked at again, and found without such calls. */
#define OBJECTS_MAX 8

#define PAGE_BYTES ((uintptr_t)4096)

static _Atomic bool escaped;
static _Atomic unsigned long long loaded; /* objects, ever, at the last look */
static ElfW(Addr) looked_at[OBJECTS_MAX];
static unsigned looked_at_count;
static struct lock look_lock;

/* ---- Objects -------------------------------------------------------------------------------- */

struct object {
    const char *name;
    uint8_t *text, *text_end; /* the executable segment looked at */
    const uint8_t *frames;    /* .eh_frame_hdr; NULL: none */
    struct syscall_copies copies;
    bool failed;
};

/* The table of functions in .eh_frame_hdr. Source: Linux Standard Base, Exception Frames. */
struct frame_header {
    uint8_t version, pointer_encoding, count_encoding, table_encoding;
    int32_t frames;
    uint32_t count;
    struct {
        int32_t start, frame; /* relative to the header */
    } table[];
};

/* As DW_EH_PE_*: what linkers write. */
#define COUNT_UDATA4     0x03
#define TABLE_REL_SDATA4 0x3b

/* Half the longest function that is guessed at. */
#define SHORT_BYTES 64

/* The instruction that ends it. */
#define RETURN 0xc3

/* @return whether the table has a function that `at` lies in. */
static bool look_up_function(const struct object *object, const uint8_t *at,
                             struct syscall_function *function)
{
    const struct frame_header *header = (const struct frame_header *)(const void *)object->frames;
    if (header->version != 1 || header->count_encoding != COUNT_UDATA4 ||
        header->table_encoding != TABLE_REL_SDATA4 || header->count == 0)
        return false;
    int64_t wanted = at - object->frames;
    uint32_t low = 0, high = header->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (header->table[middle].start <= wanted)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == 0)
        return false;
    const uint8_t *frame = object->frames + header->table[low - 1].frame;
    uint32_t range; /* after length, CIE and start, each of 4 bytes */
    memcpy(&range, frame + 12, sizeof(range));
    function->start = object->frames + header->table[low - 1].start;
    function->end = function->start + range;
    return at < function->end && function->start >= object->text &&
           function->end <= object->text_end;
}

/* Free Pascal's programs have no such table, and the instruction in a handful of short functions.
   @return whether what is around `at` looks like one: from its frame's set-up to a return. */
static bool guess_function(const struct object *object, const uint8_t *at,
                           struct syscall_function *function)
{
    static const uint8_t set_up[] = {0x55, 0x48, 0x89, 0xe5}; /* push %rbp; mov %rsp, %rbp */
    const uint8_t *from = at - object->text > SHORT_BYTES ? at - SHORT_BYTES : object->text;
    struct x86_instruction instruction;
    function->start = memmem(from, (size_t)(at - from), set_up, sizeof(set_up));
    if (function->start == NULL)
        return false;
    const uint8_t *next;
    while ((next = memmem(function->start + 1, (size_t)(at - function->start - 1), set_up,
                          sizeof(set_up))) != NULL)
        function->start = next;
    for (const uint8_t *end = at; end < at + SHORT_BYTES; end += instruction.length) {
        if (!x86_decode(end, object->text_end, &instruction))
            return false;
        function->end = end + instruction.length;
        if (*end == RETURN)
            return true;
    }
    return false;
}

static bool find_function(const struct object *object, const uint8_t *at,
                          struct syscall_function *function)
{
    return object->frames != NULL ? look_up_function(object, at, function)
                                  : guess_function(object, at, function);
}

/* ---- Sites ---------------------------------------------------------------------------------- */

/* A system call instruction. */
struct site {
    uint8_t *at;
    struct syscall_function function;
    long number; /* -1: can't be told */
};

/* The instruction's bytes, wherever they are: of text, some millions are looked through.
   @return NULL: none. */
static uint8_t *find_bytes(uint8_t *from, const uint8_t *end)
{
    const __m128i first = _mm_set1_epi8(0x0f), second = _mm_set1_epi8(0x05);
    for (; end - from > (ptrdiff_t)sizeof(__m128i); from += sizeof(__m128i)) {
        __m128i here = _mm_loadu_si128((const __m128i *)(const void *)from);
        __m128i next = _mm_loadu_si128((const __m128i *)(const void *)(from + 1));
        int found = _mm_movemask_epi8(
            _mm_and_si128(_mm_cmpeq_epi8(here, first), _mm_cmpeq_epi8(next, second)));
        if (found != 0)
            return from + __builtin_ctz((unsigned)found);
    }
    return from < end ? memmem(from, (size_t)(end - from), "\x0f\x05", 2) : NULL;
}

/* Whether the instruction puts a constant into eax. */
static bool puts_number(const uint8_t *at, const struct x86_instruction *instruction, long *number)
{
    static const struct {
        uint8_t length, code[3], code_bytes;
    } forms[] = {
        {2, {0x31, 0xc0}, 2},       /* xor %eax, %eax */
        {5, {0xb8}, 1},             /* mov $n, %eax */
        {7, {0x48, 0xc7, 0xc0}, 3}, /* mov $n, %rax */
    };
    int32_t constant = 0;
    for (unsigned i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
        if (forms[i].length != instruction->length ||
            memcmp(at, forms[i].code, forms[i].code_bytes) != 0)
            continue;
        memcpy(&constant, at + forms[i].code_bytes, forms[i].length - forms[i].code_bytes);
        *number = constant;
        return true;
    }
    return false;
}

/* Follow the function up to the site. @return false: the bytes there are no instruction of it. */
static bool follow(struct site *site, const uint8_t **set)
{
    struct x86_instruction instruction;
    const uint8_t *at = site->function.start;
    site->number = -1;
    for (; at < site->at; at += instruction.length) {
        if (!x86_decode(at, site->function.end, &instruction))
            return false;
        if (instruction.is_branch || instruction.is_indirect_jump || *at == RETURN)
            site->number = -1;
        else if (puts_number(at, &instruction, &site->number))
            *set = at;
    }
    return at == site->at;
}

/* Whether it is one although nothing tells of a function there: its number is set right before. */
static bool is_obscure(const struct object *object, struct site *site)
{
    const struct x86_instruction set = {.length = 5};
    const uint8_t *at = site->at - set.length;
    site->function = (struct syscall_function){0};
    return at >= object->text && *at == 0xb8 && puts_number(at, &set, &site->number);
}

/* The next system call from there on. Else the bytes are of something else. */
static bool next_site(const struct object *object, uint8_t *from, struct site *site)
{
    for (; (from = find_bytes(from, object->text_end)) != NULL; from++) {
        const uint8_t *set = NULL;
        site->at = from;
        if (!find_function(object, from, &site->function) || !follow(site, &set)) {
            if (is_obscure(object, site))
                return true;
            continue;
        }
        bool by_table;
        if (site->number >= 0 && x86_branches_into(site->function.start, site->function.end, set,
                                                   site->at + 1, &by_table))
            site->number = -1; /* it may come from elsewhere too */
        return true;
    }
    return false;
}

/* ---- Rewriting an object -------------------------------------------------------------------- */

/* Calls that a program makes with or without sockets; its own of only these are left to the
   kernel. */
static bool is_common(long number)
{
    return number == SYS_read || number == SYS_write || number == SYS_close ||
           number == SYS_readv || number == SYS_writev || number == SYS_ioctl ||
           number == SYS_fcntl || number == SYS_dup || number == SYS_dup2 || number == SYS_dup3 ||
           number == SYS_fork || number == SYS_execve || number == SYS_close_range;
}

static bool is_ours(const struct site *site)
{
    return site->number < 0 || syscall_copy_takes(site->number);
}

static bool has_calls_of_sockets(const struct object *object)
{
    struct site site;
    for (uint8_t *from = object->text; next_site(object, from, &site); from = site.at + 2) {
        if (is_ours(&site) && !is_common(site.number))
            return true;
    }
    return false;
}

static void rewrite_text(struct object *object)
{
    uint8_t *page = (uint8_t *)((uintptr_t)object->text & ~(PAGE_BYTES - 1));
    size_t page_bytes = (size_t)(object->text_end - page);
    unsigned rewritten = 0;
    struct site site;
    if (!has_calls_of_sockets(object))
        return;
    if (mprotect(page, page_bytes, PROT_READ | PROT_WRITE | PROT_EXEC) < 0) {
        object->failed = true;
        return;
    }
    for (uint8_t *from = object->text; next_site(object, from, &site); from = site.at + 2) {
        if (!is_ours(&site))
            continue;
        if (site.number == SYS_io_uring_setup && !uring_kernel_suffices())
            object->failed = true;
        else if (site.function.start != NULL &&
                 syscall_copy_make(&object->copies, &site.function, site.at))
            rewritten++;
        else
            object->failed = true;
    }
    (void)mprotect(page, page_bytes, PROT_READ | PROT_EXEC);
    syscall_copies_end(&object->copies);
    log_debug("%s: %u system calls lead here", object->name, rewritten);
}

static bool is_liburing(const char *name)
{
    const char *file = strrchr(name, '/');
    static const char prefix[] = "liburing";
    return strncmp(file != NULL ? file + 1 : name, prefix, sizeof(prefix) - 1) == 0;
}

/* By its kind and what we know of it. */
static bool is_ring(const char *number)
{
    char path[64], target[64] = "";
    int fd = atoi(number);
    const struct file *file = fd_peek(fd);
    if (file != NULL && (file->kind == FILE_URING || file->kind == FILE_INTERNAL))
        return false;
    (void)snprintf(path, sizeof(path), "/proc/self/fd/%s", number);
    long length = syscall(SYS_readlink, path, target, sizeof(target) - 1);
    return length > 0 && strcmp(target, "anon_inode:[io_uring]") == 0;
}

/* Whether the process has a ring that was made past us. */
static bool has_unknown_ring(void)
{
    DIR *directory = opendir("/proc/self/fd");
    bool found = false;
    const struct dirent *entry;
    if (directory == NULL)
        return true;
    while (!found && (entry = readdir(directory)) != NULL)
        found = entry->d_name[0] != '.' && is_ring(entry->d_name);
    (void)closedir(directory);
    return found;
}

/* @return whether it is new to us. */
static bool note_object(ElfW(Addr) address)
{
    for (unsigned i = 0; i < looked_at_count; i++) {
        if (looked_at[i] == address)
            return false;
    }
    if (looked_at_count < OBJECTS_MAX)
        looked_at[looked_at_count++] = address;
    return true;
}

static void rewrite_object(const struct dl_phdr_info *info, struct object *object)
{
    for (unsigned i = 0; i < info->dlpi_phnum; i++) {
        if (info->dlpi_phdr[i].p_type == PT_GNU_EH_FRAME)
            object->frames = (const uint8_t *)(info->dlpi_addr + info->dlpi_phdr[i].p_vaddr);
    }
    for (unsigned i = 0; i < info->dlpi_phnum && !object->failed; i++) {
        const ElfW(Phdr) *segment = &info->dlpi_phdr[i];
        if (segment->p_type != PT_LOAD || (segment->p_flags & PF_X) == 0 ||
            segment->p_memsz > OBJECT_BYTES_MAX)
            continue;
        object->text = (uint8_t *)(info->dlpi_addr + segment->p_vaddr);
        object->text_end = object->text + segment->p_memsz;
        rewrite_text(object);
    }
}

/* How far a look has come. */
struct look {
    unsigned index;
    bool first; /* before the program runs: no ring can have been made */
};

static int look_at_object(struct dl_phdr_info *info, size_t bytes, void *context)
{
    struct look *look = context;
    bool is_program = look->index++ == 0;
    (void)bytes;
    atomic_store(&loaded, info->dlpi_adds);
    if ((!is_program && !is_liburing(info->dlpi_name)) || !note_object(info->dlpi_addr))
        return 0;
    struct object object = {.name = is_program ? "this program" : info->dlpi_name};
    if (!look->first && has_unknown_ring())
        object.failed = true;
    else
        rewrite_object(info, &object);
    if (object.failed) {
        atomic_store(&escaped, true);
        log_warning(
            "%s makes system calls of its own that can't be followed: sockets stay on kernel TCP "
            "(unless PNO_POLICY offloads them)",
            object.name);
    }
    return 0;
}

void syscall_sites_rewrite(void)
{
    struct look look = {.first = true};
    syscall_copy_init();
    (void)dl_iterate_phdr(look_at_object, &look);
}

static int count_objects(struct dl_phdr_info *info, size_t bytes, void *context)
{
    (void)bytes;
    *(unsigned long long *)context = info->dlpi_adds;
    return 1;
}

bool syscall_sites_escaped(void)
{
    unsigned long long now = 0;
    (void)dl_iterate_phdr(count_objects, &now);
    if (now != atomic_load(&loaded)) {
        struct look look = {0};
        int saved_errno = errno;
        lock_acquire(&look_lock);
        (void)dl_iterate_phdr(look_at_object, &look);
        lock_release(&look_lock);
        errno = saved_errno;
    }
    return atomic_load(&escaped);
}

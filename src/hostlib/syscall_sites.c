#include "hostlib/syscall_sites.h"

#include <cpuid.h>
#include <dirent.h>
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
#include "hostlib/uring.h"
#include "hostlib/x86_decode.h"

/* A jump to anywhere near. */
#define JUMP_BYTES 5

/* The longest copy: its instructions, the calls, the jump back. */
#define COPY_BYTES 128

/* Instructions that may be moved with the system call, on each side. */
#define BEFORE_MAX 6
#define AFTER_MAX  3

/* Per object. */
#define COPIES_BYTES (128u << 10)

/* Programs longer than that are not searched: starting them would take noticeably longer. */
#define OBJECT_BYTES_MAX (8u << 20)

/* How far from the object a jump may lie, leaving room for both. */
#define NEAR_BYTES ((uintptr_t)1 << 30)

#define PAGE_BYTES ((uintptr_t)4096)

/* Objects remembered as looked at; more are looked at again, and found without such calls. */
#define OBJECTS_MAX 8

static _Atomic bool escaped;
static _Atomic unsigned long long loaded; /* objects, ever, at the last look */
static ElfW(Addr) looked_at[OBJECTS_MAX];
static unsigned looked_at_count;
static struct lock look_lock;

/* ---- From a copy into the library ----------------------------------------------------------- */

/* A system call preserves all registers but rax, rcx and r11; so do we, vectors included. On entry
   all are as the system call has them. 2688 bytes are what XSAVE writes of the state components
   0-2 and 5-7 (x87, SSE, AVX, AVX-512). */
__asm__(".text\n"
        ".globl pno_syscall_entry\n"
        ".hidden pno_syscall_entry\n"
        ".type pno_syscall_entry, @function\n"
        "pno_syscall_entry:\n"
        ".cfi_startproc\n"
        "    pushq %rbp\n"
        ".cfi_def_cfa_offset 16\n"
        ".cfi_offset %rbp, -16\n"
        "    movq %rsp, %rbp\n"
        ".cfi_def_cfa_register %rbp\n"
        "    pushq %rdi\n"
        "    pushq %rsi\n"
        "    pushq %rdx\n"
        "    pushq %r10\n"
        "    pushq %r8\n"
        "    pushq %r9\n"
        "    subq $2752, %rsp\n"
        "    andq $-64, %rsp\n"
        "    movq %rax, %r11\n"
        "    cmpl $0, pno_has_xsave(%rip)\n"
        "    je 1f\n"
        "    xorl %eax, %eax\n"
        "    movq %rax, 512(%rsp)\n"
        "    movq %rax, 520(%rsp)\n"
        "    movq %rax, 528(%rsp)\n"
        "    movq %rax, 536(%rsp)\n"
        "    movq %rax, 544(%rsp)\n"
        "    movq %rax, 552(%rsp)\n"
        "    movq %rax, 560(%rsp)\n"
        "    movq %rax, 568(%rsp)\n"
        "    movq %rdx, %rcx\n"
        "    movl $0xe7, %eax\n"
        "    xorl %edx, %edx\n"
        "    xsave64 (%rsp)\n"
        "    movq %rcx, %rdx\n"
        "    jmp 2f\n"
        "1:  fxsave64 (%rsp)\n"
        "2:  movq %rsp, %rax\n"
        "    pushq %rax\n" /* keeps the stack aligned at the call, with the seventh argument */
        "    pushq %r9\n"
        "    movq %r8, %r9\n"
        "    movq %r10, %r8\n"
        "    movq %rdx, %rcx\n"
        "    movq %rsi, %rdx\n"
        "    movq %rdi, %rsi\n"
        "    movq %r11, %rdi\n"
        "    call pno_syscall_called\n"
        "    addq $16, %rsp\n"
        "    movq %rax, %r11\n"
        "    cmpl $0, pno_has_xsave(%rip)\n"
        "    je 3f\n"
        "    movl $0xe7, %eax\n"
        "    xorl %edx, %edx\n"
        "    xrstor64 (%rsp)\n"
        "    jmp 4f\n"
        "3:  fxrstor64 (%rsp)\n"
        "4:  movq %r11, %rax\n"
        "    leaq -48(%rbp), %rsp\n"
        "    popq %r9\n"
        "    popq %r8\n"
        "    popq %r10\n"
        "    popq %rdx\n"
        "    popq %rsi\n"
        "    popq %rdi\n"
        "    popq %rbp\n"
        ".cfi_def_cfa %rsp, 8\n"
        "    ret\n"
        ".cfi_endproc\n"
        ".size pno_syscall_entry, . - pno_syscall_entry\n");

void pno_syscall_entry(void);
long pno_syscall_called(long number, long a, long b, long c, long d, long e, long f);
extern uint32_t pno_has_xsave;

__attribute__((visibility("hidden"), used)) uint32_t pno_has_xsave;

static bool has_xsave(void)
{
    unsigned a, b, c = 0, d;
    return __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & bit_OSXSAVE) != 0;
}

/* What the copies hand over: io_uring's calls, and close(), since it may end a ring or a socket. */
__attribute__((visibility("hidden"), used)) long pno_syscall_called(long number, long a, long b,
                                                                    long c, long d, long e, long f)
{
    int saved_errno = errno;
    long result;
    if (number == SYS_close)
        result = close((int)a) < 0 ? -errno : 0;
    else
        result = uring_call(number, a, b, c, d, e, f);
    errno = saved_errno;
    return result;
}

/* ---- Objects -------------------------------------------------------------------------------- */

struct object {
    const char *name;
    uint8_t *text, *text_end;     /* the executable segment looked at */
    const uint8_t *frames;        /* .eh_frame_hdr; NULL: none */
    uint8_t *copies, *copies_end; /* room for copies; NULL: not yet made */
    uint8_t *next_copy;
    bool is_liburing, failed;
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

/* @return whether `at` lies in a known function: [*start, *end). */
static bool find_function(const struct object *object, const uint8_t *at, const uint8_t **start,
                          const uint8_t **end)
{
    const struct frame_header *header = (const struct frame_header *)(const void *)object->frames;
    if (header == NULL || header->version != 1 || header->count_encoding != COUNT_UDATA4 ||
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
    *start = object->frames + header->table[low - 1].start;
    *end = *start + range;
    return at < *end && *start >= object->text && *end <= object->text_end;
}

/* ---- Rewriting one -------------------------------------------------------------------------- */

/* What the jump takes the place of: some instructions, the system call, some more. */
struct window {
    const uint8_t *start, *site, *end;
};

/* Whether some branch of the function goes to within the window (its start is no harm). */
static bool is_entered(const uint8_t *start, const uint8_t *end, const struct window *window)
{
    struct x86_instruction instruction;
    for (const uint8_t *at = start; at < end; at += instruction.length) {
        if (!x86_decode(at, end, &instruction))
            return true;
        if (instruction.is_branch && instruction.target > window->start &&
            instruction.target < window->end)
            return true;
    }
    return false;
}

/* The instructions around the site that can be moved. @return false: it is no instruction there,
   or too few can. */
static bool choose_window(const uint8_t *start, const uint8_t *end, struct window *window)
{
    const uint8_t *before[BEFORE_MAX] = {NULL}; /* the latest first */
    struct x86_instruction instruction;
    const uint8_t *at = start;
    for (; at < window->site; at += instruction.length) {
        if (!x86_decode(at, end, &instruction))
            return false;
        if (!instruction.is_relocatable) {
            memset((void *)before, 0, sizeof(before));
            continue;
        }
        memmove((void *)(before + 1), (const void *)before, (BEFORE_MAX - 1) * sizeof(before[0]));
        before[0] = at;
    }
    if (at != window->site)
        return false;
    window->end = window->site + 2;
    for (unsigned i = 0; i < BEFORE_MAX && before[i] != NULL; i++) {
        window->start = before[i];
        if (window->end - window->start >= JUMP_BYTES)
            return !is_entered(start, end, window);
    }
    window->start = before[0] != NULL ? before[0] : window->site;
    for (unsigned i = 0; i < AFTER_MAX; i++) {
        if (!x86_decode(window->end, end, &instruction) || !instruction.is_relocatable)
            return false;
        window->end += instruction.length;
        if (window->end - window->start >= JUMP_BYTES)
            return !is_entered(start, end, window);
    }
    return false;
}

static uint8_t *emit(uint8_t *to, const void *bytes, size_t count)
{
    memcpy(to, bytes, count);
    return to + count;
}

static uint8_t *emit_jump(uint8_t *to, const uint8_t *target)
{
    int32_t distance = (int32_t)(target - (to + JUMP_BYTES));
    *to++ = 0xe9;
    return emit(to, &distance, sizeof(distance));
}

/* The copy: what came before; if it is one of our calls, into the library, else the system call
   itself; what comes after; and back. The program may have something in the 128 bytes below its
   stack pointer (System V ABI, the red zone). r11 and rcx are the system call's to destroy. */
static uint8_t *emit_copy(uint8_t *to, const struct window *window)
{
    static const uint8_t head[] = {
        0x44, 0x8d, 0x98, 0x57, 0xfe, 0xff, 0xff, /* lea -425(%rax), %r11d */
        0x41, 0x83, 0xfb, 0x02,                   /* cmp $2, %r11d */
        0x76, 0x09,                               /* jbe ours */
        0x83, 0xf8, 0x03,                         /* cmp $3, %eax */
        0x74, 0x04,                               /* je ours */
        0x0f, 0x05,                               /* syscall */
        0xeb, 0x1a,                               /* jmp after */
        0x48, 0x8d, 0x64, 0x24, 0x80,             /* ours: lea -128(%rsp), %rsp */
        0x49, 0xbb,                               /* mov $pno_syscall_entry, %r11 */
    };
    static const uint8_t tail[] = {
        0x41, 0xff, 0xd3,                               /* call *%r11 */
        0x48, 0x8d, 0xa4, 0x24, 0x80, 0x00, 0x00, 0x00, /* lea 128(%rsp), %rsp */
    };
    void (*function)(void) = pno_syscall_entry;
    to = emit(to, window->start, (size_t)(window->site - window->start));
    to = emit(to, head, sizeof(head));
    to = emit(to, &function, sizeof(function));
    to = emit(to, tail, sizeof(tail));
    to = emit(to, window->site + 2, (size_t)(window->end - window->site - 2));
    return emit_jump(to, window->end);
}

/* Room for copies, near enough for jumps both ways. */
static bool make_room(struct object *object)
{
    if (object->copies != NULL)
        return object->copies_end - object->next_copy >= COPY_BYTES;
    uintptr_t text = (uintptr_t)object->text & ~(PAGE_BYTES - 1);
    for (uintptr_t distance = COPIES_BYTES; distance < NEAR_BYTES && distance < text;
         distance += 16 * COPIES_BYTES) {
        void *memory = mmap((void *)(text - distance), COPIES_BYTES,
                            PROT_READ | PROT_WRITE, // NOLINT
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
        if (memory == MAP_FAILED)
            continue;
        object->copies = object->next_copy = memory;
        object->copies_end = object->copies + COPIES_BYTES;
        return true;
    }
    return false;
}

static bool rewrite_site(struct object *object, uint8_t *site)
{
    const uint8_t *start, *end;
    struct window window = {.site = site};
    if (!find_function(object, site, &start, &end) || !choose_window(start, end, &window))
        return false;
    if (!make_room(object))
        return false;
    uint8_t *copy = object->next_copy;
    object->next_copy = emit_copy(copy, &window);
    uint8_t *place = object->text + (window.start - object->text);
    uint8_t *rest = emit_jump(place, copy);
    memset(rest, 0xcc, (size_t)(window.end - rest)); /* nobody comes here */
    return true;
}

/* ---- Rewriting an object -------------------------------------------------------------------- */

/* mov $425, %r32: only who makes rings has that. */
static const uint8_t *find_setup(const uint8_t *text, const uint8_t *end)
{
    static const uint8_t number[] = {0xa9, 0x01, 0x00, 0x00};
    const uint8_t *last = end - sizeof(number);
    const uint8_t *at = text;
    /* For one byte memchr() is some times as fast as memmem() for four. */
    while (++at <= last && (at = memchr(at, number[0], (size_t)(last - at) + 1)) != NULL) {
        if (memcmp(at, number, sizeof(number)) == 0 && (at[-1] & 0xf8) == 0xb8)
            return at - 1;
    }
    return NULL;
}

/* Whether the bytes there are an instruction of a function that we can follow. */
static bool is_instruction(const struct object *object, const uint8_t *site)
{
    const uint8_t *start, *end;
    struct x86_instruction instruction;
    if (!find_function(object, site, &start, &end))
        return false;
    const uint8_t *at = start;
    while (at < site && x86_decode(at, end, &instruction))
        at += instruction.length;
    return at == site;
}

/* The next system call from there on; NULL: none. What no function can be found around is none
   either: two bytes of something else. */
static uint8_t *next_site(const struct object *object, uint8_t *from)
{
    static const uint8_t instruction[] = {0x0f, 0x05};
    while ((from = memmem(from, (size_t)(object->text_end - from), instruction, 2)) != NULL) {
        if (is_instruction(object, from))
            return from;
        from++;
    }
    return NULL;
}

static void rewrite_text(struct object *object)
{
    uint8_t *page = (uint8_t *)((uintptr_t)object->text & ~(PAGE_BYTES - 1));
    size_t page_bytes = (size_t)(object->text_end - page);
    unsigned rewritten = 0;
    if (find_setup(object->text, object->text_end) == NULL)
        return;
    uint8_t *site = next_site(object, object->text);
    if (site == NULL) { /* many a program has 425 for something else */
        object->failed = object->is_liburing;
        return;
    }
    if (!uring_kernel_suffices() ||
        mprotect(page, page_bytes, PROT_READ | PROT_WRITE | PROT_EXEC) < 0) {
        object->failed = true;
        return;
    }
    for (; site != NULL; site = next_site(object, site + 2)) {
        if (rewrite_site(object, site))
            rewritten++;
        else
            object->failed = true;
    }
    (void)mprotect(page, page_bytes, PROT_READ | PROT_EXEC);
    if (object->copies != NULL)
        (void)mprotect(object->copies, COPIES_BYTES, PROT_READ | PROT_EXEC);
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
    struct object object = {.name = is_program ? "this program" : info->dlpi_name,
                            .is_liburing = !is_program};
    if (!look->first && has_unknown_ring())
        object.failed = true;
    else
        rewrite_object(info, &object);
    if (object.failed) {
        atomic_store(&escaped, true);
        log_warning("%s makes io_uring calls that can't be followed: sockets stay on kernel TCP "
                    "(unless PNO_POLICY offloads them)",
                    object.name);
    }
    return 0;
}

void syscall_sites_rewrite(void)
{
    struct look look = {.first = true};
    pno_has_xsave = has_xsave();
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

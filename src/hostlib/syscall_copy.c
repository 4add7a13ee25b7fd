#include "hostlib/syscall_copy.h"

#include <cpuid.h>
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>

#include "hostlib/interpose.h"
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

/* How far from the object a jump may lie, leaving room for both. */
#define NEAR_BYTES ((uintptr_t)1 << 30)

#define PAGE_BYTES ((uintptr_t)4096)

#define NUMBER_BITS 64

/* A bit for each number of the library's calls. */
static uint64_t taken[INTERPOSE_NUMBER_END / NUMBER_BITS];

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

/* The program expects no cancellation in its own instruction, and nothing could unwind through the
   copy. */
__attribute__((visibility("hidden"), used)) long pno_syscall_called(long number, long a, long b,
                                                                    long c, long d, long e, long f)
{
    const struct interpose_arguments arguments = {a, b, c, d, e, f};
    int saved_errno = errno, cancellation;
    (void)pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancellation);
    long result = interpose_call(number, &arguments);
    if (result == -1)
        result = -errno;
    (void)pthread_setcancelstate(cancellation, NULL);
    errno = saved_errno;
    return result;
}

void syscall_copy_init(void)
{
    pno_has_xsave = has_xsave();
    for (const uint16_t *number = interpose_numbers; *number != INTERPOSE_NUMBER_END; number++)
        taken[*number / NUMBER_BITS] |= UINT64_C(1) << (*number % NUMBER_BITS);
}

bool syscall_copy_takes(long number)
{
    return number >= 0 && number < INTERPOSE_NUMBER_END &&
           (taken[number / NUMBER_BITS] >> (number % NUMBER_BITS) & 1) != 0;
}

/* ---- Replacing one -------------------------------------------------------------------------- */

/* What the jump takes the place of: some instructions, the system call, some more. */
struct window {
    const uint8_t *start, *site, *end;
};

/* Whether some branch of the function goes, or may go, to within the window (its start is no harm).
   Of a jump by a table it is not known where to, but that none leads to the system call itself,
   whose number would be anybody's. */
static bool is_entered(const uint8_t *start, const uint8_t *end, const struct window *window,
                       bool is_pair)
{
    bool by_table;
    return x86_branches_into(start, end, window->start, window->end, &by_table) ||
           (by_table && !is_pair);
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
            return !is_entered(start, end, window, i == 0);
    }
    window->start = before[0] != NULL ? before[0] : window->site;
    for (unsigned i = 0; i < AFTER_MAX; i++) {
        if (!x86_decode(window->end, end, &instruction) || !instruction.is_relocatable)
            return false;
        window->end += instruction.length;
        if (window->end - window->start >= JUMP_BYTES)
            return !is_entered(start, end, window, false);
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

/* The copy: what came before; if it is one of the library's calls, into that, else the system call
   itself (it may be one that returns twice, or on another stack); what comes after; and back. The
   program may have something in the 128 bytes below its stack pointer (System V ABI, the red zone).
   r11 and rcx are the system call's to destroy; of the flags no compiler thinks otherwise. */
static uint8_t *emit_copy(uint8_t *to, const struct window *window)
{
    static const uint8_t head[] = {
        0x3d,
        INTERPOSE_NUMBER_END & 0xff,
        INTERPOSE_NUMBER_END >> 8,
        0x00,
        0x00, /* cmp $end, %eax */
        0x73,
        0x10, /* jae other */
        0x49,
        0xbb, /* mov $taken, %r11 */
    };
    static const uint8_t middle[] = {
        0x41, 0x0f, 0xa3, 0x03,       /* bt %eax, (%r11) */
        0x72, 0x04,                   /* jc ours */
        0x0f, 0x05,                   /* other: syscall */
        0xeb, 0x1a,                   /* jmp after */
        0x48, 0x8d, 0x64, 0x24, 0x80, /* ours: lea -128(%rsp), %rsp */
        0x49, 0xbb,                   /* mov $pno_syscall_entry, %r11 */
    };
    static const uint8_t tail[] = {
        0x41, 0xff, 0xd3,                               /* call *%r11 */
        0x48, 0x8d, 0xa4, 0x24, 0x80, 0x00, 0x00, 0x00, /* lea 128(%rsp), %rsp */
    };
    const uint64_t *bits = taken;
    void (*function)(void) = pno_syscall_entry;
    to = emit(to, window->start, (size_t)(window->site - window->start));
    to = emit(to, head, sizeof(head));
    to = emit(to, &bits, sizeof(bits));
    to = emit(to, middle, sizeof(middle));
    to = emit(to, &function, sizeof(function));
    to = emit(to, tail, sizeof(tail));
    to = emit(to, window->site + 2, (size_t)(window->end - window->site - 2));
    return emit_jump(to, window->end);
}

static bool make_room(struct syscall_copies *copies, const uint8_t *site)
{
    if (copies->start != NULL)
        return copies->end - copies->next >= COPY_BYTES;
    uintptr_t near = (uintptr_t)site & ~(PAGE_BYTES - 1);
    for (uintptr_t distance = COPIES_BYTES; distance < NEAR_BYTES && distance < near;
         distance += 16 * COPIES_BYTES) {
        void *memory = mmap((void *)(near - distance), COPIES_BYTES,
                            PROT_READ | PROT_WRITE, // NOLINT
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
        if (memory == MAP_FAILED)
            continue;
        copies->start = copies->next = memory;
        copies->end = copies->start + COPIES_BYTES;
        return true;
    }
    return false;
}

bool syscall_copy_make(struct syscall_copies *copies, const struct syscall_function *function,
                       uint8_t *site)
{
    struct window window = {.site = site};
    if (!choose_window(function->start, function->end, &window) || !make_room(copies, site))
        return false;
    uint8_t *copy = copies->next;
    copies->next = emit_copy(copy, &window);
    uint8_t *place = site - (window.site - window.start);
    uint8_t *rest = emit_jump(place, copy);
    memset(rest, 0xcc, (size_t)(window.end - rest)); /* nobody comes here */
    return true;
}

void syscall_copies_end(struct syscall_copies *copies)
{
    if (copies->start != NULL)
        (void)mprotect(copies->start, COPIES_BYTES, PROT_READ | PROT_EXEC);
}

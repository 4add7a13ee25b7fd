#include "hostlib/user_memory.h"

#include <ucontext.h>

/*
 * In assembly, so that it is known which instructions may fault and that nothing is on the stack
 * then: the handler has the function return 1. Short copies by overlapping moves, long ones by the
 * instruction that is made for them, as libc does.
 */
__asm__(".text\n"
        ".p2align 4\n"
        ".globl user_memory_copy\n"
        ".hidden user_memory_copy\n"
        ".type user_memory_copy, @function\n"
        "user_memory_copy:\n"
        ".cfi_startproc\n"
        ".globl user_memory_accesses\n"
        ".hidden user_memory_accesses\n"
        "user_memory_accesses:\n"
        "  cmpq $16, %rdx\n"
        "  jb 3f\n"
        "  cmpq $1024, %rdx\n"
        "  ja 2f\n"
        "  movups -16(%rsi,%rdx), %xmm0\n" /* the last 16 bytes, stored last */
        "  leaq -16(%rdi,%rdx), %rcx\n"
        "  cmpq %rcx, %rdi\n"
        "  jae 5f\n"
        "1:\n"
        "  movups (%rsi), %xmm1\n"
        "  movups %xmm1, (%rdi)\n"
        "  addq $16, %rsi\n"
        "  addq $16, %rdi\n"
        "  cmpq %rcx, %rdi\n"
        "  jb 1b\n"
        "5:\n"
        "  movups %xmm0, (%rcx)\n"
        "  xorl %eax, %eax\n"
        "  ret\n"
        "2:\n"
        "  movq %rdx, %rcx\n"
        "  rep movsb\n"
        "  xorl %eax, %eax\n"
        "  ret\n"
        "3:\n"
        "  testb $8, %dl\n"
        "  jz 4f\n"
        "  movq (%rsi), %rax\n"
        "  movq -8(%rsi,%rdx), %rcx\n"
        "  movq %rax, (%rdi)\n"
        "  movq %rcx, -8(%rdi,%rdx)\n"
        "  xorl %eax, %eax\n"
        "  ret\n"
        "4:\n"
        "  testb $4, %dl\n"
        "  jz 6f\n"
        "  movl (%rsi), %eax\n"
        "  movl -4(%rsi,%rdx), %ecx\n"
        "  movl %eax, (%rdi)\n"
        "  movl %ecx, -4(%rdi,%rdx)\n"
        "  xorl %eax, %eax\n"
        "  ret\n"
        "6:\n"
        "  testq %rdx, %rdx\n"
        "  jz 8f\n"
        "  movzbl (%rsi), %eax\n"
        "  movzbl -1(%rsi,%rdx), %ecx\n"
        "  testb $2, %dl\n"
        "  jz 7f\n"
        "  movzbl 1(%rsi), %r8d\n"
        "  movb %r8b, 1(%rdi)\n"
        "7:\n"
        "  movb %al, (%rdi)\n"
        "  movb %cl, -1(%rdi,%rdx)\n"
        "8:\n"
        "  xorl %eax, %eax\n"
        "  ret\n"
        ".cfi_endproc\n"
        ".size user_memory_copy, .-user_memory_copy\n"

        /* A byte of each page, and the last. */
        ".p2align 4\n"
        ".globl user_memory_try_read\n"
        ".hidden user_memory_try_read\n"
        ".type user_memory_try_read, @function\n"
        "user_memory_try_read:\n"
        ".cfi_startproc\n"
        "  leaq -1(%rdi,%rsi), %rcx\n"
        "1:\n"
        "  movb (%rdi), %al\n"
        "  addq $4096, %rdi\n"
        "  cmpq %rcx, %rdi\n"
        "  jb 1b\n"
        "  movb (%rcx), %al\n"
        "  xorl %eax, %eax\n"
        "  ret\n"
        ".cfi_endproc\n"
        ".size user_memory_try_read, .-user_memory_try_read\n"

        /* Likewise; locked, since others may be writing there. */
        ".p2align 4\n"
        ".globl user_memory_try_write\n"
        ".hidden user_memory_try_write\n"
        ".type user_memory_try_write, @function\n"
        "user_memory_try_write:\n"
        ".cfi_startproc\n"
        "  leaq -1(%rdi,%rsi), %rcx\n"
        "1:\n"
        "  lock orb $0, (%rdi)\n"
        "  addq $4096, %rdi\n"
        "  cmpq %rcx, %rdi\n"
        "  jb 1b\n"
        "  lock orb $0, (%rcx)\n"
        "  xorl %eax, %eax\n"
        "  ret\n"
        ".globl user_memory_accesses_end\n"
        ".hidden user_memory_accesses_end\n"
        "user_memory_accesses_end:\n"
        ".globl user_memory_faulted\n"
        ".hidden user_memory_faulted\n"
        "user_memory_faulted:\n"
        "  movl $1, %eax\n"
        "  ret\n"
        ".cfi_endproc\n"
        ".size user_memory_try_write, .-user_memory_try_write\n");

extern const char user_memory_accesses[] __attribute__((visibility("hidden")));
extern const char user_memory_accesses_end[] __attribute__((visibility("hidden")));
extern const char user_memory_faulted[] __attribute__((visibility("hidden")));

bool user_memory_end_access(void *ucontext)
{
    ucontext_t *context = ucontext;
    greg_t *instruction = &context->uc_mcontext.gregs[REG_RIP];
    if ((uintptr_t)*instruction < (uintptr_t)user_memory_accesses ||
        (uintptr_t)*instruction >= (uintptr_t)user_memory_accesses_end)
        return false;
    *instruction = (greg_t)(uintptr_t)user_memory_faulted;
    return true;
}

/* Jumps out of signal handlers, which end the calls that the handlers have interrupted: what those
   calls have on the stack is left first. As the unwinding of a cancelled thread does it. */
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

#include "hostlib/real.h"
#include "hostlib/waiter.h"

/* Where x86-64's glibc has the stack pointer in a jmp_buf, rotated and mixed with a secret of the
   thread's. Source: glibc sysdeps/x86_64/jmpbuf-offsets.h, pointer_guard.h. */
#define SAVED_STACK_POINTER 6
#define ROTATED_BITS        17

/* Frames between setjmp() and ours are nearer than that. */
#define FRAMES_BYTES 4096

static uintptr_t stack_pointer_in(const struct __jmp_buf_tag *environment)
{
    uintptr_t secret;
    uintptr_t mangled = (uintptr_t)environment->__jmpbuf[SAVED_STACK_POINTER];
    __asm__("movq %%fs:0x30, %0" : "=r"(secret));
    return (mangled >> ROTATED_BITS | mangled << (64 - ROTATED_BITS)) ^ secret;
}

/* Another libc may do it otherwise: then nothing is known of where a jump goes. */
static bool is_understood(void)
{
    jmp_buf here;
    uintptr_t frame = (uintptr_t)__builtin_frame_address(0);
    (void)_setjmp(here);
    uintptr_t found = stack_pointer_in(here);
    return found < frame + FRAMES_BYTES && found > frame - FRAMES_BYTES;
}

static void leave_calls(const struct __jmp_buf_tag *environment)
{
    stack_t stack;
    if (!waiter_is_interrupted() || !is_understood())
        return;
    uintptr_t target = stack_pointer_in(environment);
    /* Within the handler, on its own stack. */
    if (sigaltstack(NULL, &stack) == 0 && (stack.ss_flags & SS_ONSTACK) != 0 &&
        target - (uintptr_t)stack.ss_sp < stack.ss_size)
        return;
    waiter_abandon(target);
}

#define JUMP(name)                                                                                 \
    PNO_EXPORT void name(struct __jmp_buf_tag environment[1], int value)                           \
    {                                                                                              \
        leave_calls(environment);                                                                  \
        REAL(name)(environment, value);                                                            \
        __builtin_unreachable();                                                                   \
    }

void __longjmp_chk(struct __jmp_buf_tag environment[1], int value) __attribute__((noreturn));

JUMP(longjmp)
JUMP(_longjmp)
JUMP(siglongjmp)
JUMP(__longjmp_chk)

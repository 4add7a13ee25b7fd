/* Signals that come while their thread is within the library: they wait, whatever the kernel can do
   for them, and nothing of the thread's mask changes. */
#include "hostlib/signals.h"

#include <dlfcn.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "hostlib/real.h"
#include "hostlib/signal_guard.h"
#include "hostlib/user_memory.h"
#include "hostlib/waiter.h"

/* What signals.c needs of the library. */
struct real_calls real_calls;
void real_resolve(void)
{
    *(void **)(void *)&real_calls.sigaction = dlsym(RTLD_NEXT, "sigaction");
}
struct waiter *waiter_interrupt(bool restarts)
{
    (void)restarts;
    return NULL;
}
void waiter_go_on(struct waiter *waiter)
{
    (void)waiter;
}
bool user_memory_end_access(void *ucontext)
{
    (void)ucontext;
    return false;
}

#define CALLS_MAX 32

static int calls;
static struct call {
    int number, code, value;
    bool blocks_itself, blocks_alarm;
} called[CALLS_MAX];

static bool is_blocked(int number)
{
    sigset_t mask;
    sigemptyset(&mask); /* for where it may not be asked for */
    sigprocmask(SIG_BLOCK, NULL, &mask);
    return sigismember(&mask, number) == 1;
}

static void note(int number, siginfo_t *info, void *context)
{
    (void)context;
    if (calls < CALLS_MAX)
        called[calls] = (struct call){.number = number,
                                      .code = info->si_code,
                                      .value = info->si_value.sival_int,
                                      .blocks_itself = is_blocked(number),
                                      .blocks_alarm = is_blocked(SIGALRM)};
    calls++;
}

/* With SIGALRM in the handler's mask. */
static void install(int number)
{
    struct sigaction action = {.sa_sigaction = note, .sa_flags = SA_SIGINFO};
    sigaddset(&action.sa_mask, SIGALRM);
    assert_int_equal(signals_action(number, &action, NULL), 0);
    calls = 0;
}

static void change_mask(int how, int first, int second)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, first);
    sigaddset(&set, second);
    assert_int_equal(sigprocmask(how, &set, NULL), 0);
}

static void assert_mask_is_empty(void)
{
    for (int number = 1; number < SIGRTMAX; number++)
        assert_false(is_blocked(number));
}

static void a_signal_waits_for_the_outermost_end(void **state)
{
    (void)state;
    install(SIGUSR1);
    signal_guard_enter();
    signal_guard_enter();
    raise(SIGUSR1);
    signal_guard_leave();
    assert_int_equal(calls, 0);
    errno = 77;
    signal_guard_leave();
    assert_int_equal(errno, 77);
    assert_int_equal(calls, 1);
    assert_int_equal(called[0].code, SI_TKILL);
    assert_true(called[0].blocks_itself && called[0].blocks_alarm);
    assert_mask_is_empty();
}

/* Two that are let go of by one system call enter their handlers one within the other. */
static void signals_at_once_leave_the_mask_as_it_was(void **state)
{
    (void)state;
    install(SIGUSR2);
    install(SIGUSR1);
    change_mask(SIG_BLOCK, SIGUSR1, SIGUSR2);
    raise(SIGUSR1);
    raise(SIGUSR2);
    signal_guard_enter();
    change_mask(SIG_UNBLOCK, SIGUSR1, SIGUSR2);
    assert_int_equal(calls, 0);
    signal_guard_leave();
    assert_int_equal(calls, 2);
    assert_mask_is_empty();
}

/* RLIMIT_SIGPENDING: Linux queues no real-time signal beyond it. */
static void a_signal_that_cannot_be_queued_waits(void **state)
{
    (void)state;
    struct rlimit limit, none;
    install(SIGRTMIN);
    assert_int_equal(getrlimit(RLIMIT_SIGPENDING, &limit), 0);
    none = (struct rlimit){.rlim_cur = 0, .rlim_max = limit.rlim_max};
    change_mask(SIG_BLOCK, SIGRTMIN, SIGRTMIN);
    for (int value = 1; value <= 3; value++)
        assert_int_equal(sigqueue(getpid(), SIGRTMIN, (union sigval){.sival_int = value}), 0);
    assert_int_equal(setrlimit(RLIMIT_SIGPENDING, &none), 0);
    signal_guard_enter();
    change_mask(SIG_UNBLOCK, SIGRTMIN, SIGRTMIN);
    assert_int_equal(calls, 0);
    signal_guard_leave();
    assert_int_equal(setrlimit(RLIMIT_SIGPENDING, &limit), 0);
    assert_int_equal(calls, 3);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(called[i].value, i + 1);
        assert_int_equal(called[i].code, SI_QUEUE);
        assert_true(called[i].blocks_itself && called[i].blocks_alarm);
    }
    assert_mask_is_empty();
}

static sigjmp_buf back;

static void jump(int number)
{
    (void)number;
    siglongjmp(back, 1);
}

/* SIGABRT and SIGSEGV say a fault when the kernel raises them, and can't wait then; from somebody
   else they are signals like others. */
static void jump_out_of(int number)
{
    struct sigaction action = {.sa_handler = jump};
    volatile bool within = true;
    assert_int_equal(signals_action(number, &action, NULL), 0);
    if (sigsetjmp(back, 1) == 0) {
        signal_guard_enter();
        raise(number);
        raise(number); /* Linux keeps one */
        within = false;
        signal_guard_leave();
        fail();
    }
    assert_false(within);
    assert_int_equal(signal_guard.depth, 0);
    assert_mask_is_empty();
    signal_guard_enter();
    signal_guard_leave(); /* calls nothing */
}

static void a_sent_fault_waits_and_may_jump(void **state)
{
    (void)state;
    static const int faults[] = {SIGABRT, SIGSEGV, SIGBUS, SIGFPE};
    for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
        jump_out_of(faults[i]);
        assert_int_equal(
            signals_action(faults[i], &(struct sigaction){.sa_handler = SIG_DFL}, NULL), 0);
    }
}

/* A sandbox that refuses to send signals and to change the mask. */
static void refuse(const int *refused, unsigned char count)
{
    struct sock_filter code[8] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr))};
    for (unsigned char i = 0; i < count; i++)
        code[1 + i] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)refused[i],
                                                   (unsigned char)(count - i), 0);
    code[1 + count] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    code[2 + count] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM);
    struct sock_fprog program = {.len = (unsigned short)(count + 3), .filter = code};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0)
        _exit(91);
}

static int raise_within_a_sandbox(const int *refused, unsigned char count)
{
    install(SIGUSR1);
    pid_t pid = fork();
    if (pid == 0) {
        refuse(refused, count);
        signal_guard_enter();
        kill(getpid(), SIGUSR1);
        bool waited = calls == 0;
        signal_guard_leave();
        _exit(waited && calls == 1 && called[0].code == SI_USER && !is_blocked(SIGUSR1) ? 0 : 1);
    }
    int status = -1;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static void in_a_sandbox_signals_wait_too(void **state)
{
    (void)state;
    static const int refused[] = {SYS_rt_tgsigqueueinfo, SYS_rt_sigprocmask};
    assert_int_equal(raise_within_a_sandbox(refused, 1), 0);
    assert_int_equal(raise_within_a_sandbox(refused, 2), 0);
}

/* What came for the parent is not the child's. */
static void a_forked_child_has_none_of_them(void **state)
{
    (void)state;
    install(SIGABRT);
    signal_guard_enter();
    raise(SIGABRT);
    pid_t pid = fork();
    if (pid == 0) {
        signal_guard_fork_child();
        _exit(calls == 0 && signal_guard.depth == 0 && !is_blocked(SIGUSR1) ? 0 : 1);
    }
    int status = -1;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_int_equal(calls, 0);
    signal_guard_leave();
    assert_int_equal(calls, 1);
}

static void at_an_exec_it_is_told_what_waits(void **state)
{
    (void)state;
    struct signals_left left = {0};
    install(SIGABRT);
    install(SIGUSR1);
    change_mask(SIG_BLOCK, SIGTERM, SIGTERM);
    signal_guard_enter();
    signals_leave_to(&left);
    assert_false(left.is_blocked);
    raise(SIGUSR1);
    raise(SIGABRT);
    assert_true(left.is_blocked);
    assert_true(left.mask == (uint64_t)1 << (SIGTERM - 1));
    assert_true(left.kept == (uint64_t)1 << (SIGABRT - 1));
    /* The new program has the mask, and pending what the kernel knows. */
    pid_t pid = fork();
    if (pid == 0) {
        struct sigaction action = {.sa_handler = SIG_DFL};
        (void)signals_action(SIGABRT, &action, NULL);
        signals_take_over(&left);
        _exit(93);
    }
    int status = -1;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    left.kept = 0;
    pid = fork();
    if (pid == 0) {
        signals_take_over(&left);
        _exit(is_blocked(SIGTERM) && !is_blocked(SIGUSR1) && !is_blocked(SIGALRM) ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    signals_leave_to(NULL); /* the exec() failed */
    signal_guard_leave();
    assert_int_equal(calls, 2);
    assert_true(is_blocked(SIGTERM));
    change_mask(SIG_UNBLOCK, SIGTERM, SIGTERM);
    assert_mask_is_empty();
}

static void an_exec_is_told_what_came_before(void **state)
{
    (void)state;
    struct signals_left left = {0};
    install(SIGABRT);
    signal_guard_enter();
    raise(SIGABRT);
    signals_leave_to(&left);
    assert_true(left.is_blocked && left.mask == 0);
    assert_true(left.kept == (uint64_t)1 << (SIGABRT - 1));
    signals_leave_to(NULL);
    signal_guard_leave();
    assert_int_equal(calls, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_signal_waits_for_the_outermost_end),
        cmocka_unit_test(signals_at_once_leave_the_mask_as_it_was),
        cmocka_unit_test(a_signal_that_cannot_be_queued_waits),
        cmocka_unit_test(a_sent_fault_waits_and_may_jump),
        cmocka_unit_test(in_a_sandbox_signals_wait_too),
        cmocka_unit_test(a_forked_child_has_none_of_them),
        cmocka_unit_test(at_an_exec_it_is_told_what_waits),
        cmocka_unit_test(an_exec_is_told_what_came_before),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

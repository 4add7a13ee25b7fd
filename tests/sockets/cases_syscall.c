/* The calls by number: by libc's syscall(), as libuv closes, and by the program's own instruction,
   as Free Pascal's programs and many of Rust's do everything. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "case.h"

/* A system call by an instruction of this program's, the number known when it runs only.
   @return as syscall(). */
static __attribute__((noinline)) long own_call(long number, ...)
{
    long arguments[6], result;
    va_list list;
    va_start(list, number);
    for (unsigned i = 0; i < 6; i++)
        arguments[i] = va_arg(list, long);
    va_end(list);
    register long r10 __asm__("r10") = arguments[3];
    register long r8 __asm__("r8") = arguments[4];
    register long r9 __asm__("r9") = arguments[5];
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(arguments[0]), "S"(arguments[1]), "d"(arguments[2]),
                       "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    if (result < 0 && result > -4096) {
        errno = (int)-result;
        return -1;
    }
    return result;
}

/* How the cases below make their calls. */
static long (*call)(long number, ...) = syscall;

static void numbered_open_and_close(const struct case_context *context)
{
    struct sockaddr_storage address;
    socklen_t length = loopback(context, &address, 0);
    long listener = call(SYS_socket, context->family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    say_result("bind", call(SYS_bind, listener, &address, length));
    say_result("listen", call(SYS_listen, listener, 4));
    say_result("name", call(SYS_getsockname, listener, &address, &length));
    long fd = call(SYS_socket, context->family, SOCK_STREAM, 0);
    say_result("connect", call(SYS_connect, fd, &address, length));
    long accepted = call(SYS_accept4, listener, NULL, NULL, SOCK_NONBLOCK);
    say("accepted %d", accepted >= 0);
    char byte = 'x';
    say_result("read", call(SYS_read, accepted, &byte, 1));
    say_result("write", call(SYS_write, fd, &byte, 1));
    say_events("poll", wait_for((int)accepted, POLLIN));
    say_result("read", call(SYS_read, accepted, &byte, 1));
    say_result("close", call(SYS_close, accepted));
    say_result("close again", call(SYS_close, accepted));
    say_events("end", wait_for((int)fd, POLLIN | POLLRDHUP));
    say_result("read", call(SYS_read, fd, &byte, 1));
    say_result("close", call(SYS_close, fd));
    say_result("close", call(SYS_close, listener));
}

static void numbered_data(const struct case_context *context)
{
    int pair[2];
    char bytes[16];
    make_pair(context, pair);
    struct iovec vector = {.iov_base = bytes, .iov_len = sizeof(bytes)};
    struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1};
    say_result("sendto", call(SYS_sendto, pair[0], "abc", 3, 0, NULL, 0));
    settle();
    ssize_t got = call(SYS_recvfrom, pair[1], bytes, sizeof(bytes), MSG_PEEK, NULL, NULL);
    say_bytes("recvfrom", got, bytes);
    got = call(SYS_recvmsg, pair[1], &message, 0);
    say_bytes("recvmsg", got, bytes);
    vector.iov_len = 2;
    say_result("sendmsg", call(SYS_sendmsg, pair[1], &message, 0));
    settle();
    say_result("readv", call(SYS_readv, pair[0], &vector, 1));
    say_result("writev", call(SYS_writev, pair[0], &vector, 1));
    say_result("recv of none", call(SYS_recvfrom, pair[0], bytes, 1, MSG_DONTWAIT, NULL, NULL));
    say_result("shutdown", call(SYS_shutdown, pair[0], SHUT_WR));
    int value = 0;
    socklen_t length = sizeof(value);
    say_result("getsockopt", call(SYS_getsockopt, pair[0], SOL_SOCKET, SO_ERROR, &value, &length));
    say("value %d, length %u", value, length);
    close_pair(pair);
}

static void numbered_readiness(const struct case_context *context)
{
    int pair[2];
    make_pair(context, pair);
    int epoll = (int)call(SYS_epoll_create1, 0);
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = 7};
    say_result("add", call(SYS_epoll_ctl, epoll, EPOLL_CTL_ADD, pair[1], &event));
    say_result("wait", call(SYS_epoll_wait, epoll, &event, 1, 0));
    send(pair[0], "x", 1, 0);
    say_result("wait", call(SYS_epoll_pwait, epoll, &event, 1, CASE_WAIT_MS, NULL, 8));
    struct pollfd polled = {.fd = pair[1], .events = POLLIN};
    say_result("poll", call(SYS_poll, &polled, 1, 0));
    say_result("ppoll", call(SYS_ppoll, &polled, 1, NULL, NULL, 8));
    say_events("polled", (unsigned short)polled.revents);
    close(epoll);
    close_pair(pair);
}

static void numbered_duplicates(const struct case_context *context)
{
    int pair[2];
    char byte;
    make_pair(context, pair);
    int copy = (int)call(SYS_dup, pair[0]), other = (int)call(SYS_dup3, pair[0], 300, 0);
    say_result("close", call(SYS_close, pair[0]));
    say_result("send", send(copy, "x", 1, 0));
    say_result("close", close(copy));
    say_result("send", send(other, "y", 1, 0));
    say_result("close", call(SYS_close_range, 300, 300, 0));
    say_result("read", recv(pair[1], &byte, 1, 0));
    say_result("read", recv(pair[1], &byte, 1, 0));
    say_result("read", recv(pair[1], &byte, 1, 0));
    close(pair[1]);
}

/* What a child that was made by number closes stays its parent's. clone() by the program's own
   instruction is the kernel's: it may return on another stack. */
static void numbered_fork(const struct case_context *context)
{
    static const long numbers[] = {SYS_clone, SYS_fork};
    int pair[2];
    char byte;
    make_pair(context, pair);
    for (unsigned i = call == syscall ? 0 : 1; i < 2; i++) {
        long child = call(numbers[i], SIGCHLD, 0, 0, 0, 0);
        if (child == 0) {
            send(pair[0], "c", 1, 0);
            close(pair[0]);
            close(pair[1]);
            _exit(0);
        }
        int status = -1;
        say("waited %d", waitpid((pid_t)child, &status, 0) == child);
        say("status %d", status);
        say_result("send", send(pair[0], "p", 1, 0));
        say_result("read", recv(pair[1], &byte, 1, 0));
        say_result("read", recv(pair[1], &byte, 1, 0));
    }
    close_pair(pair);
}

/* What libc's functions leave alone and the system calls don't. */
static void numbered_time_left(const struct case_context *context)
{
    int pair[2];
    make_pair(context, pair);
    struct timespec left = {.tv_sec = 30};
    struct pollfd polled = {.fd = pair[1], .events = POLLIN};
    send(pair[0], "x", 1, 0);
    say_result("ppoll", call(SYS_ppoll, &polled, 1, &left, NULL, 8));
    say("much is left %d, not all %d", left.tv_sec >= 20, left.tv_sec < 30);
    fd_set set;
    FD_ZERO(&set);
    FD_SET(pair[1], &set);
    left = (struct timespec){.tv_sec = 30};
    say_result("pselect6", call(SYS_pselect6, pair[1] + 1, &set, NULL, NULL, &left, NULL));
    say("readable %d", FD_ISSET(pair[1], &set) != 0);
    say("much is left %d, not all %d", left.tv_sec >= 20, left.tv_sec < 30);
    char byte;
    say_result("read", recv(pair[1], &byte, 1, 0));
    FD_SET(pair[1], &set);
    left = (struct timespec){.tv_nsec = 1000000};
    say_result("pselect6", call(SYS_pselect6, pair[1] + 1, &set, NULL, NULL, &left, NULL));
    say("left %lld", (long long)left.tv_sec * 1000000000 + left.tv_nsec);
    close_pair(pair);
}

/* As Rust's rustix has them: in line, the number a constant. */
static void instruction_in_line(const struct case_context *context)
{
    int pair[2];
    make_pair(context, pair);
    long epoll, added, waited;
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = 9};
    __asm__ volatile("syscall"
                     : "=a"(epoll)
                     : "a"(SYS_epoll_create1), "D"(0L)
                     : "rcx", "r11", "memory");
    register long r10 __asm__("r10") = (long)&event;
    __asm__ volatile("syscall"
                     : "=a"(added)
                     : "a"(SYS_epoll_ctl), "D"(epoll), "S"((long)EPOLL_CTL_ADD), "d"((long)pair[1]),
                       "r"(r10)
                     : "rcx", "r11", "memory");
    say("added %ld", added);
    send(pair[0], "x", 1, 0);
    r10 = CASE_WAIT_MS;
    __asm__ volatile("syscall"
                     : "=a"(waited)
                     : "a"(SYS_epoll_wait), "D"(epoll), "S"(&event), "d"(1L), "r"(r10)
                     : "rcx", "r11", "memory");
    say("waited %ld", waited);
    say_events("event", event.events);
    close((int)epoll);
    close_pair(pair);
}

/* The registers that a system call preserves, vectors too. */
static void instruction_preserves(const struct case_context *context)
{
    int pair[2];
    make_pair(context, pair);
    long result, same = 0;
    static const double before[2] = {1.25, -3.5};
    double after[2] = {0};
    __asm__ volatile("movupd %[before], %%xmm9\n"
                     "mov $0x1234, %%r12\n"
                     "mov $0x5678, %%r9\n"
                     "syscall\n"
                     "movupd %%xmm9, %[after]\n"
                     "lea -0x1234(%%r12), %[same]\n"
                     "lea -0x5678(%[same], %%r9), %[same]\n"
                     : "=a"(result), [after] "=m"(after), [same] "=&r"(same)
                     : "0"(SYS_write), "D"((long)pair[0]), "S"("abc"), "d"(3L), [before] "m"(before)
                     : "rcx", "r9", "r11", "r12", "xmm9", "memory");
    say("wrote %ld, integers differ by %ld", result, same);
    say("vectors are the same %d", after[0] == before[0] && after[1] == before[1]);
    char bytes[8];
    say_bytes("read", recv(pair[1], bytes, 3, MSG_WAITALL), bytes);
    close_pair(pair);
}

static void by_instruction(const struct case_context *context,
                           void (*run)(const struct case_context *context))
{
    call = own_call;
    run(context);
    call = syscall;
}

static void instruction_fork(const struct case_context *context)
{
    by_instruction(context, numbered_fork);
}

static void instruction_open_and_close(const struct case_context *context)
{
    by_instruction(context, numbered_open_and_close);
}

static void instruction_data(const struct case_context *context)
{
    by_instruction(context, numbered_data);
}

static void instruction_readiness(const struct case_context *context)
{
    by_instruction(context, numbered_readiness);
}

static void instruction_duplicates(const struct case_context *context)
{
    by_instruction(context, numbered_duplicates);
}

static void instruction_time_left(const struct case_context *context)
{
    by_instruction(context, numbered_time_left);
}

const struct socket_case cases_syscall[] = {
    {"instruction_data", instruction_data},
    {"instruction_duplicates", instruction_duplicates},
    {"instruction_fork", instruction_fork},
    {"instruction_in_line", instruction_in_line},
    {"instruction_open_and_close", instruction_open_and_close},
    {"instruction_preserves", instruction_preserves},
    {"instruction_readiness", instruction_readiness},
    {"instruction_time_left", instruction_time_left},
    {"numbered_fork", numbered_fork},
    {"numbered_open_and_close", numbered_open_and_close},
    {"numbered_data", numbered_data},
    {"numbered_readiness", numbered_readiness},
    {"numbered_duplicates", numbered_duplicates},
    {"numbered_time_left", numbered_time_left},
    {0},
};

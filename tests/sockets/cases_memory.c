/* Pointers to memory that is not there, or not to be written: what the kernel answers by EFAULT,
   and what is lost of the stream then. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "case.h"

#define PAGE 4096

/* Two pages, of which the second can't be accessed. */
static char *half_there(int protection)
{
    char *pages = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memset(pages, 'a', PAGE);
    mprotect(pages + PAGE, PAGE, protection);
    return pages;
}

static char *nowhere(void)
{
    return half_there(PROT_NONE) + PAGE;
}

static void say_rest(int fd)
{
    char bytes[64];
    set_nonblocking(fd, true);
    say_bytes("what is left", read(fd, bytes, sizeof(bytes)), bytes);
}

static void give(int fd, const char *text)
{
    (void)!write(fd, text, strlen(text));
}

static void wild_reads(const struct case_context *context)
{
    int pair[2];
    char *gone = nowhere();
    char *constant = half_there(PROT_READ) + PAGE;
    make_pair(context, pair);
    give(pair[0], "hello");
    wait_for(pair[1], POLLIN);
    say_result("read", read(pair[1], gone, 5));
    say_result("recv", recv(pair[1], gone, 5, 0));
    say_result("recv, peek", recv(pair[1], gone, 5, MSG_PEEK));
    say_result("recvfrom", recvfrom(pair[1], gone, 5, 0, NULL, NULL));
    say_result("read to constant memory", read(pair[1], constant, 5));
    say_result("nothing", read(pair[1], gone, 0));
    say_result("to kernel memory", read(pair[1], (void *)0xffff888000000000ULL, 5));
    say_result("to no address", read(pair[1], (void *)0x0000900000000000ULL, 5));
    say_result("trunc needs none", recv(pair[1], gone, 2, MSG_TRUNC));
    say_rest(pair[1]);
    close_pair(pair);
}

static void wild_part_of_a_read(const struct case_context *context)
{
    int pair[2];
    char *pages = half_there(PROT_NONE);
    struct iovec vector[2] = {{pages, 3}, {pages + PAGE, 2}};
    make_pair(context, pair);
    give(pair[0], "hello");
    wait_for(pair[1], POLLIN);
    say_result("over the edge", read(pair[1], pages + PAGE - 2, 5));
    say_result("second buffer", readv(pair[1], vector, 2));
    vector[1].iov_len = 0;
    say_bytes("second empty", readv(pair[1], vector, 2), pages);
    say_rest(pair[1]);
    close_pair(pair);
}

static void wild_writes(const struct case_context *context)
{
    int pair[2];
    char *pages = half_there(PROT_NONE);
    char *gone = nowhere();
    struct iovec vector[2] = {{pages, 3}, {gone, 2}};
    struct iovec other[2] = {{gone, 3}, {pages, 2}};
    make_pair(context, pair);
    say_result("write", write(pair[0], gone, 5));
    say_result("send", send(pair[0], gone, 5, MSG_DONTWAIT));
    say_result("sendto", sendto(pair[0], gone, 5, 0, NULL, 0));
    say_result("over the edge", write(pair[0], pages + PAGE - 2, 5));
    say_result("second buffer", writev(pair[0], vector, 2));
    say_result("first buffer", writev(pair[0], other, 2));
    say_result("nothing", write(pair[0], gone, 0));
    say_result("to the edge", write(pair[0], pages + PAGE - 2, 2));
    settle();
    say_rest(pair[1]);
    close_pair(pair);
}

static void wild_structures(const struct case_context *context)
{
    int pair[2];
    char *gone = nowhere();
    char bytes[8];
    struct iovec vector = {bytes, sizeof(bytes)};
    struct msghdr message = {.msg_iov = (struct iovec *)(void *)gone, .msg_iovlen = 2};
    make_pair(context, pair);
    give(pair[0], "hello");
    wait_for(pair[1], POLLIN);
    say_result("readv", readv(pair[1], (struct iovec *)(void *)gone, 1));
    say_result("writev", writev(pair[1], (struct iovec *)(void *)gone, 1));
    say_result("recvmsg", recvmsg(pair[1], (struct msghdr *)(void *)gone, 0));
    say_result("sendmsg", sendmsg(pair[1], (struct msghdr *)(void *)gone, 0));
    say_result("its vector", recvmsg(pair[1], &message, 0));
    say_result("its vector", sendmsg(pair[1], &message, 0));
    message = (struct msghdr){
        .msg_iov = &vector, .msg_iovlen = 1, .msg_control = gone, .msg_controllen = 64};
    say_result("control", sendmsg(pair[1], &message, 0));
    say_result("recvmmsg", recvmmsg(pair[1], (struct mmsghdr *)(void *)gone, 1, 0, NULL));
    say_result("sendmmsg", sendmmsg(pair[1], (struct mmsghdr *)(void *)gone, 1, 0));
    say_result("sendfile", sendfile(pair[1], pair[0], (off_t *)(void *)gone, 1));
    say_rest(pair[1]);
    close_pair(pair);
}

static void wild_names(const struct case_context *context)
{
    int pair[2];
    char *gone = nowhere();
    struct sockaddr_storage address;
    socklen_t length = sizeof(address);
    int listener = make_listener(context, 1);
    int fd = make_socket(context, 0);
    say_result("bind", bind(fd, (struct sockaddr *)(void *)gone, sizeof(struct sockaddr_in6)));
    say_result("connect",
               connect(fd, (struct sockaddr *)(void *)gone, sizeof(struct sockaddr_in6)));
    make_pair(context, pair);
    say_result("getsockname", getsockname(pair[0], (struct sockaddr *)(void *)gone, &length));
    say_result("getpeername", getpeername(pair[0], (struct sockaddr *)(void *)gone, &length));
    say_result("length", getsockname(pair[0], (struct sockaddr *)&address, (void *)gone));
    say_result("sendto", sendto(pair[0], "x", 1, 0, (struct sockaddr *)(void *)gone, 16));
    connect_to(context, fd, port_of(listener));
    say_result("accept", accept(listener, (struct sockaddr *)(void *)gone, &length));
    close(fd);
    close(listener);
    close_pair(pair);
}

static void wild_options(const struct case_context *context)
{
    int pair[2];
    int one = 1;
    char *gone = nowhere();
    socklen_t length = sizeof(one);
    make_pair(context, pair);
    for (int i = 0; i < 2; i++) {
        say_result("set nodelay", setsockopt(pair[i], IPPROTO_TCP, TCP_NODELAY, gone, 4));
        say_result("set linger", setsockopt(pair[i], SOL_SOCKET, SO_LINGER, gone, 8));
        say_result("set congestion", setsockopt(pair[i], IPPROTO_TCP, TCP_CONGESTION, gone, 4));
        say_result("get nodelay", getsockopt(pair[i], IPPROTO_TCP, TCP_NODELAY, gone, &length));
        say_result("get info", getsockopt(pair[i], IPPROTO_TCP, TCP_INFO, gone, &length));
        say_result("get error", getsockopt(pair[i], SOL_SOCKET, SO_ERROR, gone, &length));
        say_result("length", getsockopt(pair[i], SOL_SOCKET, SO_ERROR, &one, (void *)gone));
        say_result("FIONREAD", ioctl(pair[i], FIONREAD, gone));
        say_result("FIONBIO", ioctl(pair[i], FIONBIO, gone));
    }
    close_pair(pair);
}

static void wild_waits(const struct case_context *context)
{
    int pair[2];
    char *gone = nowhere();
    struct epoll_event event = {.events = EPOLLOUT};
    make_pair(context, pair);
    int epoll = epoll_create1(0);
    say_result("poll", poll((struct pollfd *)(void *)gone, 1, 0));
    say_result("epoll_ctl", epoll_ctl(epoll, EPOLL_CTL_ADD, pair[0], (void *)gone));
    epoll_ctl(epoll, EPOLL_CTL_ADD, pair[0], &event);
    say_result("epoll_wait", epoll_wait(epoll, (void *)gone, 1, 0));
    say_result("then", epoll_wait(epoll, &event, 1, 0));
    close(epoll);
    close_pair(pair);
}

/* ---- The program's own handlers -------------------------------------------------------------- */

static sigjmp_buf after_fault;
static volatile sig_atomic_t faults;

static void on_fault(int number, siginfo_t *info, void *context)
{
    (void)context;
    faults++;
    say("handler: %d, code %d", number, info->si_code);
    siglongjmp(after_fault, 1);
}

static void touch(char *address)
{
    if (sigsetjmp(after_fault, 1) == 0)
        *(volatile char *)address = 'x';
}

static void say_action(const char *what, int number)
{
    struct sigaction action;
    sigaction(number, NULL, &action);
    say("%s: %s, flags %x", what,
        action.sa_handler == SIG_DFL                                        ? "default"
        : action.sa_handler == SIG_IGN                                      ? "ignored"
        : (action.sa_flags & SA_SIGINFO) && action.sa_sigaction == on_fault ? "ours"
                                                                            : "other",
        (unsigned)action.sa_flags & ~0x04000000u); /* libc's SA_RESTORER */
}

static void own_handler_of_faults(const struct case_context *context)
{
    int pair[2];
    char *gone = nowhere();
    make_pair(context, pair);
    say_action("at first", SIGSEGV);
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_NODEFER};
    struct sigaction before;
    sigaction(SIGSEGV, &action, &before);
    say("before: %d", before.sa_handler == SIG_DFL);
    say_action("set", SIGSEGV);
    say_result("write", write(pair[0], gone, 5));
    touch(gone);
    say("faults %d", (int)faults);
    sigaction(SIGSEGV, &before, NULL);
    say_action("as before", SIGSEGV);
    say_result("write", write(pair[0], gone, 5));
    close_pair(pair);
}

static void own_stack_for_faults(const struct case_context *context)
{
    int pair[2];
    static char stack[65536];
    char *gone = nowhere();
    stack_t given = {.ss_sp = stack, .ss_size = sizeof(stack)};
    stack_t now;
    sigaltstack(&given, NULL);
    make_pair(context, pair);
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    sigaction(SIGBUS, &action, NULL);
    sigaction(SIGSEGV, &action, NULL);
    say_result("read", write(pair[0], gone, 1));
    touch(gone);
    sigaltstack(NULL, &now);
    say("stack in use: %d", now.ss_flags);
    say_result("read", write(pair[0], gone, 1));
    close_pair(pair);
}

static void faults_end_the_program(const struct case_context *context)
{
    int pair[2];
    static const int sent[] = {0, SIGSEGV, SIGBUS};
    char *gone = nowhere();
    make_pair(context, pair);
    say_result("write", write(pair[0], gone, 5));
    for (size_t i = 0; i < sizeof(sent) / sizeof(sent[0]); i++) {
        int status;
        pid_t pid = fork();
        if (pid == 0) {
            if (sent[i] == 0)
                *(volatile char *)gone = 'x';
            else
                raise(sent[i]);
            _exit(1);
        }
        waitpid(pid, &status, 0);
        say("killed by %s", WIFSIGNALED(status) ? sigabbrev_np(WTERMSIG(status)) : "nothing");
    }
    close_pair(pair);
}

static void file_that_shrank(const struct case_context *context)
{
    int pair[2];
    char name[CASE_FILE_BYTES];
    int file = mkstemp(name_file(name));
    unlink(name);
    if (ftruncate(file, PAGE) < 0)
        say_result("ftruncate", -1);
    char *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    make_pair(context, pair);
    say_result("write", write(pair[0], page, 5));
    if (ftruncate(file, 0) < 0)
        say_result("ftruncate", -1);
    say_result("write", write(pair[0], page, 5));
    wait_for(pair[1], POLLIN);
    say_result("read", read(pair[1], page, 5));
    close(file);
    close_pair(pair);
}

/* Every length around the ways of copying, and both kinds of alignment. */
static void every_length(const struct case_context *context)
{
    int pair[2];
    static unsigned char out[8192], in[8192 + 64];
    size_t wrong = 0;
    make_pair(context, pair);
    fill_pattern(out, sizeof(out), 0);
    for (size_t length = 1; length <= 4200; length += length < 140 ? 1 : 97) {
        size_t at = length % 33;
        memset(in, 0xee, sizeof(in));
        if (write(pair[0], out + at, length) != (ssize_t)length ||
            recv(pair[1], in + 16 + at, length, MSG_WAITALL) != (ssize_t)length)
            wrong++;
        if (!is_pattern(in + 16 + at, length, at) || in[15 + at] != 0xee ||
            in[16 + at + length] != 0xee)
            wrong++;
    }
    say("wrong: %zu", wrong);
    close_pair(pair);
}

/* All that malloc() has, chained. */
static void **take_all_memory(void)
{
    void **taken = NULL;
    for (size_t bytes = (size_t)1 << 20; bytes >= sizeof(*taken); bytes /= 2) {
        void **got;
        while ((got = malloc(bytes)) != NULL) {
            *got = taken;
            taken = got;
        }
    }
    return taken;
}

/* A socket that can't have what bind() needs has it when there is memory again. */
static void bind_without_memory(const struct case_context *context)
{
    struct sockaddr_storage address;
    struct rlimit before, none = {0};
    int pair[2];
    make_pair(context, pair);
    socklen_t length = loopback(context, &address, 0);
    int fd = make_socket(context, 0);
    getrlimit(RLIMIT_AS, &before);
    none.rlim_max = before.rlim_max;
    setrlimit(RLIMIT_AS, &none);
    void **taken = take_all_memory();
    int result = bind(fd, (struct sockaddr *)&address, length);
    bool survived = result == 0 || errno == ENOBUFS || errno == ENOMEM;
    setrlimit(RLIMIT_AS, &before);
    while (taken != NULL) {
        void **next = *taken;
        free(taken);
        taken = next;
    }
    say("survived: %d", survived);
    say_result("bind", result == 0 ? 0 : bind(fd, (struct sockaddr *)&address, length));
    say_result("listen", listen(fd, 5));
    int other = make_socket(context, 0);
    say_result("connect", connect_to(context, other, port_of(fd)));
    close(other);
    close(fd);
    give(pair[0], "still there");
    wait_for(pair[1], POLLIN);
    say_rest(pair[1]);
    close_pair(pair);
}

const struct socket_case cases_memory[] = {
    {"wild_reads", wild_reads},
    {"wild_part_of_a_read", wild_part_of_a_read},
    {"wild_writes", wild_writes},
    {"wild_structures", wild_structures},
    {"wild_names", wild_names},
    {"wild_options", wild_options},
    {"wild_waits", wild_waits},
    {"own_handler_of_faults", own_handler_of_faults},
    {"own_stack_for_faults", own_stack_for_faults},
    {"faults_end_the_program", faults_end_the_program},
    {"file_that_shrank", file_that_shrank},
    {"every_length", every_length},
    {"bind_without_memory", bind_without_memory},
    {0},
};

/* Sockets of processes that have given up rights: other root, other user, few system calls. */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "case.h"

#define NOBODY 65534

static void say_status(pid_t pid)
{
    int status = 0;
    waitpid(pid, &status, 0);
    if (WIFSIGNALED(status))
        say("killed by SIG%s", sigabbrev_np(WTERMSIG(status)));
    else
        say("exit %d", WEXITSTATUS(status));
}

static void echo_once(int fd)
{
    char bytes[64];
    ssize_t got = recv(fd, bytes, sizeof(bytes), 0);
    if (got > 0)
        send(fd, bytes, (size_t)got, 0);
}

static void say_echo(const char *what, int fd)
{
    char bytes[64];
    send(fd, "question", 8, 0);
    say_bytes(what, recv(fd, bytes, sizeof(bytes), 0), bytes);
}

/* What a server does once it has confined itself: children, and connections of its own. */
static void say_goes_on(const struct case_context *context, int listener, int pair[2])
{
    unsigned port = port_of(listener);
    pid_t pid = fork();
    if (pid == 0) {
        echo_once(pair[1]);
        int fd = accept(listener, NULL, NULL);
        if (fork() == 0) {
            echo_once(fd);
            _exit(0);
        }
        close(fd);
        wait(NULL);
        _exit(0);
    }
    say_echo("by the child", pair[0]);
    int client = make_socket(context, 0);
    say_result("connect", connect_to(context, client, port));
    say_echo("by its child", client);
    close(client);
    say_status(pid);
    int fresh[2];
    make_pair(context, fresh);
    send(fresh[0], "x", 1, 0);
    say_events("a new pair", wait_for(fresh[1], POLLIN));
    close_pair(fresh);
}

static void after_chroot(const struct case_context *context)
{
    int pair[2], listener = make_listener(context, 4);
    char path[CASE_FILE_BYTES];
    int outside = open("/", O_PATH);
    make_pair(context, pair);
    if (mkdtemp(name_file(path)) == NULL || chroot(path) < 0 || chdir("/") < 0)
        say_result("chroot", -1);
    say_result("rmdir", unlinkat(outside, path + 1, AT_REMOVEDIR));
    close(outside);
    say_goes_on(context, listener, pair);
    close_pair(pair);
    close(listener);
}

static void after_setuid(const struct case_context *context)
{
    int pair[2], listener = make_listener(context, 4);
    make_pair(context, pair);
    say_result("setgroups", setgroups(0, NULL));
    say_result("setgid", setgid(NOBODY));
    say_result("setuid", setuid(NOBODY));
    say_goes_on(context, listener, pair);
    close_pair(pair);
    close(listener);
}

static void keep_capabilities(uint32_t kept)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {
        {.effective = kept, .permitted = kept}};
    say_result("capset", syscall(SYS_capset, &header, data));
}

static void say_low_port(const struct case_context *context, unsigned port)
{
    struct sockaddr_storage address;
    int fd = make_socket(context, 0);
    socklen_t length = loopback(context, &address, port);
    say_result("bind to a low port", bind(fd, (struct sockaddr *)&address, length));
    close(fd);
}

/* It is the capability that counts, not the user. */
static void low_ports_go_with_the_capability(const struct case_context *context)
{
    int listener = make_listener(context, 1);
    say_result("keep", prctl(PR_SET_KEEPCAPS, 1));
    say_result("setuid", setuid(NOBODY));
    keep_capabilities(1u << CAP_NET_BIND_SERVICE);
    say_low_port(context, 83);
    keep_capabilities(0);
    say_low_port(context, 84);
    close(listener);
}

static void root_without_the_capability_has_no_low_ports(const struct case_context *context)
{
    keep_capabilities(1u << CAP_SETUID);
    say_low_port(context, 85);
}

static void setuid_before_the_first_socket(const struct case_context *context)
{
    int pair[2];
    struct sockaddr_storage address;
    say_result("setgid", setgid(NOBODY));
    say_result("setuid", setuid(NOBODY));
    int listener = make_listener(context, 4);
    make_pair(context, pair);
    say_goes_on(context, listener, pair);
    close_pair(pair);
    close(listener);
    int low = make_socket(context, 0);
    socklen_t length = loopback(context, &address, 81);
    say_result("a low port", bind(low, (struct sockaddr *)&address, length));
    close(low);
}

static void as_a_daemon(const struct case_context *context)
{
    int pair[2], listener = make_listener(context, 4), channel[2];
    unsigned port = port_of(listener);
    char byte = 0;
    make_pair(context, pair);
    if (pipe(channel) < 0)
        say_result("pipe", -1);
    pid_t pid = fork();
    if (pid == 0) {
        if (daemon(0, 1) < 0)
            _exit(9);
        echo_once(pair[1]);
        int fd = accept(listener, NULL, NULL);
        echo_once(fd);
        (void)!write(channel[1], "d", 1);
        _exit(0);
    }
    say_status(pid);
    close(listener);
    close(pair[1]);
    close(channel[1]);
    say_echo("by the daemon", pair[0]);
    int client = make_socket(context, 0);
    say_result("connect", connect_to(context, client, port));
    say_echo("accepted by the daemon", client);
    say_result("its last word", read(channel[0], &byte, 1));
    say_result("its end", read(channel[0], &byte, 1));
    say_result("ends the pair", recv(pair[0], &byte, 1, 0));
    close(client);
    close(pair[0]);
    close(channel[0]);
}

/* ---- Few system calls ------------------------------------------------------------------------ */

/* What a worker on kernel sockets needs to receive, send and wait, as sandboxes of OpenSSH's kind
   allow it; anything else kills. */
static const int allowed[] = {
    SYS_read,   SYS_write,         SYS_recvfrom,   SYS_sendto,       SYS_recvmsg, SYS_sendmsg,
    SYS_close,  SYS_poll,          SYS_ppoll,      SYS_epoll_wait,   SYS_select,  SYS_pselect6,
    SYS_futex,  SYS_exit,          SYS_exit_group, SYS_rt_sigreturn, SYS_brk,     SYS_mmap,
    SYS_munmap, SYS_clock_gettime, SYS_shutdown,   SYS_epoll_pwait,  SYS_getpid,  SYS_epoll_pwait2,
};

static void confine(void)
{
    enum { COUNT = sizeof(allowed) / sizeof(allowed[0]) };
    struct sock_filter code[COUNT + 3];
    code[0] =
        (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    for (unsigned i = 0; i < COUNT; i++)
        code[1 + i] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)allowed[i],
                                                   (unsigned char)(COUNT - i), 0);
    code[1 + COUNT] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
    code[2 + COUNT] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    struct sock_fprog program = {.len = COUNT + 3, .filter = code};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0)
        _exit(91);
}

static void in_a_sandbox(const struct case_context *context)
{
    int pair[2];
    char bytes[64];
    make_pair(context, pair);
    pid_t pid = fork();
    if (pid == 0) {
        close(pair[0]);
        confine();
        echo_once(pair[1]);
        struct pollfd pollfd = {.fd = pair[1], .events = POLLIN};
        if (poll(&pollfd, 1, CASE_WAIT_MS) == 1)
            echo_once(pair[1]);
        ssize_t got = read(pair[1], bytes, sizeof(bytes));
        if (got > 0 && write(pair[1], bytes, (size_t)got) == got)
            shutdown(pair[1], SHUT_WR);
        close(pair[1]);
        _exit(0);
    }
    close(pair[1]);
    for (int i = 0; i < 3; i++) {
        say_echo("echoed", pair[0]);
        settle();
    }
    say_result("end", recv(pair[0], bytes, sizeof(bytes), 0));
    say_status(pid);
    close(pair[0]);
}

static void in_a_sandbox_with_epoll(const struct case_context *context)
{
    int pair[2];
    char bytes[64];
    make_pair(context, pair);
    pid_t pid = fork();
    if (pid == 0) {
        close(pair[0]);
        int set = epoll_create1(0);
        struct epoll_event event = {.events = EPOLLIN};
        epoll_ctl(set, EPOLL_CTL_ADD, pair[1], &event);
        confine();
        for (int i = 0; i < 200; i++) {
            if (epoll_wait(set, &event, 1, CASE_WAIT_MS) != 1)
                _exit(90);
            echo_once(pair[1]);
        }
        exit(0);
    }
    close(pair[1]);
    int good = 0;
    for (int i = 0; i < 200; i++) {
        send(pair[0], "q", 1, 0);
        good += recv(pair[0], bytes, sizeof(bytes), 0) == 1;
    }
    say("echoed %d", good);
    say_result("end", recv(pair[0], bytes, sizeof(bytes), 0));
    say_status(pid);
    close(pair[0]);
}

/* ---- Started with sockets -------------------------------------------------------------------- */

/* As a service manager does it: the listener is descriptor 3, and the environment says so. */
static void activated(const struct case_context *context)
{
    int listener = make_listener(context, 4);
    unsigned port = port_of(listener);
    int client = make_socket(context, 0);
    say_result("connect before", connect_to(context, client, port));
    pid_t pid = fork();
    if (pid == 0) {
        char text[32];
        if (listener != 3)
            dup2(listener, 3);
        fcntl(3, F_SETFD, 0);
        (void)snprintf(text, sizeof(text), "%d", (int)getpid());
        setenv("LISTEN_PID", text, 1);
        setenv("LISTEN_FDS", "1", 1);
        execl("/proc/self/exe", "pno-socket-cases", "program", "activated", (char *)NULL);
        _exit(95);
    }
    close(listener);
    say_echo("by the service", client);
    close(client);
    say_status(pid);
    client = make_socket(context, 0);
    say_result("connect at last", connect_to(context, client, port));
    close(client);
}

const struct socket_case cases_confined[] = {
    {"confined_after_chroot", after_chroot},
    {"confined_after_setuid", after_setuid},
    {"confined_low_ports_go_with_the_capability", low_ports_go_with_the_capability},
    {"confined_root_without_the_capability_has_no_low_ports",
     root_without_the_capability_has_no_low_ports},
    {"confined_setuid_before_the_first_socket", setuid_before_the_first_socket},
    {"confined_as_a_daemon", as_a_daemon},
    {"confined_in_a_sandbox", in_a_sandbox},
    {"confined_in_a_sandbox_with_epoll", in_a_sandbox_with_epoll},
    {"confined_activated", activated},
    {0},
};

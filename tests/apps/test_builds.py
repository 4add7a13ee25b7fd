"""Programs built or run in unusual ways: sanitized, under valgrind, static; and those without sockets."""

import os
import subprocess
import time

from harness.process import Failure, require, wait_until
from harness.registry import test

SOURCE = """
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
int main(void)
{
    int one = 1, listener = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(7001)};
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&any, sizeof any) != 0 || listen(listener, 5) != 0)
        return 1;
    char *buffer = malloc(100);
    int connection = accept(listener, NULL, NULL);
    ssize_t got = read(connection, buffer, 100);
    if (write(connection, buffer, (size_t)got) != got)
        return 2;
    free(buffer);
    close(connection);
    close(listener);
    return 0;
}
"""


# Ends with sockets, an epoll set and unread bytes as they are.
LEFT_OPEN = """
#include <arpa/inet.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>
static int serve(void)
{
    int one = 1, listener = socket(AF_INET, SOCK_STREAM, 0), set = epoll_create1(0);
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(7001)};
    struct epoll_event event = {.events = EPOLLIN};
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&any, sizeof any) != 0 || listen(listener, 5) != 0 ||
        epoll_ctl(set, EPOLL_CTL_ADD, listener, &event) != 0 || epoll_wait(set, &event, 1, -1) != 1)
        return 1;
    int connection = accept(listener, NULL, NULL), copy = dup(connection);
    char bytes[5];
    if (epoll_ctl(set, EPOLL_CTL_ADD, copy, &event) != 0 || recv(connection, bytes, 5, MSG_WAITALL) != 5 ||
        send(copy, bytes, 5, 0) != 5)
        return 2;
    int unused = socket(AF_INET6, SOCK_STREAM, 0);
    return bind(unused, (struct sockaddr *)&any, sizeof any) == 0; /* not of its family */
}
int main(void)
{
    int status = serve();
    volatile char stack[4096]; /* where serve() had its variables */
    for (int i = 0; i < 4096; i++)
        stack[i] = 0;
    return status;
}
"""


# Has definitions of its own of calls that libpno.so takes over too, as a sanitizer, a profiler or a
# sandbox has them, and counts who comes by: none but the program.
OWN_DEFINITIONS = """
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
static int sigactions, closes, fcntls, dups, polls, execs;
#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
int __sigaction(int, const struct sigaction *, struct sigaction *);
int sigaction(int number, const struct sigaction *action, struct sigaction *before)
{
    return ++sigactions > 100 ? -1 : NEXT(__sigaction)(number, action, before);
}
int close(int fd) { closes++; return NEXT(close)(fd); }
int dup2(int fd, int other) { dups++; return NEXT(dup2)(fd, other); }
int poll(struct pollfd *fds, nfds_t count, int ms) { polls++; return NEXT(poll)(fds, count, ms); }
int fcntl(int fd, int command, ...)
{
    va_list list;
    va_start(list, command);
    void *argument = va_arg(list, void *);
    va_end(list);
    fcntls++;
    return NEXT(fcntl)(fd, command, argument);
}
int execve(const char *path, char *const words[], char *const environment[])
{
    execs++;
    return NEXT(execve)(path, words, environment);
}
static void on_signal(int number) { (void)number; }
int main(void)
{
    struct sigaction action = {.sa_handler = on_signal};
    int one = 1, status = -1, listener = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(7001)};
    char bytes[100], *words[] = {"true", 0};
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&any, sizeof any) != 0 || listen(listener, 5) != 0)
        return 10;
    signal(SIGUSR1, on_signal);
    if (sigaction(SIGUSR2, &action, 0) != 0 || sigactions != 1)
        return 11;
    struct pollfd waits = {.fd = listener, .events = POLLIN};
    if (poll(&waits, 1, 30000) != 1 || polls != 1)
        return 12;
    int connection = accept(listener, 0, 0);
    ssize_t got = recv(connection, bytes, sizeof bytes, 0);
    if (fcntl(connection, F_SETFL, O_NONBLOCK) != 0 || dup2(connection, 50) != 50)
        return 13;
    if (write(50, bytes, (size_t)got) != got)
        return 16;
    if (fork() == 0) {
        execv(PROGRAM, words);
        _exit(20);
    }
    if (wait(&status) < 0 || status != 0)
        return 14;
    if (execv("/nowhere", words) != -1 || execs != 0)
        return 15;
    if (close(50) != 0 || close(connection) != 0 || close(listener) != 0)
        return 17;
    return sigactions == 1 && polls == 1 && fcntls == 1 && dups == 1 && closes == 3 ? 0 : 18;
}
"""


def build(lab, *options, name="one", text=SOURCE, compiler="gcc"):
    source, program = (os.path.join(lab.folder, name + end) for end in (".c", compiler + "".join(options)))
    with open(source, "w", encoding="ascii") as file:
        file.write(text)
    subprocess.run([compiler, "-g", *options, "-o", program, source], check=True)
    return program


def serve_one(lab, name, argv):
    """Its status, after it has answered one client."""
    program = lab.start_host(name, argv)

    def connected():
        if not program.alive():
            raise Failure(f"{name} ended with status {program.popen.returncode}")
        try:
            return lab.connect(7001, timeout=20.0)
        except OSError:
            return None
    with wait_until(connected, f"{name} listens", 30) as connection:
        connection.sendall(b"hello")
        answer = connection.recv(100)
    wait_until(lambda: not program.alive(), f"{name} ends", 20)
    status = program.popen.returncode
    with open(program.log_path, encoding="utf-8", errors="replace") as log:
        require(status == 0, f"{name} ended with status {status}: {log.read()[-300:]}")
    require(answer == b"hello", f"{name} answers {answer!r}")


@test(timeout_s=120)
def address_sanitizer(context):
    """Programs built with -fsanitize=address serve a connection, and nothing is reported: no leaks
    either if all is left open."""
    lab = context.up()
    for compiler in ("gcc", "clang"):
        for name, text in (("one", SOURCE), ("left", LEFT_OPEN)):
            program = build(lab, "-fsanitize=address", name=name, text=text, compiler=compiler)
            serve_one(lab, f"{compiler}-{name}", [program])
    lab.assert_nothing_left()


@test(timeout_s=120)
def valgrind(context):
    """Programs under valgrind serve a connection, and nothing is reported: no leaks either if all is
    left open."""
    lab = context.up()
    for name, text in (("one", SOURCE), ("left", LEFT_OPEN)):
        serve_one(lab, f"valgrind-{name}", ["valgrind", "-q", "--leak-check=full", "--error-exitcode=9",
                                            build(lab, name=name, text=text)])
    lab.assert_nothing_left()


@test(timeout_s=60)
def own_definitions(context):
    """A program's own sigaction(), close() or execve() is called by nobody else, also where it starts a
    program that can't load the library."""
    lab = context.up()
    for words in ([], ["-static"]):
        said = os.path.join(lab.folder, "true" + "".join(words))
        with open(f"{said}.c", "w", encoding="ascii") as file:
            file.write("int main(void) { return 0; }")
        subprocess.run(["gcc", *words, "-o", said, f"{said}.c"], check=True)
        text = OWN_DEFINITIONS.replace("PROGRAM", f'"{said}"')
        serve_one(lab, "own", [build(lab, "-rdynamic", name="own" + "".join(words), text=text)])
    lab.assert_nothing_left()


@test(timeout_s=60, pno_only=True)
def static_pie(context):
    """A static position-independent program runs on kernel TCP, and one line says so."""
    lab = context.up()
    program = lab.start_host("static", [build(lab, "-static-pie")])

    def said():
        with open(program.log_path, encoding="utf-8") as log:
            return log.read().splitlines()
    wait_until(said, "a word about the static program", 10)
    time.sleep(0.2)
    require(program.alive(), "the static program does not run")
    lines = said()
    require(len(lines) == 1 and "kernel TCP" in lines[0] and "static" in lines[0], f"said: {lines}")
    require(not lab.stats()["tenants"], "a static program attached")
    program.stop()


@test(timeout_s=90, pno_only=True)
def start_up(context):
    """`pno run` adds at most 5 ms to a program's start, and one without sockets never attaches."""
    lab = context.up()
    socket_path = f"/run/pno/{lab.name}.sock"
    runner = [lab.pno, "run", "--socket", socket_path, "--"]

    def elapsed(argv):
        start = time.perf_counter()
        subprocess.run(argv, check=True, close_fds=False)
        return time.perf_counter() - start
    pairs = [(elapsed(["/bin/true"]), elapsed([*runner, "/bin/true"])) for _ in range(60)]
    # The shortest of each: what others do on this machine meanwhile is not pno's.
    native, under = (min(times) for times in zip(*pairs))
    added_ms = (under - native) * 1e3
    require(added_ms <= 5, f"{added_ms:.1f} ms")
    require(lab.stats()["cores"][0]["counters"]["operations"] == 0 and not lab.stats()["tenants"],
            "a program without sockets attached")

"""Programs built or run in unusual ways: sanitized, under valgrind, static; and those without sockets."""

import os
import statistics
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


def build(lab, *options):
    source, program = (os.path.join(lab.folder, name) for name in ("one.c", "one" + "".join(options)))
    with open(source, "w", encoding="ascii") as file:
        file.write(SOURCE)
    subprocess.run(["gcc", "-g", *options, "-o", program, source], check=True)
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
        require(connection.recv(100) == b"hello", f"{name} does not answer")
    wait_until(lambda: not program.alive(), f"{name} ends", 20)
    status = program.popen.returncode
    with open(program.log_path, encoding="utf-8", errors="replace") as log:
        require(status == 0, f"{name} ended with status {status}: {log.read()[-300:]}")


@test(timeout_s=60, pno_only=True)
def address_sanitizer(context):
    """A program built with -fsanitize=address serves a connection, and nothing is reported."""
    lab = context.up()
    serve_one(lab, "asan", [build(lab, "-fsanitize=address")])
    lab.assert_nothing_left()


@test(timeout_s=90, pno_only=True)
def valgrind(context):
    """A program under valgrind serves a connection, and nothing is reported."""
    lab = context.up()
    serve_one(lab, "valgrind", ["valgrind", "-q", "--error-exitcode=9", build(lab)])
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
    # The lower quartile: what others do on this machine meanwhile is not pno's.
    native, under = (statistics.quantiles(times, n=4)[0] for times in zip(*pairs))
    added_ms = (under - native) * 1e3
    require(added_ms <= 5, f"{added_ms:.1f} ms")
    require(lab.stats()["cores"][0]["counters"]["operations"] == 0 and not lab.stats()["tenants"],
            "a program without sockets attached")

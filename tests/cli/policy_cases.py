"""Which sockets are offloaded: rules of pnod and of PNO_POLICY, and what `pno ss` says of the rest."""

import json
import os
import shutil
import subprocess

from cli_harness import Failure, one_line, require, test

# Makes sockets as told, one a line, then waits: each as "CALL ADDRESS PORT"; or loads a library first.
PROGRAM = """
import ctypes, os, socket, sys
if len(sys.argv) > 1:
    os.setuid(int(sys.argv[1]))
kept = []
for line in sys.stdin:
    if line == '\\n':
        print('ready', flush=True)
        continue
    if line.startswith('load '):
        ctypes.CDLL(line.split()[1])
        continue
    call, address, port = line.split()
    family = socket.AF_INET6 if ':' in address else socket.AF_INET
    one = socket.socket(family, socket.SOCK_DGRAM if call == 'udp' else socket.SOCK_STREAM)
    one.settimeout(2)
    kept.append(one)
    try:
        if call == 'connect':
            one.connect((address, int(port)))
        else:
            one.bind((address, int(port)))
        if call == 'listen':
            one.listen()
    except OSError as error:
        pass
"""


class Program:
    """PROGRAM under `pno run` in a lab's host."""

    def __init__(self, cli, lab, *arguments, policy=None, sockets=()):
        self.cli = cli
        self.lab = lab
        environment = dict(os.environ)
        if policy is not None:
            environment["PNO_POLICY"] = policy
        self.child = subprocess.Popen(
            [cli.pno, "lab", "--name", lab, "exec", "host", "--", cli.pno, "run", "--",
             "/usr/bin/python3", "-c", PROGRAM, *arguments], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, text=True, env=environment)
        self.child.stdin.write("".join(line + "\n" for line in sockets) + "\n")
        self.child.stdin.flush()
        require(self.child.stdout.readline() == "ready\n", "the program did not start")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.child.kill()
        self.child.communicate()

    def reasons(self):
        """[(netid, local port, reason, rule or None)] of this program's sockets on kernel TCP."""
        done = self.cli.run("ss", "--not-offloaded", "--json")
        require(done.returncode == 0, f"ss --not-offloaded: {done.stderr.strip()}")
        return sorted((s["netid"], s["local"]["port"], s["reason"], s.get("rule"))
                      for s in json.loads(done.stdout)["sockets"]
                      if any(owner["pid"] == self.child.pid for owner in s["processes"]))

    def offloaded_ports(self):
        """Of sockets that pnod has, bound or listening."""
        done = self.cli.run("ss", "--json", "-a", "--socket", f"/run/pno/{self.lab}.sock")
        return sorted(s["local"]["port"] for s in json.loads(done.stdout)["sockets"])


def expect(found, wanted, what):
    if found != wanted:
        raise Failure(f"{what}: {found}, not {wanted}")


def configuration(cli, *rules):
    path = os.path.join(cli.folder, "policy.json")
    with open(path, "w", encoding="ascii") as file:
        json.dump({"policy": rules}, file, indent=1)
    return path


@test
def malformed_rules_are_named_with_their_line(cli):
    pnod = os.path.join(os.path.dirname(cli.pno), "../engine/pnod")
    path = configuration(cli, "kernel port=22", "kernel port=http")
    done = subprocess.run([pnod, "--config", path], stderr=subprocess.PIPE, text=True, check=False,
                          timeout=20)
    require(done.returncode == 1, f"status {done.returncode}")
    line = one_line(done, "a malformed rule")
    require(f"{path}:4:" in line and "port=http" in line, line)
    done = cli.run("run", "--", "true", environment={"PNO_POLICY": "kernel; sometimes"})
    cli.expect(done, 2, "PNO_POLICY")
    line = one_line(done, "PNO_POLICY")
    require("PNO_POLICY" in line and "rule 2" in line and "sometimes" in line, line)


@test
def without_rules_all_that_the_engine_reaches_is_offloaded(cli):
    name = cli.up()
    sockets = ("listen 0.0.0.0 7001", "listen 10.77.0.1 7002", "listen ::1 7003",
               "listen 127.0.0.1 7004", "udp 127.0.0.1 7005", "connect 192.0.2.1 80",
               "connect 10.77.0.2 80")
    with Program(cli, name, sockets=sockets) as program:
        expect(program.reasons(),
               [("tcp", 0, "no_route", None), ("tcp", 7003, "loopback", None),
                ("tcp", 7004, "loopback", None), ("udp", 7005, "unsupported", None)],
               "not offloaded")
        ports = program.offloaded_ports()
        require(7001 in ports and 7002 in ports, f"offloaded: {ports}")
        done = cli.run("ss", "--not-offloaded")
        require("python3" in done.stdout and "loopback" in done.stdout, done.stdout)
    cli.expect(cli.lab(name, "down"), 0, "down")


@test
def the_first_rule_that_fits_decides(cli):
    path = configuration(cli, "offload listen port=7001", "kernel listen port=7001-7002",
                         "kernel bind port=7003", "kernel connect address=10.77.0.0/24 port=22",
                         "kernel uid=65534 program=python3*")
    name = cli.up("--", "--config", path)
    sockets = ("listen 0.0.0.0 7001", "listen 0.0.0.0 7002", "bind 0.0.0.0 7003",
               "connect 10.77.0.2 22", "connect 10.77.0.2 23", "listen :: 7004")
    with Program(cli, name, sockets=sockets) as program:
        expect(program.reasons(), [("tcp", 0, "rule", 3), ("tcp", 0, "rule", 4),
                                   ("tcp", 7002, "rule", 2)], "pnod's rules")
        ports = program.offloaded_ports()
        require(7001 in ports and 7004 in ports and 7002 not in ports and 7003 not in ports,
                f"offloaded: {ports}")
    with Program(cli, name, "65534", sockets=("listen 0.0.0.0 7005",)) as program:
        expect(program.reasons(), [("tcp", 7005, "rule", 5)], "another user")
    cli.expect(cli.lab(name, "down"), 0, "down")


@test
def a_programs_own_rules_go_before_pnods(cli):
    path = configuration(cli, "kernel port=7001")
    name = cli.up("--", "--config", path)
    sockets = ("listen 0.0.0.0 7001", "listen 0.0.0.0 7002")
    with Program(cli, name, policy="offload port=7001; kernel port=7002", sockets=sockets) as program:
        expect(program.reasons(), [("tcp", 7002, "own_rule", 2)], "narrowed and widened")
        require(7001 in program.offloaded_ports(), "not widened")
    with Program(cli, name, policy="kernel", sockets=sockets) as program:
        expect(program.reasons(), [("tcp", 7001, "own_rule", 1), ("tcp", 7002, "own_rule", 1)],
               "all of it")
        stats = json.loads(cli.run("stats", "--json", "--socket", f"/run/pno/{name}.sock").stdout)
        require(stats["tenants"] == [], f"it attached all the same: {stats['tenants']}")
    cli.expect(cli.lab(name, "down"), 0, "down")


@test
def reasons_are_told_without_an_engine_too(cli):
    source, static = os.path.join(cli.folder, "x.c"), os.path.join(cli.folder, "static")
    with open(source, "w", encoding="ascii") as text:
        text.write("#include <netinet/in.h>\n#include <stdio.h>\n#include <unistd.h>\n"
                   "int main(void) { int fd = socket(AF_INET, SOCK_STREAM, 0);\n"
                   "listen(fd, 1); puts(\"ready\"); fflush(stdout); getchar(); return 0; }\n")
    for options, reason in ((("-static",), "no_library"), ((), "no_engine")):
        subprocess.run(["gcc", *options, "-o", static, source], check=True)
        child = subprocess.Popen([cli.pno, "run", "--socket", "/nowhere/x.sock", "--", static],
                                 stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                 stderr=subprocess.DEVNULL, text=True)
        try:
            require(child.stdout.readline() == "ready\n", "the program did not start")
            done = cli.run("ss", "--not-offloaded", "--json")
            found = [s["reason"] for s in json.loads(done.stdout)["sockets"]
                     if any(owner["pid"] == child.pid for owner in s["processes"])]
            require(found == [reason], f"{options}: {found}, not {reason}")
        finally:
            child.kill()
            child.communicate()


# A function that nothing describes: where it starts can't be known, so it can't be rewritten.
OBSCURE_RING = """
__asm__(".text\\n.globl setup\\nsetup: movl $425, %eax\\nsyscall\\nret\\n");
"""


@test
def rings_that_cannot_be_followed_keep_kernel_sockets(cli):
    library = os.path.join(cli.folder, "liburing.so.2")
    subprocess.run(["gcc", "-shared", "-o", library, "-x", "c", "-"], input=OBSCURE_RING, text=True,
                   check=True)
    name = cli.up()
    sockets = (f"load {library}", "listen 0.0.0.0 7001", "listen 10.77.0.1 7002")
    with Program(cli, name, sockets=sockets) as program:
        expect(program.reasons(), [("tcp", port, "own_calls", None) for port in (7001, 7002)],
               "with such a library")
        require(program.offloaded_ports() == [], "offloaded all the same")
    with Program(cli, name, policy="offload port=7002", sockets=sockets) as program:
        expect(program.offloaded_ports(), [7002], "by its own rule")
    cli.expect(cli.lab(name, "down"), 0, "down")


# Says its environment, listens, says what it may load, and starts itself with what it was given.
CLEARED = """
import os, socket, subprocess, sys
print(sorted(set(os.environ) - {"LC_CTYPE"}), flush=True)
listener = socket.create_server(("10.77.0.1", 7000 + int(sys.argv[2])))
if sys.argv[2] == "3":
    print("listening", flush=True)
    sys.stdin.read(1)
    sys.exit()
again = ["/usr/bin/python3", "-c", sys.argv[1], sys.argv[1], str(int(sys.argv[2]) + 1)]
if sys.argv[2] == "1":
    os.waitpid(os.posix_spawn(again[0], again, {"GIVEN": "1"}), 0)
else:
    subprocess.run(again, env={"LD_PRELOAD": "libm.so.6"}, check=True)
"""


@test
def programs_with_a_cleared_environment_are_offloaded(cli):
    """As those that dovecot and `env -i` start; and they see the environment that they were given."""
    name = cli.up()
    program = subprocess.Popen([cli.pno, "lab", "--name", name, "exec", "host", "--", cli.pno, "run",
                                "--", "env", "-i", "/usr/bin/python3", "-c", CLEARED, CLEARED, "1"],
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        said = [program.stdout.readline() for _ in range(4)]
        expect(said, ["[]\n", "['GIVEN']\n", "['LD_PRELOAD']\n", "listening\n"], "the programs said")
        shown = cli.run("ss", "--json", "-a", "--socket", f"/run/pno/{name}.sock")
        ports = sorted(s["local"]["port"] for s in json.loads(shown.stdout)["sockets"])
        expect(ports, [7001, 7002, 7003], "offloaded")
    finally:
        program.communicate("x")
    quiet = cli.lab(name, "exec", "host", "--", cli.pno, "run", "--", "env", "-i", "LD_PRELOAD=",
                    "/usr/bin/python3", "-c", "print('libpno' in open('/proc/self/maps').read())")
    expect(quiet.stdout, "False\n", "loaded with an empty LD_PRELOAD")
    cli.expect(cli.lab(name, "down"), 0, "down")


# Says what of ours it was given.
GIVEN = """
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
int main(void)
{
    char line[4096], *preload = getenv("LD_PRELOAD");
    int loaded = 0;
    FILE *maps = fopen("/proc/self/maps", "r");
    while (fgets(line, sizeof line, maps))
        loaded |= strstr(line, "libpno") != NULL;
    printf("%d %s\\n", loaded, preload != NULL ? preload : "none");
    return 0;
}
"""

# Starts it in each way, the library alone in LD_PRELOAD and among others.
START = """
import os, subprocess, sys
ours = os.environ["LD_PRELOAD"]
for preload in (ours, "/a.so:" + ours, ours + ":/b.so", "/a.so " + ours + " /b.so"):
    given = {"LD_PRELOAD": preload, "X": "1"}
    subprocess.run(sys.argv[1:], env=given, check=True)
    os.waitpid(os.posix_spawn(sys.argv[1], sys.argv[1:], given), 0)
"""


@test
def programs_of_another_c_library_run(cli):
    """By the dynamic loader that they name: musl's would not start them with libpno.so in LD_PRELOAD."""
    loader, program = (os.path.join(cli.folder, name) for name in ("ld-other-x86_64.so.1", "other"))
    shutil.copy("/lib64/ld-linux-x86-64.so.2", loader)
    subprocess.run(["gcc", "-o", program, f"-Wl,--dynamic-linker={loader}", "-x", "c", "-"], input=GIVEN,
                   text=True, check=True)
    done = cli.run("run", "--", program)
    expect(done.stdout, "0 none\n", "started by `pno run`")
    require("its C library is not glibc" in done.stderr, f"not told: {done.stderr!r}")
    done = cli.run("run", "--", "/usr/bin/python3", "-c", START, program)
    lines = [f"0 {preload}" for preload in ("none", "/a.so", "/b.so", "/a.so /b.so") for _ in range(2)]
    expect(done.stdout.splitlines(), lines, "started by a program")


LOW_PORT = """
import ctypes, errno, socket, sys
ctypes.CDLL(None).prctl(15, b"low\\x1b[31m\\n")  # PR_SET_NAME
try:
    listener = socket.create_server(("10.77.0.1", 81))
    print("bound", flush=True)
    sys.stdin.read(1)
except OSError as error:
    print(errno.errorcode[error.errno])
"""


@test
def low_ports_take_a_capability_that_counts_here(cli):
    """Not one in a user namespace of the program's own; and what a program is called is shown so that
    it can do a terminal no harm."""
    name = cli.up()
    nobody = ("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups")
    kept = (*nobody, "--inh-caps", "+net_bind_service", "--ambient-caps", "+net_bind_service")
    bind = (cli.pno, "run", "--", "/usr/bin/python3", "-c", LOW_PORT)
    for user, expected in ((nobody, "EACCES\n"), ((*nobody, "unshare", "-Ur"), "EACCES\n"),
                           (kept, "bound\n"), ((), "bound\n")):
        program = subprocess.Popen([cli.pno, "lab", "--name", name, "exec", "host", "--", *user, *bind],
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            expect(program.stdout.readline(), expected, f"port 81 by {user}")
            shown = cli.run("ss", "--json", "-a", "--socket", f"/run/pno/{name}.sock")
            called = [p["program"] for s in json.loads(shown.stdout)["sockets"] for p in s["processes"]]
            expect(called, ["low?[31m?"] if expected == "bound\n" else [], "programs with sockets")
        finally:
            program.communicate("x")
    cli.expect(cli.lab(name, "down"), 0, "down")


@test
def rings_made_by_libcs_syscall_are_made(cli):
    program = ("import ctypes; libc = ctypes.CDLL(None, use_errno=True); "
               "print(libc.syscall(425, 4, ctypes.create_string_buffer(120)) >= 0)")
    done = cli.run("run", "--", "/usr/bin/python3", "-c", program)
    require(done.stdout == "True\n", f"io_uring_setup: {done.stdout!r}")

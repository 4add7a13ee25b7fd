#!/usr/bin/python3
"""The command line's promises: one-line errors, exit statuses, labs that come and go without a trace.

Prints 'ok NAME (seconds)', 'not ok NAME: why' or 'skip NAME: why' for each test; exit status 0 if none
failed, else 1. Needs root for the labs, whose names hold this process's id.
"""

import argparse
import glob
import os
import pwd
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "../apps"))

import capture_cases  # noqa: E402,F401 (registers its tests)
import packaging_cases  # noqa: E402,F401
import policy_cases  # noqa: E402,F401
from cli_harness import (PREFIX, TESTS, TIMEOUT_S, Cli, Failure, alive, one_line,  # noqa: E402
                         pid_of, require, test, traces)
from harness import again  # noqa: E402


@test
def errors_are_one_line_and_a_status(cli):
    table = [(2, ()), (2, ("frobnicate",)), (2, ("lab",)), (2, ("lab", "sideways")),
             (2, ("lab", "--bogus", "up")), (2, ("lab", "up", "extra")), (2, ("lab", "--name")),
             (2, ("lab", "--name", "a/b", "up")), (2, ("lab", "--name", "", "up")),
             (2, ("lab", "up", "--port", "carrier_pigeon")), (2, ("lab", "exec")),
             (2, ("lab", "exec", "dpu", "--", "true")), (2, ("lab", "exec", "host")),
             (2, ("lab", "down", "--", "--poll")), (2, ("run",)), (2, ("run", "--log", "loud")),
             (2, ("run", "--bogus")), (2, ("ss", "extra")), (2, ("stats", "--bogus")),
             (2, ("top", "--delay", "fast")),
             (1, ("ss", "--socket", "/nowhere/x.sock")), (1, ("stats", "--socket", "/etc/passwd")),
             (1, ("top", "--socket", "/nowhere/x.sock")), (1, ("ss", "--socket", "x" * 200)),
             (1, ("capture", "--socket", "/nowhere/x.sock")),
             (1, ("lab", "--name", f"{PREFIX}none", "exec", "host", "--", "true"))]
    for status, arguments in table:
        done = cli.run(*arguments)
        what = "pno " + " ".join(arguments)
        cli.expect(done, status, what)
        one_line(done, what)
        require(done.stdout == "", f"{what}: writes to standard output: {done.stdout[:80]!r}")


@test
def each_command_has_help(cli):
    for arguments in ((), ("run",), ("lab",), ("ss",), ("stats",), ("top",), ("capture",)):
        done = cli.run(*arguments, "--help")
        cli.expect(done, 0, f"pno {arguments} --help")
        require("Usage: " + " ".join(("pno", *arguments)) in done.stdout, f"{arguments}: no usage")
        require(done.stderr == "", f"{arguments}: {done.stderr}")


@test
def run_becomes_the_program(cli):
    for script, status in (("exit 7", 7), ("kill -TERM $$", -signal.SIGTERM), ("true", 0)):
        done = cli.run("run", "--", "sh", "-c", script)
        require(done.returncode == status, f"{script}: status {done.returncode}, not {status}")
    child = cli.start("run", "--", "sh", "-c", "echo $$")
    said, _ = child.communicate(timeout=TIMEOUT_S)
    require(said.strip() == str(child.pid), f"process {said.strip()}, not {child.pid}")
    done = cli.run("run", "printf", "%s|", "a b", "--help", "-x")
    require(done.stdout == "a b|--help|-x|", f"arguments changed: {done.stdout!r}")


@test
def run_reports_what_it_cannot_run(cli):
    for program, status in (("/nowhere/program", 127), ("no-such-program", 127), ("/etc", 126),
                            ("/etc/passwd", 126)):
        done = cli.run("run", "--", program)
        cli.expect(done, status, program)
        last = done.stderr.splitlines()[-1]
        require(program in last, f"{program} is not named in: {last}")


@test
def run_without_engine_warns_once_and_runs(cli):
    done = cli.run("run", "--socket", "/nowhere/x.sock", "--", "echo", "served")
    cli.expect(done, 0, "echo")
    require(done.stdout == "served\n", f"output {done.stdout!r}")
    require("kernel TCP" in one_line(done, "run"), done.stderr)


@test
def run_sets_the_environment(cli):
    done = cli.run("run", "--socket", "/nowhere/x.sock", "--log", "error", "--", "env",
                   environment={"LD_PRELOAD": "libc.so.6"})
    lines = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
    require(lines.get("PNO_SOCKET") == "/nowhere/x.sock", f"PNO_SOCKET {lines.get('PNO_SOCKET')}")
    require(lines.get("PNO_LOG") == "error", f"PNO_LOG {lines.get('PNO_LOG')}")
    done = cli.run("run", "--socket", "x.sock", "--", "sh", "-c", "cd / && echo $PNO_SOCKET",
                   cwd=cli.folder)
    require(done.stdout == f"{cli.folder}/x.sock\n", f"a relative path: {done.stdout!r}")
    done = cli.run("run", "--socket", "", "--", "sh", "-c", "echo $PNO_SOCKET")
    require(done.stdout == "/run/pno/pnod.sock\n", f"an empty path: {done.stdout!r}")
    preload = lines.get("LD_PRELOAD", "")
    require(re.fullmatch(r"libc\.so\.6:/\S+/libpno\.so", preload), f"LD_PRELOAD {preload}")


# struct tcp_md5sig for 10.77.0.2: a key of three bytes, then none.
SIGNING_KEY = """
import errno, socket, struct
s = socket.socket()
s.bind(('10.77.0.1', 7001))
address = struct.pack('=HH4s120x', socket.AF_INET, 0, socket.inet_aton('10.77.0.2'))
for key in b'key', b'':
    try:
        s.setsockopt(socket.IPPROTO_TCP, 14, address + struct.pack('=BBHi80s', 0, 0, len(key), 0, key))
        print('taken')
    except OSError as error:
        print(errno.errorcode[error.errno])
"""


@test
def keys_that_nobody_would_sign_with_are_refused(cli):
    name = cli.up()
    done = cli.run("lab", "--name", name, "exec", "host", "--", "pno", "run", "--",
                   "/usr/bin/python3", "-c", SIGNING_KEY)
    # To take away a key that is not there is ENOENT in Linux too.
    require(done.stdout == "ENOPROTOOPT\nENOENT\n", f"{done.stdout!r} {done.stderr!r}")
    cli.expect(cli.lab(name, "down"), 0, "down")


@test
def run_says_why_a_program_stays_with_the_kernel(cli):
    source, static = os.path.join(cli.folder, "x.c"), os.path.join(cli.folder, "static")
    with open(source, "w", encoding="ascii") as text:
        text.write("int main(void) { return 5; }\n")
    subprocess.run(["gcc", "-static", "-o", static, source], check=True)
    go_like = os.path.join(cli.folder, "go-like")
    subprocess.run(["objcopy", "--add-section", ".go.buildinfo=/dev/null", "/bin/true", go_like],
                   check=True)
    script = os.path.join(cli.folder, "script")
    with open(script, "w", encoding="ascii") as text:
        text.write(f"#! {static} -x\n")
    os.chmod(script, 0o755)
    for program, status, word in ((static, 5, "static"), (go_like, 0, "Go"), (script, 5, "static")):
        done = cli.run("run", "--", program)
        cli.expect(done, status, program)
        line = one_line(done, program)
        require(word in line and "kernel TCP" in line, f"{program}: {line}")


@test
def lab_comes_and_goes_without_a_trace(cli):
    before = traces()
    name = cli.up()
    for end in ("host", "dpu", "client"):
        require(os.path.exists(f"/run/netns/{name}-{end}"), f"no namespace {name}-{end}")
    require(oct(os.stat("/run/pno").st_mode & 0o777) == "0o755", "/run/pno is not 0755")
    status = cli.lab(name, "status")
    cli.expect(status, 0, "status")
    require("10.77.0.1/24" in status.stdout and str(pid_of(name)) in status.stdout, status.stdout)
    pid = pid_of(name)
    require(os.sched_getaffinity(pid) == {min(1, (os.cpu_count() or 1) - 1)},
            f"pnod may run on {os.sched_getaffinity(pid)}")
    cli.expect(cli.lab(name, "down"), 0, "down")
    require(not alive(pid), "pnod lives on")
    require(traces() == before, f"left: {traces() - before}")
    done = cli.lab(name, "down")
    cli.expect(done, 0, "down again")
    require(done.stdout == f"lab {name}: not up, nothing to take down\n", done.stdout)
    require(cli.lab(name, "status").returncode == 1, "status of no lab")


@test
def lab_up_twice_is_refused_and_harms_nothing(cli):
    name = cli.up()
    pid = pid_of(name)
    done = cli.lab(name, "up")
    cli.expect(done, 1, "second up")
    require("already up" in one_line(done, "second up"), done.stderr)
    require(pid_of(name) == pid and alive(pid), "pnod was changed")
    cli.expect(cli.lab(name, "down"), 0, "down")


@test
def labs_live_side_by_side(cli):
    names = [cli.new_name() for _ in range(3)]
    children = [cli.start("lab", "--name", name, "up") for name in names]
    for name, child in zip(names, children):
        _, said = child.communicate(timeout=TIMEOUT_S)
        require(child.returncode == 0, f"{name}: {said.strip()}")
    cli.expect(cli.lab(names[1], "down"), 0, "down of one")
    for name in (names[0], names[2]):
        cli.expect(cli.lab(name, "status"), 0, f"status of {name} after another's down")
        cli.expect(cli.lab(name, "down"), 0, "down")


@test
def interrupted_up_cleans_up(cli):
    before = traces()
    for delay_s in (0.005, 0.02, 0.05, 0.1, 0.2):
        for number in (signal.SIGINT, signal.SIGTERM):
            name = cli.new_name()
            child = cli.start("lab", "--name", name, "up")
            time.sleep(delay_s)
            child.send_signal(number)
            _, said = child.communicate(timeout=TIMEOUT_S)
            if child.returncode == 0:
                cli.expect(cli.lab(name, "down"), 0, "down of a lab that was faster")
            else:
                require(len(said.splitlines()) <= 1, f"{delay_s} s: {said!r}")
            require(traces() == before, f"{delay_s} s: left {traces() - before}")


@test
def up_after_a_killed_engine_keeps_the_namespaces(cli):
    name = cli.up()
    for port in ("af_xdp", "af_packet", "tap", "af_xdp"):
        inode = os.stat(f"/run/netns/{name}-host").st_ino
        os.kill(pid_of(name), signal.SIGKILL)
        done = cli.lab(name, "up", "--port", port)
        cli.expect(done, 0, f"up with {port} after kill -9")
        require(os.stat(f"/run/netns/{name}-host").st_ino == inode, "another namespace")
        reachable(cli, name, port)
    cli.expect(cli.lab(name, "down"), 0, "down")


@test
def down_ends_nobody_else(cli):
    before = traces()
    name = cli.up()
    with open(f"/run/pno/{name}.pid", encoding="ascii") as text:
        original = text.read()
    sleeper = subprocess.Popen(["sleep", "60"])
    try:
        with open(f"/run/pno/{name}.pid", "w", encoding="ascii") as text:
            text.write(f"{sleeper.pid} {original.split()[1]}\n")
        require(cli.lab(name, "status").returncode == 1, "a stranger's pid is taken for pnod's")
        os.kill(int(original.split()[0]), signal.SIGKILL)
        cli.expect(cli.lab(name, "down"), 0, "down")
        require(sleeper.poll() is None, "down ended a process that is not its pnod")
        require(traces() == before, f"left: {traces() - before}")
    finally:
        sleeper.kill()
        sleeper.wait()


@test
def exec_enters_the_namespaces(cli):
    name = cli.up()
    host = cli.lab(name, "exec", "host", "--", "ls", "/sys/class/net")
    require(host.stdout.split() == ["lo"], f"host's interfaces: {host.stdout.split()}")
    client = cli.lab(name, "exec", "client", "--", "ip", "-o", "addr", "show", "dev", "eth0")
    require("10.77.0.2/24" in client.stdout and "fd77::2/64" in client.stdout, client.stdout)
    shown = cli.lab(name, "exec", "host", "--", "sh", "-c", "echo $PNO_SOCKET $(command -v pno) $$")
    require(shown.stdout.split()[:2] == [f"/run/pno/{name}.sock", cli.pno], shown.stdout)
    cli.expect(cli.lab(name, "exec", "host", "--", "sh", "-c", "exit 9"), 9, "exit 9")
    cli.expect(cli.lab(name, "exec", "client", "--", "/nowhere/program"), 127, "no program")
    cli.expect(cli.lab(name, "exec", "host", "--", "pno", "ss"), 0, "pno ss inside")
    cli.expect(cli.lab(name, "down"), 0, "down")


CONNECT = """
import errno, socket, sys
for family, address in ((socket.AF_INET, '10.77.0.1'), (socket.AF_INET6, 'fd77::1')):
    s = socket.socket(family, socket.SOCK_STREAM)
    s.settimeout(5)
    sys.stdout.write(errno.errorcode.get(s.connect_ex((address, 9)), '?') + ' ')
"""


def reachable(cli, name, port):
    """The engine answers the client: a closed port refuses, by IPv4 and IPv6."""
    done = cli.lab(name, "exec", "client", "--", "/usr/bin/python3", "-c", CONNECT)
    require(done.stdout.split() == ["ECONNREFUSED"] * 2, f"{port}: {done.stdout} {done.stderr}")


@test
def each_port_reaches_the_client(cli):
    for port in ("af_xdp", "af_packet", "tap"):
        name = cli.up("--port", port)
        reachable(cli, name, port)
        cli.expect(cli.lab(name, "down"), 0, f"down with {port}")


@test
def huge_pages_that_are_not_there_are_asked_for(cli):
    free = glob.glob("/sys/kernel/mm/hugepages/*/free_hugepages")
    for path in free:
        with open(path, encoding="ascii") as file:
            if file.read().strip() != "0":
                return
    name = cli.new_name()
    done = cli.lab(name, "up", "--", "--huge")
    cli.expect(done, 1, "up with --huge")
    one_line(done, "up")
    require("vm.nr_hugepages" in done.stderr, f"says {done.stderr!r}")
    cli.expect(cli.lab(name, "down"), 0, "down")


@test
def failed_up_says_why_and_leaves_nothing(cli):
    before = traces()
    name = cli.new_name()
    done = cli.lab(name, "up", "--", "--no-such-option")
    cli.expect(done, 1, "up with a bad option for pnod")
    one_line(done, "up")
    left = traces() - before - {f"/run/pno/{name}.log"}
    require(not left, f"left: {left}")
    cli.expect(cli.lab(name, "down"), 0, "down")
    require(traces() == before, f"left: {traces() - before}")


@test
def ss_and_stats_show_a_listener(cli):
    import json
    name = cli.up()
    server = subprocess.Popen([cli.pno, "lab", "--name", name, "exec", "host", "--", "pno", "run",
                               "--", "/usr/bin/python3", "-m", "http.server", "8000"],
                              stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 10
        while True:
            shown = cli.lab(name, "exec", "host", "--", "pno", "ss")
            cli.expect(shown, 0, "pno ss")
            lines = [line for line in shown.stdout.splitlines() if line.startswith("LISTEN")]
            if lines or time.monotonic() > deadline:
                break
            time.sleep(0.05)
        require(lines and ":8000" in lines[0] and f"pid={server.pid}" in lines[0],
                f"pno ss shows no listener: {shown.stdout}")
        sockets = json.loads(cli.lab(name, "exec", "host", "--", "pno", "ss", "--json").stdout)
        require(any(s["state"] == "LISTEN" and s["local"]["port"] == 8000
                    for s in sockets["sockets"]), f"json: {sockets}")
        stats = json.loads(cli.lab(name, "exec", "host", "--", "pno", "stats", "--json").stdout)
        require(stats["cores"][0]["drops"] and stats["tenants"], f"stats: {stats}")
    finally:
        server.kill()
        server.wait()
    cli.expect(cli.lab(name, "down"), 0, "down")


HOARDER = """
import os, resource, socket, sys, time
most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
os.setgid(65534)
os.setuid(65534)
held = []
for i in range(7000):
    s = socket.socket(socket.AF_UNIX)
    s.connect(sys.argv[1])
    held.append(s)
left, end = 0, time.monotonic() + 20
while left < 7000 - 6144 and time.monotonic() < end:
    time.sleep(0.2)
    left = 0
    for s in held:
        try:
            left += s.recv(1, socket.MSG_DONTWAIT) == b''
        except BlockingIOError:
            pass
        except ConnectionResetError:
            left += 1
print(left, flush=True)
input()
"""


@test
def a_user_leaves_some_of_the_control_connections_to_others(cli):
    """8192 in all, three quarters for one user."""
    if resource.getrlimit(resource.RLIMIT_NOFILE)[1] < 8192:
        return
    name = cli.up()
    socket_path = f"/run/pno/{name}.sock"
    hoarder = subprocess.Popen([sys.executable, "-c", HOARDER, socket_path], stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, text=True)
    try:
        refused = int(hoarder.stdout.readline())
        require(refused == 7000 - 6144, f"{refused} refused")
        cli.expect(cli.run("stats", "--socket", socket_path), 0, "stats meanwhile")
    finally:
        hoarder.kill()
        hoarder.communicate()
    cli.expect(cli.lab(name, "down"), 0, "down")


FRAGMENTS = r"""
import socket, struct
wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
wire.bind(('eth0', 0))
wire.settimeout(5)

def sum_16(data):
    data += bytes(len(data) % 2)
    total = sum(struct.unpack(f'>{len(data) // 2}H', data))
    while total > 65535:
        total = (total & 65535) + (total >> 16)
    return struct.pack('>H', total ^ 65535)

def fragment(like, more, offset, payload, number):
    header = struct.pack('>BBHHHBBH', 0x45, 0, 20 + len(payload), number, more << 13 | offset // 8,
                         64, 6, 0) + like[26:34]
    return like[:14] + header[:10] + sum_16(header) + header[12:] + payload

kept = []
for i in range(8):
    kept.append(socket.create_connection(('10.77.0.1', 7001)))
    port = kept[-1].getsockname()[1]
    while True:
        ack = wire.recv(2000)
        if (ack[12:14], ack[23:24], ack[34:36], ack[47:48]) == (b'\x08\0', b'\6',
                                                                struct.pack('>H', port), b'\x10'):
            break
    options = ack[54:34 + (ack[46] >> 4) * 4]
    segment = (ack[34:46] + bytes([(20 + len(options)) // 4 << 4, 0x18]) + ack[48:50] + bytes(4) +
               options + b'fragments %d' % i)
    checksum = sum_16(ack[26:34] + struct.pack('>HH', 6, len(segment)) + segment)
    segment = segment[:16] + checksum + segment[18:]
    wire.send(fragment(ack, 1, 0, segment[:24], 100 + i))
    wire.send(fragment(ack, 0, 24, segment[24:], 100 + i))
input()
"""

FRAGMENTS_SERVER = """
import socket
listener = socket.create_server(('10.77.0.1', 7001))
print('ready', flush=True)
connections = [listener.accept()[0] for _ in range(8)]
for connection in connections:
    connection.settimeout(5)
    print(connection.recv(100).decode(), flush=True)
"""


@test
def fragments_reach_the_core_of_their_flow(cli):
    if (os.cpu_count() or 1) < 2:
        return
    name = cli.up("--", "--cores", "0,1")
    server = cli.start("lab", "--name", name, "exec", "host", "--", "pno", "run", "--",
                       "/usr/bin/python3", "-c", FRAGMENTS_SERVER)
    client = None
    try:
        require(server.stdout.readline() == "ready\n", "the server does not start")
        client = subprocess.Popen([cli.pno, "lab", "--name", name, "exec", "client", "--",
                                   "/usr/bin/python3", "-c", FRAGMENTS], stdin=subprocess.PIPE)
        said, error = server.communicate(timeout=TIMEOUT_S)
        require(sorted(said.split("\n")[:-1]) == [f"fragments {i}" for i in range(8)],
                f"the server got {said!r}: {error.strip()[-200:]}")
    finally:
        for process in (server, client):
            if process is not None:
                process.kill()
                process.communicate()
    cli.expect(cli.lab(name, "down"), 0, "down")


BOUND_CLIENTS = """
import socket
listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind(('10.77.0.1', 7001))
listener.listen()
for number in range(16):
    one = socket.socket()
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    one.bind(('10.77.0.1', 7100 + number))
    late = socket.socket()
    late.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    late.bind(('10.77.0.1', 7100 + number))
    one.connect(('10.77.0.2', 9000))
    late.listen()
    for _ in range(3):
        one.sendall(b'ping')
        assert one.recv(4) == b'pong', number
print('all', flush=True)
"""

BOUND_SERVER = """
import socket
listener = socket.create_server(('10.77.0.2', 9000))
print('ready', flush=True)
while True:
    one = listener.accept()[0]
    while one.recv(4):
        one.sendall(b'pong')
"""


@test
def a_bound_port_connects_beside_its_listener_on_two_cores(cli):
    if (os.cpu_count() or 1) < 2:
        return
    name = cli.up("--", "--cores", "0,1")
    server = cli.start("lab", "--name", name, "exec", "client", "--", "/usr/bin/python3", "-c",
                       BOUND_SERVER)
    try:
        require(server.stdout.readline() == "ready\n", "the server does not start")
        done = cli.lab(name, "exec", "host", "--", "pno", "run", "--", "/usr/bin/python3", "-c",
                       BOUND_CLIENTS)
        require(done.stdout == "all\n", f"the client got {done.stderr.strip()[-300:]}")
    finally:
        server.kill()
        server.communicate()
    cli.expect(cli.lab(name, "down"), 0, "down")


FORKING_SERVER = """
import os, socket
listener = socket.create_server(('10.77.0.1', 7001))
child = os.fork()
if child == 0:
    connection = listener.accept()[0]
    print('accepted', os.getpid(), flush=True)
    connection.recv(1)
    os._exit(0)
listener.close()
os.wait()
"""


@test
def ss_shows_a_forked_process_by_its_own_pid(cli):
    name = cli.up()
    server = cli.start("lab", "--name", name, "exec", "host", "--", "pno", "run", "--",
                       "/usr/bin/python3", "-c", FORKING_SERVER)
    client = None
    connect = ("import socket, time\n"
               "while True:\n"
               "    try: s = socket.create_connection(('10.77.0.1', 7001)); break\n"
               "    except ConnectionRefusedError: time.sleep(0.05)\n"
               "input()\n")
    try:
        client = subprocess.Popen([cli.pno, "lab", "--name", name, "exec", "client", "--",
                                   "/usr/bin/python3", "-c", connect], stdin=subprocess.PIPE)
        word, child = server.stdout.readline().split()
        require(word == "accepted" and int(child) != server.pid, "no child accepted")
        shown = cli.run("ss", "--socket", f"/run/pno/{name}.sock")
        lines = [line for line in shown.stdout.splitlines() if line.startswith("ESTAB")]
        require(len(lines) == 1 and f"pid={child})" in lines[0], f"shown: {shown.stdout}")
    finally:
        for process in (client, server):
            if process is not None:
                process.kill()
                process.communicate()
    cli.expect(cli.lab(name, "down"), 0, "down")


@test
def programs_find_the_engines_addresses(cli):
    name = cli.up()
    done = cli.lab(name, "exec", "host", "--", cli.pno, "run", "--", "ip", "-oneline", "address")
    require({"10.77.0.1/32", "fd77::1/128"} <= set(done.stdout.split()), f"found: {done.stdout!r}")
    cli.expect(cli.lab(name, "down"), 0, "down")


SYSCTLS = """
import socket
s = socket.create_connection(('10.77.0.2', 7777))
print(s.getsockname()[1], s.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 8)[5] & 1)
"""


@test
def sysctls_of_the_engine_are_what_was_set(cli):
    name = cli.up("--", "--sysctl", "net.ipv4.ip_local_port_range=40000 40003",
                  "--sysctl", "net.ipv4.tcp_timestamps=0")
    listener = subprocess.Popen(
        [cli.pno, "lab", "--name", name, "exec", "client", "--", "/usr/bin/python3", "-c",
         "import socket; s = socket.create_server(('10.77.0.2', 7777)); print(flush=True); s.accept()"],
        stdout=subprocess.PIPE)
    try:
        listener.stdout.readline()
        done = cli.lab(name, "exec", "host", "--", cli.pno, "run", "--", "/usr/bin/python3", "-c",
                       SYSCTLS)
        port, timestamps = done.stdout.split() or ("0", "1")
        require(40000 <= int(port) <= 40003 and timestamps == "0", f"{done.stdout} {done.stderr}")
    finally:
        listener.kill()
        listener.communicate()
    cli.expect(cli.lab(name, "down"), 0, "down")


@test
def labs_need_root(cli):
    nobody = pwd.getpwnam("nobody")
    done = cli.run("lab", "up", user=nobody.pw_uid, group=nobody.pw_gid, extra_groups=[])
    cli.expect(done, 1, "up as nobody")
    require("root" in one_line(done, "up as nobody"), done.stderr)


def clean_up(cli):
    """Whatever a failed test left."""
    for path in glob.glob(f"/run/netns/{PREFIX}*-dpu") + glob.glob(f"/run/pno/{PREFIX}*.pid"):
        name = re.sub(r"-dpu$|\.pid$", "", os.path.basename(path))
        cli.lab(name, "down")
    for path in glob.glob(f"/run/netns/{PREFIX}*"):
        subprocess.run(["ip", "netns", "del", os.path.basename(path)], check=False)
    for path in glob.glob(f"/run/pno/{PREFIX}*"):
        os.unlink(path)


def run_test(function, build):
    """None if it passed, else why not."""
    folder = tempfile.mkdtemp(prefix=f"pno-{PREFIX}-")
    os.chmod(folder, 0o755)
    cli = Cli(build, folder)
    try:
        function(cli)
        return None
    except Failure as failure:
        why = str(failure)
    except (OSError, KeyError, ValueError, IndexError, subprocess.SubprocessError) as error:
        why = f"{type(error).__name__}: {error}"
    finally:
        clean_up(cli)
        shutil.rmtree(folder, ignore_errors=True)
    return " ".join(why.split())[:600]


def run_all(tests, options):
    """Returns how many failed."""
    failed = 0
    repeats = again.Again(options.again)
    for function in tests:
        name = function.__name__.replace("_", " ")
        why, seconds = repeats.run(name, lambda _, function=function: run_test(function, options.build),
                                   lambda why: why)
        print(f"ok {name} ({seconds:.1f})" if why is None else f"not ok {name}: {why}", flush=True)
        failed += why is not None
    return failed


def stop(number, _frame):
    raise KeyboardInterrupt(signal.Signals(number).name)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default="build", metavar="DIR")
    parser.add_argument("--filter", default="", metavar="WORD")
    parser.add_argument("--again", action="store_true", help=again.HELP)
    options = parser.parse_args()
    options.build = os.path.realpath(options.build)
    if os.geteuid() != 0:
        print("skip cli: needs root (network namespaces)")
        return 0
    signal.signal(signal.SIGTERM, stop)
    wanted = [t for t in TESTS if options.filter.replace(" ", "_") in t.__name__]
    return 0 if wanted and run_all(wanted, options) == 0 else 1


if __name__ == "__main__":
    sys.exit(main())

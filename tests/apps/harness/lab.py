"""A lab of two ends of a wire: the host (offloaded by PnO, or on kernel TCP) and the client.

PnoLab drives `pno lab`. KernelLab joins the same two namespaces by a veth pair, without pnod, which
gives both the proof that a test is right and the behaviour that PnO is compared with. The host's
addresses and the namespaces' names are the same for both.

Cleaning up needs nothing but the lab's name (destroy()), so that it works after any accident.
"""

import contextlib
import glob
import json
import os
import re
import shutil
import signal
import socket
import subprocess

from . import netns
from .process import (CLIENT_CORE, HOST_CORE, Failure, Program, run, wait_until)

HOST_V4, HOST_V6 = "10.77.0.1", "fd77::1"
CLIENT_V4, CLIENT_V6 = "10.77.0.2", "fd77::2"
_NAME = re.compile(r"^(p[abd](\d+)n\d+)-(?:host|dpu|client)$")
BUFFERS_IN_USE = ("rx_chunks_in_use", "tx_extents_in_use")
REPOSITORY = os.path.realpath(os.path.join(os.path.dirname(__file__), "../../.."))


def _ip(*words, check=True):
    done = subprocess.run(["ip", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          check=False, timeout=20)
    if check and done.returncode != 0:
        raise Failure(f"ip {' '.join(words)}: {done.stderr.decode().strip()}")


class Lab:
    """What both kinds share."""

    stack = None
    leaves_checksums = False  # to whoever takes the frames from the wire's other end

    def __init__(self, name, folder, build):
        self.name = name
        self.folder = folder
        self.build = build
        self.host, self.client = f"{name}-host", f"{name}-client"
        self.host_addresses = (HOST_V4, HOST_V6)
        self.programs = []
        self.engine_killed = False
        os.makedirs(folder, exist_ok=True)

    # Starting programs.

    def _start(self, name, argv, core):
        log_path = os.path.join(self.folder, f"{name}-{len(self.programs)}.log")
        program = Program(name, argv, log_path, core, cwd=self.folder)
        self.programs.append(program)
        return program

    def start_host(self, name, argv, offload=True):
        """A program at the host's end, on the host's core."""
        return self._start(name, self.host_argv(argv, offload), HOST_CORE)

    def start_client(self, name, argv):
        """A program at the far end, on kernel TCP."""
        return self._start(name, self.client_argv(argv), CLIENT_CORE)

    def run_host(self, argv, offload=True, **options):
        return run(self.host_argv(argv, offload), core=HOST_CORE, cwd=self.folder, **options)

    def run_client(self, argv, **options):
        return run(self.client_argv(argv), core=CLIENT_CORE, cwd=self.folder, **options)

    def client_argv(self, argv):
        return ["ip", "netns", "exec", self.client, *argv]

    def host_argv(self, argv, offload):
        raise NotImplementedError

    # Talking to them.

    def connect(self, port, address=HOST_V4, timeout=10.0):
        """A connection from the client's end."""
        return netns.connect(self.client, address, port, timeout)

    def wait_listening(self, program, port, address=HOST_V4, timeout_s=15.0):
        """Wait until the program accepts connections from the client's end."""
        def check():
            if not program.alive():
                raise Failure(f"{program.name} ended with status {program.popen.returncode}")
        self.wait_reachable(program.name, port, address, timeout_s, check)

    def wait_reachable(self, name, port, address=HOST_V4, timeout_s=15.0, check=lambda: None):
        """As wait_listening(), for what is no child of ours."""
        def reachable():
            check()
            try:
                self.connect(port, address, timeout=1.0).close()
            except (ConnectionError, socket.timeout, TimeoutError, OSError):
                return False
            return True
        wait_until(reachable, f"{name} reachable at {address} port {port}", timeout_s)

    def wait_refused(self, port, what, timeout_s=10.0):
        """Wait until the port refuses connections from the client's end. One that arrived just before
        its listener was closed is reset, by Linux too."""
        def refused():
            try:
                self.connect(port, timeout=2.0).close()
            except ConnectionRefusedError:
                return True
            except ConnectionResetError:
                pass
            return False
        wait_until(refused, what, timeout_s)

    # What the engine says about itself; a lab without an engine has nothing to say.

    def assert_nothing_left(self, allow=("TIME-WAIT",), timeout_s=5.0):
        """`pno ss` and the arenas are empty; kernel lab: nothing is checked."""

    def engine_descriptors(self):
        """(pnod's process id, how many descriptors it has), or None where there is no engine."""
        return None


class KernelLab(Lab):
    stack = "kernel"

    def up(self, pnod_options=()):
        if pnod_options:
            raise Failure("a lab on kernel TCP has no pnod to give options to")
        for namespace in (self.host, self.client):
            _ip("netns", "add", namespace)
            _ip("-n", namespace, "link", "set", "lo", "up")
        _ip("link", "add", "wire", "netns", self.host, "type", "veth", "peer", "name", "wire",
            "netns", self.client)
        for namespace, v4, v6 in ((self.host, HOST_V4, HOST_V6),
                                  (self.client, CLIENT_V4, CLIENT_V6)):
            _ip("-n", namespace, "addr", "add", f"{v4}/24", "dev", "wire")
            _ip("-n", namespace, "addr", "add", f"{v6}/64", "dev", "wire", "nodad")
            _ip("-n", namespace, "link", "set", "wire", "up")

    def host_argv(self, argv, offload):
        return ["ip", "netns", "exec", self.host, *argv]


class PnoLab(Lab):
    stack = "pno"

    def __init__(self, name, folder, build, port=None):
        super().__init__(name, folder, build)
        self.port = port
        self.leaves_checksums = port == "af_packet"
        self.dpu = f"{name}-dpu"
        self.pno = os.path.join(build, "src/cli/pno")

    def up(self, pnod_options=()):
        words = [self.pno, "lab", "--name", self.name, "up"]
        if self.port:
            words += ["--port", self.port]
        if pnod_options:
            words += ["--", *pnod_options]
        run(words, timeout_s=30)

    def host_argv(self, argv, offload):
        runner = [self.pno, "run", "--"] if offload else []
        return [self.pno, "lab", "--name", self.name, "exec", "host", "--", *runner, *argv]

    def pnod_pid(self):
        return self.ask("ping")["pid"]

    def ask(self, command):
        """A request over the control socket itself, for what no `pno` command shows."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as control:
            control.settimeout(5)
            control.connect(f"/run/pno/{self.name}.sock")
            control.sendall(json.dumps({"command": command}).encode() + b"\n")
            answer = b""
            while chunk := control.recv(65536):
                answer += chunk
        return json.loads(answer)

    def pno_json(self, *words):
        done = run([self.pno, "lab", "--name", self.name, "exec", "host", "--", self.pno, *words,
                    "--json"], timeout_s=15)
        try:
            return json.loads(done.stdout)
        except ValueError as error:
            raise Failure(f"pno {' '.join(words)} --json: not JSON ({error})") from None

    def sockets(self):
        """All sockets that `pno ss` knows."""
        return self.pno_json("ss", "-a")["sockets"]

    def stats(self):
        return self.pno_json("stats")

    def assert_nothing_left(self, allow=("TIME-WAIT",), timeout_s=5.0):
        left = []

        def empty():
            left[:] = [f"{s['state']} {s['local']['address']}:{s['local']['port']} "
                       f"{s['remote']['address']}:{s['remote']['port']}"
                       for s in self.sockets() if s["state"] not in allow]
            stats = self.stats()
            left.extend(f"tenant {t['tenant']} (sockets {t.get('sockets')}, receive bytes "
                        f"{t.get('receive_bytes_in_use')})" for t in stats["tenants"])
            left.extend(f"{core['counters'][name]} {name} on core {core['core']}"
                        for core in stats["cores"] for name in BUFFERS_IN_USE
                        if core["counters"][name])
            return not left
        try:
            wait_until(empty, "pno ss and the arenas empty", timeout_s, 0.1)
        except Failure as failure:
            raise Failure(f"{failure}; left: {'; '.join(left[:3])} ({len(left)} in all)") from None

    def engine_descriptors(self):
        pid = self.pnod_pid()
        return pid, len(os.listdir(f"/proc/{pid}/fd"))

    def kill_pnod(self):
        """kill -9 of the engine; returns what is needed to start it again."""
        pid = self.pnod_pid()
        with open(f"/proc/{pid}/cmdline", "rb") as cmdline:
            argv = cmdline.read().decode().split("\0")[:-1]
        argv[0] = os.readlink(f"/proc/{pid}/exe")
        os.kill(pid, signal.SIGKILL)
        self.engine_killed = True
        wait_until(lambda: not os.path.exists(f"/proc/{pid}") or _is_zombie(pid), "pnod gone")
        return argv

    def restart_pnod(self, argv):
        program = self._start("pnod", ["ip", "netns", "exec", self.dpu, *argv], CLIENT_CORE)
        self.engine_killed = False

        def answers():
            if not program.alive():
                raise Failure(f"pnod would not start again: {tail_line(program)}")
            try:
                return self.ask("ping")["pid"]
            except (OSError, ValueError, KeyError):
                return None
        wait_until(answers, "restarted pnod answers", 15)
        # As `pno lab up` notes its engine, so that `pno lab down` ends this one.
        with open(f"/proc/{self.pnod_pid()}/stat", encoding="ascii") as stat:
            started = stat.read().rpartition(")")[2].split()[19]
        with open(f"/run/pno/{self.name}.pid", "w", encoding="ascii") as pid_file:
            pid_file.write(f"{self.pnod_pid()} {started}\n")
        return program


def tail_line(program):
    with open(program.log_path, "rb") as log:
        lines = log.read().decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else "no output"


def _is_zombie(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
            return stat.read().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def make(stack, name, folder, build, port=None):
    return KernelLab(name, folder, build) if stack == "kernel" else PnoLab(name, folder, build, port)


def destroy(name, folder, build, keep_folder=False):
    """Remove everything a lab of this name can have left; returns a complaint or None."""
    complaint = None
    for end in ("client", "host"):
        if not netns.kill_all(f"{name}-{end}"):
            complaint = f"processes in {name}-{end} survive SIGKILL"
    if netns.exists(f"{name}-dpu"):
        complaint = _pno_lab_down(name, build) or complaint
        netns.kill_all(f"{name}-dpu")
    for end in ("client", "host", "dpu"):
        if netns.exists(f"{name}-{end}"):
            _ip("netns", "del", f"{name}-{end}", check=False)
    for left in glob.glob(f"/run/pno/{name}.*"):
        with contextlib.suppress(OSError):
            os.unlink(left)
    if not keep_folder:
        shutil.rmtree(folder, ignore_errors=True)
    return complaint


def sweep_dead_runs(build):
    """Remove labs whose makers were killed by SIGKILL: the maker's process id is in the name."""
    stale = set()
    for path in glob.glob("/run/netns/*"):
        match = _NAME.match(os.path.basename(path))
        if match and not os.path.exists(f"/proc/{match.group(2)}"):
            stale.add(match.group(1))
    for name in stale:
        destroy(name, os.path.join("/nonexistent", name), build)


def make_name(kind, number):
    """A lab's name: `kind` is a (tests), b (benchmark) or d (demonstration)."""
    return f"p{kind}{os.getpid()}n{number}"


def _pno_lab_down(name, build):
    try:
        done = subprocess.run([os.path.join(build, "src/cli/pno"), "lab", "--name", name, "down"],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"pno lab down: {error}"
    if done.returncode != 0:
        return f"pno lab down: {done.stderr.decode(errors='replace').strip()}"
    left = [end for end in ("host", "dpu", "client") if netns.exists(f"{name}-{end}")]
    return f"pno lab down left namespaces: {', '.join(left)}" if left else None

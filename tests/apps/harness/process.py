"""Programs started by a test, and what /proc says about them."""

import os
import re
import resource
import shutil
import signal
import subprocess
import time

HOST_CORE = 0
CLIENT_CORE = 1


class Failure(Exception):
    """What a test found wrong; its text is the reason printed after `not ok`."""


class Skip(Exception):
    """Why a test does not apply here."""


def require(condition, reason):
    if not condition:
        raise Failure(reason)


def need_program(name):
    if shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin") is None:
        raise Skip(f"{name} is not installed")


def wait_until(condition, what, timeout_s=10.0, interval_s=0.02):
    """Wait until condition() is true and return its value; fail, naming `what`, at the limit."""
    deadline = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise Failure(f"{what}: not within {timeout_s:g} s")
        time.sleep(interval_s)


def tail(path, lines=12):
    try:
        with open(path, "rb") as log:
            log.seek(max(0, os.path.getsize(path) - 8192))
            return log.read().decode(errors="replace").splitlines()[-lines:]
    except OSError:
        return []


def allow_many_descriptors(wanted=200_000):
    """Raise the limit for us and what we start; 10,000 connections need as many descriptors."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))


class Program:
    """A running program with its output in a log file."""

    def __init__(self, name, argv, log_path, core, cwd=None, environment=None):
        self.name = name
        self.log_path = log_path
        full = ["taskset", "-c", str(core), *argv]
        with open(log_path, "ab") as log:
            # A session of its own: some servers signal their whole process group.
            self.popen = subprocess.Popen(full, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                          cwd=cwd, env=environment, start_new_session=True)
        self.pid = self.popen.pid

    def alive(self):
        return self.popen.poll() is None

    def kill(self):
        """kill -9, and wait until it is gone."""
        if self.alive():
            self.popen.send_signal(signal.SIGKILL)
        self.popen.wait(10)

    def stop(self, timeout_s=10.0):
        """SIGTERM; returns the exit status, fails if the program does not end."""
        if self.alive():
            self.popen.terminate()
        try:
            return self.popen.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise Failure(f"{self.name} did not end within {timeout_s:g} s of SIGTERM") from None

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))


def run(argv, timeout_s=60.0, core=CLIENT_CORE, check=True, stdin=None, cwd=None):
    """Run to the end and return the CompletedProcess (bytes); fail on a non-zero status."""
    try:
        done = subprocess.run(["taskset", "-c", str(core), *argv], input=stdin, cwd=cwd,
                              stdin=None if stdin is not None else subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=timeout_s,
                              check=False)
    except subprocess.TimeoutExpired:
        raise Failure(f"{short(argv)}: still running after {timeout_s:g} s") from None
    if check and done.returncode != 0:
        message = done.stderr.decode(errors="replace").strip().splitlines()
        raise Failure(f"{short(argv)}: exit status {done.returncode}"
                      + (f" ({message[-1]})" if message else ""))
    return done


def catches(pid, number):
    """Whether the process has a handler for the signal."""
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        caught = re.search(r"^SigCgt:\s*(\w+)$", status.read(), re.M)[1]
    return bool(int(caught, 16) >> (number - 1) & 1)


def short(argv):
    """The part of a command line that a reader wants: what follows the last `--`."""
    words = list(argv)
    if "--" in words[:-1]:
        words = words[len(words) - words[::-1].index("--"):]
    return " ".join(words)[:100]


def cpu_seconds(pid):
    """CPU time that all threads of the process have used."""
    with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def cpu_share(pids, seconds):
    """For each process, the share of one core that it used during the next `seconds`."""
    before = {pid: cpu_seconds(pid) for pid in pids}
    start = time.monotonic()
    time.sleep(seconds)
    elapsed = time.monotonic() - start
    return {pid: (cpu_seconds(pid) - before[pid]) / elapsed for pid in pids}

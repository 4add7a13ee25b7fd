"""Measuring a server on kernel TCP and on PnO, as docs say under "What is measured, and how".

Core 0 plays the host: the server runs there, and for kernel TCP its receive processing too. Core 1
plays the DPU and the far end: pnod and the client. A figure per request is CPU time over a run
divided by the requests that the client counted.

Not here: which cells are measured and how they are shown (demo.py, bench.py).
"""

import csv
import dataclasses
import io
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "../tests/apps"))

from harness import lab as labs  # noqa: E402
from harness.process import (CLIENT_CORE, HOST_CORE, Failure, allow_many_descriptors,  # noqa: E402
                             cpu_seconds, run)
from harness.resp import RedisError  # noqa: E402
from harness.servers import start_redis  # noqa: E402

CALIBRATION_REQUESTS = 10000
US = 1e6


class Interrupted(Exception):
    """SIGINT, SIGTERM or SIGHUP."""


def prepare_process():
    """Room for descriptors, a place on the client's core, and signals that lead to cleaning up."""
    allow_many_descriptors()
    os.sched_setaffinity(0, {CLIENT_CORE})

    def interrupt(number, _frame):
        raise Interrupted(signal.Signals(number).name)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)


def ignore_signals():
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


@dataclasses.dataclass
class Figures:
    """What one run of one cell gave."""

    requests: float
    requests_per_s: float
    p50_us: float
    p99_us: float
    host_us_per_request: float
    engine_us_per_request: float
    core1_us_per_request: float
    softirq1_us_per_request: float


@dataclasses.dataclass(frozen=True)
class Cell:
    """One kind of work."""

    op: str
    value_bytes: int
    connections: int = 50
    pipeline: int = 1


class CpuClock:
    """CPU time used since it was made: of each core, and of the engine."""

    def __init__(self, engine_pid):
        self._engine_pid = engine_pid
        self._start = self._read()

    def _read(self):
        tick = os.sysconf("SC_CLK_TCK")
        cores = {}
        now = time.monotonic()
        with open("/proc/stat", encoding="ascii") as stat:
            for line in stat:
                name, *fields = line.split()
                if name in ("cpu0", "cpu1"):
                    ticks = [int(field) for field in fields]
                    cores[name] = ((ticks[3] + ticks[4]) / tick, ticks[6] / tick)
        engine = cpu_seconds(self._engine_pid) if self._engine_pid else 0.0
        return now, cores, engine

    def used(self):
        """(core 0, core 1, core 1 in softirq, engine), seconds.

        A core's non-idle time is elapsed time less idle time: the kernel keeps idle time exactly,
        while user, system and softirq are sampled at ticks, which regular work falls between.
        """
        start_s, start_cores, start_engine = self._start
        now, cores, engine = self._read()
        busy = [max(0.0, now - start_s - (cores[name][0] - start_cores[name][0]))
                for name in ("cpu0", "cpu1")]
        softirq = cores["cpu1"][1] - start_cores["cpu1"][1]
        return busy[0], busy[1], softirq, engine - start_engine


def run_on(name, sides, folder, build, work):
    """Set the sides up, do the work, which gives the exit status, and clean up in all cases.

    Returns the exit status: work's own; 1 something failed; 130 interrupted.
    """
    status = 0
    try:
        prepare_process()
        labs.sweep_dead_runs(build)
        warn_if_busy(name)
        for side in sides:
            side.up()
        status = work()
    except Interrupted as interrupted:
        print(f"\n{name}: stopped by {interrupted}", file=sys.stderr)
        status = 130
    except (Failure, OSError, RedisError) as failure:
        print(f"\n{name}: {failure}", file=sys.stderr)
        status = 1
    finally:
        ignore_signals()
        for side in sides:
            if complaint := side.down():
                print(f"{name}: {complaint}", file=sys.stderr)
                status = status or 1
        shutil.rmtree(folder, ignore_errors=True)
    return status


class Side:
    """One of the two stacks: its lab with a redis in it."""

    def __init__(self, kind, stack, number, folder, build, port=None):
        self.stack = stack
        self.build = build
        self.lab = labs.make(stack, labs.make_name(kind, number), os.path.join(folder, stack),
                             build, port)
        self.redis = None
        self.engine_pid = None
        self._rates = {}

    def up(self):
        self.lab.up()
        if self.stack == "kernel":
            steer_receive_processing(self.lab.host, HOST_CORE)
        else:
            self.engine_pid = self.lab.pnod_pid()
        self.redis = start_redis(self.lab)

    def down(self):
        return labs.destroy(self.lab.name, self.lab.folder, self.build)

    def measure_redis(self, cell, seconds):
        """Run redis-benchmark for about so long."""
        if cell not in self._rates:
            self._rates[cell] = self._benchmark(cell, CALIBRATION_REQUESTS).requests_per_s
        figures = self._benchmark(cell, max(1000, int(self._rates[cell] * seconds)))
        self._rates[cell] = figures.requests_per_s
        return figures

    def _benchmark(self, cell, requests):
        words = ["redis-benchmark", "-h", labs.HOST_V4, "-p", str(self.redis.port), "-t",
                 cell.op.lower(), "-d", str(cell.value_bytes), "-c", str(cell.connections), "-P",
                 str(cell.pipeline), "-n", str(requests), "--csv"]
        clock = CpuClock(self.engine_pid)
        done = self.lab.run_client(words, timeout_s=60)
        host, core1, softirq1, engine = clock.used()
        rows = list(csv.DictReader(io.StringIO(done.stdout.decode())))
        if len(rows) != 1 or float(rows[0]["rps"]) <= 0:
            raise Failure(f"redis-benchmark on {self.stack} gave no result: {done.stdout!r}")
        row = rows[0]
        return Figures(requests, float(row["rps"]), float(row["p50_latency_ms"]) * 1000,
                       float(row["p99_latency_ms"]) * 1000, host * US / requests,
                       engine * US / requests, core1 * US / requests, softirq1 * US / requests)

    def check_value(self, cell):
        """What GET would read is of the size that is claimed."""
        with self.redis.client() as client:
            value = client.command("GET", "key:__rand_int__")
        if value is None or len(value) != cell.value_bytes:
            raise Failure(f"redis on {self.stack} holds no value of {cell.value_bytes} bytes")


def steer_receive_processing(namespace, core):
    """Receive processing of this end of the kernel's wire happens on `core`; without this (or with
    None) a veth pair does it on the core that sends."""
    mask = 0 if core is None else 1 << core
    script = f"for q in /sys/class/net/wire/queues/rx-*; do echo {mask} >$q/rps_cpus; done"
    run(["ip", "netns", "exec", namespace, "sh", "-c", script], timeout_s=10)


def median_of(runs, field):
    return statistics.median(getattr(figures, field) for figures in runs)


def spread_of(runs, field="host_us_per_request"):
    """(max - min) / median over the rounds."""
    values = [getattr(figures, field) for figures in runs]
    middle = statistics.median(values)
    return (max(values) - min(values)) / middle if middle else 0.0


def make_folder():
    return tempfile.mkdtemp(prefix="pno-bench-")


class Progress:
    """A bar on a terminal, a line per step elsewhere."""

    WIDTH = 30

    def __init__(self, steps):
        self._steps = steps
        self._done = 0
        self._start = time.monotonic()
        self._terminal = sys.stderr.isatty()

    def show(self, text):
        if not self._terminal:
            print(f"[{self._done}/{self._steps}] {text}", file=sys.stderr, flush=True)
            return
        filled = self.WIDTH * self._done // self._steps
        elapsed = time.monotonic() - self._start
        left = f"{elapsed / self._done * (self._steps - self._done):.0f} s left" if self._done else ""
        sys.stderr.write(f"\r\033[K[{'#' * filled}{'.' * (self.WIDTH - filled)}] {text}  {left}")
        sys.stderr.flush()

    def step(self):
        self._done += 1

    def clear(self):
        if self._terminal:
            sys.stderr.write("\r\033[K")
            sys.stderr.flush()


def warn_if_busy(program, seconds=1.0):
    """Host CPU is all of core 0, so other work on it would be counted in."""
    clock = CpuClock(None)
    time.sleep(seconds)
    busy = [used / seconds for used in clock.used()[:2]]
    if max(busy) > 0.05:
        print(f"{program}: this machine is not idle (core 0 {busy[0]:.0%}, core 1 {busy[1]:.0%} "
              "busy): the figures will be too high", file=sys.stderr)


def machine():
    """One line about where this was measured."""
    model = "unknown CPU"
    with open("/proc/cpuinfo", encoding="ascii", errors="replace") as info:
        for line in info:
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    return f"{model}, {os.cpu_count()} cores, Linux {os.uname().release}"


def redis_version():
    said = subprocess.run(["redis-server", "--version"], stdout=subprocess.PIPE, check=False,
                          stderr=subprocess.DEVNULL).stdout.decode()
    return next((word[2:] for word in said.split() if word.startswith("v=")), "unknown")

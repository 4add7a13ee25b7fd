#!/usr/bin/python3
"""PnO to Linux, Linux to PnO and Linux to Linux over the same impaired wire, with a report.

Each cell is a wire (loss, reordering, round trip, rate, buffer) and a congestion control, the same at
both ends. Goodput is one stream's, checked byte by byte where it arrives; rpc_p99_us that of 1 KB
requests on 16 connections. The pairs take turns, each round has its own seed, the same for all
pairs. Writes BUILD/bench-wire.json and BUILD/bench-wire/report.md. Exit status: 0 all measured;
1 something failed; 2 bad usage; 130 interrupted.
"""

import argparse
import contextlib
import dataclasses
import json
import os
import select
import statistics
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))

import measure  # noqa: E402
from measure import Failure, labs, run  # noqa: E402
from harness import netns  # noqa: E402
from harness.process import CLIENT_CORE, HOST_CORE  # noqa: E402
from results import write_rows  # noqa: E402

PAIRS = ("pno-linux", "linux-pno", "linux-linux")
ALGORITHMS = ("cubic", "reno")
ALLOWED = "/proc/sys/net/ipv4/tcp_allowed_congestion_control"
AGENT = os.path.join(os.path.dirname(os.path.realpath(__file__)), "wire_agent.py")
RPC_CONNECTIONS = 16
# For every pair the same: where there is room, as the scheduler sees it; both cores have other work.
WIRE_CORES = f"{HOST_CORE},{CLIENT_CORE}"
ANSWER_TIMEOUT_S = 90


@dataclasses.dataclass(frozen=True)
class Cell:
    """Loss and reordering are shares of 1, each way; the buffer is in rate times round trip."""

    congestion_control: str
    loss: float = 0.0
    reorder: float = 0.0
    rtt_ms: float = 20.0
    rate_mbps: float = 100.0
    buffer_bdp: float = 1.0

    def settings(self, seed):
        parts = [f"delay={self.rtt_ms / 2 * 1000:g}us", f"rate={self.rate_mbps:g}mbit",
                 f"buffer={self.buffer_bdp:g}bdp", f"seed={seed}"]
        if self.loss:
            parts.append(f"loss={self.loss * 100:g}%")
        if self.reorder:
            parts.append(f"reorder={self.reorder * 100:g}%")
        return ",".join(parts)

    def text(self):
        return (f"{self.congestion_control}, loss {self.loss:.2%}, reordering {self.reorder:.0%}, "
                f"RTT {self.rtt_ms:g} ms, {self.rate_mbps:g} Mbit/s, buffer {self.buffer_bdp:g} BDP")


def cells_of(algorithm):
    return ([Cell(algorithm, loss=loss) for loss in (0, 0.0001, 0.001, 0.01, 0.03, 0.05)]
            + [Cell(algorithm, loss=0.01, rtt_ms=0.1, rate_mbps=500, buffer_bdp=10),
               Cell(algorithm, loss=0.01, rtt_ms=1, buffer_bdp=4),
               Cell(algorithm, loss=0.01, rtt_ms=100)]
            + [Cell(algorithm, reorder=share, rtt_ms=10) for share in (0.01, 0.03, 0.1)]
            + [Cell(algorithm, rtt_ms=0.1, rate_mbps=500, buffer_bdp=10),
               Cell(algorithm, rtt_ms=1, buffer_bdp=4),
               Cell(algorithm, rtt_ms=10),
               Cell(algorithm, rtt_ms=100)]
            + [Cell(algorithm, buffer_bdp=0.1), Cell(algorithm, buffer_bdp=4)]
            + [Cell(algorithm, rate_mbps=10, rtt_ms=50), Cell(algorithm, rate_mbps=500, rtt_ms=10),
               Cell(algorithm, loss=0.001, reorder=0.01, rtt_ms=50)])


CELLS = [cell for algorithm in ALGORITHMS for cell in cells_of(algorithm)]
QUICK_CELLS = [Cell("cubic"), Cell("cubic", loss=0.01), Cell("reno", loss=0.001),
               Cell("cubic", reorder=0.03, rtt_ms=10), Cell("cubic", buffer_bdp=0.1),
               Cell("reno", rtt_ms=100)]


class Agent:
    """wire_agent.py at one end of a lab."""

    def __init__(self, argv, core, log_path):
        self._log_path = log_path
        with open(log_path, "ab") as log:
            self._process = subprocess.Popen(
                ["taskset", "-c", str(core), *argv, "/usr/bin/python3", AGENT],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log)
        self._read()

    def _read(self):
        ready, _, _ = select.select([self._process.stdout], [], [], ANSWER_TIMEOUT_S)
        line = self._process.stdout.readline() if ready else b""
        if not line:
            with open(self._log_path, encoding="utf-8", errors="replace") as log:
                words = log.read().strip().splitlines()
            raise Failure("an agent " + ("ended" if ready else "hangs")
                          + (f": {words[-1]}" if words else ""))
        return json.loads(line)

    def ask(self, **order):
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        self._process.stdin.flush()
        answer = self._read()
        if "error" in answer:
            raise Failure(f"{order['do']}: {answer['error']}")
        return answer

    def stop(self):
        self._process.kill()
        self._process.wait()


class WireLab:
    """Two ends with an impaired wire between, and an agent at each."""

    def __init__(self, stack, number, folder, build):
        self._lab = labs.make(stack, labs.make_name("b", number), os.path.join(folder, stack), build)
        self._build = build
        self.agents = {}

    @property
    def name(self):
        return self._lab.name

    def up(self):
        self.make_lab()
        for namespace in self.kernel_ends():
            # What one run learnt of the path must not help the next.
            run(["ip", "netns", "exec", namespace, "sysctl", "-q", "-w",
                 "net.ipv4.tcp_no_metrics_save=1"], timeout_s=10)
        log = os.path.join(self._lab.folder, "agent")
        self.agents = {"host": Agent(self._lab.host_argv([], True), HOST_CORE, f"{log}-host.log"),
                       "client": Agent(self._lab.client_argv([]), CLIENT_CORE,
                                       f"{log}-client.log")}

    def down(self):
        for agent in self.agents.values():
            agent.stop()
        return labs.destroy(self.name, self._lab.folder, self._build)

    def make_lab(self):
        raise NotImplementedError

    def kernel_ends(self):
        raise NotImplementedError

    def set_wire(self, settings):
        raise NotImplementedError


class PnoWireLab(WireLab):
    """PnO at the host's end."""

    def __init__(self, number, folder, build):
        super().__init__("pno", number, folder, build)

    def _pno_lab(self, *words, core=CLIENT_CORE):
        run([os.path.join(self._build, "src/cli/pno"), "lab", "--name", self.name, *words],
            timeout_s=40, core=core)

    def make_lab(self):
        self._pno_lab("up", "--wire", "delay=1ms")

    def kernel_ends(self):
        return [self._lab.client]

    def set_wire(self, settings):
        self._pno_lab("wire", "--wire", settings, core=WIRE_CORES)


class KernelWireLab(WireLab):
    """Kernel TCP at both ends, of two veth pairs that pno-wire joins as in `pno lab up --wire`."""

    def __init__(self, number, folder, build):
        super().__init__("kernel", number, folder, build)
        self._space = f"{self.name}-wire"
        self._wire = None

    def make_lab(self):
        lab = self._lab
        ends = ((lab.host, labs.HOST_V4, "near"), (lab.client, labs.CLIENT_V4, "far"))
        for namespace in (lab.host, lab.client, self._space):
            run(["ip", "netns", "add", namespace], timeout_s=10)
            run(["ip", "-n", namespace, "link", "set", "lo", "up"], timeout_s=10)
        run(["ip", "netns", "exec", self._space, "sysctl", "-q", "-w",
             "net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1"],
            timeout_s=10)
        for namespace, address, inner in ends:
            run(["ip", "-n", namespace, "link", "add", "wire", "type", "veth", "peer", "name", inner,
                 "netns", self._space], timeout_s=10)
            for space, device in ((namespace, "wire"), (self._space, inner)):
                run(["ip", "netns", "exec", space, "ethtool", "-K", device, "tx", "off", "tso",
                     "off", "gso", "off", "gro", "off"], timeout_s=10)
                run(["ip", "-n", space, "link", "set", device, "up"], timeout_s=10)
            run(["ip", "-n", namespace, "addr", "add", f"{address}/24", "dev", "wire"], timeout_s=10)

    def kernel_ends(self):
        return [self._lab.host, self._lab.client]

    def set_wire(self, settings):
        self._stop_wire()
        self._wire = subprocess.Popen(
            ["taskset", "-c", WIRE_CORES, "ip", "netns", "exec", self._space,
             os.path.join(self._build, "src/wire/pno-wire"), settings, "near", "far"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        if self._wire.stdout.readline() != b"ready\n":
            raise Failure(f"pno-wire {settings} did not start")

    def _stop_wire(self):
        if self._wire is not None:
            self._wire.terminate()
            self._wire.communicate()
            self._wire = None

    def down(self):
        self._stop_wire()
        complaint = super().down()
        if netns.exists(self._space):
            run(["ip", "netns", "del", self._space], timeout_s=10)
        return complaint


class Bench:
    """The labs, and what was measured in them."""

    def __init__(self, options, folder):
        self._options = options
        self._pno = PnoWireLab(0, folder, options.build)
        self._kernel = KernelWireLab(1, folder, options.build)
        self._ends = {"pno-linux": (self._pno, "host", labs.CLIENT_V4),
                      "linux-pno": (self._pno, "client", labs.HOST_V4),
                      "linux-linux": (self._kernel, "host", labs.CLIENT_V4)}
        self.results = {}
        self.failures = {}
        self.planned = self.measured = 0

    def labs(self):
        return sorted({lab for lab, _, _ in map(self._ends.get, self._options.pair)},
                      key=lambda lab: lab.name)

    def run(self, cells, keep):
        """Measure; keep() is called whenever there is more."""
        options = self._options
        # A stream meets few losses in its seconds: chance weighs less over more of them.
        rounds = {cell: options.rounds * (2 if cell.loss else 1) for cell in cells}
        self.planned = sum(rounds.values()) * len(options.pair)
        progress = measure.Progress(self.planned)
        for turn in range(2 * options.rounds):
            for cell in (cell for cell in cells if turn < rounds[cell]):
                for pair in options.pair if turn % 2 == 0 else reversed(options.pair):
                    progress.show(f"round {turn + 1} of {rounds[cell]}: {pair}, {cell.text()}")
                    try:
                        result = self._measure(cell, pair, seed=turn + 1)
                        self.results.setdefault((cell, pair), []).append(result)
                    except Failure as failure:
                        self.failures[cell, pair] = str(failure)
                    self.measured += 1
                    keep()
                    progress.step()
        progress.clear()

    def _measure(self, cell, pair, seed):
        """(goodput in Mbit/s, p99 in us)"""
        lab, sender, peer = self._ends[pair]
        # Whoever sends: the same is done to the stream, and the same to what comes back.
        lab.set_wire(cell.settings(f"{seed}r" if sender == "client" else seed))
        order = {"peer": peer, "congestion_control": cell.congestion_control}
        bulk = lab.agents[sender].ask(do="bulk", seconds=self._options.seconds, **order)
        rpc = lab.agents[sender].ask(do="rpc", seconds=self._options.seconds / 2,
                                     connections=RPC_CONNECTIONS, **order)
        times = sorted(rpc["us"])
        return (bulk["bytes"] * 8 / bulk["seconds"] / 1e6,
                times[min(len(times) - 1, int(len(times) * 0.99))])

    def rows(self, cells):
        rows = []
        for cell in cells:
            for pair in self._options.pair:
                row = {"pair": pair, **dataclasses.asdict(cell)}
                results = self.results.get((cell, pair), [])
                if results:
                    goodputs = [goodput for goodput, _ in results]
                    middle = statistics.median(goodputs)
                    row["goodput_mbps"] = round(middle, 3)
                    row["spread"] = round((max(goodputs) - min(goodputs)) / middle, 3) if middle else 0
                    row["rpc_p99_us"] = round(statistics.median(p99 for _, p99 in results), 1)
                    row["rounds"] = len(results)
                if (cell, pair) in self.failures:
                    row["failed"] = self.failures[cell, pair]
                rows.append(row)
        return rows


# ---- Reporting ---------------------------------------------------------------------------


def describe(cell, rows):
    """The report's line for one cell, and PnO's goodput as shares of Linux's."""
    of = {row["pair"]: row for row in rows}
    goodput = {pair: row.get("goodput_mbps") for pair, row in of.items()}
    linux = goodput.get("linux-linux")
    shares = {pair: goodput[pair] / linux for pair in ("pno-linux", "linux-pno")
              if linux and goodput.get(pair) is not None}

    def show(row, field):
        if row is None:
            return "–"
        if field not in row:
            return "failed" if "failed" in row else "–"
        return f"{row[field]:,.1f}"
    columns = [cell.congestion_control, f"{cell.loss:.2%}", f"{cell.reorder:.0%}",
               f"{cell.rtt_ms:g}", f"{cell.rate_mbps:g}", f"{cell.buffer_bdp:g}"]
    columns += [show(of.get(pair), "goodput_mbps") for pair in PAIRS]
    columns += [f"{shares[pair]:.2f}" if pair in shares else "–" for pair in PAIRS[:2]]
    columns += [show(of.get(pair), "rpc_p99_us") for pair in PAIRS]
    return "| " + " | ".join(columns) + " |", shares


def write_report(cells, bench, options, complete):
    """What is not complete does not take the place of an earlier run's results. Returns the report's
    lines, and where it is."""
    rows = bench.rows(cells)
    folder = os.path.join(options.build, "bench-wire")
    os.makedirs(folder, exist_ok=True)
    path = (os.path.join(options.build, "bench-wire.json") if complete
            else os.path.join(folder, "incomplete.json"))
    report = os.path.join(folder, "report.md" if complete else "incomplete.md")
    write_rows(path, rows)
    lines = ["# PnO and Linux over an impaired wire", "",
             f"{measure.machine()}; medians of {options.rounds} rounds of {options.seconds:g} s (twice "
             "as many where there is loss), the pairs in turn. Sender first: pno-linux is PnO sending to Linux.", "",
             *([] if complete else
               [f"**Incomplete: {bench.measured} of {bench.planned} measurements**, so some of fewer "
                "rounds, some missing.", ""]),
             "Goodput in Mbit/s, and as a share of Linux to Linux; p99 of a 1 KB request in µs.", "",
             "| CC | loss | reorder | RTT ms | Mbit/s | buffer BDP | "
             + " | ".join(PAIRS) + " | " + " | ".join(f"{pair} share" for pair in PAIRS[:2]) + " | "
             + " | ".join(f"p99 {pair}" for pair in PAIRS) + " |", "|---" * 14 + "|"]
    shares = {pair: [] for pair in PAIRS[:2]}
    for cell in cells:
        own = [row for row in rows
               if all(row[key] == value for key, value in dataclasses.asdict(cell).items())]
        line, cell_shares = describe(cell, own)
        lines.append(line)
        for pair, share in cell_shares.items():
            shares[pair].append(share)
    for pair, values in shares.items():
        if values:
            lines += ["", f"{pair}: median {statistics.median(values):.2f} of Linux's goodput, lowest "
                      f"{min(values):.2f}, below 0.9 in {sum(v < 0.9 for v in values)} of "
                      f"{len(values)} cells."]
    lines += ["", *(f"Failed: {pair}, {cell.text()}: {why}"
                    for (cell, pair), why in bench.failures.items())]
    with open(report, "w", encoding="utf-8") as file:
        file.write("\n".join(lines).rstrip() + "\n")
    for left in ("incomplete.json", "incomplete.md") if complete else ():
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(folder, left))
    return lines, f"{report}, {path}"


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", metavar="DIR", default=os.path.join(labs.REPOSITORY, "build"))
    parser.add_argument("--rounds", type=int, default=3,
                        help="at least 1 (default 3); cells with loss take twice as many")
    parser.add_argument("--seconds", type=float, default=2.4, help="per stream (default 2.4)")
    parser.add_argument("--quick", action="store_true", help="six cells, about three minutes")
    parser.add_argument("--filter", metavar="X", help="only cells whose description contains X")
    parser.add_argument("--pair", choices=PAIRS, action="append", help="only this pair (repeatable)")
    parser.add_argument("--list", action="store_true", help="show the cells, measure nothing")
    options = parser.parse_args()
    if options.rounds < 1 or options.seconds <= 0:
        parser.error("--rounds and --seconds must be positive")
    options.pair = options.pair or list(PAIRS)
    options.build = os.path.realpath(options.build)
    return options


def allow_congestion_control():
    """Let all namespaces choose what we measure; returns what was there."""
    with open(ALLOWED, encoding="ascii") as file:
        before = file.read()
    wanted = before.split() + [name for name in ALGORITHMS if name not in before.split()]
    set_allowed(" ".join(wanted))
    return before


def set_allowed(names):
    with open(ALLOWED, "w", encoding="ascii") as file:
        file.write(names)


def main():
    options = parse_arguments()
    cells = [cell for cell in (QUICK_CELLS if options.quick else CELLS)
             if not options.filter or options.filter in cell.text()]
    if options.list or not cells:
        print("\n".join(cell.text() for cell in cells) or "bench-wire: no cell is like that")
        return 0 if cells else 2
    if os.geteuid() != 0:
        print("bench-wire: needs root (network namespaces)", file=sys.stderr)
        return 2
    folder = measure.make_folder()
    bench = Bench(options, folder)

    def work():
        allowed = allow_congestion_control()
        complete = False
        try:
            # Whatever ends it leaves what was measured until then.
            bench.run(cells, lambda: write_report(cells, bench, options, False))
            complete = True
        finally:
            set_allowed(allowed)
            if bench.results or bench.failures:
                lines, places = write_report(cells, bench, options, complete)
                print("\n".join(lines))
                print(f"Report: {places}")
        return 1 if bench.failures else 0

    return measure.run_on("bench-wire", bench.labs(), folder, options.build, work)


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/python3
"""Redis on kernel TCP and on PnO, in turn: a table, and build/demo.json.

Exit status: 0 measured; 1 something failed; 2 bad usage; 130 interrupted. Leaves nothing behind.
"""

import argparse
import os
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))

import measure  # noqa: E402
from measure import Cell, labs  # noqa: E402
from results import write_rows  # noqa: E402

# GET reads what the SET before it wrote, so their order matters.
CELLS = [Cell(op, size) for size in (64, 1024) for op in ("SET", "GET")]
STACKS = ("kernel", "pno")
NAMES = {"kernel": "kernel TCP", "pno": "PnO"}
IDLE_S = 3.0
STRICT_S = 2.5


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", metavar="DIR", default=os.path.join(labs.REPOSITORY, "build"))
    parser.add_argument("--rounds", type=int, default=3, help="at least 1 (default 3)")
    parser.add_argument("--seconds", type=float, default=4.2, help="per cell (default 4.2)")
    parser.add_argument("--port", choices=("af_xdp", "af_packet", "tap"))
    options = parser.parse_args()
    if options.rounds < 1 or options.seconds <= 0:
        parser.error("--rounds and --seconds must be positive")
    options.build = os.path.realpath(options.build)
    return options


def measure_all(sides, options, runs):
    """Every cell on both stacks in turn, round by round, into `runs`."""
    progress = measure.Progress(options.rounds * len(CELLS) * len(sides))
    for turn in range(options.rounds):
        for side in sides if turn % 2 == 0 else reversed(sides):
            for cell in CELLS:
                progress.show(f"round {turn + 1} of {options.rounds}: {NAMES[side.stack]}, "
                              f"{cell.op} of {cell.value_bytes} bytes")
                figures = side.measure_redis(cell, options.seconds)
                if cell.op == "SET":
                    side.check_value(cell)
                runs[cell, side.stack].append(figures)
                progress.step()
    progress.clear()


def measure_strict_kernel(side, seconds):
    """Kernel TCP with the client's receive processing kept off the host's core too.

    The veth pair does it on core 0, in the server's send; the contract's figure includes it, and
    this one says how much it is. One run per cell.
    """
    measure.steer_receive_processing(side.lab.client, measure.CLIENT_CORE)
    progress = measure.Progress(len(CELLS))
    strict = {}
    for cell in CELLS:
        progress.show(f"kernel TCP, client's receiving on core 1, {cell.op} of {cell.value_bytes} "
                      "bytes")
        strict[cell] = side.measure_redis(cell, seconds).host_us_per_request
        progress.step()
    progress.clear()
    return strict


def to_rows(runs):
    rows = []
    for (cell, stack), figures in runs.items():
        row = {"op": cell.op, "value_bytes": cell.value_bytes, "stack": stack}
        for field, digits in (("requests_per_s", 1), ("p50_us", 1), ("p99_us", 1),
                              ("host_us_per_request", 3), ("engine_us_per_request", 3)):
            row[field] = round(measure.median_of(figures, field), digits)
        row["rounds"] = len(figures)
        row["spread"] = round(measure.spread_of(figures), 3)
        rows.append(row)
    return rows


def print_table(rows, runs, strict):
    print(f"\nRedis {measure.redis_version()}, redis-benchmark -c 50 -P 1; medians of "
          f"{rows[0]['rounds']} rounds; {measure.machine()}\n")
    print("                        requests/s  p50 µs  p99 µs   host CPU  engine CPU    core 1  "
          "spread")
    print("                                                       µs/req      µs/req    µs/req")
    for cell in CELLS:
        for stack in STACKS:
            row = next(r for r in rows if (r["op"], r["value_bytes"], r["stack"])
                       == (cell.op, cell.value_bytes, stack))
            core1 = measure.median_of(runs[cell, stack], "core1_us_per_request")
            engine = f"{row['engine_us_per_request']:.2f}" if stack == "pno" else "-"
            print(f"{cell.op} {cell.value_bytes:>5} B  {NAMES[stack]:<10}"
                  f"{row['requests_per_s']:>11,.0f}{row['p50_us']:>8.0f}{row['p99_us']:>8.0f}"
                  f"{row['host_us_per_request']:>11.2f}{engine:>12}{core1:>10.2f}"
                  f"{row['spread']:>8.0%}")
    print()
    for cell in CELLS:
        kernel, pno = (next(r["host_us_per_request"] for r in rows if (r["op"], r["value_bytes"],
                            r["stack"]) == (cell.op, cell.value_bytes, s)) for s in STACKS)
        print(f"{cell.op} {cell.value_bytes:>5} B: PnO needs {pno / kernel:.0%} of kernel TCP's host "
              f"CPU per request ({pno / strict[cell]:.0%} of {strict[cell]:.2f} µs without the "
              "client's receiving *)")
    print("\nhost CPU: all of core 0 (server, and kernel TCP's receive processing); engine CPU: "
          "pnod;\ncore 1: all of core 1 (client, engine, and the wire between them); spread: "
          "(max - min) / median\nof host CPU per request over the rounds.\n* The kernel's wire "
          "does the client's receive processing on core 0, as part of the server's\n  sending; this "
          "is the kernel's figure with that work moved to core 1 (rps_cpus), one run each.")


def print_idle(side):
    clock = measure.CpuClock(side.engine_pid)
    redis = measure.cpu_seconds(side.redis.pid)
    time.sleep(IDLE_S)
    redis = measure.cpu_seconds(side.redis.pid) - redis
    engine = clock.used()[3]
    print(f"Idle: redis uses {redis / IDLE_S:.1%} of a core, pnod {engine / IDLE_S:.1%}.")


def main():
    options = parse_arguments()
    if os.geteuid() != 0:
        print("demo: needs root (network namespaces)", file=sys.stderr)
        return 2
    if not os.access(os.path.join(options.build, "src/cli/pno"), os.X_OK):
        print(f"demo: no src/cli/pno in {options.build}; run `make`", file=sys.stderr)
        return 2
    folder = measure.make_folder()
    sides = [measure.Side("d", stack, number, folder, options.build, options.port)
             for number, stack in enumerate(STACKS)]
    runs = {(cell, stack): [] for cell in CELLS for stack in STACKS}

    def work():
        measure_all(sides, options, runs)
        rows = to_rows(runs)
        strict = measure_strict_kernel(sides[0], STRICT_S)
        print_table(rows, runs, strict)
        print_idle(sides[1])
        write_rows(os.path.join(options.build, "demo.json"), rows)
        return 0

    return measure.run_on("demo", sides, folder, options.build, work)


if __name__ == "__main__":
    sys.exit(main())

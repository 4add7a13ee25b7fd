#!/usr/bin/python3
"""The core by itself, beside lwIP: nanoseconds and instructions per TCP segment.

Runs BUILD/bench/core/bench-core for every cell: natively in several rounds, both stacks in turn
(medians), and once under callgrind, which counts the same instructions every time. Prints a table and
writes BUILD/bench-core.json. --quick: few units, one round, 1000 connections for 100000, to see
that it works.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), ".."))

from results import write_rows  # noqa: E402

STACKS = ("pno", "lwip")
WORKS = ("bulk", "echo64", "open_close")
MANY = 100000
CELL_TIMEOUT_S = 600

# Work to measure: (natively, under callgrind, before either). lwIP searches lists of all connections,
# which takes long where there are many, and the same for each segment: few will do.
UNITS = {
    ("bulk", 1): (100, 20, 8),
    ("echo64", 1): (100000, 10000, 1000),
    ("open_close", 1): (10000, 1000, 100),
    ("pno", "bulk", MANY): (2000, 500, 200),
    ("pno", "echo64", MANY): (100000, 20000, 30000),
    ("pno", "open_close", MANY): (10000, 1000, 100),
    ("lwip", "bulk", MANY): (200, 50, 8),
    ("lwip", "echo64", MANY): (150, 50, 8),
    ("lwip", "open_close", MANY): (96, 32, 32),
}


def units_of(stack, work, connections, quick):
    units = UNITS.get((stack, work, connections)) or UNITS[(work, 1)]
    return tuple(min(count, 40) for count in units) if quick else units


def run_cell(program, stack, work, connections, counts, under=()):
    command = [*under, program, "--stack", stack, "--work", work, "--connections", str(connections),
               "--units", str(counts[0]), "--warm-up", str(counts[1])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=CELL_TIMEOUT_S)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()[-500:]}")
    return json.loads(done.stdout)


def count_instructions(program, stack, work, connections, counts):
    """Instructions per segment of the measured part."""
    with tempfile.TemporaryDirectory(prefix="pno-bench-core-") as folder:
        out = os.path.join(folder, "callgrind.out")
        cell = run_cell(program, stack, work, connections, counts,
                        ("valgrind", "-q", "--tool=callgrind", "--instr-atstart=no",
                         f"--callgrind-out-file={out}"))
        with open(out, encoding="utf-8", errors="replace") as dump:
            totals = [line.split()[1] for line in dump if line.startswith(("summary:", "totals:"))]
    instructions = int(totals[-1])
    if instructions == 0:
        raise RuntimeError("callgrind counted nothing")
    return instructions / cell["segments"]


def measure(program, rounds, quick, progress):
    cells = [(stack, work, connections) for work in WORKS
             for connections in (1, 1000 if quick else MANY) for stack in STACKS]
    ns = {cell: [] for cell in cells}
    idle_bytes = {}
    for number in range(rounds):
        for cell in cells:
            progress(f"round {number + 1} of {rounds}: {cell}")
            native, _, warm_up = units_of(*cell, quick)
            result = run_cell(program, *cell, (native, warm_up))
            ns[cell].append(result["ns"] / result["segments"])
            if cell[2] > 1:  # of one connection, pages and allocations of the first use
                idle_bytes[cell[0]] = result["bytes_per_idle_connection"]
    rows = []
    for cell in cells:
        progress(f"callgrind: {cell}")
        _, counted, warm_up = units_of(*cell, quick)
        instructions = count_instructions(program, *cell, (counted, warm_up))
        rows.append({"stack": cell[0], "work": cell[1], "connections": cell[2],
                     "ns_per_segment": round(statistics.median(ns[cell]), 1),
                     "instructions_per_segment": round(instructions, 1),
                     "bytes_per_idle_connection": round(idle_bytes[cell[0]], 1)})
    return rows


def print_table(rows):
    print(f"{'work':<11}{'connections':>12} | {'instructions/segment':^29} | {'ns/segment':^22}")
    print(f"{'':<11}{'':>12} | {'pno':>9}{'lwip':>11}{'ratio':>9} | {'pno':>10}{'lwip':>12}")
    by_cell = {(row["stack"], row["work"], row["connections"]): row for row in rows}
    for row in rows:
        if row["stack"] != "pno":
            continue
        other = by_cell["lwip", row["work"], row["connections"]]
        ratio = row["instructions_per_segment"] / other["instructions_per_segment"]
        print(f"{row['work']:<11}{row['connections']:>12} | {row['instructions_per_segment']:>9.0f}"
              f"{other['instructions_per_segment']:>11.0f}{ratio:>9.3f} | "
              f"{row['ns_per_segment']:>10.0f}{other['ns_per_segment']:>12.0f}")
    for stack in STACKS:
        print(f"{stack}: {by_cell[stack, 'bulk', 1]['bytes_per_idle_connection']:.0f} bytes "
              "per idle established connection, one end, stack only")


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default="build", metavar="DIR")
    parser.add_argument("--program", help="bench-core, if not BUILD/bench/core/bench-core")
    parser.add_argument("--out", help="result, if not BUILD/bench-core.json")
    parser.add_argument("--rounds", type=int, default=5, metavar="N")
    parser.add_argument("--quick", action="store_true", help="see that it works, in seconds")
    return parser.parse_args()


def main():
    options = parse_arguments()
    program = options.program or os.path.join(options.build, "bench", "core", "bench-core")
    out = options.out or os.path.join(options.build, "bench-core.json")
    terminal = sys.stderr.isatty()

    def progress(text):
        if terminal:
            print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)

    try:
        rows = measure(program, 1 if options.quick else options.rounds, options.quick, progress)
    except (RuntimeError, OSError, subprocess.TimeoutExpired) as error:
        print(f"bench-core: {error}", file=sys.stderr)
        return 1
    progress("")
    write_rows(out, rows)
    print_table(rows)
    print(f"written: {out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/python3
"""What an idle established connection costs in memory, engine and host library together.

In a lab of its own: a program that accepts, and one that has what it accepts in an epoll set too. Prints
a table and writes BUILD/bench-idle.json.
"""

import argparse
import os
import shutil
import sys

import measure
from harness import idle, lab as labs
from results import write_rows

CONNECTIONS = 10000


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default="build", metavar="DIR")
    parser.add_argument("--connections", type=int, default=CONNECTIONS, metavar="N")
    options = parser.parse_args()
    options.build = os.path.realpath(options.build)
    return options


def measure_one(options, folder, program):
    lab = labs.make("pno", labs.make_name("i", 0), os.path.join(folder, program), options.build)
    try:
        lab.up()
        engine, host = idle.measure(lab, options.connections, program == "epoll")
    finally:
        complaint = labs.destroy(lab.name, lab.folder, options.build)
    if complaint:
        raise measure.Failure(complaint)
    return {"program": program, "connections": options.connections, "engine_bytes": round(engine),
            "host_bytes": round(host), "bytes_per_idle_connection": round(engine + host)}


def main():
    options = parse_arguments()
    out = os.path.join(options.build, "bench-idle.json")
    folder = measure.make_folder()
    try:
        rows = [measure_one(options, folder, program) for program in ("accept", "epoll")]
    except (measure.Failure, OSError) as failure:
        print(f"bench-idle: {failure}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    write_rows(out, rows)
    print(f"bytes per idle connection, of {options.connections}")
    print(f"{'program':<10}{'engine':>10}{'host':>10}{'together':>10}")
    for row in rows:
        print(f"{row['program']:<10}{row['engine_bytes']:>10}{row['host_bytes']:>10}"
              f"{row['bytes_per_idle_connection']:>10}")
    print(f"written: {out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/python3
"""Redis, memcached, web servers and a proxy on kernel TCP and on PnO, with a report.

Writes report.md, bench.json and PNG plots into BUILD/bench. A piece of work that fails on a stack
is reported as failed and the others go on. Exit status: 0 all measured; 1 something failed; 2 bad
usage; 130 interrupted. Leaves nothing behind but the report.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))

import measure  # noqa: E402
from measure import Cell, Failure, Figures, RedisError, labs  # noqa: E402
from results import write_rows  # noqa: E402

STACKS = ("kernel", "pno")
NAMES = {"kernel": "kernel TCP", "pno": "PnO"}
REDIS_CELLS = ([Cell(op, size) for size in (64, 1024) for op in ("SET", "GET")]
               + [Cell(op, 64, pipeline=16) for op in ("SET", "GET")]
               + [Cell("GET", 64, connections=1), Cell("GET", 64, connections=1000)])
FILE_SIZES = (1024, 16384, 262144)
WEB_CONNECTIONS = 50
MEMCACHED_PORT = 11211
WRK_RESULT = re.compile(r"50%\s+([\d.]+)(\w+).*99%\s+([\d.]+)(\w+).*?(\d+) requests in ([\d.]+)(\w+)",
                        re.S)
UNITS_US = {"us": 1.0, "ms": 1e3, "s": 1e6, "m": 6e7}


class Work:
    """One piece of work: its name, and how to measure it on a side for some seconds."""

    def __init__(self, name, measure_on, prepare=None):
        self.name = name
        self.measure_on = measure_on
        self.prepare = prepare


# ---- Redis -------------------------------------------------------------------------------


def redis_work(cell):
    name = f"redis {cell.op} {cell.value_bytes} B, -c {cell.connections} -P {cell.pipeline}"

    def prepare(side):
        """GET finds a value of its size."""
        with side.redis.client() as client:
            client.command("SET", "key:__rand_int__", b"x" * cell.value_bytes)
    return Work(name, lambda side, seconds: side.measure_redis(cell, seconds), prepare)


# ---- Web servers, by wrk -----------------------------------------------------------------


def make_site(side):
    """The files, readable by the users that the servers become."""
    site = os.path.join(side.lab.folder, "site")
    if not os.path.exists(site):
        os.makedirs(site)
        for size in FILE_SIZES:
            with open(os.path.join(site, str(size)), "wb") as file:
                file.write(os.urandom(size))
        for path in (os.path.dirname(side.lab.folder), side.lab.folder, site):
            os.chmod(path, 0o755)
    return site


def write_config(side, name, text):
    path = os.path.join(side.lab.folder, name)
    with open(path, "w", encoding="ascii") as file:
        file.write(text)
    return path


def lighttpd_config(side, name, port):
    return write_config(side, name, f'server.document-root = "{make_site(side)}"\n'
                        f"server.port = {port}\nserver.max-keep-alive-requests = 0\n")


def start_lighttpd(side):
    config = lighttpd_config(side, "lighttpd.conf", 8080)
    return [side.lab.start_host("lighttpd", ["lighttpd", "-D", "-f", config])]


def start_nginx(side):
    config = write_config(side, "nginx.conf", f"""
daemon off;
worker_processes 1;
pid {side.lab.folder}/nginx.pid;
error_log {side.lab.folder}/nginx-error.log;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    sendfile on;
    keepalive_requests 1000000000;
    server {{ listen 8080; root {make_site(side)}; }}
}}
""")
    return [side.lab.start_host("nginx", ["nginx", "-c", config, "-e",
                                          f"{side.lab.folder}/nginx-start.log"])]


def start_haproxy(side):
    """The proxy is the host's; the server behind it is on kernel TCP at the far end."""
    behind = lighttpd_config(side, "behind.conf", 8090)
    backend = side.lab.start_client("behind", ["lighttpd", "-D", "-f", behind])
    config = write_config(side, "haproxy.cfg", f"""
global
    nbthread 1
defaults
    mode http
    timeout connect 5s
    timeout client 20s
    timeout server 20s
frontend wire
    bind :8080
    default_backend files
backend files
    server one {labs.CLIENT_V4}:8090
""")
    return [backend, side.lab.start_host("haproxy", ["haproxy", "-db", "-f", config])]


def web_work(server, start, size):
    def measure_on(side, seconds):
        programs = start(side)
        try:
            side.lab.wait_listening(programs[-1], 8080)
            run_wrk(side, size, 0.5)
            return run_wrk(side, size, seconds)
        finally:
            for program in programs:
                program.stop()
    return Work(f"{server}, file of {size // 1024} KB", measure_on)


def run_wrk(side, size, seconds):
    whole = max(1, round(seconds))
    clock = measure.CpuClock(side.engine_pid)
    done = side.lab.run_client(["wrk", "-t1", f"-c{WEB_CONNECTIONS}", f"-d{whole}s", "--latency",
                                f"http://{labs.HOST_V4}:8080/{size}"], timeout_s=whole + 30)
    used = clock.used()
    text = done.stdout.decode()
    found = WRK_RESULT.search(text)
    if not found:
        raise Failure(f"wrk gave no result: {text[-200:]!r}")
    for complaint in ("Socket errors", "Non-2xx"):
        if complaint in text:
            line = next(line for line in text.splitlines() if complaint in line)
            raise Failure(f"wrk: {line.strip()}")
    p50, p50_unit, p99, p99_unit, requests, duration, duration_unit = found.groups()
    return figures_of(int(requests), float(duration) * UNITS_US[duration_unit] / measure.US,
                      float(p50) * UNITS_US[p50_unit], float(p99) * UNITS_US[p99_unit], used)


def figures_of(requests, seconds, p50_us, p99_us, used):
    """What a client counted, and the CPU time used meanwhile."""
    if requests == 0:
        raise Failure("the client was not served at all")
    host, core1, softirq1, engine = used
    return Figures(requests, requests / seconds, p50_us, p99_us, host * measure.US / requests,
                   engine * measure.US / requests, core1 * measure.US / requests,
                   softirq1 * measure.US / requests)


# ---- memcached ---------------------------------------------------------------------------


def memcached_work(op, value_bytes):
    def ask(side, seconds):
        clock = measure.CpuClock(side.engine_pid)
        done = side.lab.run_client([os.path.join(side.build, "bench/load/memcached-load"),
                                    labs.HOST_V4, str(MEMCACHED_PORT), op, str(WEB_CONNECTIONS),
                                    str(seconds), str(value_bytes)], timeout_s=seconds + 30)
        used = clock.used()
        said = json.loads(done.stdout)
        return figures_of(said["requests"], said["seconds"], said["p50_us"], said["p99_us"], used)

    def measure_on(side, seconds):
        server = side.lab.start_host("memcached", ["memcached", "-u", "root", "-p",
                                                   str(MEMCACHED_PORT), "-U", "0", "-t", "4"])
        try:
            side.lab.wait_listening(server, MEMCACHED_PORT)
            ask(side, 0.5)
            return ask(side, seconds)
        finally:
            server.stop()
    return Work(f"memcached {op} {value_bytes} B, -t 4", measure_on)


WORKS = ([redis_work(cell) for cell in REDIS_CELLS]
         + [web_work(server, start, size)
            for server, start in (("lighttpd", start_lighttpd), ("nginx", start_nginx))
            for size in FILE_SIZES]
         + [web_work("haproxy", start_haproxy, 1024)]
         + [memcached_work(op, size) for size in (64, 1024) for op in ("get", "set")])


# ---- Measuring ---------------------------------------------------------------------------


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", metavar="DIR", default=os.path.join(labs.REPOSITORY, "build"))
    parser.add_argument("--rounds", type=int, default=3, help="at least 1 (default 3)")
    parser.add_argument("--seconds", type=float, default=4.0, help="per measurement (default 4)")
    parser.add_argument("--filter", metavar="X", help="only work whose name contains X")
    parser.add_argument("--stack", choices=STACKS, help="only this stack")
    parser.add_argument("--port", choices=("af_xdp", "af_packet", "tap"))
    options = parser.parse_args()
    if options.rounds < 1 or options.seconds <= 0:
        parser.error("--rounds and --seconds must be positive")
    options.build = os.path.realpath(options.build)
    return options


def measure_all(sides, works, options, runs, failures):
    progress = measure.Progress(options.rounds * len(works) * len(sides))
    for turn in range(options.rounds):
        for work in works:
            for side in sides if turn % 2 == 0 else reversed(sides):
                key = (work.name, side.stack)
                progress.show(f"round {turn + 1} of {options.rounds}: {NAMES[side.stack]}, "
                              f"{work.name}")
                if key not in failures:
                    try:
                        if work.prepare:
                            work.prepare(side)
                        runs.setdefault(key, []).append(work.measure_on(side, options.seconds))
                    except (Failure, OSError, RedisError) as failure:
                        failures[key] = str(failure)
                progress.step()
    progress.clear()


def to_rows(works, stacks, runs, failures):
    rows = []
    for work in works:
        for stack in stacks:
            row = {"work": work.name, "stack": stack}
            if (work.name, stack) in failures:
                row["failed"] = failures[work.name, stack]
            else:
                figures = runs[work.name, stack]
                for field in ("requests_per_s", "p50_us", "p99_us", "host_us_per_request",
                              "engine_us_per_request", "core1_us_per_request",
                              "softirq1_us_per_request"):
                    row[field] = round(measure.median_of(figures, field), 3)
                row["rounds"] = len(figures)
                row["spread"] = round(measure.spread_of(figures), 3)
            rows.append(row)
    return rows


# ---- Reporting ---------------------------------------------------------------------------


def write_markdown(path, rows, options):
    lines = ["# PnO beside kernel TCP", "",
             f"{measure.machine()}; Redis {measure.redis_version()}; medians of {options.rounds} "
             f"rounds of {options.seconds:g} s, the stacks in turn.", "",
             "Host CPU is all of core 0 (the server, and kernel TCP's receive processing); engine CPU "
             "is pnod's; core 1 is all of core 1 (client, engine, the wire), of which softirq is "
             "sampled at ticks. Microseconds per request. Spread: (max - min) / median of host CPU.",
             "", "| work | stack | requests/s | p50 µs | p99 µs | host CPU | engine CPU | core 1 | "
             "softirq on core 1 | spread |", "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|"]
    for row in rows:
        if "failed" in row:
            lines.append(f"| {row['work']} | {NAMES[row['stack']]} | failed: {row['failed']} "
                         "| | | | | | | |")
            continue
        lines.append(f"| {row['work']} | {NAMES[row['stack']]} | {row['requests_per_s']:,.0f} | "
                     f"{row['p50_us']:.0f} | {row['p99_us']:.0f} | "
                     f"{row['host_us_per_request']:.2f} | {row['engine_us_per_request']:.2f} | "
                     f"{row['core1_us_per_request']:.2f} | {row['softirq1_us_per_request']:.2f} | "
                     f"{row['spread']:.0%} |")
    lines += ["", "![host CPU per request](host_cpu.png)", "", "![requests per second](rate.png)", ""]
    with open(path, "w", encoding="utf-8") as file:
        file.write("\n".join(lines))


def plot(folder, name, title, field, rows, stacks):
    """A bar for each work and stack; False if gnuplot is missing."""
    if not shutil.which("gnuplot"):
        return False
    works = list(dict.fromkeys(row["work"] for row in rows))
    value = {(row["work"], row["stack"]): row.get(field, 0) for row in rows}
    data = "\n".join(f'"{work}" ' + " ".join(str(value[work, stack]) for stack in stacks)
                     for work in works)
    columns = ", ".join(f"$bars using {i + 2}{':xtic(1)' if i == 0 else ''} title '{NAMES[s]}'"
                        for i, s in enumerate(stacks))
    script = f"""
set terminal pngcairo size 1200,700 font ',10'
set output '{os.path.join(folder, name)}'
set title '{title}'
set style data histogram
set style histogram clustered gap 1
set style fill solid 0.8 border -1
set yrange [0:*]
set grid y
set xtics rotate by -35
$bars << END
{data}
END
plot {columns}
"""
    done = subprocess.run(["gnuplot"], input=script.encode(), stderr=subprocess.PIPE, check=False)
    if done.returncode != 0:
        raise Failure(f"gnuplot: {done.stderr.decode().strip().splitlines()[-1]}")
    return True


def write_report(rows, options, stacks):
    folder = os.path.join(options.build, "bench")
    os.makedirs(folder, exist_ok=True)
    write_rows(os.path.join(folder, "bench.json"), rows)
    write_markdown(os.path.join(folder, "report.md"), rows, options)
    plotted = (plot(folder, "host_cpu.png", "host CPU per request, µs", "host_us_per_request", rows,
                    stacks)
               and plot(folder, "rate.png", "requests per second", "requests_per_s", rows, stacks))
    with open(os.path.join(folder, "report.md"), encoding="utf-8") as file:
        print(file.read())
    print(f"Report: {folder}/report.md, bench.json" + (", PNG plots" if plotted else ""))
    if not plotted:
        print("bench: no PNG plots, gnuplot is missing: apt-get install gnuplot-nox",
              file=sys.stderr)


def main():
    options = parse_arguments()
    works = [w for w in WORKS if not options.filter or options.filter in w.name]
    stacks = (options.stack,) if options.stack else STACKS
    if not works:
        print("bench: no work has such a name", file=sys.stderr)
        return 2
    if os.geteuid() != 0:
        print("bench: needs root (network namespaces)", file=sys.stderr)
        return 2
    folder = measure.make_folder()
    sides = [measure.Side("b", stack, number, folder, options.build, options.port)
             for number, stack in enumerate(stacks)]
    runs, failures = {}, {}

    def work():
        measure_all(sides, works, options, runs, failures)
        write_report(to_rows(works, stacks, runs, failures), options, stacks)
        return 1 if failures else 0

    return measure.run_on("bench", sides, folder, options.build, work)


if __name__ == "__main__":
    sys.exit(main())

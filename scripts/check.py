#!/usr/bin/python3
"""Run every test of PnO, and say in the last line 'N passed, N failed, N skipped'.

A line per test as it ends: 'ok', 'FAILED' or 'skipped', its time, its name, and why. The output of each
command is kept in BUILD/check/logs. --only runs the sections whose name contains one of the given
words; --soak builds, and runs the random tests (simulation, fuzzers) and the applications over and over
until that many minutes are over, and adds what it found to BUILD/soak/found.log; --extra-apps runs the
programs of `make check-apps` only.
"""

import argparse
import os
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))

from checks import build, programs, random_tests, static  # noqa: E402
from checks.report import Report, stop_children  # noqa: E402

ROOT = os.path.realpath(os.path.join(os.path.dirname(os.path.realpath(__file__)), ".."))

SECTIONS = (
    ("build", build.run),
    ("static", static.run),
    ("unit", programs.unit),
    ("simulation", random_tests.simulation),
    ("packet scripts", programs.packet_scripts),
    ("fuzz", random_tests.fuzz),
    ("cli", programs.cli),
    ("sockets", programs.sockets),
    ("apps", programs.apps),
)


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default="build", metavar="DIR")
    parser.add_argument("--only", metavar="WORD[,WORD]...",
                        help="of " + ", ".join(name for name, _ in SECTIONS))
    parser.add_argument("--soak", type=float, metavar="MINUTES",
                        help="only the random tests, with new seeds, and the applications, for this "
                        "long in all; the test that runs then comes to its end")
    parser.add_argument("--extra-apps", action="store_true",
                        help="only the applications that make check-apps installs")
    options = parser.parse_args()
    options.build = os.path.join(ROOT, options.build)
    options.root = ROOT
    return options


def start_soak(options):
    """A report whose lines are kept, from run to run, with the commit that they are about."""
    folder = os.path.join(options.build, "soak")
    report = Report(os.path.join(folder, "logs"), os.path.join(folder, "found.log"))
    commit = subprocess.run(["git", "-C", ROOT, "rev-parse", "--short", "HEAD"], check=False,
                            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
    report.say(f"soaking {commit.strip() or 'an unknown commit'} for {options.soak:g} minutes")
    return report


def interrupted(number, _frame):
    raise KeyboardInterrupt(signal.Signals(number).name)


def main():
    options = parse_arguments()
    wanted = options.only.split(",") if options.only else None
    report = Report(os.path.join(options.build, "check", "logs"))
    options.end = time.monotonic() + options.soak * 60 if options.soak else None
    if options.extra_apps:
        wanted = ["apps"]
    if options.soak:
        wanted = ["build", "simulation", "fuzz", "apps"]
        report = start_soak(options)
    signal.signal(signal.SIGTERM, interrupted)
    signal.signal(signal.SIGHUP, interrupted)
    os.chdir(ROOT)
    start = time.monotonic()
    try:
        for name, section in SECTIONS:
            if wanted is None or any(word in name for word in wanted):
                print(f"== {name}", flush=True)
                section(options, report)
    except KeyboardInterrupt as reason:
        stop_children()
        report.fail("all tests run", f"interrupted {reason}", 0)
    print(f"{time.monotonic() - start:.0f} s in all; logs in {report.folder}")
    report.end()
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())

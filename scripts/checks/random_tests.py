"""Tests driven by random numbers: the simulation's seeds and the fuzzers."""

import glob
import os
import random
import re
import subprocess
import time

from . import build

SIMULATION_RUNS = 20_000
SIMULATION_TIMEOUT_S = 1800
SOAK_SEEDS = 1_000_000
SOAK_SEEDS_AT_ONCE = 5000
# Of the time that is left when their turn comes; the applications have the rest.
SOAK_SIMULATION_SHARE = 0.4
SOAK_FUZZ_SHARE = 0.5  # in turn, one a core
FUZZ_SECONDS = 60
FUZZ_SPARE_S = 300
SANITIZERS = {"ASAN_OPTIONS": "detect_leaks=1:abort_on_error=0",
              "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1"}


def simulation(options, report):
    simulator = os.path.join(options.build, "tests/simulation/pno-simulate")
    name = f"simulation: {SIMULATION_RUNS} seeds"
    if not os.path.exists(simulator):
        report.fail(name, f"{simulator} is missing", 0)
        return
    if options.soak:
        _soak(options, report, simulator)
        return
    outcome = report.run(name, [simulator, "--seed", "1", "--runs", str(SIMULATION_RUNS),
                                "--complete"], SIMULATION_TIMEOUT_S)
    report.check(name, outcome, r"^FAIL")


def _left_s(options):
    """Of the soak's time."""
    return max(0.0, options.end - time.monotonic())


def _start_new_seeds(report, simulator):
    seed = random.SystemRandom().randrange(1, 1 << 40)
    name = f"simulation: {SOAK_SEEDS_AT_ONCE} seeds from {seed}"
    return name, report.start(name, [simulator, "--seed", str(seed), "--runs",
                                     str(SOAK_SEEDS_AT_ONCE)], SIMULATION_TIMEOUT_S)


def _soak(options, report, simulator):
    """A million seeds that were never tried before, or as many as its share of the time allows."""
    deadline = time.monotonic() + _left_s(options) * SOAK_SIMULATION_SHARE
    width = os.cpu_count() or 1
    tried = 0
    while time.monotonic() < deadline and tried < SOAK_SEEDS:
        for name, command in [_start_new_seeds(report, simulator) for _ in range(width)]:
            outcome = command.wait()
            report.check(name, outcome, r"^FAIL")
            if outcome.ok:
                os.unlink(outcome.log)
            tried += SOAK_SEEDS_AT_ONCE
    report.say(f"simulation: {tried} seeds in all")


def _fuzzers(options):
    folder = os.path.join(build.clang_folder(options), "tests", "fuzz")
    programs = glob.glob(os.path.join(folder, "**", "*"), recursive=True)
    return sorted(path for path in programs
                  if os.path.isfile(path) and os.access(path, os.X_OK) and _is_fuzzer(path))


def _is_fuzzer(path):
    symbols = subprocess.run(["nm", path], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                             check=False).stdout
    return b"LLVMFuzzerTestOneInput" in symbols


def _write_seeds(path, corpus):
    """By the program that goes with a fuzzer: packet-corpus for packet-input."""
    writer = re.sub(r"-input$", "-corpus", path)
    if writer != path and os.path.exists(writer):
        subprocess.run([writer, corpus], check=True, stdout=subprocess.DEVNULL)


def _start_fuzzer(options, report, path, seconds):
    base = os.path.join(options.build, "check", "fuzz", os.path.basename(path))
    corpus = os.path.join(base, "corpus")
    os.makedirs(corpus, exist_ok=True)
    _write_seeds(path, corpus)
    return report.start(f"fuzz {os.path.basename(path)}",
                        [path, f"-max_total_time={seconds}", "-print_final_stats=1",
                         "-rss_limit_mb=4096", "-timeout=20", f"-artifact_prefix={base}/", corpus],
                        seconds + FUZZ_SPARE_S, SANITIZERS)


def fuzz(options, report):
    if options.soak and _left_s(options) < 1:
        report.skip("fuzz", "no time is left of the soak's")
        return
    fuzzers = _fuzzers(options)
    if not fuzzers:
        report.fail("fuzz", f"no fuzzer in {build.clang_folder(options)}/tests/fuzz", 0)
        return
    width = os.cpu_count() or 1
    groups = -(-len(fuzzers) // width)
    seconds = (max(1, int(_left_s(options) * SOAK_FUZZ_SHARE / groups)) if options.soak
               else FUZZ_SECONDS)
    for first in range(0, len(fuzzers), width):
        group = fuzzers[first:first + width]
        running = [_start_fuzzer(options, report, path, seconds) for path in group]
        for path, command in zip(group, running):
            report.check(f"fuzz: {os.path.basename(path)}, {seconds} s", command.wait(),
                         r"ERROR: |runtime error|SUMMARY|deadly signal")

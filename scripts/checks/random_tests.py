"""Tests driven by random numbers: the simulation's seeds and the fuzzers."""

import base64
import glob
import os
import random
import re
import shutil
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
# `make check` tries the same inputs each time: about as many as an idle core manages in the seconds,
# which end it where that is slower.
FUZZ_SECONDS = 60
FUZZ_RUNS = 45_000
FUZZ_SEED = 1
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


def _write_seeds(path, folder):
    """By the program that goes with a fuzzer: packet-corpus for packet-input."""
    os.makedirs(folder, exist_ok=True)
    writer = re.sub(r"-input$", "-corpus", path)
    if writer != path and os.path.exists(writer):
        subprocess.run([writer, folder], check=True, stdout=subprocess.DEVNULL)


def _fuzz_folder(options, path):
    """Where a fuzzer's inputs are, seeds, new ones and findings; the soak's stay from run to run."""
    base = os.path.join(options.build, "soak" if options.soak else "check", "fuzz",
                        os.path.basename(path))
    if not options.soak:
        shutil.rmtree(base, ignore_errors=True)
    os.makedirs(os.path.join(base, "corpus"), exist_ok=True)
    return base


def _same_inputs_each_time(base):
    """Arguments by which a fuzzer tries the same inputs in each run, on each machine. The seeds are
    named in order: of a directory it reads them as the file system has them. What the program
    compares isn't learnt: addresses are among it.
    """
    seeds = sorted(glob.glob(os.path.join(base, "seeds", "*")))
    arguments = [f"-seed={FUZZ_SEED}", f"-runs={FUZZ_RUNS}", "-reload=0", "-use_cmp=0"]
    if seeds:
        names = os.path.join(base, "seeds.list")
        with open(names, "w", encoding="utf-8") as stream:
            stream.write(",".join(seeds))
        arguments.append(f"-seed_inputs=@{names}")
    return arguments


def _start_fuzzer(options, report, path, seconds):
    """In the soak, new inputs for all the time; else always the same ones, and no longer than it."""
    base = _fuzz_folder(options, path)
    argv = [path, f"-max_total_time={seconds}", "-print_final_stats=1", "-rss_limit_mb=4096",
            "-timeout=20", f"-artifact_prefix={base}/"]
    if options.soak:
        _write_seeds(path, os.path.join(base, "corpus"))
        argv.append(f"-seed={random.SystemRandom().randrange(1, 1 << 31)}")
    else:
        _write_seeds(path, os.path.join(base, "seeds"))
        argv += _same_inputs_each_time(base)
    return report.start(f"fuzz {os.path.basename(path)}", [*argv, os.path.join(base, "corpus")],
                        seconds + FUZZ_SPARE_S, SANITIZERS)


def _finding(path, text):
    """What a fuzzer found, in a line: its oracle's words, a sanitizer's, or where it trapped."""
    name = re.escape(os.path.basename(path))
    for pattern in (rf"^{name}: .*", r"^.*runtime error: .*", r"^SUMMARY: (?!libFuzzer).*",
                    r"^.*ERROR: libFuzzer: (?!deadly signal).*"):
        found = re.search(pattern, text, re.MULTILINE)
        if found:
            return found.group(0).strip()
    # An assertion traps without a word: the innermost frames of ours tell its place.
    frames = re.findall(r"^ *#\d+ 0x[0-9a-f]+ in (\S+) \S*?((?:src|tests)/[\w/.-]+\.[ch]:\d+)", text,
                        re.MULTILINE)
    places = ", called by ".join(f"{function} ({place})" for function, place in frames[:2])
    return f"ended in {places}" if places else None


def _how_to_repeat(path, text):
    """A line for the shell that tries the input again, wherever the sources are built likewise."""
    written = re.search(r"Test unit written to (\S+)", text)
    if not written or not os.path.exists(written.group(1)):
        return None
    with open(written.group(1), "rb") as stream:
        encoded = base64.b64encode(stream.read()).decode()
    return f"echo '{encoded}' | base64 -d >input && {os.path.relpath(path)} input"


def _check_fuzzer(report, path, seconds, outcome):
    name = f"fuzz: {os.path.basename(path)}, {seconds} s"
    if outcome.ok:
        report.ok(name, outcome.seconds)
        return
    text = outcome.text()
    finding = None if outcome.timed_out else _finding(path, text)
    report.fail(name, f"{finding}; {outcome.log}" if finding else outcome.why(), outcome.seconds)
    again = _how_to_repeat(path, text)
    if again:
        report.say(f"again   {again}")
        with open(outcome.log, "a", encoding="utf-8") as log:
            log.write(f"\nAgain: {again}\n")


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
            _check_fuzzer(report, path, seconds, command.wait())

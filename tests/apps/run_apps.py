#!/usr/bin/python3
"""Run unmodified programs over PnO (or over kernel TCP) in labs of their own, and compare bytes.

Prints `ok NAME (seconds)`, `not ok NAME: why` or `skip NAME: why` for each test, with `# ` lines of
the programs' logs after a failure. Exit status: 0 if none failed, 1 if some did, 2 for bad usage.

Every test runs in a process of its own with a time limit; its lab, programs and files are removed
by name afterwards, also when the test crashed, hung or was interrupted.
"""

import argparse
import contextlib
import ctypes
import glob
import json
import os
import random
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback

sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))

from harness import again, registry  # noqa: E402
from harness import lab as labs  # noqa: E402
from harness.process import (CLIENT_CORE, Failure, Skip, allow_many_descriptors,  # noqa: E402
                             tail)
from harness.resp import RedisError  # noqa: E402


DIED = "the test's process died"


class Interrupted(Exception):
    """SIGINT or SIGTERM."""


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--filter", metavar="X", help="only tests whose name contains X "
                        "(several: separated by commas)")
    parser.add_argument("--stack", choices=("pno", "kernel"), default="pno")
    parser.add_argument("--build", metavar="DIR", default=os.path.join(labs.REPOSITORY, "build"))
    parser.add_argument("--port", choices=("af_xdp", "af_packet", "tap"))
    parser.add_argument("--set", choices=("check", "extra", "all"), default="check",
                        help="those of make check, those of make check-apps, or both")
    parser.add_argument("--shortfalls", action="store_true",
                        help="also what is known not to work on PnO")
    parser.add_argument("--list", action="store_true", help="only say what there is")
    parser.add_argument("--again", action="store_true", help=again.HELP)
    parser.add_argument("--seconds", type=float, metavar="N",
                        help="in another order each time, over and over, beginning none after N seconds")
    parser.add_argument("--keep", action="store_true", help="keep the files of failed tests")
    options = parser.parse_args()
    options.build = os.path.realpath(options.build)
    return options


def load_tests(options):
    folder = os.path.dirname(os.path.realpath(__file__))
    for module in sorted(glob.glob(os.path.join(folder, "test_*.py"))):
        __import__(os.path.basename(module)[:-3])
    wanted = options.filter.split(",") if options.filter else None
    return [t for t in registry.TESTS
            if (wanted is None or any(w in t.name for w in wanted))
            and options.set in ("all", "extra" if t.extra else "check")]


def check_usable(options):
    if os.geteuid() != 0:
        return "needs root (network namespaces)"
    if options.stack == "pno" and not os.access(os.path.join(options.build, "src/cli/pno"), os.X_OK):
        return f"no src/cli/pno in {options.build}: build first, or name another with --build"
    return None


def child_main(test, context, result_fd):
    """In the test's own process: run it and write its verdict."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN if number == signal.SIGINT else signal.SIG_DFL)
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    os.sched_setaffinity(0, {CLIENT_CORE} & os.sched_getaffinity(0) or os.sched_getaffinity(0))
    try:
        test.run(context)
        verdict = {"result": "ok"}
    except Skip as skip:
        verdict = {"result": "skip", "why": str(skip)}
    except Failure as failure:
        verdict = {"result": "not ok", "why": str(failure), "trace": traceback.format_exc()}
    except (OSError, RedisError) as error:
        where = traceback.extract_tb(error.__traceback__)
        mine = [f for f in where if os.path.basename(f.filename).startswith("test_")]
        line = f" at {os.path.basename(mine[-1].filename)}:{mine[-1].lineno}" if mine else ""
        verdict = {"result": "not ok", "why": f"{type(error).__name__}: {error}{line}",
                   "trace": traceback.format_exc()}
    except BaseException as error:  # pylint: disable=broad-except
        verdict = {"result": "not ok", "why": f"{type(error).__name__}: {error}",
                   "trace": traceback.format_exc()}
    os.write(result_fd, json.dumps(verdict).encode())
    os._exit(0)


def collect(read_fd, timeout_s):
    """The child's verdict, or that it gave none within its time."""
    deadline = time.monotonic() + timeout_s
    answer = b""
    while (left := deadline - time.monotonic()) > 0:
        if not select.select([read_fd], [], [], left)[0]:
            break
        chunk = os.read(read_fd, 65536)
        if not chunk:
            break
        answer += chunk
    if answer:
        return json.loads(answer)
    if left <= 0:
        return {"result": "not ok", "why": f"still running after {timeout_s:g} s"}
    return {"result": "not ok", "why": DIED}


def run_one(test, name, shared_folder, options):
    """Run one test and clean up after it; returns its verdict."""
    folder = os.path.join(shared_folder, name)
    os.makedirs(folder)
    read_fd, write_fd = os.pipe()
    verdict = {"result": "not ok", "why": "interrupted"}
    pid = os.fork()
    if pid == 0:
        os.setpgid(0, 0)
        os.close(read_fd)
        child_main(test, registry.Context(name, folder, shared_folder, options), write_fd)
    os.close(write_fd)
    try:
        verdict = collect(read_fd, test.timeout_s)
        if verdict["result"] == "not ok":
            verdict["logs"] = {os.path.basename(log): tail(log)
                               for log in sorted(glob.glob(os.path.join(folder, "*.log")))}
            verdict["logs"]["pnod"] = tail(f"/run/pno/{name}.log")
    finally:
        os.close(read_fd)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            status = os.waitpid(pid, 0)[1]
            if verdict.get("why") == DIED:
                verdict["why"] += f" (status {os.waitstatus_to_exitcode(status)})"
        keep = options.keep and verdict["result"] == "not ok"
        complaint = labs.destroy(name, folder, options.build, keep)
        if complaint and verdict["result"] == "ok":
            verdict = {"result": "not ok", "why": complaint}
    return verdict


def complaint(verdict):
    return verdict["why"] if verdict["result"] == "not ok" else None


def report(test, verdict, seconds):
    if verdict["result"] == "ok":
        print(f"ok {test.name} ({seconds:.1f})", flush=True)
        return
    print(f"{verdict['result']} {test.name}: {verdict['why']}", flush=True)
    if verdict["result"] == "not ok":
        for name, lines in verdict.get("logs", {}).items():
            for line in lines:
                print(f"#   {name}: {line}", flush=True)
        if os.environ.get("APPS_TRACE"):
            for line in verdict.get("trace", "").splitlines():
                print(f"#   {line}", flush=True)


def in_turn(tests, seconds):
    """The tests, once; or at random until the time is over."""
    if seconds is None:
        yield from tests
        return
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for test in random.sample(tests, len(tests)):
            if time.monotonic() >= deadline:
                return
            yield test


def run_all(tests, shared_folder, options):
    """Returns how many failed."""
    failed = 0
    repeats = again.Again(options.again)
    for index, test in enumerate(in_turn(tests, options.seconds)):
        def once(attempt, index=index, test=test):
            return run_one(test, labs.make_name("a", 2 * index + attempt), shared_folder, options)
        verdict, seconds = repeats.run(test.name, once, complaint)
        report(test, verdict, seconds)
        failed += complaint(verdict) is not None
    return failed


def interrupt(number, _frame):
    raise Interrupted(signal.Signals(number).name)


def main():
    options = parse_arguments()
    tests = load_tests(options)
    if options.list:
        for test in tests:
            print(test.name)
        return 0
    if not tests:
        print("run_apps: no test has such a name; see --list", file=sys.stderr)
        return 2
    if problem := check_usable(options):
        print(f"run_apps: {problem}", file=sys.stderr)
        return 2
    allow_many_descriptors()
    labs.sweep_dead_runs(options.build)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)
    shared_folder = tempfile.mkdtemp(prefix="pno-apps-")
    failed = 0
    try:
        failed = run_all(tests, shared_folder, options)
    except Interrupted as interrupted:
        print(f"run_apps: stopped by {interrupted}", file=sys.stderr)
        return 130
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        if not (options.keep and failed):
            shutil.rmtree(shared_folder, ignore_errors=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

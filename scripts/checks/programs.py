"""Tests that are programs of their own: meson's, the socket comparison, the applications."""

import glob
import json
import os
import re
import time

from . import build
from .random_tests import SANITIZERS

MESON_TIMEOUT_S = 1800
MESON_PATIENCE = 5  # times what the tests ask for: sanitizers slow down, and so do others on the machine
CLI_TIMEOUT_S = 900
PACKET_SCRIPTS_TIMEOUT_S = 300
SOCKETS_TIMEOUT_S = 1300
APPS_TIMEOUT_S = 3600
ONCE_OF_TWO = " once of two times: "  # run_apps.py, run_cli.py, run_sockets.py
NEED_NO_DPDK = re.compile(r"^(base|core)\b")


def _meson_tests(report, kind, folder, arguments=(), environment=None):
    """Run meson's tests in a build folder and count each."""
    log = os.path.join(folder, "meson-logs", "testlog.json")
    if os.path.exists(log):
        os.unlink(log)
    outcome = report.run(f"{kind} tests", ["meson", "test", "-C", folder, "--no-rebuild",
                                           "--print-errorlogs", "--timeout-multiplier",
                                           str(MESON_PATIENCE), *arguments],
                         MESON_TIMEOUT_S, environment)
    if not os.path.exists(log):
        report.fail(f"{kind} tests", outcome.why(), outcome.seconds)
        return
    with open(log, encoding="utf-8") as lines:
        results = [json.loads(line) for line in lines if line.strip()]
    for result in results:
        name = f"{kind}: {result['name'].split(' / ')[-1]}"
        if result["result"] in ("OK", "EXPECTEDFAIL"):
            report.ok(name, result["duration"])
        elif result["result"] == "SKIP":
            report.skip(name, (result.get("stdout") or "no reason given").strip().splitlines()[-1])
        else:
            said = (result.get("stderr") or "") + (result.get("stdout") or "")
            lines = [line.strip() for line in said.splitlines() if line.strip()]
            blamed = [line for line in lines if re.search(r"rror|FAIL|not ok|acer", line)]
            why = (blamed or lines[-1:] or ["no output"])[0]
            report.fail(name, f"{result['result']}: {why[:200]} ({log})", result["duration"])
    if not results:
        report.fail(f"{kind} tests", f"there is none ({outcome.log})", outcome.seconds)


def _names_of_tests(report, folder):
    listing = report.run("list of tests", ["meson", "introspect", folder, "--tests"], 60)
    return [test["name"] for test in json.loads(listing.text())] if listing.ok else []


def unit(options, report):
    _meson_tests(report, "unit", options.build)
    # The models are no code of ours to sanitize; the socket cases, which load libpno.so, need gcc's
    # runtimes, see sockets().
    _meson_tests(report, "sanitized", build.clang_folder(options),
                 ("--no-suite", "models", "--no-suite", "sockets"), SANITIZERS)
    pure = build.pure_folder(options)
    names = [name for name in _names_of_tests(report, pure) if NEED_NO_DPDK.search(name)]
    if names:
        _meson_tests(report, "without DPDK", pure, names)
    else:
        report.fail("without DPDK", f"{pure} has no test of base or core", 0)


def _runner(report, kind, argv, timeout_s):
    """A runner's 'ok NAME (s)', 'not ok NAME: why' and 'skip NAME: why' lines, each a test; and what it
    says of tests that it ran again."""
    seen = []

    def take(line):
        if ONCE_OF_TWO in line:
            report.note(f"{kind}: {line.lstrip('# ')}")
        match = re.match(r"(ok|not ok|skip) ([^:(]+?)(?: \(([\d.]+)(?: s)?\))?(?:: (.*))?$", line)
        if not match:
            return
        verdict, name, seconds, why = match.groups()
        seen.append(name)
        if verdict == "ok":
            report.ok(f"{kind}: {name}", float(seconds or 0))
        elif verdict == "skip":
            report.skip(f"{kind}: {name}", why or "no reason given")
        else:
            report.fail(f"{kind}: {name}", why or "no reason given", float(seconds or 0))

    outcome = report.start(kind, argv, timeout_s).wait(take)
    if not seen or outcome.timed_out or outcome.status not in (0, 1):
        report.fail(f"{kind}: the runner", outcome.why(), outcome.seconds)


def packet_scripts(options, report):
    """Each script a test."""
    name = "packet scripts"
    runner = os.path.join(options.build, "tests/packet_scripts/pno-packetdrill")
    scripts = sorted(glob.glob(os.path.join(options.root, "tests/packet_scripts/**/*.pkt"),
                               recursive=True))
    if not os.path.exists(runner) or not scripts:
        report.fail(name, f"{runner} is missing" if scripts else "there is none", 0)
        return
    outcome = report.run(name, [runner, *scripts], PACKET_SCRIPTS_TIMEOUT_S)
    verdicts = dict(re.findall(r"^(?:not )?ok (\S+\.pkt)(.*)$", outcome.text(), re.M))
    passed = set(re.findall(r"^ok (\S+\.pkt)", outcome.text(), re.M))
    for script in scripts:
        shown = f"{name}: {os.path.relpath(script, options.root)}"
        if script in passed:
            report.ok(shown, 0)
        else:
            report.fail(shown, verdicts.get(script, ": no verdict").lstrip(": "), 0)


def _needs_root(report, name):
    if os.geteuid() == 0:
        return False
    report.skip(name, "needs root (network namespaces)")
    return True


def cli(options, report):
    runner = os.path.join(options.root, "tests/cli/run_cli.py")
    argv = ["/usr/bin/python3", runner, "--build", options.build, "--again"]
    _runner(report, "cli", argv, CLI_TIMEOUT_S)


def sockets(options, report):
    _meson_tests(report, "sanitized", build.sanitized_folder(options), ("sanitized socket cases",))
    if _needs_root(report, "sockets"):
        return
    runner = os.path.join(options.root, "tests/sockets/run_sockets.py")
    if not os.path.exists(runner):
        report.fail("sockets", f"{runner} is missing", 0)
        return
    _runner(report, "sockets", ["/usr/bin/python3", runner, "--build", options.build],
            SOCKETS_TIMEOUT_S)


def apps(options, report):
    """Those of make check; with --extra-apps those of make check-apps; when soaking, all in turn, where
    none is given a second try."""
    if _needs_root(report, "apps"):
        return
    runner = os.path.join(options.root, "tests/apps/run_apps.py")
    argv = ["/usr/bin/python3", runner, "--build", options.build]
    if not options.soak:
        chosen = "extra" if options.extra_apps else "check"
        _runner(report, "apps", argv + ["--again", "--set", chosen], APPS_TIMEOUT_S)
        return
    left_s = options.end - time.monotonic()
    if left_s < 1:
        report.skip("apps", "no time is left of the soak's")
        return
    _runner(report, "apps", argv + ["--set", "all", "--seconds", f"{left_s:.0f}"],
            left_s + APPS_TIMEOUT_S)

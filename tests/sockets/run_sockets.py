#!/usr/bin/python3
"""Run the socket cases on kernel TCP and on PnO, and compare what they print, line by line.

Each run happens in the host namespace of a lab of its own (the kernel's TIME_WAIT connections of one
run would take ports from the other); with PNO_LOOPBACK=1 the engine turns the cases' loopback traffic
round. A case that differs is run once more, and counts as different if it differs again, or if it was
killed. Prints 'ok FAMILY CASE' or 'not ok FAMILY CASE: why' for each case; exit status 0 if all agree,
else 1.
"""

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile

TIMEOUT_S = 600
REPEATED_MOST = 8


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default="build", metavar="DIR")
    parser.add_argument("--keep-output", metavar="DIR", help="write both runs' output there")
    parser.add_argument("words", nargs="*", help="only cases whose names contain one of these")
    options = parser.parse_args()
    options.build = os.path.realpath(options.build)
    return options


class Lab:
    """`pno lab` of a name that no other run has."""

    def __init__(self, build, letter):
        self.pno = os.path.join(build, "src/cli/pno")
        self.name = f"ps{os.getpid()}{letter}"

    def __enter__(self):
        subprocess.run([self.pno, "lab", "--name", self.name, "up"], check=True, timeout=60)
        return self

    def __exit__(self, *_):
        subprocess.run([self.pno, "lab", "--name", self.name, "down"], check=False, timeout=60)

    def run(self, *argv, environment=None):
        """Its output, as far as it came; what it left behind in its own process group is ended."""
        with tempfile.TemporaryFile("w+", errors="replace") as output:
            child = subprocess.Popen([self.pno, "lab", "--name", self.name, "exec", "host", "--", *argv],
                                     stdin=subprocess.DEVNULL, stdout=output, start_new_session=True,
                                     env={**os.environ, **(environment or {})})
            try:
                child.wait(TIMEOUT_S)
            except subprocess.TimeoutExpired:
                print(f"# {argv[-1]}: still running after {TIMEOUT_S} s", flush=True)
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGKILL)
                child.wait()
            output.seek(0)
            return output.read()

    def connections_opened(self):
        """By the engine, since it started."""
        stats = json.loads(self.run(self.pno, "stats", "--json"))
        return sum(core["counters"].get("passive_opens", 0) for core in stats["cores"])


def by_case(output):
    """{'ipv4 NAME': [line, ...]} in order of appearance."""
    cases = {}
    for line in output.splitlines():
        name, colon, said = line.partition(": ")
        if colon:
            cases.setdefault(name, []).append(said)
    return cases


def difference(kernel, pno):
    """The first difference of two lists of lines, or None."""
    for number in range(max(len(kernel), len(pno))):
        expected = kernel[number] if number < len(kernel) else "nothing more"
        found = pno[number] if number < len(pno) else "nothing more"
        if expected != found:
            return f"line {number + 1}: kernel '{expected}', PnO '{found}'"
    return None


def differences(kernel, pno):
    """{'ipv4 NAME': why} of the cases that are not the same, or did not come to their end."""
    found = {}
    for name, lines in kernel.items():
        why = difference(lines, pno.get(name, []))
        if why is None and lines[-1] != "done":
            why = f"ends by '{lines[-1]}' on both"
        if why:
            found[name] = why
    for name in pno.keys() - kernel.keys():
        found[name] = "only PnO printed it"
    return found


def run_both(build, cases, words):
    """What each stack printed, by case, and how many connections the engine served."""
    with Lab(build, "k") as lab:
        kernel = lab.run(cases, *words)
    with Lab(build, "p") as lab:
        pno = lab.run(lab.pno, "run", "--", cases, *words, environment={"PNO_LOOPBACK": "1"})
        opened = lab.connections_opened()
    return kernel, pno, opened


def repeat(build, cases, found):
    """Run cases that differed once more: behaviour that differs does so again, while a thread that got
    no processor in time does not. Returns those that differ again, or crashed; says which did once."""
    if not found or len(found) > REPEATED_MOST:
        return found
    crashed = {name: why for name, why in found.items() if "'killed by SIG" in why}
    found = {name: why for name, why in found.items() if name not in crashed}
    if not found:
        return crashed
    words = sorted({name.split()[1] for name in found})
    kernel, pno, _ = run_both(build, cases, words)
    again = differences(by_case(kernel), by_case(pno))
    for name in found.keys() - again.keys():
        print(f"# {name} differed once of two times: {found[name]}", flush=True)
    return crashed | {name: why for name, why in again.items() if name in found}


def main():
    options = parse_arguments()
    cases = os.path.join(options.build, "tests/sockets/pno-socket-cases")
    if os.geteuid() != 0:
        print("skip sockets: needs root (network namespaces)")
        return 0
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    kernel, pno, opened = run_both(options.build, cases, options.words)
    if options.keep_output:
        for name, text in (("kernel.txt", kernel), ("pno.txt", pno)):
            with open(os.path.join(options.keep_output, name), "w", encoding="utf-8") as file:
                file.write(text)
    results = by_case(kernel)
    if not results:
        print("not ok the cases: kernel TCP printed nothing")
        return 1
    if opened == 0:
        print("not ok the engine: it served no connection, so nothing was compared")
        return 1
    found = repeat(options.build, cases, differences(results, by_case(pno)))
    for name in [*results, *(found.keys() - results.keys())]:
        print(f"not ok {name}: {found[name]}" if name in found else f"ok {name}", flush=True)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())

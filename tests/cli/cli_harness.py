"""What the tests of the command line share: `pno` of one build, labs, and where tests register."""

import glob
import os
import subprocess

TIMEOUT_S = 60
PREFIX = f"pc{os.getpid()}"
TESTS = []


class Failure(Exception):
    """What is wrong, in one line."""


def test(function):
    TESTS.append(function)
    return function


def require(condition, why):
    if not condition:
        raise Failure(why)


class Cli:
    """`pno` of one build, and the labs and files that a test makes with it."""

    def __init__(self, build, folder):
        self.pno = os.path.join(build, "src/cli/pno")
        self.folder = folder
        self.count = 0

    def run(self, *arguments, **options):
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PNO_")}
        environment.update(options.pop("environment", {}))
        return subprocess.run([self.pno, *arguments], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              timeout=TIMEOUT_S, check=False, env=environment, **options)

    def start(self, *arguments):
        return subprocess.Popen([self.pno, *arguments], stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def lab(self, name, *arguments):
        return self.run("lab", "--name", name, *arguments)

    def new_name(self):
        self.count += 1
        return f"{PREFIX}n{self.count}"

    def up(self, *arguments):
        name = self.new_name()
        done = self.lab(name, "up", *arguments)
        require(done.returncode == 0, f"up: {done.stderr.strip()}")
        return name

    def expect(self, done, status, what):
        require(done.returncode == status,
                f"{what}: exit status {done.returncode}, not {status}: {done.stderr.strip()}")


def one_line(done, what):
    lines = done.stderr.splitlines()
    require(len(lines) == 1, f"{what}: {len(lines)} lines on standard error, not 1: {lines}")
    require(lines[0].startswith("pno"), f"{what}: does not say who speaks: {lines[0]}")
    return lines[0]


def traces():
    """What labs could leave behind."""
    links = subprocess.run(["ip", "-o", "link"], stdout=subprocess.PIPE, text=True, check=True)
    names = {line.split()[1] for line in links.stdout.splitlines()}
    return {path for path in glob.glob("/run/netns/*") + glob.glob("/run/pno/*")
            if f"/{PREFIX}" in path} | {f"link {name}" for name in names if "pno" in name}


def pid_of(name):
    with open(f"/run/pno/{name}.pid", encoding="ascii") as text:
        return int(text.read().split()[0])


def alive(pid):
    """Runs; a zombie that its new parent has not yet noticed does not."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as text:
            return text.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False

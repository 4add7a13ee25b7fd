#!/usr/bin/python3
"""Run the socket cases with a libpno.so built with the address and undefined-behaviour sanitizers, or
with the thread sanitizer, over the engine that speaks only the link; any report on our own code fails.

    sanitized.py CASES ENGINE LIBPNO [[-]PART_OF_NAME]...

make check does so with the former. With the latter, which takes minutes:

    meson setup DIR -Db_sanitize=thread -Db_lundef=false -Doptimization=1 -Dwerror=false -Dengine=disabled
    meson test -C DIR 'sanitized socket cases'

What the cases say is not compared: the sanitizers end those that hand bad pointers to a call. Exit
status 0: no report, 1: reports (shown), 77: cannot be run here.
"""

import contextlib
import glob
import os
import re
import subprocess
import sys
import tempfile
import time

TIMEOUT_S = 900
ENGINE_WAIT_S = 5
SHOWN_BYTES = 4000

OURS = re.compile(r"/src/(hostlib|hostlink|base)/")
OURS_FIRST = re.compile(r"\A.*?^ +#0 [^\n]*/src/(hostlib|hostlink|base)/", re.DOTALL | re.MULTILINE)

# libpno.so comes before the runtime, or what it does within an intercepted poll() or read() would be
# the runtime's own business. It calls the library before it is ready to be called back.
COMMON = {"verify_asan_link_order": 0, "disable_coredump": 0}
OPTIONS = {"asan": {**COMMON, "detect_leaks": 0, "halt_on_error": 0},
           "ubsan": {"print_stacktrace": 1},
           "tsan": {**COMMON, "exitcode": 0, "report_signal_unsafe": 0, "atexit_sleep_ms": 0,
                    **{f"handle_{name}": 0 for name in ("segv", "abort", "sigill", "sigbus", "sigfpe")}}}

# The thread sanitizer follows descriptors, but not those closed by system calls of our own.
DESCRIPTORS = re.compile(r"^ +#0 (socket|eventfd|epoll_create1?|close|dup[23]?|accept4?|recv) \S*"
                         r"(libsanitizer|sanitizer_common)", re.MULTILINE)

# What may be looked at (in the first functions) while another thread changes it (in the second), since
# either answer is right.
TOLERATED = (
    # A listener that is shut down while others accept.
    ({"socket_accept", "socket_has_readiness"}, {"socket_disconnect"}),
    # A descriptor's number closed in one thread while another uses it: the object may have become a new
    # socket, whose references are counted up and down again.
    ({"fd_get_shared"}, {"socket_create"}),
    # A socket that is disconnected while another thread asks whether its peer is on this engine.
    ({"socket_fence", "socket_is_fenced"}, {"become_fresh", "set_bound"}),
)
FRAME = re.compile(r"^ +#\d+ (\w+) \S*/src/(?:hostlib|hostlink|base)/", re.MULTILINE)


def runtime(library):
    """('asan', path of libasan.so), by what the library was linked with."""
    needed = subprocess.run(["ldd", library], stdout=subprocess.PIPE, text=True, check=True).stdout
    match = re.search(r"lib([at]san)\.so\S* => (\S+)", needed)
    return match.groups() if match else (None, None)


def environment(logs, socket, preloads):
    result = {**os.environ, "PNO_LOG": "error", "PNO_LOOPBACK": "1", "PNO_SOCKET": socket,
              "LD_PRELOAD": ":".join(preloads)}
    for name, options in OPTIONS.items():
        settings = {**options, "log_path": os.path.join(logs, name)}
        result[f"{name.upper()}_OPTIONS"] = ":".join(f"{key}={value}" for key, value in settings.items())
    return result


@contextlib.contextmanager
def engine(program, socket):
    with subprocess.Popen([program, socket], env={**os.environ, "ASAN_OPTIONS": "detect_leaks=0"}) as child:
        try:
            end = time.monotonic() + ENGINE_WAIT_S
            while not os.path.exists(socket):
                if time.monotonic() > end:
                    sys.exit("the engine does not come up")
                time.sleep(0.05)
            yield
        finally:
            child.terminate()


def is_tolerated(report):
    """Of the thread sanitizer's: both of its accesses are among what may be looked at so."""
    if DESCRIPTORS.search(report):
        return True
    accesses = re.split(r"\n\n", report)[:2]
    first, second = (set(FRAME.findall(access)) for access in accesses)
    return any((first & readers and second & writers) or (second & readers and first & writers)
               for readers, writers in TOLERATED)


def reports(logs):
    """Those on our own code."""
    for path in sorted(glob.glob(os.path.join(logs, "*"))):
        with open(path, encoding="utf-8", errors="replace") as file:
            text = file.read()
        for report in re.split(r"^=+\n(?=\S)", text, flags=re.MULTILINE):
            # A case may give its handler, or libc, a bad address of its own.
            pattern = OURS_FIRST if "The signal is caused" in report else OURS
            if not pattern.search(report):
                continue
            if "ThreadSanitizer" not in report or not is_tolerated(report):
                yield report


def main():
    cases, program, library, *words = sys.argv[1:]
    kind, path = runtime(library)
    if kind is None:
        print(f"{library} is not sanitized by gcc's runtime: skipped")
        return 77
    apart = ["unshare", "-n", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
    if os.geteuid() != 0:
        apart = []
    with tempfile.TemporaryDirectory() as folder:
        logs, socket = os.path.join(folder, "logs"), os.path.join(folder, "engine.sock")
        os.mkdir(logs)
        with engine(program, socket):
            variables = environment(logs, socket, (library, path))
            new = [f"{name}={value}" for name, value in variables.items()
                   if os.environ.get(name) != value]
            outcome = subprocess.run([*apart, "env", *new, cases, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                     timeout=TIMEOUT_S, check=False)
        done = outcome.stdout.count(b": done\n")
        found = list(reports(logs))
    for report in found:
        print(report[:SHOWN_BYTES])
    print(f"{done} cases came to their end, {len(found)} reports of {kind}")
    return 1 if found or done == 0 else 0


if __name__ == "__main__":
    sys.exit(main())

"""The builds: each compiler, and the variants that later sections run.

BUILD              gcc, as shipped
BUILD/check/clang  clang, address and undefined-behaviour sanitizers, fuzzers
BUILD/check/pure   gcc, without DPDK, which the core and the host's side must do without
BUILD/check/address  gcc, libpno.so and the socket cases with address and undefined-behaviour sanitizers
"""

import os
import time

BUILD_TIMEOUT_S = 2700
ERROR = r"error:|ERROR|FAILED:"

CLANG = ("-Dfuzzers=true", "-Db_sanitize=address,undefined", "-Db_lundef=false",
         "-Doptimization=1",
         "-Dc_args=-fsanitize=fuzzer-no-link -fno-sanitize-recover=undefined")
PURE = ("-Dengine=disabled",)

# gcc's runtimes are libraries, which a program can preload together with libpno.so. What gcc warns of
# differs with what it sanitizes.
SANITIZED = ("-Db_sanitize=address,undefined", "-Db_lundef=false", "-Doptimization=1",
             "-Dwerror=false", "-Dengine=disabled")
SANITIZED_TARGETS = ("src/hostlib/libpno.so", "tests/sockets/pno-socket-cases",
                     "tests/sockets/pno-fake-engine")


def clang_folder(options):
    return os.path.join(options.build, "check", "clang")


def pure_folder(options):
    return os.path.join(options.build, "check", "pure")


def sanitized_folder(options):
    return os.path.join(options.build, "check", "address")


def _build(options, report, name, folder, arguments, environment, targets=()):
    limit_s = BUILD_TIMEOUT_S
    if options.soak:
        limit_s = min(limit_s, max(1, options.end - time.monotonic()))
    if not os.path.exists(os.path.join(folder, "build.ninja")):
        outcome = report.run(f"configure {name}", ["meson", "setup", folder, options.root, *arguments],
                             BUILD_TIMEOUT_S, environment)
        if not outcome.ok:
            report.fail(f"build: {name}", outcome.why(ERROR), outcome.seconds)
            return
    report.check(f"build: {name}",
                 report.run(f"build {name}", ["ninja", "-C", folder, *targets], limit_s), ERROR)


def run(options, report):
    _build(options, report, "gcc", options.build, (), {"CC": "gcc"})
    _build(options, report, "clang with sanitizers and fuzzers", clang_folder(options), CLANG,
           {"CC": "clang"})
    if options.soak:
        return
    _build(options, report, "gcc without DPDK", pure_folder(options), PURE, {"CC": "gcc"})
    _build(options, report, "gcc with sanitizers", sanitized_folder(options), SANITIZED, {"CC": "gcc"},
           SANITIZED_TARGETS)

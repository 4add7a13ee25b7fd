"""Programs of another kind: python3 -m http.server, and curl as an active opener."""

import hashlib
import os
import subprocess
import time

from harness.lab import CLIENT_V4, HOST_V4, HOST_V6
from harness.process import CLIENT_CORE, HOST_CORE, Failure, require
from harness.registry import test

HTTP_PORT = 8000
PYTHON = "/usr/bin/python3"
GIGABYTE = 1 << 30


def make_file(context, size):
    """A file of pseudo-random bytes and its checksum; made once for a whole run."""
    path = os.path.join(context.shared_folder, f"file-{size}")
    sum_path = f"{path}.sha256"
    if not os.path.exists(sum_path):
        block = bytearray(os.urandom(1 << 22))
        digest = hashlib.sha256()
        with open(path, "wb") as file:
            for number in range(0, size, len(block)):
                block[:8] = number.to_bytes(8, "big")
                part = block[:size - number]
                digest.update(part)
                file.write(part)
        with open(sum_path, "w", encoding="ascii") as file:
            file.write(digest.hexdigest())
    with open(sum_path, encoding="ascii") as file:
        return path, file.read()


def serve(lab, path, at_client=False, address=HOST_V4):
    argv = [PYTHON, "-m", "http.server", str(HTTP_PORT), "--bind", "::" if ":" in address else
            "0.0.0.0", "--directory", os.path.dirname(path)]
    if at_client:
        server = lab.start_client("http", argv)
        lab.wait_listening(server, HTTP_PORT, "127.0.0.1")
    else:
        server = lab.start_host("http", argv)
        lab.wait_listening(server, HTTP_PORT, address)
    return server


def fetch_and_compare(argv, core, size, digest, timeout_s):
    """Run curl, sum what it writes, and compare length and checksum."""
    got, length = hashlib.sha256(), 0
    with subprocess.Popen(["taskset", "-c", str(core), "timeout", "-k1", str(timeout_s), *argv],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE) as curl:
        while part := curl.stdout.read(1 << 20):
            got.update(part)
            length += len(part)
        complaint = curl.stderr.read().decode(errors="replace").strip()
        status = curl.wait()
    if status == 124:
        raise Failure(f"{length} of {size} bytes came within {timeout_s} s")
    require(status == 0, f"curl: exit status {status} after {length} of {size} bytes: {complaint}")
    require(length == size, f"{length} bytes came instead of {size}")
    require(got.hexdigest() == digest, "the checksum differs")


def curl(address, path):
    host = f"[{address}]" if ":" in address else address
    return ["curl", "-sS", "--connect-timeout", "5", f"http://{host}:{HTTP_PORT}/"
            f"{os.path.basename(path)}"]


@test(timeout_s=150)
def http_server_1gb(context):
    """python3 -m http.server is offloaded, curl is on kernel TCP."""
    path, digest = make_file(context, GIGABYTE)
    lab = context.up()
    server = serve(lab, path)
    fetch_and_compare(lab.client_argv(curl(HOST_V4, path)), CLIENT_CORE, GIGABYTE, digest, 120)
    server.stop()
    lab.assert_nothing_left()


@test(timeout_s=150)
def curl_1gb(context):
    """curl is offloaded (an active open), the server is on kernel TCP."""
    path, digest = make_file(context, GIGABYTE)
    lab = context.up()
    serve(lab, path, at_client=True)
    fetch_and_compare(lab.host_argv(curl(CLIENT_V4, path), True), HOST_CORE, GIGABYTE, digest, 120)
    lab.assert_nothing_left()


@test(timeout_s=90)
def http_both_ends_offloaded(context):
    """Both are offloaded: traffic to an own address turns round inside the engine."""
    size = 100 << 20
    path, digest = make_file(context, size)
    lab = context.up()
    server = serve(lab, path)
    fetch_and_compare(lab.host_argv(curl(HOST_V4, path), True), HOST_CORE, size, digest, 60)
    server.stop()
    lab.assert_nothing_left()


@test(timeout_s=90)
def http_ipv6(context):
    size = 50 << 20
    path, digest = make_file(context, size)
    lab = context.up()
    server = serve(lab, path, address=HOST_V6)
    fetch_and_compare(lab.client_argv(curl(HOST_V6, path)), CLIENT_CORE, size, digest, 60)
    server.stop()
    lab.assert_nothing_left()


@test(timeout_s=60)
def curl_many(context):
    """curl reaching a port nobody listens on, an address nobody has, and 30 files one by one."""
    size = 200_000
    path, digest = make_file(context, size)
    lab = context.up()
    serve(lab, path, at_client=True)
    for _ in range(30):
        fetch_and_compare(lab.host_argv(curl(CLIENT_V4, path), True), HOST_CORE, size, digest, 20)
    start = time.monotonic()
    refused = lab.run_host(["curl", "-sS", "--connect-timeout", "5", f"http://{CLIENT_V4}:81/"],
                           check=False, timeout_s=15)
    require(refused.returncode == 7 and time.monotonic() - start < 1.5,
            f"a closed port is not refused at once: {refused.returncode}, {refused.stderr!r}")
    absent = lab.run_host(["curl", "-sS", "--connect-timeout", "10", "http://10.77.0.99:81/"],
                          check=False, timeout_s=20)
    require(absent.returncode in (7, 28),
            f"an absent neighbour: status {absent.returncode}, {absent.stderr!r}")
    lab.assert_nothing_left(allow=("TIME-WAIT", "FIN-WAIT-2"))

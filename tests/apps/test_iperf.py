"""iperf3 both ways, its server or its client offloaded: what one end counts, the other has."""

import json
import time

from harness.lab import CLIENT_V4, HOST_V4, HOST_V6
from harness.process import need_program, require
from harness.registry import test

PORT = 5201
WAYS = ((), ("-R",), ("--bidir",), ("-P", "4"), ("-P", "2", "-R", "-l", "1000"))


# Between two tests iperf3 closes its listener for a moment, with whoever has just come; a little before
# it is still at the last one.
CAME_TOO_EARLY = ("unable to connect to server", "unable to receive control message",
                  "the server is busy")
ATTEMPTS = 5


def run_iperf(run, argv):
    """The report of one client, on time for a server that is between two."""
    for _ in range(ATTEMPTS):
        report = json.loads(run(["iperf3", "-J", *argv], timeout_s=60).stdout)
        if not report.get("error", "").startswith(CAME_TOO_EARLY):
            break
        time.sleep(0.2)
    return report


def check_run(what, report):
    """Bytes received are those sent, but for what was in flight when the clock stopped."""
    require("error" not in report, f"{what}: {report.get('error')}")
    end = report["end"]
    for name in ("sum", "sum_bidir_reverse"):
        if f"{name}_sent" not in end and name != "sum":
            continue
        sent = end[f"{name}_sent"]["bytes"]
        received = end[f"{name}_received"]["bytes"]
        require(received > 1_000_000, f"{what}: only {received} bytes came")
        require(received <= sent, f"{what}: {received} bytes came of {sent} sent")


def serve_at_host(lab):
    """The server is offloaded, over both families."""
    server = lab.start_host("iperf3", ["iperf3", "-s", "-p", str(PORT)])
    lab.wait_listening(server, PORT)
    for address in (HOST_V4, HOST_V6):
        for way in WAYS:
            report = run_iperf(lab.run_client, ["-c", address, "-t", "1", *way])
            check_run(f"{address} {' '.join(way)}", report)


def serve_at_client(lab):
    """The client is offloaded, the server on kernel TCP."""
    server = lab.start_client("iperf3", ["iperf3", "-s", "-p", str(PORT)])
    lab.wait_listening(server, PORT, CLIENT_V4)
    for way in WAYS:
        report = run_iperf(lab.run_host, ["-c", CLIENT_V4, "-t", "1", *way])
        check_run(" ".join(way), report)


@test(timeout_s=120)
def iperf3_server(context):
    need_program("iperf3")
    serve_at_host(context.up())


@test(timeout_s=120)
def iperf3_client(context):
    need_program("iperf3")
    serve_at_client(context.up())


@test(timeout_s=120, pno_only=True)
def iperf3_over_offloads(context):
    """A port that segments what it sends and takes what was joined."""
    need_program("iperf3")
    lab = context.up(port="af_packet")
    serve_at_host(lab)
    serve_at_client(lab)

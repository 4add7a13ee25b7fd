"""iperf3 both ways, its server or its client offloaded: what one end counts, the other has."""

import json

from harness.lab import CLIENT_V4, HOST_V4, HOST_V6
from harness.process import need_program, require
from harness.registry import test

PORT = 5201
WAYS = ((), ("-R",), ("--bidir",), ("-P", "4"), ("-P", "2", "-R", "-l", "1000"))


def check_run(what, report):
    """Bytes received are those sent, but for what was in flight when the clock stopped."""
    end = report["end"]
    for name in ("sum", "sum_bidir_reverse"):
        if f"{name}_sent" not in end and name != "sum":
            continue
        sent = end[f"{name}_sent"]["bytes"]
        received = end[f"{name}_received"]["bytes"]
        require(received > 1_000_000, f"{what}: only {received} bytes came")
        require(received <= sent, f"{what}: {received} bytes came of {sent} sent")
    require("error" not in report, f"{what}: {report.get('error')}")


@test(timeout_s=120)
def iperf3_server(context):
    """The server is offloaded, over both families."""
    need_program("iperf3")
    lab = context.up()
    server = lab.start_host("iperf3", ["iperf3", "-s", "-p", str(PORT)])
    lab.wait_listening(server, PORT)
    for address in (HOST_V4, HOST_V6):
        for way in WAYS:
            done = lab.run_client(["iperf3", "-J", "-c", address, "-t", "1", *way], timeout_s=60)
            check_run(f"{address} {' '.join(way)}", json.loads(done.stdout))


@test(timeout_s=120)
def iperf3_client(context):
    """The client is offloaded, the server on kernel TCP."""
    need_program("iperf3")
    lab = context.up()
    server = lab.start_client("iperf3", ["iperf3", "-s", "-p", str(PORT)])
    lab.wait_listening(server, PORT, CLIENT_V4)
    for way in WAYS:
        done = lab.run_host(["iperf3", "-J", "-c", CLIENT_V4, "-t", "1", *way], timeout_s=60)
        check_run(" ".join(way), json.loads(done.stdout))

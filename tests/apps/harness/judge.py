"""A capture of what went over the wire, judged by tshark and by what RFC 9293 lets a sender do.

The capture is taken by dumpcap at the client's end of the wire, up to a bounded size, so that it
holds what really left the engine. Judged are the frames of the host's addresses alone:

* no bad checksum, no malformed header, no option of impossible length (tshark's words);
* no data beyond the window that the client had offered, no acknowledgement of what it never sent;
* on a wire that loses nothing, no retransmission of what the client had acknowledged already,
  except where a timer could not know better (see SPURIOUS_ALLOWED).

Not judged: a capture that lost frames itself is judged by checksums and options only.
"""

import os
import re
import socket
import struct
import subprocess
import time

from . import netns
from .process import CLIENT_CORE, Failure, tail, wait_until

CAPTURE_KILOBYTES = 8192
BUFFER_MEGABYTES = 32
TSHARK_TIMEOUT_S = 120

# A client that is not given the processor for longer than a probe timeout (RFC 8985 §7.2: about two
# round trips, here a few ms) is probed in vain, and so is one that delays its acknowledgement. Such
# a retransmission comes after a silence; one that comes sooner has no excuse. Silent is also a kernel
# that does not put on the wire what it was given, as its senders are told by nobody: so the time that
# passed for them counts too, which their timestamps tell in ms (RFC 7323 §3).
SILENCE_S = 0.002
SILENCE_TICKS = 2
# And of those with an excuse, no more than this share of the data segments, and a few for small captures:
# 10,000 clients at once, on the core that the engine runs on, were probed in vain in 1.6 %.
SPURIOUS_ALLOWED = 0.05
SPURIOUS_ALWAYS_ALLOWED = 8

FIELDS = ("frame.number", "frame.time_relative", "ip.src", "ipv6.src", "tcp.stream", "tcp.seq_raw",
          "tcp.len", "tcp.ack_raw", "tcp.window_size", "tcp.window_size_scalefactor", "tcp.flags",
          "tcp.checksum.status", "ip.checksum.status", "tcp.analysis.spurious_retransmission",
          "tcp.option.len.invalid", "tcp.options.wscale.shift.invalid", "_ws.malformed",
          "frame.protocols", "ip.dst", "ipv6.dst", "ip.len", "ip.hdr_len", "ipv6.plen",
          "tcp.checksum", "tcp.options.timestamp.tsval")
BAD = "0"  # of tcp.checksum.status and ip.checksum.status
SYN, FIN, ACK = 0x02, 0x01, 0x10


class Capture:
    """dumpcap at work on the client's end of the wire."""

    def __init__(self, namespace, interface, folder):
        self.path = os.path.join(folder, "wire.pcapng")
        self._log = os.path.join(folder, "dumpcap.log")
        with open(self._log, "wb") as log:
            # In the client's namespace, but not among the programs that a test may leave behind.
            self._popen = subprocess.Popen(
                ["taskset", "-c", str(CLIENT_CORE), "ip", "netns", "exec", namespace, "dumpcap", "-q",
                 "-i", interface, "-w", self.path, "-a", f"filesize:{CAPTURE_KILOBYTES}",
                 "-B", str(BUFFER_MEGABYTES), "tcp"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.pid = self._popen.pid

    def wait_ready(self):
        def writes():
            if self._popen.poll() is not None:
                raise Failure(f"dumpcap: {(tail(self._log) or ['no output'])[-1]}")
            return os.path.exists(self.path) and os.path.getsize(self.path) > 0
        wait_until(writes, "dumpcap captures", 15)

    def stop(self):
        """End it; returns how many frames it lost."""
        if self._popen.poll() is None:
            time.sleep(0.05)  # dumpcap looks at its buffer at intervals
            self._popen.terminate()
        self._popen.wait(20)
        with open(self._log, encoding="utf-8", errors="replace") as log:
            lost = re.search(r"received/dropped on interface [^:]*: \d+/(\d+)", log.read())
        return int(lost.group(1)) if lost else 0


class Frame:
    """One line of tshark's."""

    def __init__(self, words):
        field = dict(zip(FIELDS, words))
        self.number = field["frame.number"]
        self.time_s = float(field["frame.time_relative"])
        self.source = field["ip.src"] or field["ipv6.src"]
        self.stream = field["tcp.stream"]
        self.seq = int(field["tcp.seq_raw"] or 0)
        self.length = int(field["tcp.len"] or 0)
        self.ack = int(field["tcp.ack_raw"] or 0)
        self.window = int(field["tcp.window_size"] or 0)
        self.scaled = field["tcp.window_size_scalefactor"] not in ("", "-1")
        self.flags = int(field["tcp.flags"] or "0", 16)
        self.made_ticks = int(field["tcp.options.timestamp.tsval"] or 0)
        self.bad_checksum = field["tcp.checksum.status"] == BAD
        self.bad_header_checksum = field["ip.checksum.status"] == BAD
        self._field = field
        self.spurious = bool(field["tcp.analysis.spurious_retransmission"])
        self.bad_option = bool(field["tcp.option.len.invalid"]
                               or field["tcp.options.wscale.shift.invalid"])
        # What follows TCP's header is the program's affair, whatever a dissector makes of it.
        self.malformed = bool(field["_ws.malformed"]) and field["frame.protocols"].endswith(":tcp")

    @property
    def end(self):
        """The sequence number after all that it holds."""
        return (self.seq + self.length + bool(self.flags & SYN) + bool(self.flags & FIN)) % (1 << 32)

    def follows_at_once(self, before):
        """Neither on the wire nor for the sender was there a silence between the two."""
        return (self.time_s - before.time_s < SILENCE_S
                and (self.made_ticks - before.made_ticks) % (1 << 32) < SILENCE_TICKS)

    def left_to_port(self):
        """The checksum field holds the pseudo-header's sum: what a port with that offload is given,
        and the far end of a veth gets."""
        field = self._field
        family = socket.AF_INET if field["ip.src"] else socket.AF_INET6
        ends = (self.source, field["ip.dst"] or field["ipv6.dst"])
        length = int(field["ipv6.plen"] or int(field["ip.len"] or 0) - int(field["ip.hdr_len"] or 0))
        words = b"".join(socket.inet_pton(family, end) for end in ends) + struct.pack(">II", length, 6)
        total = sum(struct.unpack(f">{len(words) // 2}H", words))
        while total >> 16:
            total = (total & 0xFFFF) + (total >> 16)
        return total == int(field["tcp.checksum"], 16)


def _after(a, b):
    """Sequence number a lies after b."""
    return 0 < (a - b) % (1 << 32) < 1 << 31


class _Stream:
    """What the client of one connection has sent and allowed so far."""

    def __init__(self):
        self.window_end = None
        self.sent_end = None
        self.sent = {}  # the last frame that began at a sequence number
        self.heard_s = 0.0

    def from_client(self, frame):
        self.heard_s = frame.time_s
        if self.sent_end is None or _after(frame.end, self.sent_end):
            self.sent_end = frame.end
        if frame.flags & ACK and (frame.scaled or frame.flags & SYN):
            edge = (frame.ack + frame.window) % (1 << 32)
            if self.window_end is None or _after(edge, self.window_end):
                self.window_end = edge

    def from_host(self, frame, kernel):
        """What is wrong with a frame of the host's, or None."""
        problem = None
        if self.window_end is not None and frame.length and not frame.flags & SYN:
            beyond = (frame.seq + frame.length - self.window_end) % (1 << 32)
            # A probe of a closed window is one byte (RFC 9293 §3.8.6.1).
            if 0 < beyond < 1 << 31 and not (frame.length == 1 and beyond == 1):
                problem = f"{beyond} bytes beyond the window"
        if self.sent_end is not None and frame.flags & ACK and _after(frame.ack, self.sent_end):
            problem = "acknowledges what was never sent"
        if frame.spurious and frame.length and not kernel:
            before = self.sent.get(frame.seq)
            if before is not None and frame.follows_at_once(before):
                problem = (f"retransmits {(frame.time_s - before.time_s) * 1e3:.2f} ms later what was "
                           "acknowledged")
        if frame.length:
            self.sent[frame.seq] = frame
        return problem


def judge(path, host_addresses, lost, kernel=False, offloads=False):
    """Raise Failure if the capture shows what a TCP must not do; returns the frames looked at.

    With `offloads` a checksum may still have to be made by a port (but not be just any).

    The kernel's own frames come without checksums over veth, and, spread over cores, in an order of
    which it makes spurious retransmissions: for them both are let pass.
    """
    streams, problems = {}, []
    looked_at = data = spurious = 0
    for frame in _read(path):
        stream = streams.setdefault(frame.stream, _Stream())
        if frame.flags & SYN and not frame.flags & ACK:
            stream = streams[frame.stream] = _Stream()
        if frame.source not in host_addresses:
            stream.from_client(frame)
            continue
        looked_at += 1
        data += frame.length > 0
        spurious += frame.spurious and frame.length > 0
        problem = stream.from_host(frame, kernel)
        if lost:
            problem = None
        if frame.bad_checksum and not kernel and not (offloads and frame.left_to_port()):
            problem = "bad checksum"
        if frame.bad_header_checksum and not kernel:
            problem = "bad header checksum"
        if frame.bad_option or frame.malformed:
            problem = "malformed header or option"
        if problem:
            problems.append(f"frame {frame.number}: {problem}")
    allowed = max(SPURIOUS_ALWAYS_ALLOWED, data * SPURIOUS_ALLOWED)
    if spurious > allowed and not lost and not kernel:
        problems.append(f"{spurious} of {data} data segments are spurious retransmissions")
    if problems:
        raise Failure(f"the capture: {'; '.join(problems[:3])} ({len(problems)} in all)")
    if os.environ.get("APPS_TRACE"):
        print(f"# judged {looked_at} frames, {data} with data, {spurious} spurious, {lost} lost")
    return looked_at


def _read(path):
    words = ["tshark", "-n", "-r", path, "-o", "tcp.check_checksum:TRUE", "-o",
             "ip.check_checksum:TRUE", "-o", "tcp.desegment_tcp_streams:FALSE", "-Y", "tcp",
             "-T", "fields"]
    for field in FIELDS:
        words += ["-e", field]
    with subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True) as tshark:
        for line in tshark.stdout:
            yield Frame(line.rstrip("\n").split("\t"))
        complaint = tshark.stderr.read().strip()
    if tshark.returncode != 0:
        raise Failure(f"tshark: {(complaint.splitlines() or ['no output'])[-1]}")


def start(lab, folder):
    """A capture at the client's end of the lab's wire, or None where tshark is missing."""
    interface = "wire" if lab.stack == "kernel" else "eth0"
    if not netns.exists(lab.client):
        return None
    capture = Capture(lab.client, interface, folder)
    capture.wait_ready()
    return capture

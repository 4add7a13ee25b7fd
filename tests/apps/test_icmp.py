"""What ICMP says of an established connection: no reason to fail, unless the program asks for it."""

import json
import socket
import struct

from harness import netns
from harness.lab import HOST_V4
from harness.process import require
from harness.registry import test

PORT = 7070
ICMP_HOST_UNREACHABLE = (3, 1)

# Without and with IP_RECVERR: what each way to learn of an error tells after the ICMP message, which
# has come when a byte comes by the other connection; and that the connection goes on.
SERVER = """
import json, select, socket, sys
listener = socket.create_server((sys.argv[1], int(sys.argv[2])))
def accept():
    connection, _ = listener.accept()
    while not connection.recv(1): # who only tries whether we listen
        connection.close()
        connection, _ = listener.accept()
    return connection
for asks in (0, 1):
    connection = accept()
    other = accept()
    connection.setsockopt(socket.IPPROTO_IP, 11, asks) # IP_RECVERR
    connection.sendall(b"r")
    other.recv(1)
    poll = select.poll()
    poll.register(connection, 0)
    found = [[events for _, events in poll.poll(0)]]
    for _ in range(2):
        try:
            found.append(connection.recv(1, socket.MSG_DONTWAIT).decode())
        except OSError as error:
            found.append(error.errno)
    found.append(connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
    found.append(connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
    connection.sendall(json.dumps(found).encode() + b"\\n")
    connection.sendall(connection.recv(1))
    connection.close()
"""

EAGAIN, EHOSTUNREACH, POLLERR = 11, 113, 8
EXPECTED = [
    [[], EAGAIN, EAGAIN, EHOSTUNREACH, 0],
    [[POLLERR], EHOSTUNREACH, EAGAIN, 0, 0],
]


def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


def packet_after(wire, client_port):
    """The head of a packet such as the server would send next: IP header, ports, sequence number."""
    while True:
        packet = bytearray(wire.recv(65536))
        tcp = (packet[0] & 15) * 4
        if packet[9] != socket.IPPROTO_TCP or packet[12:16] != socket.inet_aton(HOST_V4):
            continue
        source, destination, sequence = struct.unpack_from("!HHI", packet, tcp)
        payload = struct.unpack_from("!H", packet, 2)[0] - tcp - (packet[tcp + 12] >> 4) * 4
        if (source, destination) == (PORT, client_port) and payload > 0:
            struct.pack_into("!I", packet, tcp + 4, (sequence + payload) % 2**32)
            return bytes(packet[:tcp + 8])


def say_unreachable(quoted):
    kind, code = ICMP_HOST_UNREACHABLE
    body = struct.pack("!I", 0) + quoted
    message = struct.pack("!BBH", kind, code, checksum(struct.pack("!BBH", kind, code, 0) + body))
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as sender:
        sender.sendto(message + body, (HOST_V4, 0))


@test(timeout_s=60)
def icmp_on_an_established_connection(context):
    """EHOSTUNREACH by ICMP: SO_ERROR alone tells; with IP_RECVERR the next call fails, once."""
    lab = context.up()
    server = lab.start_host("server", ["/usr/bin/python3", "-c", SERVER, HOST_V4, str(PORT)])
    lab.wait_listening(server, PORT)
    for expected in EXPECTED:
        with netns.inside(lab.client):
            wire = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800))
            connection = socket.create_connection((HOST_V4, PORT), 10)
            wire.settimeout(10)
            connection.sendall(b"a")
            other = socket.create_connection((HOST_V4, PORT), 10)
            other.sendall(b"a")
            require(connection.recv(1) == b"r", "the server is not ready")
            say_unreachable(packet_after(wire, connection.getsockname()[1]))
            other.sendall(b"b")
        with wire, other, connection, connection.makefile("rb") as answers:
            found = json.loads(answers.readline())
            require(found == expected, f"found {found}, not {expected}")
            connection.sendall(b"b")
            require(answers.read() == b"b", "the connection did not go on")
    lab.assert_nothing_left()

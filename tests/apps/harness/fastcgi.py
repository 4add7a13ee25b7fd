"""A FastCGI responder over TCP, a thread for each connection: python3 fastcgi.py ADDRESS PORT

Answers with the request's body, followed by its length; without a body, with as many bytes as the
query string says, each of them 'f'.
"""

import socket
import struct
import sys
import threading

HEADER = struct.Struct(">BBHHBB")
BEGIN, END, PARAMS, STDIN, STDOUT = 1, 3, 4, 5, 6
RECORD_BYTES_MAX = 65528


def receive(connection, length):
    data = b""
    while len(data) < length:
        part = connection.recv(length - len(data))
        if not part:
            raise EOFError
        data += part
    return data


def read_record(connection):
    _, kind, request, length, padding, _ = HEADER.unpack(receive(connection, HEADER.size))
    return kind, request, receive(connection, length + padding)[:length]


def parameters(data):
    """Name-value pairs, each length in one byte or, with the top bit set, in four."""
    found, at = {}, 0

    def length():
        nonlocal at
        if data[at] < 128:
            at += 1
            return data[at - 1]
        at += 4
        return int.from_bytes(data[at - 4:at], "big") & 0x7FFFFFFF
    while at < len(data):
        name_length, value_length = length(), length()
        found[data[at:at + name_length].decode()] = data[at + name_length:at + name_length
                                                         + value_length].decode()
        at += name_length + value_length
    return found


def answer(connection, request, given, body):
    if not body:
        body = b"f" * int(given.get("QUERY_STRING") or 0)
    else:
        body += b" %d" % len(body)
    text = b"Content-Type: application/octet-stream\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    out = [HEADER.pack(1, STDOUT, request, len(text[at:at + RECORD_BYTES_MAX]), 0, 0)
           + text[at:at + RECORD_BYTES_MAX] for at in range(0, len(text), RECORD_BYTES_MAX)]
    out += [HEADER.pack(1, STDOUT, request, 0, 0, 0), HEADER.pack(1, END, request, 8, 0, 0) + b"\0" * 8]
    connection.sendall(b"".join(out))


def serve(connection):
    given, body, keep = b"", [], True
    with connection:
        try:
            while keep:
                kind, request, data = read_record(connection)
                if kind == BEGIN:
                    given, body, stays = b"", [], bool(data[2] & 1)
                elif kind == PARAMS:
                    given += data
                elif kind == STDIN and data:
                    body.append(data)
                elif kind == STDIN:
                    answer(connection, request, parameters(given), b"".join(body))
                    keep = stays
        except (EOFError, OSError):
            pass


def main():
    listener = socket.create_server((sys.argv[1], int(sys.argv[2])), backlog=64)
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=serve, args=(connection,), daemon=True).start()


if __name__ == "__main__":
    main()

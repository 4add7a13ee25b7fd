"""A Redis client: just enough of RESP2 to compare every byte of a reply."""


class RedisError(Exception):
    """An error reply."""


class Redis:
    """One connection; sends and parses by hand so that nothing hides what the stack delivers."""

    def __init__(self, connection):
        self.connection = connection
        self._buffer = bytearray()
        self._at = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.connection.close()

    @staticmethod
    def encode(*words):
        parts = [b"*%d\r\n" % len(words)]
        for word in words:
            if isinstance(word, str):
                word = word.encode()
            elif isinstance(word, int):
                word = b"%d" % word
            parts += [b"$%d\r\n" % len(word), word, b"\r\n"]
        return b"".join(parts)

    def send(self, *words):
        self.connection.sendall(self.encode(*words))

    def command(self, *words):
        self.send(*words)
        return self.reply()

    def reply(self):
        """The next reply: bytes, int, list or None; an error reply is raised."""
        line = self._line()
        kind, rest = line[:1], line[1:]
        if kind == b"+":
            return rest
        if kind == b"-":
            raise RedisError(rest.decode(errors="replace"))
        if kind == b":":
            return int(rest)
        if kind == b"$":
            return None if rest == b"-1" else self._bulk(int(rest))
        if kind == b"*":
            return None if rest == b"-1" else [self.reply() for _ in range(int(rest))]
        raise RedisError(f"not RESP: {line[:40]!r}")

    def _fill(self):
        if self._at > 1 << 20 or self._at == len(self._buffer):
            del self._buffer[:self._at]
            self._at = 0
        chunk = self.connection.recv(1 << 18)
        if not chunk:
            raise ConnectionResetError("the server closed the connection")
        self._buffer += chunk

    def _line(self):
        while (end := self._buffer.find(b"\r\n", self._at)) < 0:
            self._fill()
        line = bytes(self._buffer[self._at:end])
        self._at = end + 2
        return line

    def _bulk(self, length):
        while len(self._buffer) - self._at < length + 2:
            self._fill()
        value = bytes(self._buffer[self._at:self._at + length])
        if self._buffer[self._at + length:self._at + length + 2] != b"\r\n":
            raise RedisError("a bulk reply without its end")
        self._at += length + 2
        return value

    def info(self, section):
        lines = self.command("INFO", section).decode().splitlines()
        return dict(line.split(":", 1) for line in lines if ":" in line)

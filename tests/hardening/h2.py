"""HTTP/2 by hand: as much as it takes to call gRPC, and to break every rule of it."""
import socket
import struct
import time

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
END_STREAM, ACK, END_HEADERS = 1, 1, 4
# `grpc-status` as a literal name in the Huffman code of HPACK, and its values from 0 to 16.
CODES = {"0": 0b00000, "1": 0b00001, "2": 0b00010, "3": 0b011001, "4": 0b011010, "5": 0b011011, "6": 0b011100,
         "7": 0b011101, "8": 0b011110, "9": 0b011111, "g": 0b100110, "r": 0b101100, "p": 0b101011, "c": 0b00100,
         "-": 0b010110, "s": 0b01000, "t": 0b01001, "a": 0b00011, "u": 0b101101}


def huffman(text):
    bits = "".join(format(CODES[c], "05b" if c in "012acst" else "06b") for c in text)
    bits += "1" * (-len(bits) % 8)
    body = bytes(int(bits[i:i + 8], 2) for i in range(0, len(bits), 8))
    return bytes([0x80 | len(body)]) + body


STATUS = {huffman("grpc-status") + huffman(str(code)): code for code in range(17)}


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def literal(name, value):
    def text(t):
        t = t.encode() if isinstance(t, str) else t
        return (bytes([len(t)]) if len(t) < 127 else b"\x7f" + varint(len(t) - 127)) + t
    return b"\x00" + text(name) + text(value)


def varint(n):
    out = b""
    while n >= 128:
        out, n = out + bytes([n % 128 + 128]), n // 128
    return out + bytes([n])


def head(path, more=()):
    fields = [(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "localhost"),
              ("content-type", "application/grpc"), ("te", "trailers"), *more]
    return b"".join(literal(*field) for field in fields)


def message(body=b""):
    return b"\x00" + struct.pack(">I", len(body)) + body


class Connection:
    """A connection that keeps count of what became of its streams."""

    def __init__(self, sock):
        self.sock, self.buffer = sock, b""
        self.status, self.reset, self.answered, self.goaway, self.closed = {}, {}, set(), None, False
        self.most = None
        # Nothing in the table of headers, so that the status is spelt out each time; and windows that never fill.
        self.send(PREFACE + frame(SETTINGS, 0, 0, struct.pack(">HIHI", 1, 0, 4, 2**31 - 1)))
        self.send(frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 2**31 - 1 - 65535)))

    def send(self, data):
        """Sends, and reads meanwhile: who does not read what they say would be stopped."""
        self.sock.setblocking(False)
        try:
            while data and not self.closed:
                try:
                    data = data[self.sock.send(data):]
                except (BlockingIOError, *WANTS):
                    self.read(0.01)
                    self.sock.setblocking(False)
                except OSError:
                    self.closed = True
        finally:
            self.sock.setblocking(True)
        return not self.closed

    def call(self, path, stream, body=b"", end=True, more=()):
        data = frame(HEADERS, END_HEADERS, stream, head(path, more))
        return self.send(data + frame(DATA, END_STREAM if end else 0, stream, message(body)))

    def read(self, seconds, enough=lambda: False):
        """Takes in what comes, until `enough` or the time is over."""
        until = time.monotonic() + seconds
        while not self.closed and not enough() and (left := until - time.monotonic()) > 0:
            self.sock.settimeout(left)
            try:
                chunk = self.sock.recv(1 << 16)
            except (TimeoutError, BlockingIOError, *WANTS):
                continue
            except OSError:
                chunk = b""
            if not chunk:
                self.closed = True
            self.buffer += chunk
            self.parse()

    def parse(self):
        at = 0
        while len(self.buffer) - at >= 9:
            length = int.from_bytes(self.buffer[at:at + 3], "big")
            if len(self.buffer) - at < 9 + length:
                break
            kind, flags = self.buffer[at + 3], self.buffer[at + 4]
            stream = struct.unpack(">I", self.buffer[at + 5:at + 9])[0] & 0x7fffffff
            payload = self.buffer[at + 9:at + 9 + length]
            at += 9 + length
            if kind == SETTINGS and not flags & ACK:
                for i in range(0, length, 6):
                    key, value = struct.unpack(">HI", payload[i:i + 6])
                    self.most = value if key == 3 else self.most
            elif kind == HEADERS:
                for spelt, code in STATUS.items():
                    if spelt in payload:
                        self.status[stream] = code
            elif kind == DATA:
                self.answered.add(stream)
            elif kind == RST_STREAM:
                self.reset.setdefault(stream, struct.unpack(">I", payload)[0])
            elif kind == GOAWAY:
                self.goaway = struct.unpack(">I", payload[4:8])[0]
        self.buffer = self.buffer[at:]

    def close(self):
        try:
            self.sock.close()
        except OSError:
            pass


try:
    import ssl
    WANTS = (ssl.SSLWantReadError, ssl.SSLWantWriteError)
except ImportError:
    WANTS = ()

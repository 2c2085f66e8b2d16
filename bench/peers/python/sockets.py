"""The bench's peer for sockets in Python: a Unix stream (mode unix) or TCP on loopback.

A value is a call of send; in batches, a batch is. Only the standard library.
"""

import json
import os
import resource
import socket
import struct
import sys
import time

PAIR = struct.Struct("<QQ")


def arguments():
    words = sys.argv[1:]
    given = {k.removeprefix("-"): v for k, v in zip(words[::2], words[1::2])}
    for name in "size", "count", "every", "batch", "idle":
        given[name] = int(given[name])
    return given


def connect(a):
    path = os.path.join(a["dir"], "socket")
    tcp = a["mode"] == "tcp"
    s = socket.socket(socket.AF_INET if tcp else socket.AF_UNIX, socket.SOCK_STREAM)
    if a["role"] == "recv":
        s.bind(("127.0.0.1", 0) if tcp else path)
        s.listen(1)
        if tcp:
            with open(path + ".new", "w") as f:
                f.write(str(s.getsockname()[1]))
            os.rename(path + ".new", path)
        s, _ = s.accept()
    else:
        while True:  # The runner's time limit is the only one.
            try:
                if tcp:
                    with open(path) as f:
                        s.connect(("127.0.0.1", int(f.read())))
                else:
                    s.connect(path)
                break
            except (FileNotFoundError, ConnectionRefusedError):
                time.sleep(0.001)
    if tcp:
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return s


class Wrong(Exception):
    pass


def value(seq, size):
    """The number in the first word and in the last."""
    word = struct.pack("<Q", seq)
    return word if size == 8 else word + bytes(size - 16) + word


def check(b, at, size, seq):
    first = int.from_bytes(b[at : at + 8], "little")
    last = int.from_bytes(b[at + size - 8 : at + size], "little")
    if first != seq or last != seq:
        raise Wrong(f"value {first:#x}..{last:#x} where {seq:#x} was next")


def send(s, a):
    size, n, batch = a["size"], a["count"], max(1, a["batch"])
    for at in range(0, n, batch):
        if batch == 1:
            s.sendall(value(at, size))
        else:
            s.sendall(b"".join(value(i, size) for i in range(at, min(at + batch, n))))


def fill(s, view):
    """Reads until view is full."""
    got = 0
    while got < len(view):
        k = s.recv_into(view[got:])
        if k == 0:
            raise EOFError("the other side is gone")
        got += k


def receive(s, a):
    size, n, batch = a["size"], a["count"], max(1, a["batch"])
    b = bytearray(size * batch)
    view = memoryview(b)
    for at in range(0, n, batch):
        some = min(batch, n - at)
        fill(s, view[: some * size])
        for i in range(some):
            check(b, i * size, size, at + i)


def ping(s, a, lat):
    size, every = a["size"], max(1, a["every"])
    b = bytearray(size)
    view = memoryview(b)
    for seq in range(a["count"]):
        began = time.perf_counter_ns()
        s.sendall(value(seq, size))
        fill(s, view)
        check(b, 0, size, seq)
        if seq % every == every - 1:
            lat.append(time.perf_counter_ns() - began)


def pong(s, a):
    size = a["size"]
    b = bytearray(size)
    view = memoryview(b)
    for seq in range(a["count"]):
        fill(s, view)
        check(b, 0, size, seq)
        s.sendall(b)


def cpu_time():
    u = resource.getrusage(resource.RUSAGE_SELF)
    return int((u.ru_utime + u.ru_stime) * 1e9)


def work(s, a, result):
    sends, row = a["role"] == "send", a["row"]
    if row in ("oneway", "batch"):
        (send if sends else receive)(s, a)
    elif row == "pingpong" and sends:
        ping(s, a, result["lat"])
    elif row == "pingpong":
        pong(s, a)
    elif row == "idle":
        a["count"] = result["count"] = 1
        if sends:
            time.sleep(a["idle"] / 1e9)
        (send if sends else receive)(s, a)
    else:
        raise ValueError(f"cannot do the row {row}")


def serve(s, a, work):
    """Says ready, works when it is told to, and answers."""
    print("ready", flush=True)
    if not sys.stdin.readline():
        sys.exit("the runner is gone")
    result = {"count": a["count"], "lat": []}
    burned = cpu_time()
    result["start"] = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    try:
        work(s, a, result)
    except Wrong as w:
        print(json.dumps({"wrong": str(w)}))
        sys.exit(1)
    result["end"] = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    result["cpu"] = cpu_time() - burned
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    given = arguments()
    serve(connect(given), given, work)

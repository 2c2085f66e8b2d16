"""The bench's peer for sockets in Python, tuned: a Unix stream or TCP on loopback.

The mode is words with commas between: tcp or unix, then what differs from the best that
was found (bench/tuning.go has them all, docs/original.md says what each brings):

    columns  in batches: numbers are written and checked by slices with a stride, so that
             no value is looked at by itself
    gather   in batches: a buffer for each value, sent with sendmsg
    polling  who receives does not wait in the kernel, but asks again and again
    nagle    without TCP_NODELAY
    system   buffers of the size that the system gives
    single   receives one value, or one batch, with a call, into a buffer of that size
    fresh    each value is a bytes object of its own
    gc       the garbage collector goes on

Only the standard library.
"""

import gc
import socket
import struct
import sys
from array import array

sys.dont_write_bytecode = True  # Nothing is left in the sources.

import sockets  # noqa: E402

MEMORY = 1 << 20  # of a side's buffers, as much as the ring has
ROOM = 1 << 16  # of the buffer to receive into: what fits into the processor's cache
WORD = 8


def tune(s, words):
    """Options of the socket. The system may allow less memory than that."""
    if "system" not in words:
        for option in socket.SO_SNDBUF, socket.SO_RCVBUF:
            s.setsockopt(socket.SOL_SOCKET, option, MEMORY)
    if "nagle" in words and "tcp" in words:
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 0)
    if "gc" not in words:
        gc.collect()
        gc.disable()


def send_values(s, a, words):
    size, n = a["size"], a["count"]
    if "fresh" in words:
        for seq in range(n):
            s.sendall(sockets.value(seq, size))
        return
    b = bytearray(size)
    w, last, send = memoryview(b).cast("Q"), size // WORD - 1, s.send
    for seq in range(n):
        w[0] = w[last] = seq
        if send(b) != size:
            raise OSError("a part of a value was sent")  # A socket that waits sends all of it.


def send_batches(s, a, words):
    size, n, batch = a["size"], a["count"], a["batch"]
    step = size // WORD
    b = bytearray(size * batch)
    w = memoryview(b).cast("Q")
    if "fresh" in words:
        for at in range(0, n, batch):
            s.sendall(b"".join(sockets.value(seq, size) for seq in range(at, at + batch)))
    elif "gather" in words:
        each = [bytearray(size) for _ in range(batch)]
        marks = [memoryview(v).cast("Q") for v in each]
        for seq in range(0, n, batch):
            for m in marks:
                m[0] = m[step - 1] = seq
                seq += 1
            if s.sendmsg(each) != size * batch:
                raise OSError("a part of a batch was sent")
    elif "columns" in words:
        first, last = w[0::step], w[step - 1 :: step]
        for at in range(0, n, batch):
            first[:] = last[:] = array("Q", range(at, at + batch))
            s.sendall(b)
    else:
        end = batch * step
        for at in range(0, n, batch):
            i = 0
            while i < end:
                w[i] = w[i + step - 1] = at
                at += 1
                i += step
            s.sendall(b)


def check_each(view, size, seq):
    for first, last in struct.Struct(f"<Q{size - 2 * WORD}xQ").iter_unpack(view):
        if first != seq or last != seq:
            raise sockets.Wrong(f"value {first:#x}..{last:#x} where {seq:#x} was next")
        seq += 1


def check_columns(view, size, seq):
    step = size // WORD
    w = view.cast("Q")
    want = list(range(seq, seq + len(view) // size))
    if w[0::step].tolist() != want or w[step - 1 :: step].tolist() != want:
        check_each(view, size, seq)


def receive(s, a, words):
    """What is there with each call, and what is left of the last value to the front."""
    size, n = a["size"], a["count"]
    check = check_columns if "columns" in words else check_each
    room = max(ROOM // size, a["batch"]) * size
    if "single" in words:
        room = size * max(1, a["batch"])
    view = memoryview(bytearray(room))
    into, flags = s.recv_into, socket.MSG_DONTWAIT if "polling" in words else 0
    have = seq = 0
    while seq < n:
        try:
            k = into(view[have:], 0, flags)
        except BlockingIOError:
            continue
        if k == 0:
            raise EOFError("the other side is gone")
        have += k
        if "single" in words and have < room:
            continue
        whole = have // size * size
        check(view[:whole], size, seq)
        seq += whole // size
        have -= whole
        if have:
            view[:have] = view[whole : whole + have]


def fill(s, view):
    """Waits in the kernel for the first of a value; there is seldom a second part."""
    got = s.recv_into(view)
    while got < len(view):
        k = s.recv_into(view[got:])
        if got == 0 or k == 0:
            raise EOFError("the other side is gone")
        got += k


def fill_polling(s, view):
    got = 0
    while got < len(view):
        try:
            k = s.recv_into(view[got:], 0, socket.MSG_DONTWAIT)
        except BlockingIOError:
            continue
        if k == 0:
            raise EOFError("the other side is gone")
        got += k


def ping(s, a, words, lat):
    size, every, clock = a["size"], max(1, a["every"]), sockets.time.perf_counter_ns
    await_value = fill_polling if "polling" in words else fill
    b = bytearray(size)
    view, send = memoryview(b), s.send
    w, last = view.cast("Q"), size // WORD - 1
    for seq in range(a["count"]):
        began = clock()
        w[0] = w[last] = seq
        send(b)
        w[0] = w[last] = ~seq & 0xFFFF  # So that what is checked has come.
        await_value(s, view)
        if w[0] != seq or w[last] != seq:
            raise sockets.Wrong(f"value {w[0]:#x}..{w[last]:#x} where {seq:#x} was next")
        if seq % every == every - 1:
            lat.append(clock() - began)


def pong(s, a, words):
    size = a["size"]
    await_value = fill_polling if "polling" in words else fill
    b = bytearray(size)
    view, send = memoryview(b), s.send
    w, last = view.cast("Q"), size // WORD - 1
    for seq in range(a["count"]):
        await_value(s, view)
        if w[0] != seq or w[last] != seq:
            raise sockets.Wrong(f"value {w[0]:#x}..{w[last]:#x} where {seq:#x} was next")
        send(b)


def work(s, a, result):
    words, sends, row = a["words"], a["role"] == "send", a["row"]
    if row == "pingpong" and sends:
        ping(s, a, words, result["lat"])
    elif row == "pingpong":
        pong(s, a, words)
    elif row in ("oneway", "batch") and not sends:
        receive(s, a, words)
    elif row == "oneway":
        send_values(s, a, words)
    elif row == "batch":
        send_batches(s, a, words)
    else:
        raise ValueError(f"cannot do the row {row}")


def main():
    a = sockets.arguments()
    a["words"] = a["mode"].split(",")
    a["mode"] = a["words"][0]
    if a["size"] < 2 * WORD or a["size"] % WORD:
        raise ValueError(f"no values of {a['size']} bytes")
    s = sockets.connect(a)
    tune(s, a["words"])
    sockets.serve(s, a, work)


main()

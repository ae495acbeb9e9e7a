"""What can be held of a server without ever finishing a request, or without reading its answer."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time

from . import attack, hold
from .rig import MIB, Rig, data_uri, png, predict_body

# What Label Studio allows /health.
HEALTH_SECONDS = 1.0


def _cut(connection: socket.socket, seconds: float) -> bool:
    """Return whether the server closes a connection within some seconds."""
    connection.settimeout(seconds)
    try:
        while connection.recv(1 << 16):
            pass
    except TimeoutError:
        return False
    except OSError:
        pass
    return True


@attack()
def anonymous_bodies(rig: Rig) -> str:
    """Send eight bodies of 120 MB without credentials, and eight that never end."""
    server = rig.serve(model=False, user=("anna", "right"))
    before = server.forget_peak()
    most, answered = 0, []
    over = threading.Event()
    size = 120 * MIB

    def send(chunked: bool) -> None:
        with server.connect() as connection, contextlib.suppress(OSError):
            length = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % size
            connection.sendall(
                b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n%s\r\n\r\n" % length
            )
            piece = (b"%x\r\n%s\r\n" % (MIB, b" " * MIB)) if chunked else b" " * MIB
            for _ in range(10 * size // MIB if chunked else size // MIB):
                connection.sendall(piece)
            answered.append(connection.recv(12))

    senders = [threading.Thread(target=send, args=(number % 2 == 1,), daemon=True) for number in range(16)]

    def look() -> None:
        nonlocal most
        while not over.wait(0.02):
            most = max(most, server.spooled())

    watcher = threading.Thread(target=look)
    watcher.start()
    server.authorization, kept = None, server.authorization
    with server.health() as health:
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join(90)
    server.authorization = kept
    over.set()
    watcher.join()
    grown = server.peak() - before
    hold(answered.count(b"HTTP/1.1 401") >= 8, f"answers: {answered}")
    hold(most < MIB, f"{most / MIB:.0f} MiB of their bodies were stored")
    hold(grown < 100 * MIB, f"memory grew by {grown / MIB:.0f} MiB")
    return f"stored {most / MIB:.1f} MiB, memory +{grown / MIB:.0f} MiB, /health {health.longest:.2f} s at most"


@attack()
def slow_headers(rig: Rig) -> str:
    """Hold 1,050 connections open with a header that never ends."""
    server = rig.serve(model=False)
    with contextlib.ExitStack() as stack:
        with server.health() as health:
            slow: list[socket.socket] = []
            for _ in range(1050):
                slow.append(stack.enter_context(server.connect()))
                slow[-1].sendall(b"GET /health HTTP/1.1\r\n")
            started = time.monotonic()
            while time.monotonic() - started < 15:
                for connection in slow:
                    with contextlib.suppress(OSError):
                        connection.sendall(b"X: y\r\n")
        open_still = sum(not _cut(connection, 0.001) for connection in slow)
    hold(not health.failed, f"/health: {health.failed[:3]}")
    hold(health.longest < HEALTH_SECONDS, f"/health took {health.longest:.2f} s")
    hold(open_still == 0, f"{open_still} of them are open after 15 s")
    return f"all closed after 15 s, /health {health.longest:.2f} s at most of {len(health.seconds)} times"


@attack()
def slow_bodies(rig: Rig) -> str:
    """Send the body of 200 requests byte by byte."""
    server = rig.serve(model=False)
    with contextlib.ExitStack() as stack:
        with server.health() as health:
            slow = [stack.enter_context(server.connect()) for _ in range(200)]
            for connection in slow:
                connection.sendall(b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000000\r\n\r\n")
            started = time.monotonic()
            while time.monotonic() - started < 33:
                for connection in slow:
                    with contextlib.suppress(OSError):
                        connection.sendall(b" ")
                time.sleep(0.2)
        open_still = sum(not _cut(connection, 0.001) for connection in slow)
    hold(not health.failed, f"/health: {health.failed[:3]}")
    hold(health.longest < HEALTH_SECONDS, f"/health took {health.longest:.2f} s")
    hold(open_still == 0, f"{open_still} of them are open after 33 s")
    return f"all closed after 33 s, /health {health.longest:.2f} s at most of {len(health.seconds)} times"


@attack(seconds=180)
def deaf_clients(rig: Rig) -> str:
    """Ask for 30 long answers and read none of them."""
    server = rig.serve()
    body = json.dumps(predict_body([data_uri(png(64, 64, 1))] * 3000)).encode()
    server.request("POST", "/predict", predict_body([data_uri(png(64, 64, 1))]))
    with contextlib.ExitStack() as stack:
        for _ in range(30):
            deaf = stack.enter_context(socket.socket())
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            deaf.connect(("127.0.0.1", server.port))
            with contextlib.suppress(OSError):
                deaf.sendall(b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n")
                deaf.sendall(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        with server.health() as health, server.annotators(3) as people:
            time.sleep(60)
    hold(not people.failed, f"annotators: {people.failed[:3]}")
    hold(health.longest < HEALTH_SECONDS, f"/health took {health.longest:.2f} s")
    hold(people.longest < 30, f"an annotator waited for {people.longest:.1f} s")
    return f"an annotator waited {people.longest:.2f} s at most, /health {health.longest:.2f} s"


@attack()
def odd_headers(rig: Rig) -> str:
    """Send lengths of 5,000 digits, bare line feeds, endless chunk sizes and the like."""
    server = rig.serve(model=False)
    headers = [
        b"Content-Length: " + b"9" * 5000,
        b"Content-Length: -1",
        b"Content-Length: +5",
        b"Content-Length: 5, 6",
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nx",
        b"Transfer-Encoding: chunked\r\n\r\n" + b"f" * 10_000,
        b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + b"x" * 100_000,
        b"Transfer-Encoding: gzip, chunked",
        b"X: " + b"y" * 300_000,
        b"X\0: y",
        b"X: y\nY: z",
        b" folded",
        b"Expect: 100-continue\r\nContent-Length: 99999999999999",
        b"Host: " + "ü".encode() * 1000,
    ]
    lines = [
        b"GET / HTTP/9.9",
        b"\x16\x03\x01\x02\x00\x01",
        b"GET  /",
        b"get /health HTTP/1.1",
        b"GET http://[ HTTP/1.1",
    ]
    requests = [b"POST /setup HTTP/1.1\r\n" + header + b"\r\n\r\n" for header in headers]
    requests += [line + b"\r\n\r\n" for line in lines] + [
        b"\r\n" * 1000,
        b"GET /" + b"%00" * 1000 + b" HTTP/1.1\r\n\r\n",
    ]
    with server.health() as health:
        for request in requests:
            with server.connect(15) as connection:
                with contextlib.suppress(OSError):
                    connection.sendall(request)
                _cut(connection, 0.3)
    logged = server.logged()
    hold("Traceback" not in logged, f"a traceback: {logged[logged.find('Traceback') :][:500]}")
    hold(server.alive() and not health.failed, f"/health: {health.failed[:3]}")
    return f"{len(requests)} of them, no traceback, log {len(logged) / 1024:.0f} KiB, /health {health.longest:.2f} s at most"

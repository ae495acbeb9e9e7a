"""Images: tasks that name hostile hosts, addresses that are not an annotator's, and files that are larger than they look."""

from __future__ import annotations

import base64
import contextlib
import http.client
import io
import itertools
import json
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from . import attack, hold
from .rig import CONFIG, MIB, Rig, Server, Waits, at_work, data_uri, png, predict_body

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))

from hostile_hosts import (
    Connection,
    HostileHost,
    answers,
    bomb,
    drips_handshake,
    drips_headers,
    gzips_nothing,
    processes_for_ever,
    silent,
)

# built, so that no scanner takes it for a real one
TOKEN = "c0ffee" * 6 + "c0ff"
SETUP = {"project": "5.1", "schema": CONFIG}
_NUMBERS = itertools.count(1)


def ask(server: Server, address: str) -> str:
    """Have one image predicted; return 'predicted', or why the server's log says that it was not."""
    before = len(server.logged())
    answer = server.request("POST", "/predict", predict_body([address]))
    if answer.status == 200 and answer.json["results"][0]:
        return "predicted"
    return server.logged()[before:] if answer.status == 200 else answer.reason


def gives_images(connection: Connection) -> None:
    """Give a picture of its own to every request, as an honest host does."""
    answers(png(192, 256, next(_NUMBERS)))(connection)


@contextlib.contextmanager
def annotators(server: Server, host: HostileHost, count: int, think: float) -> Iterator[Waits]:
    """Let so many people open tasks whose images lie on an honest host until the block ends."""
    waits = Waits()

    def work(_: int, over: threading.Event) -> None:
        while not over.is_set():
            began = time.monotonic()
            try:
                said = ask(server, f"{host.url}/{next(_NUMBERS)}.png")
                if said != "predicted":
                    waits.failed.append(said)
            except (OSError, http.client.HTTPException) as error:
                waits.failed.append(str(error) or type(error).__name__)
            waits.seconds.append((began, time.monotonic() - began))
            over.wait(think)

    with at_work(count, work):
        yield waits


@contextlib.contextmanager
def asking(server: Server, addresses: Sequence[str]) -> Iterator[None]:
    """Ask for one image each and wait for no answer until the block ends, then go away."""
    connections = []
    for address in addresses:
        body = json.dumps(predict_body([address])).encode()
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)
        connection.request("POST", "/predict", body, {"Content-Type": "application/json"})
        connections.append(connection)
    try:
        yield
    finally:
        for connection in connections:
            connection.close()


def blank(height: int, width: int, mark: int) -> bytes:
    """Return a grey PNG of many pixels and few bytes, like no other mark's."""
    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    row = bytes(1 + (width + 7) // 8)
    squeezed = zlib.compressobj(9)
    rows = squeezed.compress(b"\0" + struct.pack(">I", mark) + row[5:])
    rows += b"".join(squeezed.compress(row) for _ in range(height - 1)) + squeezed.flush()
    parts = [(b"IHDR", head), (b"IDAT", rows), (b"IEND", b"")]
    chunks = [struct.pack(">I", len(b)) + n + b + struct.pack(">I", zlib.crc32(n + b)) for n, b in parts]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@attack()
def another_name(rig: Rig) -> str:
    """Ask under a name on the internet that leads to 127.0.0.1, as a page in a browser on this machine can."""
    server = rig.serve(model=False)
    for method, path, body in (
        ("GET", "/health", None),
        ("GET", "/jobs", None),
        ("POST", "/setup", SETUP | {"hostname": "http://evil.example"}),
        ("POST", "/predict", predict_body([data_uri(png(64, 64, 1))])),
    ):
        answer = server.request(method, path, body, {"Host": "evil.example:9090"})
        hold(answer.status == 403, f"{method} {path}: {answer.status} {answer.reason}")
    return "4 requests, all of them 403"


@attack()
def stolen_token(rig: Rig) -> str:
    """Say in /setup that Label Studio is here, then name its images, and ask for a training."""
    server = rig.serve("--training", MASKLOOP_STUDIO_TOKEN=TOKEN)
    with HostileHost(answers(png(64, 64, 1))) as thief:
        server.request("POST", "/setup", SETUP | {"hostname": thief.url})
        for address in ("/data/x.png", thief.url + "/data/y.png", "s3://b/z.png", thief.url + "/api/token/refresh/"):
            ask(server, address)
        server.request("POST", "/webhook", {"action": "START_TRAINING", "project": {"id": 5}})
        ask(server, "/data/again.png")
        time.sleep(3)  # the training would have begun
        hold(TOKEN not in "".join(thief.heads), "the operator's token came")
        hold(TOKEN not in server.logged(), "the token stands in the log")
        return f"{len(thief.heads)} requests came to the thief, the token with none of them"


@attack()
def paths_of_label_studio(rig: Rig) -> str:
    """Name other paths of Label Studio in tasks, and addresses that redirect to them."""
    asked = [
        *("/api/users/", "/data/../api/users/", "/data/%2e%2e/api/users/", "/data/..%2fapi/users/", "/user/logout"),
        *("/data/%252e%252e/api/users/", "//data/x", "/tasks/1/presign/../../../api/users/", "/data/redirected"),
    ]

    def studio(connection: Connection) -> None:
        if "/data/redirected" in connection.head.partition("\r\n")[0]:
            answers(b"", "Location: /api/users/", status="302 Found")(connection)
        else:
            answers(png(64, 64, 1))(connection)

    with HostileHost(studio) as host:
        server = rig.serve("--studio-url", host.url, MASKLOOP_STUDIO_TOKEN=TOKEN)
        for address in [*asked, *(host.url + path for path in asked)]:
            ask(server, address)
        body = predict_body(["s3://b/x.png"])
        body["tasks"][0]["id"] = "../../api/users/?"
        server.request("POST", "/predict", body)
        with_token = {head.split()[1] for head in host.heads if TOKEN in head}
        hold(with_token == {"/data/redirected"}, f"the token went along to {sorted(with_token)}")
        return f"{len(host.heads)} requests, the token with /data/redirected only"


@attack()
def inner_hosts(rig: Rig) -> str:
    """Name hosts that only the server reaches, also by way of a host that is allowed."""
    with HostileHost(answers(png(64, 64, 1))) as inner:
        there = answers(b"", f"Location: {inner.url}/x.png", status="302 Found")
        with HostileHost(there) as named:
            server = rig.serve("--deny-private", "--allow-hosts", f"127.0.0.1:{named.port},*")
            names = ("127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "127.1", "2130706433")
            for name in names:
                ask(server, f"http://{name}:{inner.port}/x.png")
            ask(server, named.url + "/x.png")
        hold(inner.heads == [], f"{len(inner.heads)} requests came in")
        return f"{len(names)} names and a redirect, the inner host heard of none"


@attack()
def open_ports(rig: Rig) -> str:
    """Find out from the reasons of a smart tool which ports are open."""
    server = rig.serve()
    with socket.create_server(("127.0.0.1", 0)) as gone:
        shut = gone.getsockname()[1]
    context = {"result": [{"type": "keypointlabels", "value": {"x": 1, "y": 1, "width": 1}}]}
    said = set()
    behaviours = [answers(b"SSH-2.0-x"), answers(b"", status="404 Not Found"), answers(b"", status="401 Unauthorized")]
    with contextlib.ExitStack() as stack:
        hosts = [stack.enter_context(HostileHost(behaviour)) for behaviour in behaviours]
        for port in (shut, *(host.port for host in hosts)):
            body = predict_body([f"http://127.0.0.1:{port}/x"], params={"context": context})
            answer = server.request("POST", "/predict", body)
            said.add((answer.status, answer.reason.replace(str(port), "PORT")))
    hold(len(said) == 1, f"{len(said)} different reasons")
    return "a closed port, no HTTP, 404 and 401: one reason"


@attack(seconds=240)
def endless_downloads(rig: Rig) -> str:
    """Name images on hosts that never come to an end, in every way, and look whether the downloads end."""
    server = rig.serve()
    kinds = (silent, drips_headers, processes_for_ever, gzips_nothing, drips_handshake)
    with contextlib.ExitStack() as stack:
        hosts = [stack.enter_context(HostileHost(kind, kind is not drips_handshake)) for kind in kinds]
        addresses = [
            f"{'https' if kind is drips_handshake else 'http'}://127.0.0.1:{host.port}/x.png"
            for kind, host in zip(kinds, hosts, strict=True)
        ]
        longest = [0.0]

        def wait(address: str) -> None:
            began = time.monotonic()
            ask(server, address)
            longest[0] = max(longest[0], time.monotonic() - began)

        waiting = [threading.Thread(target=wait, args=(address,), daemon=True) for address in addresses]
        for thread in waiting:
            thread.start()
        for thread in waiting:
            thread.join(150)
        hold(not any(thread.is_alive() for thread in waiting), "a download goes on after 150 s")
        hold(longest[0] < 100, f"a download took {longest[0]:.0f} s")
        # and those that nobody waits for any more
        with asking(server, addresses * 4):
            time.sleep(2)
        began = time.monotonic()
        while len(connections_of(server, hosts)) and time.monotonic() - began < 60:
            time.sleep(0.1)
        gone = time.monotonic() - began
        hold(gone < 20, f"downloads for clients that have gone went on for {gone:.0f} s")
        return f"{len(kinds)} kinds ended after {longest[0]:.0f} s, 20 without a client after {gone:.1f} s"


def connections_of(server: Server, hosts: Sequence[HostileHost]) -> list[str]:
    """Return the established connections of this machine to the hosts' ports, from the side of who asked."""
    ports = {f"{host.port:04X}" for host in hosts}
    lines = Path(f"/proc/{server.process.pid}/net/tcp").read_text().splitlines()[1:]
    return [line for line in lines if line.split()[2].rpartition(":")[2] in ports and line.split()[3] == "01"]


@attack(seconds=300)
def slow_hosts(rig: Rig) -> str:
    """Let 50 annotators work while hosts drip, and kill -9 such a host."""
    server = rig.serve()
    module = Path(__file__).resolve().parents[2] / "tests" / "hostile_hosts.py"
    with HostileHost(gives_images) as honest, contextlib.ExitStack() as stack:
        with annotators(server, honest, 50, think=2.0) as warm:
            time.sleep(10)
        with annotators(server, honest, 50, think=2.0) as quiet:
            time.sleep(30)
        hold(not warm.failed and not quiet.failed, str(quiet.failed[:1]))
        slow = subprocess.Popen([sys.executable, str(module), "drips_headers"], stdout=subprocess.PIPE, text=True)
        stack.callback(slow.kill)
        assert slow.stdout is not None
        url = slow.stdout.readline().strip()
        others = [stack.enter_context(HostileHost(kind)) for kind in (drips_headers, processes_for_ever)]
        addresses = [f"{(url, others[0].url, others[1].url)[number % 3]}/{number}.png" for number in range(24)]
        with asking(server, addresses), annotators(server, honest, 50, think=2.0) as busy:
            time.sleep(15)
            slow.kill()
            slow.wait()
            time.sleep(15)
        hold(not busy.failed, f"{len(busy.failed)} of {len(busy.seconds)} annotators got no mask: {busy.failed[:1]}")
        figure = f"longest wait of 50 annotators {busy.longest:.2f} s, quiet p95 {quiet.p95:.2f} s ({len(busy.seconds)} tasks)"
        hold(busy.longest <= 3 * quiet.p95, figure)
        return figure


@attack()
def stop_while_it_drips(rig: Rig) -> str:
    """Send SIGTERM while downloads drip for clients that wait."""
    server = rig.serve()
    with HostileHost(drips_headers) as host, asking(server, [f"{host.url}/{number}" for number in range(8)]):
        for _ in range(8):
            hold(host.asked.acquire(timeout=30), "the server does not ask")
        seconds = server.stop(timeout=60)
        # predictions that run are given 30 s to end
        hold(seconds < 45, f"{seconds:.0f} s")
        return f"gone after {seconds:.1f} s"


@attack()
def gzip_of_gzip(rig: Rig) -> str:
    """Send bodies that become much more than they are."""
    server = rig.serve()
    floor = server.forget_peak()
    with HostileHost(bomb(1, 256 * MIB)) as once, HostileHost(bomb(2, 1024 * MIB)) as twice:
        said = [ask(server, host.url + "/x.png") for host in (once, twice, once, twice)]
    hold("predicted" not in said, "it was taken")
    grown = server.peak() - floor
    hold(grown < 300 * MIB, f"{grown / MIB:.0f} MiB")
    return f"256 MiB and 1 GiB of zeros: {grown / MIB:.0f} MiB of memory at most"


@attack()
def postscript(rig: Rig) -> str:
    """Send EPS, which Pillow hands to Ghostscript, and look whether a program starts."""
    marker, folder = rig.folder / "started", rig.folder / "bin"
    folder.mkdir()
    program = folder / "gs"
    program.write_text(f'#!/bin/sh\ntouch "{marker}"\n')
    program.chmod(0o755)
    server = rig.serve(PATH=f"{folder}:{Rig.environment()['PATH']}")
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 200 200\n%%EndComments\nshowpage\n%%EOF\n"
    said = ask(server, data_uri(eps))
    hold("not an image in a known format" in said, said[-300:])
    hold(not marker.exists(), "Ghostscript was started")
    return "refused, no program was started"


@attack(seconds=240)
def many_large_images(rig: Rig) -> str:
    """Name 30 images of 63 megapixels and 300 bytes to 9 kB each, all different, at once."""
    server = rig.serve()
    with server.annotators(1, think=0.5) as first:
        time.sleep(5)
    hold(not first.failed, str(first.failed[:1]))
    floor = server.forget_peak()
    images = [data_uri(blank(7900, 8000, mark)) for mark in range(30)]
    with asking(server, images), server.health() as health:
        time.sleep(45)
    grown = server.peak() - floor
    hold(grown < 2600 * MIB, f"{grown / MIB:.0f} MiB")
    return f"{grown / MIB:.0f} MiB more memory at most, longest /health {health.longest:.2f} s"


@attack(seconds=240)
def few_bytes_many_pixels(rig: Rig) -> str:
    """Send 16-bit TIFFs, an ICO and a PNG of one bit, each of many more pixels than bytes."""
    server = rig.serve()
    ask(server, data_uri(png(64, 64, 1)))
    out = io.BytesIO()
    Image.fromarray(np.zeros((7900, 8000), np.uint16)).save(out, "TIFF", compression="tiff_deflate")
    tiff = data_uri(out.getvalue(), "tiff")
    large = blank(12000, 12000, 1)
    icon = struct.pack("<HHH", 0, 1, 1) + struct.pack("<BBBBHHII", 0, 0, 0, 0, 1, 32, len(large), 22) + large
    floor = server.forget_peak()
    refused = [ask(server, data_uri(each)) for each in (icon, large)]
    small = server.peak() - floor
    hold("not an image in a known format" in refused[0], refused[0][-300:])
    hold("over the limit" in refused[1], refused[1][-300:])
    hold(small < 100 * MIB, f"{small / MIB:.0f} MiB for what is refused")
    floor = server.forget_peak()
    with asking(server, [tiff] * 4):
        time.sleep(20)
    grown = server.peak() - floor
    hold(grown < 2600 * MIB, f"{grown / MIB:.0f} MiB for four TIFFs")
    sizes = f"{len(base64.b64decode(tiff.partition(',')[2])) >> 10} KiB"
    return f"refused: {small / MIB:.0f} MiB; four 16-bit TIFFs of {sizes}: {grown / MIB:.0f} MiB"

"""Tasks that are written to steal the token, the time of other annotators, or the memory."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
import threading
from base64 import b64encode
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hostile_hosts import HostileHost, answers, drips_body, drips_headers, silent, within
from maskloop_backend.serving.lanes import Lanes, Onward
from maskloop_backend.serving.memory import ImageMemory
from maskloop_backend.studio.addresses import AddressPolicy
from maskloop_backend.studio.errors import ImageError
from maskloop_backend.studio.transport import Exchange

pytestmark = pytest.mark.timeout(120)
# built, so that no scanner takes it for a real one
TOKEN = "c0ffee" * 6 + "c0ff"


@pytest.fixture
def png() -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(out, "PNG")
    return out.getvalue()


# The token


def test_the_operators_token_goes_to_no_address_that_others_say(start: Any, config: str, png: bytes) -> None:
    client = start(studio_token=TOKEN)
    with HostileHost(answers(png)) as thief:
        setup = {"project": "5.1", "schema": config, "hostname": thief.url}
        assert client.request("POST", "/setup", setup).status == 200
        assert client.predict(["/data/x.png", thief.url + "/y.png", "s3://b/z.png"]).status == 200
        assert client.request("POST", "/webhook", {"action": "START_TRAINING", "project": {"id": 5}}).status == 201
        waits = "the token of Label Studio"
        assert within(30, lambda: waits in str(client.request("GET", "/jobs").json["jobs"][0]["waits_for"]))
        assert client.predict(["/data/again.png"]).status == 200
        assert len(thief.heads) == 4
        assert TOKEN not in "".join(thief.heads)
        assert "authorization" not in "".join(thief.heads).lower()


def test_what_setup_says_of_address_and_token_stays_together(start: Any, config: str, png: bytes) -> None:
    client = start()
    with HostileHost(answers(png)) as first, HostileHost(answers(png)) as second:
        for project, host, token in (("5.1", first, "a" * 40), ("6.1", second, "b" * 40)):
            body = {"project": project, "schema": config, "hostname": host.url, "access_token": token}
            client.request("POST", "/setup", body)
        # the first project's address again, without a token
        client.request("POST", "/setup", {"project": "5.1", "schema": config, "hostname": second.url})
        client.predict(["/data/x.png"], project="5.1")
        client.predict(["/data/x.png"], project="6.1")
        assert first.heads == []
        assert [f"Token {'b' * 40}" in head for head in second.heads] == [False, True]


def test_hosts_that_the_policy_refuses_are_not_asked(start: Any, png: bytes) -> None:
    with HostileHost(answers(png)) as inner, HostileHost(answers(png)) as named:
        client = start(policy=AddressPolicy.parse([f"127.0.0.1:{named.port}"], True))
        asked = client.predict([inner.url + "/x.png", named.url + "/x.png"])
        assert [bool(result) for result in asked.json["results"]] == [False, True]
        assert (len(inner.heads), len(named.heads)) == (0, 1)


# The time of others


def post(client: Any, body: Any) -> Any:
    connection = client.connect()
    connection.request("POST", "/predict", json.dumps(body), {"Content-Type": "application/json"})
    return connection


@pytest.mark.parametrize("hosts", [1, 20])
def test_slow_hosts_do_not_delay_another_annotators_image(start: Any, config: str, png: bytes, hosts: int) -> None:
    client = start(fetchers=1)
    with ExitStack() as stack:
        slow = [stack.enter_context(HostileHost(drips_headers)) for _ in range(hosts)]
        fast = stack.enter_context(HostileHost(answers(png)))
        waiting = []
        for number in range(20):
            address = slow[number % hosts].url + f"/{number}.png"
            body = {"tasks": [{"id": number, "data": {"image": address}}], "label_config": config, "project": "5.1"}
            waiting.append(post(client, body))
        assert all(host.asked.acquire(timeout=30) for host in slow[:16])
        assert [bool(result) for result in client.predict([fast.url + "/x.png"]).json["results"]] == [True]
        for connection in waiting:
            connection.close()


@pytest.mark.parametrize("behaviour", [silent, drips_headers, drips_body], ids=lambda one: one.__name__)
def test_a_download_ends_when_its_client_has_gone(start: Any, config: str, behaviour: Any) -> None:
    client = start()
    with HostileHost(behaviour) as host:
        body = {"tasks": [{"id": 1, "data": {"image": host.url + "/x"}}], "label_config": config, "project": "5.1"}
        connection = post(client, body)
        assert host.asked.acquire(timeout=30)
        assert connection.getresponse().status == 200
        connection.close()
        assert behaviour is silent or host.ended.acquire(timeout=30)
        assert within(30, lambda: not client.app.server.pipeline._single._running)


SERVER = """
import sys
from pathlib import Path
from maskloop_backend.serving.app import create_app
from maskloop_backend.serving.models import FixedSource
from maskloop_backend.serving.server import serve
from maskloop_backend.serving.settings import Settings
from maskloop_backend.serving import logs
from maskloop_converters.samples import LabelSet

class Model:
    version = "fcn32s-small-20261122-00000001"
    labels = LabelSet.from_names(["road", "car"])
    def predict(self, images):
        raise RuntimeError

settings = Settings(home=Path(sys.argv[1]), port=0, grace=0.2)
logs.configure()
serve(create_app(FixedSource(Model()), settings), settings)
"""


def test_downloads_do_not_hold_a_process_that_was_told_to_stop(tmp_path: Path, config: str) -> None:
    with HostileHost(drips_headers) as host:
        process = subprocess.Popen([sys.executable, "-c", SERVER, str(tmp_path)], stderr=subprocess.PIPE, text=True)
        try:
            assert process.stderr is not None
            line = next(line for line in process.stderr if " listening " in line)
            port = int(line.partition("url=")[2].split()[0].rpartition(":")[2])
            with ThreadPoolExecutor(4) as pool:

                def ask(number: int) -> None:
                    import http.client

                    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
                    task = {"id": number, "data": {"image": host.url + f"/{number}"}}
                    body = {"tasks": [task], "label_config": config, "project": "5.1"}
                    connection.request("POST", "/predict", json.dumps(body), {"Content-Type": "application/json"})
                    try:
                        connection.getresponse().read()
                    except (OSError, http.client.HTTPException):
                        pass
                    finally:
                        connection.close()

                asked = [pool.submit(ask, number) for number in range(4)]
                for _ in asked:
                    assert host.asked.acquire(timeout=60)
                process.send_signal(signal.SIGTERM)
                assert process.wait(60) == 0
        finally:
            process.kill()
            process.wait()
            assert process.stderr is not None
            process.stderr.close()


class Clock:
    """Downloads that end when they are told to."""

    def __init__(self) -> None:
        self.began: list[str] = []
        self.changed = threading.Condition()

    def download(self, name: str, gate: threading.Event, exchange: Exchange) -> str:
        with self.changed:
            self.began.append(name)
            self.changed.notify_all()
        while not gate.wait(0.01):
            exchange.check()
        return name

    def wait(self, *names: str) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: sorted(self.began) == sorted(names), 30), self.began


def test_a_lane_begins_few_downloads_at_once_and_others_go_on() -> None:
    lanes, clock, gate = Lanes(width=2, places=100, fair=1000), Clock(), threading.Event()

    def submit(lane: str, name: str) -> Any:
        exchange = Exchange(60, 1)
        return lanes.submit(lane, exchange, lambda: clock.download(name, gate, exchange), str.upper)

    promises = [submit("slow", f"s{number}") for number in range(4)]
    clock.wait("s0", "s1")
    other = submit("fast", "f")
    clock.wait("s0", "s1", "f")
    assert promises[3].cancel()
    gate.set()
    assert [promise.result(30) for promise in [*promises[:3], other]] == ["S0", "S1", "S2", "F"]
    assert "s3" not in clock.began
    lanes.close()


def test_downloads_that_last_no_longer_count_in_their_lane() -> None:
    lanes, clock, gate = Lanes(width=1, places=100, fair=0), Clock(), threading.Event()
    for name in ("a", "b", "c"):
        exchange = Exchange(60, 1)
        lanes.submit("host", exchange, lambda name=name, exchange=exchange: clock.download(name, gate, exchange), str)
    clock.wait("a", "b", "c")
    gate.set()
    lanes.close()


def test_when_all_places_are_taken_the_one_that_lasts_longest_goes() -> None:
    lanes, clock, gate = Lanes(width=1, places=2, own=lambda lane: lane == "own", fair=0), Clock(), threading.Event()

    def submit(lane: str) -> Any:
        exchange = Exchange(60, 1)
        return lanes.submit(lane, exchange, lambda: clock.download(lane, gate, exchange), str)

    first, second = submit("a"), submit("b")
    clock.wait("a", "b")
    own = submit("own")
    clock.wait("a", "b", "own")
    third = submit("c")
    clock.wait("a", "b", "own", "c")
    with pytest.raises(Exception, match="its host is too slow while others wait"):
        first.result(30)
    gate.set()
    assert [promise.result(30) for promise in (second, own, third)] == ["b", "own", "c"]
    lanes.close()


def test_a_redirect_goes_on_in_the_lane_of_its_target() -> None:
    lanes, gate = Lanes(width=1, places=10, fair=1000), threading.Event()
    slow = lanes.submit("slow", Exchange(60, 1), lambda: gate.wait(30), str)
    led = lanes.submit("own", Exchange(60, 1), lambda: Onward("slow", lambda: "there"), str)
    # the lane it came from is free, the one that it was led to is not
    assert lanes.submit("own", Exchange(60, 1), lambda: "here", str).result(30) == "here"
    assert not led.done()
    gate.set()
    assert (led.result(30), slow.result(30)) == ("there", "True")
    lanes.close()


def test_closing_calls_off_what_runs_and_cancels_what_waits() -> None:
    lanes, clock = Lanes(width=1, places=10, fair=1000), Clock()
    exchange = Exchange(60, 1)
    running = lanes.submit("a", exchange, lambda: clock.download("a", threading.Event(), exchange), str)
    clock.wait("a")
    waiting = lanes.submit("a", Exchange(60, 1), lambda: "never", str)
    lanes.close()
    with pytest.raises(Exception, match="the server is stopping"):
        running.result(30)
    assert waiting.cancelled()
    with pytest.raises(RuntimeError, match="stopping"):
        lanes.submit("a", Exchange(60, 1), lambda: "", str)


# Memory


def test_images_take_no_more_memory_than_there_is_and_all_are_answered(
    start: Any, brightness: Any, image_uri: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    most: list[int] = []
    note = ImageMemory._note
    monkeypatch.setattr(ImageMemory, "_note", lambda self: (most.append(self._used), note(self))[1])
    segmenter = brightness()
    segmenter.gate.clear()
    # each takes 200 x 200 x 7 bytes to decode and 5 a pixel until it is answered
    client = start(segmenter, image_bytes=700_000)
    images = [image_uri(200, 200, bright) for bright in range(1, 31)]
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(client.predict, images)
        assert segmenter.called.acquire(timeout=60)
        assert within(30, lambda: bool(client.app.server.pipeline._memory._waiters))
        segmenter.gate.set()
        results = answer.result(60).json["results"]
    assert all(result["result"] for result in results)
    assert 400_000 < max(most) <= 700_000
    assert client.app.server.pipeline._memory.used == 0
    assert client.metric("maskloop_image_bytes") == 0


def test_sixteen_bit_images_are_counted_before_they_are_decoded(start: Any) -> None:
    out = io.BytesIO()
    Image.fromarray(np.zeros((500, 500), np.uint16)).save(out, "TIFF", compression="tiff_deflate")
    client = start(image_bytes=64 << 20)
    uri = "data:image/tiff;base64," + b64encode(out.getvalue()).decode()
    assert len(out.getvalue()) < 5000
    assert client.predict([uri]).json["results"][0]["result"]
    assert client.app.server.pipeline._memory.used == 0


def test_who_does_not_get_memory_in_time_is_refused_with_the_reason() -> None:
    memory = ImageMemory(100 << 20, 8)
    first = memory.hold(0, 30)
    with first.room(90 << 20):
        pass
    with pytest.raises(ImageError, match=r"busy with other images: this one needs 20 MiB, and 90 of 100 MiB are taken"):
        memory.hold(0, 0).room(20 << 20).__enter__()
    first.release()
    with memory.hold(0, 0).room(20 << 20):
        assert memory.used == 20 << 20


def test_an_image_larger_than_the_budget_is_let_in_alone() -> None:
    memory = ImageMemory(100, 8)
    with memory.hold(0, 0).room(1000), pytest.raises(ImageError):
        memory.hold(0, 0).room(1).__enter__()


def test_people_go_before_requests_for_many_tasks_and_small_ones_may_pass() -> None:
    memory = ImageMemory(100, 8)
    holding = memory.hold(0, 0)
    with holding.room(60):
        pass
    order: list[str] = []

    def ask(name: str, size: int, priority: int) -> threading.Thread:
        def run() -> None:
            hold = memory.hold(priority, 60)
            with hold.room(size):
                order.append(name)
            hold.release()

        thread = threading.Thread(target=run)
        thread.start()
        assert within(30, lambda: name in order or len(memory._waiters) == len(waiting) + 1)
        return thread

    waiting: list[threading.Thread] = []
    waiting.append(ask("many", 90, 1))
    waiting.append(ask("person", 95, 0))
    ask("small", 10, 1).join(30)
    assert order == ["small"]
    holding.release()
    for thread in waiting:
        thread.join(30)
    assert order == ["small", "person", "many"]


def test_a_wait_for_memory_ends_when_nobody_waits_for_the_image() -> None:
    memory = ImageMemory(100, 8)
    exchange = Exchange(60, 1)
    exchange.stop("nobody waits for it any more")
    with memory.hold(0, 0).room(100), pytest.raises(Exception, match="nobody waits"):
        memory.hold(0, 60, exchange.check).room(50).__enter__()

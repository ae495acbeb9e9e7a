from __future__ import annotations

import gzip
import json
import socket
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from hostile_hosts import (
    Behaviour,
    HostileHost,
    answers,
    bomb,
    drips_body,
    drips_handshake,
    drips_headers,
    floods_processing,
    gzips_nothing,
    processes_for_ever,
    silent,
)
from maskloop_backend.studio.addresses import AddressPolicy
from maskloop_backend.studio.client import StudioClient
from maskloop_backend.studio.errors import ImageError, StudioError
from maskloop_backend.studio.images import ImageFetcher
from maskloop_backend.studio.tokens import TokenAuth
from maskloop_backend.studio.transport import Exchange, LimitedTransport, Traffic

from .conftest import picture
from .studio import LEGACY
from .test_images import jwt

pytestmark = pytest.mark.timeout(60)


def fetch(address: str, *, seconds: float = 0.3, **options: Any) -> Any:
    fetcher = ImageFetcher(None, None, seconds=seconds, **options)
    return fetcher.read({"id": 7, "data": {"image": address}}, "image")


@pytest.mark.parametrize(
    "behaviour", [silent, drips_headers, drips_body, processes_for_ever, gzips_nothing], ids=lambda one: one.__name__
)
def test_a_fetch_ends_by_the_clock_whatever_comes(behaviour: Behaviour) -> None:
    with HostileHost(behaviour) as host, pytest.raises(ImageError) as error:
        fetch(host.url + "/x.png")
    assert "the download took more than 0 s" in error.value.logged
    assert "took" not in str(error.value), "an annotator does not learn that something answers there"


def test_a_tls_handshake_ends_by_the_clock() -> None:
    with HostileHost(drips_handshake, reads_request=False) as host, pytest.raises(ImageError) as error:
        fetch(f"https://127.0.0.1:{host.port}/x.png")
    assert "the download took more than 0 s" in error.value.logged


def test_redirects_share_one_deadline() -> None:
    with HostileHost(silent) as slow:
        there = answers(b"", f"Location: {slow.url}/x.png", status="302 Found")
        with HostileHost(there) as host, pytest.raises(ImageError) as error:
            fetch(host.url + "/x.png")
    assert "took more than" in error.value.logged


def test_headers_without_end_are_too_large() -> None:
    with HostileHost(floods_processing) as host, pytest.raises(ImageError) as error:
        fetch(host.url + "/x.png", seconds=60, max_bytes=1000)
    assert "larger than the limit" in error.value.logged


@pytest.mark.parametrize(
    ("behaviour", "message"),
    [
        (bomb(1), "larger than the limit of 1 MiB"),
        (bomb(2), "encoded 2 times over"),
        (answers(picture(), "Content-Encoding: br"), "not asked for"),
        (answers(b"no gzip", "Content-Encoding: gzip"), "incorrect header check"),
    ],
    ids=["gzip", "gzip-gzip", "br", "damaged"],
)
def test_bodies_are_bounded_by_what_they_become(behaviour: Behaviour, message: str) -> None:
    with HostileHost(behaviour) as host, pytest.raises(ImageError) as error:
        fetch(host.url + "/x.png", seconds=60, max_bytes=1 << 20)
    assert message in error.value.logged
    assert "Accept-Encoding: identity" in host.heads[0]


def test_a_body_that_was_stored_compressed_is_read_all_the_same() -> None:
    with HostileHost(answers(gzip.compress(picture()), "Content-Encoding: gzip")) as host:
        assert fetch(host.url + "/x.png", seconds=60) == picture()


@pytest.mark.parametrize("behaviour", [silent, drips_headers, drips_body], ids=lambda one: one.__name__)
def test_a_fetch_that_nobody_waits_for_is_called_off(behaviour: Behaviour) -> None:
    with HostileHost(behaviour) as host:
        fetcher = ImageFetcher(None, None)
        exchange = fetcher.exchange()
        source = fetcher.source({"id": 7, "data": {"image": host.url + "/x.png"}}, "image")
        threading.Thread(target=lambda: (host.asked.acquire(), exchange.stop("gone")), daemon=True).start()
        with pytest.raises(ImageError) as error:
            fetcher.step(source, exchange)
    assert "gone" in error.value.logged


def test_above_the_limit_of_all_the_largest_is_called_off() -> None:
    traffic = Traffic(1000)
    large, small = (Exchange(60, 10_000, traffic=traffic) for _ in range(2))
    large.received(700)
    small.received(200)
    small.received(200)
    assert large.stopped == "too many large images are being fetched at once; try again in a moment"
    assert small.stopped is None
    small.close()
    Exchange(60, 10_000, traffic=traffic).received(900)


def test_connections_are_used_again_and_belong_to_who_uses_them() -> None:
    body = picture()
    served = threading.Semaphore(0)

    def twice(connection: Any) -> None:
        for _ in range(2):
            connection.send(f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
            served.release()
            connection.socket.recv(65536)

    with HostileHost(twice) as host:
        fetcher = ImageFetcher(None, None)
        task = {"id": 7, "data": {"image": host.url + "/x.png"}}
        first = fetcher.exchange()
        assert fetcher.step(fetcher.source(task, "image"), first) == body
        first.stop("it is over already, so this must not reach the next one")
        assert fetcher.step(fetcher.source(task, "image"), fetcher.exchange()) == body
        assert len(host.heads) == 1, "the second request went through the first connection"
        fetcher._transport.close()


@pytest.mark.parametrize("behaviour", [drips_headers, processes_for_ever], ids=lambda one: one.__name__)
def test_a_token_is_not_waited_for_beyond_the_deadline(behaviour: Behaviour, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("maskloop_backend.studio.tokens.RENEW_SECONDS", 0.3)
    with HostileHost(behaviour) as host, pytest.raises(StudioError, match="took more than"):
        TokenAuth(host.url, jwt(token_type="refresh")).header()


def test_label_studios_answers_end_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("maskloop_backend.studio.client._CALL_SECONDS", 0.3)
    with HostileHost(drips_body) as host, StudioClient(host.url, LEGACY) as client, pytest.raises(StudioError):
        client.version()


# Addresses


def answer_from(url: str, policy: AddressPolicy) -> int:
    transport = LimitedTransport(policy)
    with httpx.Client(transport=transport) as client:
        return client.get(url).status_code


@pytest.mark.parametrize(
    ("allow", "deny", "host", "allowed"),
    [
        ([], False, "10.0.0.1", True),
        ([], True, "10.0.0.1", False),
        ([], True, "127.0.0.1", False),
        ([], True, "169.254.169.254", False),
        ([], True, "100.64.0.1", False),
        ([], True, "0.0.0.0", False),
        ([], True, "224.0.0.1", False),
        ([], True, "::1", False),
        ([], True, "::ffff:127.0.0.1", False),
        ([], True, "64:ff9b::7f00:1", False),
        ([], True, "2002:7f00:1::", False),
        ([], True, "fd00::1", False),
        ([], True, "fe80::1", False),
        ([], True, "93.184.215.14", True),
        ([], True, "2606:2800:21f:cb07:6820:80da:af6b:8b2c", True),
        (["10.0.0.0/24"], True, "10.0.0.1", True),
        (["10.0.0.0/24"], True, "10.0.1.1", False),
        (["10.0.0.0/24"], True, "93.184.215.14", False),
        (["10.0.0.0/24,*"], True, "93.184.215.14", True),
        (["10.0.0.0/24 *"], True, "10.0.0.9", True),
        (["*"], True, "10.0.0.9", False),
        (["*"], False, "10.0.0.9", True),
        (["10.0.0.9:9000"], True, "10.0.0.9", True),
        (["10.0.0.9:9001"], True, "10.0.0.9", False),
    ],
)
def test_policies(allow: list[str], deny: bool, host: str, allowed: bool) -> None:
    policy = AddressPolicy.parse(allow, deny)
    if allowed:
        assert policy.resolve(host, 9000) == [host]
    else:
        with pytest.raises(StudioError, match="not among the hosts"):
            policy.resolve(host, 9000)


def test_names_fit_by_pattern_and_the_operators_own_address_always() -> None:
    policy = AddressPolicy.parse(["*.example.com", "MinIO:9000"], True, "http://LocalHost:8080/label")
    ten = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("10.0.0.1", 0))]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", lambda *_, **__: ten)
        for host, port in (("a.example.com", 443), ("minio", 9000), ("127.0.0.1", 8080)):
            assert policy.resolve(host, port) == ["10.0.0.1"]
        for host, port in (("example.com.evil.org", 443), ("minio", 22), ("127.0.0.1", 8081)):
            with pytest.raises(StudioError):
                policy.resolve(host, port)


@pytest.mark.parametrize("pattern", ["http://a", "a/b", "10.0.0.0/99"])
def test_patterns_that_are_none_say_so(pattern: str) -> None:
    with pytest.raises(StudioError, match="--allow-hosts: expected a host"):
        AddressPolicy.parse([pattern], False)


def test_the_address_that_was_checked_is_the_one_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that is public when it is checked and private when it is connected to (DNS rebinding)."""
    asked: list[str] = []
    real = socket.getaddrinfo

    def rebinding(host: Any, port: Any, *rest: Any, **more: Any) -> Any:
        if host == "rebinding.example":
            asked.append(host)
            number = "93.184.215.14" if len(asked) == 1 else "127.0.0.1"
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (number, port))]
        return real(host, port, *rest, **more)

    connected: list[Any] = []

    def connect(address: Any, *_: Any, **__: Any) -> Any:
        connected.append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    monkeypatch.setattr(socket, "create_connection", connect)
    with pytest.raises(httpx.ConnectError):
        answer_from("http://rebinding.example:8000/x.png", AddressPolicy(deny_private=True))
    assert connected == [("93.184.215.14", 8000)]


def test_redirects_are_checked_like_first_requests() -> None:
    with HostileHost(answers(picture())) as inner:
        there = answers(b"", f"Location: {inner.url}/x.png", status="302 Found")
        with HostileHost(there) as host:
            policy = AddressPolicy.parse([f"127.0.0.1:{host.port}"], True)
            with pytest.raises(ImageError, match="no image comes from there") as error:
                fetch(host.url + "/x.png", seconds=60, policy=policy)
        assert inner.heads == []
        assert f"localhost:{inner.port}" in error.value.logged or f"127.0.0.1:{inner.port}" in error.value.logged


def test_reasons_do_not_tell_which_ports_are_open() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        shut = closed.getsockname()[1]
    said = set()
    for behaviour in (answers(b"SSH-2.0"), answers(b"", status="404 Not Found"), drips_body):
        with HostileHost(behaviour) as host, pytest.raises(ImageError) as error:
            ImageFetcher(None, None, seconds=0.3).fetch({"id": 7, "data": {"image": host.url + "/x"}}, "image")
        said.add(str(error.value).replace(str(host.port), "PORT"))
    with pytest.raises(ImageError) as error:
        fetch(f"http://127.0.0.1:{shut}/x")
    said.add(str(error.value).replace(str(shut), "PORT"))
    assert len(said) == 1, said


def test_nothing_but_the_request_is_sent(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """Neither cookies of an earlier answer nor what stands in ~/.netrc."""
    (tmp_path / ".netrc").write_text("default login me password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    with HostileHost(answers(picture(), "Set-Cookie: a=b")) as host:
        fetcher = ImageFetcher(None, None)
        for _ in range(2):
            fetcher.read({"id": 7, "data": {"image": host.url + "/x.png"}}, "image")
    assert len(host.heads) == 2
    for head in host.heads:
        assert "cookie" not in head.lower()
        assert "authorization" not in head.lower()


def test_options_of_a_policy_ask_for_the_same() -> None:
    policy = AddressPolicy.parse(["minio:9000", "*"], True, "http://a")
    arguments = policy.arguments()
    assert arguments == ["--allow-hosts", "minio:9000,*", "--deny-private"]
    assert AddressPolicy.parse([arguments[1]], True, "http://a") == policy
    assert json.dumps(AddressPolicy().arguments()) == '["--no-deny-private"]'


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[HostileHost]:
    """A proxy in the environment that gives a picture for every address."""
    with HostileHost(answers(picture())) as host:
        for name in ("http_proxy", "HTTP_PROXY"):
            monkeypatch.setenv(name, host.url)
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.setenv(name, "inner.example")
        yield host


def test_the_proxy_of_the_environment_is_used(proxy: HostileHost) -> None:
    assert fetch("http://images.example/x.png", seconds=60) == picture()
    assert proxy.heads[0].startswith("GET http://images.example/x.png ")
    with pytest.raises(ImageError):
        fetch("http://inner.example/x.png")
    assert len(proxy.heads) == 1


def test_no_proxy_is_used_where_hosts_are_refused_for_it_resolves_names_itself(proxy: HostileHost) -> None:
    with pytest.raises(ImageError):
        fetch("http://images.example/x.png", policy=AddressPolicy(deny_private=True))
    assert proxy.heads == []


def test_a_download_through_a_proxy_ends_by_the_clock(proxy: HostileHost) -> None:
    proxy.behaviour = drips_headers
    with pytest.raises(ImageError) as error:
        fetch("http://images.example/x.png")
    assert "took more than" in error.value.logged

from __future__ import annotations

import base64
import io
import json
import time
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from maskloop_backend.studio.errors import ImageError, StudioAuthError, public_url
from maskloop_backend.studio.images import ImageFetcher, decode
from maskloop_backend.studio.tokens import TokenAuth, token_kind

from .conftest import Web, picture

LEGACY = "0123456789abcdef0123456789abcdef01234567"


def jwt(**claims: Any) -> str:
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in ({}, claims)]
    return f"{parts[0]}.{parts[1]}.signature"


def fetch(web: Web, address: str, token: str | None = LEGACY, **limits: int) -> np.ndarray:
    fetcher = ImageFetcher(web.url, token, **limits)
    return fetcher.fetch({"id": 7, "data": {"image": address}}, "image").array


@pytest.mark.parametrize("path", ["/data/upload/5/4fad-img%20%C3%BC.png", "/data/local-files/?d=ds/a%20b%2B%C3%BC.jpg"])
def test_files_of_label_studio_are_fetched_with_the_token(web: Web, path: str) -> None:
    web.put(path, picture())
    assert fetch(web, path).shape == (12, 20, 3)
    assert web.seen == [("GET", path, f"Token {LEGACY}")]


def test_other_hosts_never_see_the_token(web: Web) -> None:
    web.put("/a.png", picture())
    fetcher = ImageFetcher("http://studio.example", LEGACY)
    fetcher.fetch({"id": 1, "data": {"image": web.url + "/a.png"}}, "image")
    assert web.seen[0][2] is None


def test_cloud_addresses_go_through_label_studios_presign(web: Web) -> None:
    uri = "s3://bucket/ümlaut 1.png"
    path = f"/tasks/7/presign/?fileuri={base64.urlsafe_b64encode(uri.encode()).decode()}"
    web.put("/signed?sig=1", picture())
    web.put(path, b"", 303, Location="/signed?sig=1")
    assert fetch(web, uri).shape == (12, 20, 3)
    assert [seen[1] for seen in web.seen] == [path, "/signed?sig=1"]


@pytest.mark.parametrize("address", ["/label/data/upload/1/a.png", "/data/upload/1/a.png"])
def test_a_label_studio_under_a_path_prefix(web: Web, address: str) -> None:
    web.put("/label/data/upload/1/a.png", picture())
    fetcher = ImageFetcher(web.url + "/label/", LEGACY)
    assert fetcher.fetch({"id": 1, "data": {"image": address}}, "image").array.shape == (12, 20, 3)


def test_data_uris(web: Web) -> None:
    uri = "data:image/png;base64," + base64.b64encode(picture()).decode()
    assert fetch(web, uri).shape == (12, 20, 3)
    assert web.seen == []


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_as_browsers_do(orientation: int) -> None:
    data = picture(kind="JPEG", orientation=orientation)
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
    array = decode(data, "here")
    assert array.shape[:2] == ((12, 20) if orientation < 5 else (20, 12))
    np.testing.assert_array_equal(array, np.asarray(expected))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"])
def test_every_mode_becomes_rgb(mode: str) -> None:
    out = io.BytesIO()
    if mode == "I;16":
        image = Image.fromarray((np.arange(240).reshape(12, 20) * 273).astype(np.uint16))
    else:
        image = Image.open(io.BytesIO(picture())).convert(mode)
    image.save(out, "TIFF" if mode == "CMYK" else "PNG")
    array = decode(out.getvalue(), "here")
    assert (array.shape, array.dtype) == ((12, 20, 3), np.uint8)
    if mode == "I;16":
        np.testing.assert_array_equal(array[..., 0].ravel(), np.arange(240) * 273 >> 8)


@pytest.mark.parametrize(
    ("status", "message"),
    [(401, "wants a valid token"), (403, "forbidden"), (404, "no such file"), (500, "HTTP 500"), (204, "HTTP 204")],
)
def test_http_errors_name_task_address_and_reason(web: Web, status: int, message: str) -> None:
    web.put("/data/upload/x.png?secret=1", b"", status)
    with pytest.raises(ImageError, match=message) as error:
        fetch(web, "/data/upload/x.png?secret=1")
    assert str(error.value).startswith("task 7, /data/upload/x.png: HTTP")
    assert "secret" not in str(error.value)


def huge() -> bytes:
    """A PNG that claims 40,000 x 40,000 pixels."""
    data = bytearray(picture())
    data[16:24] = (40_000).to_bytes(4, "big") * 2
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    return bytes(data)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "empty"),
        (b"<html>login</html>", "18 bytes that are not an image"),
        (picture()[:60], "damaged|not an image"),
        (picture(kind="JPEG", height=200, width=200)[:900], "damaged"),
        (huge(), "limit of 64 megapixels"),
    ],
    ids=["empty", "html", "truncated-png", "truncated-jpeg", "40000x40000"],
)
@pytest.mark.filterwarnings("default::PIL.Image.DecompressionBombWarning")
def test_unreadable_images(web: Web, body: bytes, message: str) -> None:
    web.put("/data/upload/x.png", body)
    with pytest.raises(ImageError, match=message):
        fetch(web, "/data/upload/x.png")


def test_limits_hold_before_anything_is_decoded(web: Web) -> None:
    web.put("/data/upload/x.png", picture())
    with pytest.raises(ImageError, match="over the limit"):
        fetch(web, "/data/upload/x.png", max_pixels=100)
    web.put("/data/upload/x.png", picture(400, 400, kind="BMP"))
    with pytest.raises(ImageError, match="larger than the limit"):
        fetch(web, "/data/upload/x.png", max_bytes=1000)


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ({"id": 7, "data": {}}, "task 7: its data has no image address under the key 'image'"),
        ({"id": 7}, "no image address"),
        ({"id": 7, "data": {"image": ["a"]}}, "no image address"),
        ({"id": 7, "data": {"image": "ftp://x/y.png"}}, "expected an address that starts with"),
        ({"id": 7, "data": {"image": "file:///etc/passwd"}}, "expected an address that starts with"),
        ({"id": 7, "data": {"image": "http://127.0.0.1:1/x.png"}}, "no image comes from there"),
        ({"id": 7, "data": {"image": "data:image/png;base64,%%%"}}, "malformed base64"),
        ({"id": 7, "data": {"image": "http://h:99999/x"}}, "malformed address"),
        ({"id": 7, "data": {"image": "http:///x"}}, "malformed address"),
        ({"id": 7, "data": {"image": "http://a\nb/x"}}, "malformed address|no image comes"),
        ({"id": 7, "data": {"image": "http://" + "a" * 70 + ".example/x"}}, "no image comes|malformed address"),
        ({"id": 7, "data": {"image": "http://[::1/x"}}, "malformed address"),
    ],
)
def test_bad_tasks(web: Web, task: dict[str, Any], message: str) -> None:
    with pytest.raises(ImageError, match=message):
        ImageFetcher(web.url, LEGACY).fetch(task, "image")


def test_an_unknown_label_studio_is_named_with_the_fix() -> None:
    with pytest.raises(ImageError, match="--studio-url"):
        ImageFetcher(None, None).fetch({"id": 1, "data": {"image": "/data/upload/a.png"}}, "image")


def test_redirects_end(web: Web) -> None:
    web.put("/data/loop", b"", 302, Location="/data/loop")
    with pytest.raises(ImageError, match="more than 5 redirects"):
        fetch(web, "/data/loop")


def test_kinds_of_tokens() -> None:
    assert token_kind(LEGACY) == "legacy"
    assert token_kind(jwt(token_type="refresh")) == "personal access"
    assert token_kind(jwt(token_type="access")) == "access"


def test_a_personal_access_token_is_exchanged_once_and_renewed_before_its_end(
    web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    first, second = jwt(token_type="access", iat=0, exp=300, n=1), jwt(token_type="access", iat=0, exp=300, n=2)
    web.put("/api/token/refresh/", json.dumps({"access": first}).encode())
    auth = TokenAuth(web.url, jwt(token_type="refresh"))
    assert auth.header() == auth.header() == f"Bearer {first}"
    assert len(web.seen) == 1
    web.put("/api/token/refresh/", json.dumps({"access": second}).encode())
    now += 200
    assert auth.header() == f"Bearer {first}"
    now += 60
    assert auth.header() == f"Bearer {second}"


def test_a_refused_personal_access_token_says_so_without_showing_it(web: Web) -> None:
    web.put("/api/token/refresh/", b"{}", 401)
    token = jwt(token_type="refresh")
    with pytest.raises(StudioAuthError, match="personal access token") as error:
        TokenAuth(web.url, token).header()
    assert token not in str(error.value)


def test_public_urls_hide_what_is_secret() -> None:
    assert public_url("https://user:pw@host:8080/a/b.png?X-Amz-Signature=1#f") == "https://host:8080/a/b.png"
    assert public_url("data:image/png;base64,AAAA") == "data:image/png;base64,..."

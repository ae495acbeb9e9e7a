"""Which requests for images carry the token of Label Studio."""

from __future__ import annotations

from typing import Any

import pytest

from hostile_hosts import HostileHost, answers
from maskloop_backend.studio.errors import ImageError
from maskloop_backend.studio.images import ImageFetcher

from .conftest import Web, picture

# built, so that no scanner takes it for a real one
TOKEN = "c0ffee" * 6 + "c0ff"


@pytest.mark.parametrize(
    ("address", "sent"),
    [
        ("/data/upload/1/a.png", True),
        ("/data/local-files/?d=../a.png", True),
        ("/storage-data/uploaded/?filepath=upload/1/a.png", True),
        ("/tasks/3/presign/?fileuri=czM", True),
        ("/tasks/3/resolve/?fileuri=czM", True),
        ("/projects/3/resolve/?fileuri=czM", True),
        ("/api/users/", False),
        ("/api/projects/1/export?exportType=JSON", False),
        ("/user/logout", False),
        ("/data/../api/users/", False),
        ("/data/%2e%2e/api/users/", False),
        ("/data/%252e%252e/api/users/", False),
        ("/data/..%2fapi/users/", False),
        ("/data//../api/users/", False),
        ("/data/x\\..\\..\\api/users/", False),
        ("/tasks/3/presign/../../../api/users/", False),
        ("/tasks/x/presign/", False),
        ("//data/x", False),
    ],
)
@pytest.mark.parametrize("absolute", [False, True])
def test_the_token_is_sent_for_images_only(web: Web, address: str, sent: bool, absolute: bool) -> None:
    fetcher = ImageFetcher(web.url, TOKEN)
    with pytest.raises(ImageError):
        fetcher.read({"id": 7, "data": {"image": web.url + address if absolute else address}}, "image")
    assert [token for _, _, token in web.seen] == [f"Token {TOKEN}" if sent else None]


@pytest.mark.parametrize("number", ["../../api/users/?", "1/../..", None, True, 1.5, [1], "1" * 30])
def test_a_tasks_id_is_no_way_to_other_paths(web: Web, number: Any) -> None:
    with pytest.raises(ImageError, match="no number"):
        ImageFetcher(web.url, TOKEN).read({"id": number, "data": {"image": "s3://b/a.png"}}, "image")
    assert web.seen == []


@pytest.mark.parametrize("target", ["/api/users/", "{other}/x.png"])
def test_redirects_lose_the_token(web: Web, target: str) -> None:
    with HostileHost(answers(picture())) as other:
        web.put("/data/x.png", b"", 302, Location=target.format(other=other.url))
        web.put("/api/users/", picture())
        fetcher = ImageFetcher(web.url, TOKEN)
        assert fetcher.read({"id": 7, "data": {"image": "/data/x.png"}}, "image") == picture()
        assert web.seen[0][2] == f"Token {TOKEN}"
        assert TOKEN not in "".join(other.heads) + str(web.seen[1:])


def test_localhost_is_this_machines_label_studio_under_its_other_name(web: Web) -> None:
    web.put("/data/x.png", picture())
    fetcher = ImageFetcher(web.url, TOKEN)
    other_name = web.url.replace("127.0.0.1", "localhost") + "/data/x.png"
    assert fetcher.read({"id": 7, "data": {"image": other_name}}, "image") == picture()
    assert web.seen == [("GET", "/data/x.png", f"Token {TOKEN}")]


def test_a_cloud_address_without_a_storage_says_so(web: Web) -> None:
    with pytest.raises(ImageError, match="in a storage of this project; connect the storage"):
        ImageFetcher(web.url, TOKEN).read({"id": 7, "data": {"image": "s3://b/a.png"}}, "image")


def test_a_local_files_name_is_told(web: Web) -> None:
    with pytest.raises(ImageError, match=r"/data/local-files/\?d=ds/a.png: HTTP 404"):
        ImageFetcher(web.url, TOKEN).read({"id": 7, "data": {"image": "/data/local-files/?d=ds/a.png&k=s"}}, "image")

"""The page that people look at: strangers, other sites' forms, hostile names."""

from __future__ import annotations

import re
from urllib.parse import urlencode

from . import attack, hold
from .rig import CONFIG, Rig, Server, data_uri, png

_BROWSER = {"Accept": "text/html"}
_FORM = {"Content-Type": "application/x-www-form-urlencoded"}
_NAMES = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'-alert(1)-'",
    "{{ 7 * 191 }}",
    "</pre></details><form>",
    "\u202e\0x",
)


def _page(server: Server) -> str:
    answer = server.request("GET", "/", headers=_BROWSER)
    hold(answer.status == 200, f"the page: {answer.status} {answer.reason}")
    return answer.body.decode()


def _waiting_job(server: Server) -> None:
    answer = server.request("POST", "/webhook", {"action": "START_TRAINING", "project": {"id": 5}})
    hold(answer.status == 201, f"no training was enqueued: {answer.reason}")


@attack()
def page_of_strangers(rig: Rig) -> str:
    """Ask for every part of the page without credentials, and look at what its answers allow."""
    server = rig.serve(user=("anna", "right"))
    known, server.authorization = server.authorization, None
    parts = (
        "/",
        "/page/running",
        "/page/style.css",
        "/page/page.js",
        "/page/pictures/1/overlay",
        "/page/pictures/1/confidence",
    )
    for path in parts:
        answer = server.request("GET", path, headers=_BROWSER)
        hold(answer.status == 401, f"GET {path}: {answer.status}")
    for path in ("/page/rollback", "/page/cancel"):
        answer = server.request("POST", path, b"job=1", _FORM)
        hold(answer.status == 401, f"POST {path}: {answer.status}")
    server.authorization = known
    page = _page(server)
    hold(not re.search(r"""(src|href|action)=["']?(https?:)?//""", page), "the page names another host")
    hold(not re.search(r"<script(?! src=)|\son\w+=|\sstyle=", page), "the page has inline scripts or styles")
    return f"{len(parts) + 2} parts, none without credentials; nothing inline, no other host"


@attack()
def forged_forms(rig: Rig) -> str:
    """Cancel a waiting training with forms that the page did not make for it."""
    server = rig.serve("--training", user=("anna", "right"))
    _waiting_job(server)
    (token,) = re.findall(r'name="token" value="(\w+)"><input type="hidden" name="job"', _page(server))
    forms: list[tuple[dict[str, str], dict[str, str]]] = [
        ({}, {"job": "1"}),
        ({}, {"job": "1", "token": ""}),
        ({}, {"job": "1", "token": "0" * 64}),
        ({}, {"job": "01", "token": token}),
        ({"Sec-Fetch-Site": "cross-site"}, {"job": "1", "token": token}),
        ({"Sec-Fetch-Site": "same-site"}, {"job": "1", "token": token}),
        ({"Origin": "https://evil.example"}, {"job": "1", "token": token}),
        ({"Content-Type": "text/plain"}, {"job": "1", "token": token}),
    ]
    for headers, fields in forms:
        answer = server.request("POST", "/page/cancel", urlencode(fields).encode(), _FORM | headers)
        hold(answer.status in (403, 415), f"{headers} {list(fields)}: {answer.status} {answer.reason}")
    hold(server.request("GET", "/jobs/1").json["state"] == "queued", "the training was cancelled")
    answer = server.request("POST", "/page/cancel", urlencode({"job": "1", "token": token}).encode(), _FORM)
    hold(answer.status == 303, f"the page's own form: {answer.status} {answer.reason}")
    return f"{len(forms)} forged forms refused, the page's own one works"


@attack()
def hostile_names(rig: Rig) -> str:
    """Give tasks, projects and labels names that are HTML, scripts or templates, and look at the page."""
    server = rig.serve(user=("anna", "right"))
    for number, name in enumerate(_NAMES):
        task = {"id": name, "data": {"image": data_uri(png(64, 64, number))}}
        body = {"tasks": [task], "project": f"{name[:30]}", "label_config": CONFIG}
        hold(server.request("POST", "/predict", body).status == 200, f"no prediction for {name!r}")
        item = {"id": "r", "type": "rectanglelabels", "from_name": "t", "to_name": "i", "origin": "manual"}
        value = {"x": 1, "y": 1, "width": 5, "height": 5, "rectanglelabels": [f"{name}label"]}
        result = [{**item, "original_width": 64, "original_height": 64, "value": value}]
        prediction = {"id": 1, "model_version": name, "result": []}
        annotation = {"id": number, "task": number, "result": result, "prediction": prediction}
        event = {"action": "ANNOTATION_CREATED", "annotation": annotation, "project": {"id": 5}, "task": {"id": number}}
        hold(server.request("POST", "/webhook", event).status == 201, f"no event for {name!r}")
    page = _page(server)
    hold(page.count("<script") == 1, "a script of a name is on the page")
    hold("<img src=x" not in page, "an element of a name is on the page")
    hold("1337" not in page, "a template of a name was filled in")
    hold("&lt;script&gt;" in page, "the names are not shown at all")
    hold("label" not in re.sub("label_", "", server.logged()), "a label's name is in the log")
    return f"{len(_NAMES)} names, all of them text"

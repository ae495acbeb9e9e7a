"""The server as a process and its stop."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from maskloop_backend.cli.main import cli
from maskloop_backend.model.bundle import Bundle
from maskloop_backend.model.config import Architecture
from maskloop_backend.model.fcn import build_fcn
from maskloop_backend.registry.store import Registry
from maskloop_backend.serving.auth import Credentials
from maskloop_backend.serving.settings import ServerError
from maskloop_converters.samples import LabelSet


def test_stop_lets_a_running_prediction_finish_and_refuses_new_ones(
    start: Any, brightness: Any, image_uri: Any
) -> None:
    segmenter = brightness()
    segmenter.gate.clear()
    client = start(segmenter)
    with ThreadPoolExecutor(2) as pool:
        running = pool.submit(client.predict, [image_uri()])
        assert segmenter.called.acquire(timeout=30)
        stopping = pool.submit(client.server.stop)
        answer = client.predict([])
        while answer.status == 200:  # the other thread has not begun to stop
            answer = client.predict([])
        assert (answer.status, answer.reason) == (503, "The server is stopping, try again in a moment")
        assert client.request("GET", "/health").status == 200
        segmenter.gate.set()
        assert running.result(30).json["results"][0]["result"]
        stopping.result(30)
    with pytest.raises(ConnectionRefusedError):
        client.request("GET", "/health")


def test_stop_does_not_wait_longer_than_its_grace(start: Any, brightness: Any, image_uri: Any) -> None:
    segmenter = brightness()
    segmenter.gate.clear()
    client = start(segmenter, grace=0.1)
    with ThreadPoolExecutor(2) as pool:
        running = pool.submit(client.predict, [image_uri()])
        assert segmenter.called.acquire(timeout=30)
        stopping = pool.submit(client.server.stop)
        # the connection is cut while the model still stands at its gate
        with pytest.raises(http.client.HTTPException):
            running.result(30)
        assert not segmenter.gate.is_set()
        segmenter.gate.set()
        stopping.result(30)


def test_port_that_is_taken(start: Any) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ServerError, match="choose another --host or --port"):
            start(port=taken.getsockname()[1])


def test_host_that_is_not_there(start: Any) -> None:
    with pytest.raises(ServerError, match=r"cannot listen on 192\.0\.2\.1:0"):
        start(host="192.0.2.1", credentials=Credentials("a", "b"))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with one small, untrained model that is served."""
    home = tmp_path_factory.mktemp("home")
    architecture = Architecture(backbone="small", classes=2)
    bundle = Bundle.create(build_fcn(architecture), architecture, LabelSet.from_names(["road", "car"]))
    registry = Registry(home)
    registry.promote(registry.add(bundle))
    return home


def test_command_serves_a_real_model_until_sigterm(home: Path, image_uri: Any, config: str) -> None:
    environment = os.environ | {
        "MASKLOOP_HOME": str(home),
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "OMP_NUM_THREADS": "1",
    }
    environment.pop("TF_CPP_MIN_LOG_LEVEL", None)
    arguments = ["serve", "--port", "0", "--confidence-below", "0", "--log-format", "json"]
    process = subprocess.Popen(
        [sys.executable, "-m", "maskloop_backend.cli.main", *arguments],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    lines: list[str] = []
    try:
        for line in process.stderr:
            lines.append(line)
            if '"listening"' in line:
                break
        url = json.loads(lines[-1])["url"]
        # a proxy in the environment must not see loopback
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

        def post(path: str, body: Any) -> Any:
            request = urllib.request.Request(
                url + path, json.dumps(body).encode(), {"Content-Type": "application/json"}
            )
            with opener.open(request, timeout=120) as response:
                return json.load(response)

        version = Registry(home).serving()
        assert post("/setup", {"schema": config, "project": "1.1"})["model_version"] == version
        tasks = [{"id": i, "data": {"image": image_uri(33, 47 + i)}} for i in range(3)]
        results = post("/predict", {"tasks": tasks, "label_config": config})["results"]
        assert [result["model_version"] for result in results] == [version] * 3
        assert all(result["result"] and 0 <= result["score"] <= 1 for result in results)
        process.send_signal(signal.SIGTERM)
        lines += process.stderr.readlines()
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
        process.stderr.close()
    # whatever TensorFlow says of processors and GPUs: a collector of logs finds an object in every line
    events = [json.loads(line)["event"] for line in lines]
    assert events[-1] == "stopped", lines
    assert "model_ready" in events


@pytest.mark.parametrize(
    ("arguments", "variables", "message"),
    [
        (["--host", "0.0.0.0"], {}, "refusing to listen on 0.0.0.0 without credentials"),
        (["--basic-auth-user", "anna"], {}, "MASKLOOP_BASIC_AUTH_PASSWORD"),
        ([], {"MASKLOOP_BASIC_AUTH_PASSWORD": "x"}, "--basic-auth-user is missing"),
        (["--basic-auth-user", "a:b"], {"MASKLOOP_BASIC_AUTH_PASSWORD": "x"}, "may not contain ':'"),
        (["--model", "fcn32s-small-20261122-00000009"], {}, "fcn32s-small-20261122-00000009"),
    ],
)
def test_command_refuses(tmp_path: Path, arguments: list[str], variables: dict[str, str], message: str) -> None:
    result = CliRunner().invoke(cli, ["serve", "--home", str(tmp_path), *arguments], env=variables)
    assert result.exit_code != 0
    assert message in " ".join(result.output.split())


@pytest.mark.parametrize(
    ("arguments", "variables", "url"),
    [
        ([], {}, None),
        ([], {"MASKLOOP_STUDIO_TOKEN": "abc"}, "http://localhost:8080"),
        (["--studio-url", "http://studio:80/label/projects/7/data?tab=3"], {}, "http://studio:80/label"),
    ],
)
def test_command_knows_where_its_token_belongs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], variables: dict[str, str], url: str | None
) -> None:
    served: list[Any] = []
    monkeypatch.setattr("maskloop_backend.serving.app.create_app", lambda source, settings, options: None)
    monkeypatch.setattr("maskloop_backend.serving.server.serve", lambda app, settings: served.append(settings))
    policy = ["--deny-private", "--allow-hosts", "minio:9000, *.example.com", "--image-mb", "100"]
    result = CliRunner().invoke(cli, ["serve", "--home", str(tmp_path), *policy, *arguments], env=variables)
    assert result.exit_code == 0, result.output
    (settings,) = served
    assert settings.studio_url == url
    assert settings.policy.allow_hosts == ("minio:9000", "*.example.com")
    assert settings.policy.deny_private
    assert len(settings.policy.own) == (url is not None)
    assert settings.image_bytes == 100 << 20
    assert ("is used with http://localhost:8080 only" in result.output) == bool(variables)

"""Who may ask at all."""

from __future__ import annotations

import subprocess
import sys

from . import attack, hold
from .rig import CONFIG, Rig, data_uri, png, predict_body


@attack()
def without_credentials(rig: Rig) -> str:
    """Ask for everything without, and with wrong, credentials."""
    server = rig.serve(model=False, user=("anna", "right"))
    asked = 0
    requests = [
        ("GET", "/", None),
        ("GET", "/health", None),
        ("GET", "/ready", None),
        ("GET", "/stats", None),
        ("GET", "/page/running", None),
        ("GET", "/page/pictures/1/overlay", None),
        ("POST", "/page/rollback", {}),
        ("POST", "/page/cancel", {}),
        ("GET", "/versions", None),
        ("GET", "/jobs", None),
        ("GET", "/jobs/1", None),
        ("DELETE", "/jobs/1", None),
        ("GET", "/metrics", None),
        ("GET", "/openapi.json", None),
        ("GET", "/nowhere", None),
        ("POST", "/setup", {"schema": CONFIG, "project": "1.1"}),
        ("POST", "/predict", predict_body([data_uri(png(64, 64, 1))])),
        ("POST", "/webhook", {"action": "START_TRAINING", "project": {"id": 1}}),
    ]
    server.authorization = None
    for given in (None, "Basic", "Basic !", "Basic YW5uYTp3cm9uZw==", "Bearer right", "Basic YW5uYTo="):
        for method, path, body in requests:
            answer = server.request(method, path, body, {"Authorization": given} if given else {})
            hold(answer.status == 401, f"{method} {path} with {given}: {answer.status} {answer.reason}")
            asked += 1
    hold("right" not in server.logged(), "the password stands in the log")
    return f"{asked} requests, all of them 401"


@attack()
def open_network(rig: Rig) -> str:
    """Start a server on every address of the machine, without credentials."""
    command = [sys.executable, "-m", "maskloop_backend.cli.main", "serve", "--host", "0.0.0.0", "--port", "0"]
    done = subprocess.run(
        [*command, "--home", str(rig.folder)], env=rig.environment(), capture_output=True, text=True, timeout=60
    )
    hold(done.returncode != 0, "it listens")
    hold("refusing to listen" in done.stderr, done.stderr)
    return "refused to start"

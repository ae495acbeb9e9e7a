"""JSON that is small as text and large in memory, and configs that are remembered."""

from __future__ import annotations

import threading

from . import attack, hold
from .connections import HEALTH_SECONDS
from .rig import CONFIG, MIB, Rig


@attack()
def swelling_json(rig: Rig) -> str:
    """Send 95 MB of `{},` and of other small values, eight at once, to every endpoint that reads JSON."""
    server = rig.serve()
    before = server.forget_peak()
    statuses: list[int] = []

    def send(path: str, part: bytes, size: int) -> None:
        key = b'{"schema":"","action":"X","tasks":[],"x":['
        body = key + part * (size // len(part)) + b"0]}"
        statuses.append(server.request("POST", path, body, {"Content-Type": "application/json"}).status)

    plans = [("/predict", part, 95 * MIB) for part in (b"{},", b"[],", b'{"a":1},', b"999,", b'"abcd",')]
    plans += [("/predict", b"[", 95 * MIB), ("/webhook", b"{},", 60 * MIB), ("/setup", b"{},", 2 * MIB - 100)]
    senders = [threading.Thread(target=send, args=plan, daemon=True) for plan in plans]
    with server.health() as health:
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join()
    grown = server.peak() - before
    known = {400, 413, 503}  # 503: other bodies were being received
    hold(len(statuses) == len(plans) and known.issuperset(statuses), f"answers: {statuses}")
    hold(not health.failed, f"/health: {health.failed[:3]}")
    hold(health.longest < HEALTH_SECONDS, f"/health took {health.longest:.2f} s")
    hold(grown < 1024 * MIB, f"memory grew by {grown / MIB:.0f} MiB")
    return f"memory +{grown / MIB:.0f} MiB, /health {health.longest:.2f} s at most"


@attack()
def remembered_configs(rig: Rig) -> str:
    """Call /setup for 600 projects with 1 MiB each: of no label config, and of one that is as long as it may be."""
    server = rig.serve()
    before = server.forget_peak()
    with server.health() as health:
        for number in range(300):
            project = f"{number}.1"
            broken = {"schema": "<View>" + "x" * MIB, "project": project, "extra_params": "x" * 500_000}
            answer = server.request("POST", "/setup", broken)
            hold(answer.status == 422, f"{answer.status} {answer.reason}")
        for number in range(300):
            long = {"schema": CONFIG + f"<!-- {number} " + "x" * (MIB - 1000) + "-->", "project": f"{number}.1"}
            answer = server.request("POST", "/setup", long)
            hold(answer.status == 200, f"{answer.status} {answer.reason}")
    grown = server.peak() - before
    hold(health.longest < HEALTH_SECONDS, f"/health took {health.longest:.2f} s")
    hold(grown < 200 * MIB, f"memory grew by {grown / MIB:.0f} MiB")
    log = len(server.logged())
    hold(log < MIB, f"the log has {log / MIB:.1f} MiB")
    return f"memory +{grown / MIB:.0f} MiB, log {log / 1024:.0f} KiB, /health {health.longest:.2f} s at most"

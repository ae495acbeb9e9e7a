"""What one client's work costs the others."""

from __future__ import annotations

import contextlib
import http.client
import io
import threading
import time

import numpy as np
from PIL import Image

from . import attack, hold
from .connections import HEALTH_SECONDS
from .rig import MIB, Rig, Server, Waits, data_uri, predict_body

PEOPLE = 50
# Of the tasks that people open, in pixels: height and width.
SIZE = (480, 640)
# Seconds between two tasks of one person.
THINK = 8.0
QUIET_SECONDS = 40.0
ATTACK_SECONDS = 60.0
# So many times the wait that 95 of 100 do not exceed while nobody attacks.
FACTOR = 3.0


def large_image(seed: int) -> str:
    """Return 8,000 x 8,000 pixels as an address of a few hundred kB, different for each seed."""
    out = io.BytesIO()
    picture = Image.new("P", (8000, 8000), seed % 200)
    picture.putpalette(np.random.default_rng(seed).integers(0, 256, 768).tolist())
    picture.save(out, "PNG", compress_level=1)
    return data_uri(out.getvalue())


def quiet_and_attacked(server: Server, people: int, attack_it: list[threading.Thread]) -> tuple[Waits, Waits, float]:
    """Let people work alone and then beside an attack, until it is over or for a minute; then let it end alone.

    Returns:
        Their waits before and during the attack, and the longest wait for /health.
    """
    with server.annotators(people, think=THINK, size=SIZE) as quiet:
        time.sleep(QUIET_SECONDS)
    with server.annotators(people, think=THINK, size=SIZE) as attacked, server.health(0.2) as health:
        for thread in attack_it:
            thread.start()
        deadline = time.monotonic() + ATTACK_SECONDS
        for thread in attack_it:
            thread.join(max(0.0, deadline - time.monotonic()))
    for thread in attack_it:
        thread.join()
    hold(not quiet.failed and not attacked.failed, f"annotators: {(quiet.failed + attacked.failed)[:3]}")
    hold(not health.failed, f"/health: {health.failed[:3]}")
    return quiet, attacked, health.longest


def in_the_background(server: Server, body: object, answers: list[int]) -> threading.Thread:
    """Return a thread that sends a request for predictions and notes the status."""

    def send() -> None:
        with contextlib.suppress(OSError, http.client.HTTPException):
            answers.append(server.request("POST", "/predict", body, timeout=400).status)

    return threading.Thread(target=send, daemon=True)


@attack(seconds=500)
def large_images(rig: Rig) -> str:
    """Open two images of 8,000 x 8,000 pixels while 50 people work."""
    server = rig.serve()
    server.open_task(0)
    before = server.forget_peak()
    answers: list[int] = []
    threads = [in_the_background(server, predict_body([large_image(seed)]), answers) for seed in (1, 2)]
    quiet, attacked, health = quiet_and_attacked(server, PEOPLE, threads)
    hold(answers == [200, 200], f"the large images: {answers}")
    hold(health < HEALTH_SECONDS, f"/health took {health:.2f} s")
    hold(
        attacked.p95 < FACTOR * quiet.p95,
        f"95 of 100 waited {attacked.p95:.2f} s or less, {quiet.p95:.2f} s while it was quiet",
    )
    return (
        f"{PEOPLE} people waited p95 {attacked.p95:.2f} s, {attacked.longest:.2f} s at most (quiet: {quiet.p95:.2f} s, "
        f"{quiet.longest:.2f} s); memory +{(server.peak() - before) / MIB:.0f} MiB, /health {health:.2f} s"
    )


@attack(seconds=500)
def requests_for_many(rig: Rig) -> str:
    """Ask for 24 times 100 tasks at once while 50 people work."""
    server = rig.serve()
    server.open_task(0)
    answers: list[int] = []
    rng = np.random.default_rng(0)

    def noise() -> str:
        out = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (32, 48, 3), np.uint8)).resize((256, 192)).save(out, "JPEG")
        return data_uri(out.getvalue(), "jpeg")

    bodies = [predict_body([noise() for _ in range(100)]) for _ in range(24)]
    threads = [in_the_background(server, body, answers) for body in bodies]
    quiet, attacked, health = quiet_and_attacked(server, PEOPLE, threads)
    hold(answers == [200] * 24, f"the requests: {answers}")
    hold(health < HEALTH_SECONDS, f"/health took {health:.2f} s")
    hold(
        attacked.p95 < FACTOR * quiet.p95,
        f"95 of 100 waited {attacked.p95:.2f} s or less, {quiet.p95:.2f} s while it was quiet",
    )
    return (
        f"{PEOPLE} people waited p95 {attacked.p95:.2f} s, {attacked.longest:.2f} s at most (quiet: {quiet.p95:.2f} s, "
        f"{quiet.longest:.2f} s); /health {health:.2f} s"
    )

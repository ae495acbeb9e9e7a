"""Requests drawn from /openapi.json, and recorded ones with damage, against a real server.

    python fuzz/api.py --cases 10000 --bodies 20000 --seed 0

Nothing may be answered with a 5xx (the documented ones mean that the server is busy or has no model, which it is not and
has), no answer and no log line may hold a traceback, a path of this machine or a secret, every status must stand in
/openapi.json, and every answer must have the shape that stands there.
"""

from __future__ import annotations

import argparse
import http.client
import json
import random
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "backend"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "converters"))

import schemathesis
from attacks.rig import CONFIG, Rig, Server, data_uri, png, small_model
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as with_seed
from mutations import mutate, mutate_document, mutate_text
from schemathesis.checks import load_all_checks

ROOT = Path(__file__).resolve().parents[1]
RECORDED = ROOT / "tests" / "fixtures" / "label-studio"
USER = ("anna", "a-password-that-nobody-may-see")
TOKEN = "a-token-that-nobody-may-see"
# Where nothing listens: recorded addresses must lead nowhere.
NOWHERE = "http://127.0.0.1:9"


class Watch:
    """What must not be in any answer or log line, and what was found."""

    def __init__(self, rig: Rig, server: Server) -> None:
        self.server = server
        self._never = ["Traceback", 'File "', TOKEN, *USER[1:], str(rig.folder), str(ROOT), str(Path.home())]
        self.faults: Counter[str] = Counter()
        self.statuses: Counter[int] = Counter()

    def answer(self, what: str, status: int, text: str) -> None:
        self.statuses[status] += 1
        if status >= 500:
            self.faults[f"{what}: {status} {text[:200]}"] += 1
        for secret in self._never:
            if secret in text:
                self.faults[f"{what}: {status}: {secret!r} in the answer"] += 1

    def log(self) -> None:
        logged = self.server.logged()
        for secret in self._never:
            if (at := logged.find(secret)) >= 0:
                self.faults[f"{secret!r} in the log: {logged[max(0, at - 300) : at + 500]}"] += 1
        if not self.server.alive():
            self.faults[f"the server ended: {logged[-2000:]}"] += 1


def drawn(watch: Watch, cases: int, seed: int) -> int:
    """Try so many requests drawn from /openapi.json, the same number for each operation; return how many."""
    headers = {"Authorization": str(watch.server.authorization)}
    schema = schemathesis.openapi.from_url(f"http://127.0.0.1:{watch.server.port}/openapi.json", headers=headers)
    load_all_checks()
    checks = [
        schemathesis.checks.CHECKS.get_one(name)
        for name in (
            "not_a_server_error",
            "status_code_conformance",
            "content_type_conformance",
            "response_schema_conformance",
        )
    ]
    operations = [result.ok() for result in schema.get_all_operations()]
    modes = (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE)
    each = max(1, -(-cases // (2 * len(operations))))
    count = 0
    for operation in operations:
        for mode in modes:
            count += try_operation(watch, operation, mode, each, checks, headers, seed)
    return count


def try_operation(
    watch: Watch, operation: Any, mode: Any, each: int, checks: list[Any], headers: dict[str, str], seed: int
) -> int:
    count = 0

    @with_seed(seed)
    @settings(
        max_examples=each,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def once(case: Any) -> None:
        nonlocal count
        count += 1
        response = case.call(headers=headers, timeout=60)
        watch.answer(operation.label, response.status_code, response.text)
        try:
            case.validate_response(response, checks=checks)
        except BaseExceptionGroup as failures:
            for failure in failures.exceptions:
                watch.faults[f"{operation.label}: {response.status_code}: {str(failure)[:300]}"] += 1

    try:
        once()
    except Exception as error:  # noqa: BLE001 - some operations take nothing that could be wrong
        if "Unsatisfiable" not in type(error).__name__:
            watch.faults[f"{operation.label}, {mode}: {type(error).__name__}: {str(error)[:300]}"] += 1
    return count


def recorded() -> Iterator[tuple[str, str, bytes]]:
    """Yield method, path and body of what Label Studio sent, with addresses that lead nowhere or to a real image."""
    for path in sorted(RECORDED.glob("*.json")):
        values = json.loads(path.read_text())
        request = values.get("request") if isinstance(values, dict) else None
        if not isinstance(request, dict) or not request.get("body"):
            continue
        text = re.sub(r"https?://[^\"/\\ ]+", NOWHERE, json.dumps(request["body"]))
        yield request["method"], request["path"], text.encode()
        if request["path"] == "/predict":
            body = json.loads(text)
            for number, task in enumerate(body["tasks"]):
                task["data"] = {"image": data_uri(png(24 + number % 8, 32, number))}
            yield request["method"], request["path"], json.dumps(body | {"label_config": CONFIG}).encode()


def damaged(watch: Watch, bodies: int, seed: int) -> int:
    """Send so many recorded bodies with damage over one connection after another; return how many."""
    source = random.Random(seed)
    known = list(recorded())
    if not known:
        raise SystemExit(f"no recorded requests in {RECORDED}")
    connection: http.client.HTTPConnection | None = None
    for _ in range(bodies):
        method, path, body = source.choice(known)
        other = source.choice(known)[2]
        kind = source.randrange(3)
        if kind == 0:
            body = mutate(body, other, source)
        elif kind == 1:
            body = mutate_text(body, other, source)
        else:
            body = mutate_document(body, source)
        # mutations must not invent hosts
        body = re.sub(rb"https?:/*[^\"/\\ ]*", NOWHERE.encode(), body)
        if connection is None:
            connection = http.client.HTTPConnection("127.0.0.1", watch.server.port, timeout=120)
        headers = {"Content-Type": "application/json", "Authorization": str(watch.server.authorization)}
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            text = response.read().decode("utf-8", "replace")
            watch.answer(f"{method} {path}", response.status, f"{response.reason} {text}")
        except (OSError, http.client.HTTPException) as error:
            watch.faults[f"{method} {path}: {type(error).__name__}: {error}"] += 1
            connection.close()
            connection = None
    if connection is not None:
        connection.close()
    return bodies


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=10_000, help="requests drawn from /openapi.json")
    parser.add_argument("--bodies", type=int, default=20_000, help="recorded bodies with damage")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="maskloop-api-") as folder:
        model = small_model(Path(folder) / "model")
        with Rig(Path(folder) / "rig", model) as rig:
            server = rig.serve("--studio-url", NOWHERE, user=USER, MASKLOOP_STUDIO_TOKEN=TOKEN)
            watch = Watch(rig, server)
            for what, run, count in (("drawn", drawn, arguments.cases), ("damaged", damaged, arguments.bodies)):
                if not count:
                    continue
                watch.statuses.clear()
                started = time.monotonic()
                done = run(watch, count, arguments.seed)
                statuses = ", ".join(f"{status}: {number}" for status, number in sorted(watch.statuses.items()))
                print(f"{done} {what} requests in {time.monotonic() - started:.0f} s; answers {statuses}", flush=True)
            watch.log()
    for fault, number in watch.faults.most_common(40):
        print(f"{number} x {fault}")
    print(f"{sum(watch.faults.values())} faults")
    raise SystemExit(bool(watch.faults))


if __name__ == "__main__":
    main()

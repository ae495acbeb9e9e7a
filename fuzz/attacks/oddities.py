"""Requests that nobody sends by mistake, and a home that somebody damaged."""

from __future__ import annotations

import sqlite3

from . import attack, hold
from .rig import CONFIG, Rig, predict_body


@attack()
def odd_requests(rig: Rig) -> str:
    """Send impossible numbers, invented events, long names and ids that are objects, 2,000 requests in all."""
    server = rig.serve()
    secret = "label text of somebody"
    sent: list[int] = []

    def send(method: str, path: str, body: object = None) -> None:
        answer = server.request(method, path, body)
        sent.append(answer.status)
        hold(answer.status < 500, f"{method} {path[:60]}: {answer.status} {answer.reason}")
        hold(len(answer.body) < 5000, f"{method} {path[:60]}: an answer of {len(answer.body)} bytes")

    for number in ("9999999999999999999", "9" * 5000, "-1", "0", "1.5", "%00", "../../etc/passwd", "nan"):
        for method in ("GET", "DELETE", "PUT", "TRACE"):
            send(method, f"/jobs/{number}")
    for number in range(1000):
        send("POST", "/webhook", {"action": f"INVENTED_{number}", "project": {"id": number}})
    for number in range(500):
        send("POST", "/webhook", {"action": f"X{number}", "project": {"id": 2**62 + number}, "task": {"id": secret}})
    for value in ({"text": secret}, [secret], secret * 100, 1e300, -1, None, True):
        tasks = [{"id": value, "data": {"image": "data:image/png;base64,AAAA"}}]
        send("POST", "/predict", predict_body([]) | {"tasks": tasks})
        send("POST", "/setup", {"schema": CONFIG, "project": value})
        send("POST", "/setup", {"schema": value})
    send("POST", "/setup", {"schema": CONFIG, "project": "x" * 300_000})
    send("POST", "/predict", predict_body(["http://127.0.0.1:1/" + "x" * 300_000]))
    send("GET", "/" + "x" * 20_000)
    logged = server.logged()
    longest = max(len(line) for line in logged.splitlines())
    hold(secret not in logged, "the text of a task stands in the log")
    hold("Traceback" not in logged, "a traceback stands in the log")
    hold(longest < 2000, f"a line of the log has {longest} characters")
    with sqlite3.connect(server.home / "jobs.sqlite3") as database:
        ((rows,),) = database.execute("SELECT count(*) FROM events").fetchall()
    database.close()
    hold(rows <= 2, f"{rows} rows for invented events")
    return f"{len(sent)} requests, none 5xx, {rows} row for 1,500 invented events, longest line {longest} characters"


@attack()
def damaged_jobs(rig: Rig) -> str:
    """Overwrite pages of jobs.sqlite3 while the server runs."""
    server = rig.serve()
    server.request("POST", "/webhook", {"action": "PROJECT_UPDATED", "project": {"id": 1}})
    path = server.home / "jobs.sqlite3"
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()
    pages = bytearray(path.read_bytes())
    pages[4096:] = b"\xa5" * (len(pages) - 4096)
    path.write_bytes(pages)
    answers = {
        where: server.request("GET", where).status for where in ("/jobs", "/jobs/1", "/metrics", "/health", "/versions")
    }
    hold(answers["/jobs"] == answers["/jobs/1"] == 503, f"{answers}")
    hold(answers["/metrics"] == answers["/health"] == answers["/versions"] == 200, f"{answers}")
    seconds = server.open_task(1)
    hold("Traceback" not in server.logged(), "a traceback stands in the log")
    stopped = server.stop()
    hold(server.process.returncode == 0, f"it ended with {server.process.returncode}")
    return (
        f"/metrics, /health and predictions answer ({seconds:.2f} s), /jobs says what to do, stopped in {stopped:.1f} s"
    )

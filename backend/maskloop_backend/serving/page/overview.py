"""What the page says, gathered as plain values: its templates only lay them out."""

from __future__ import annotations

import sqlite3
from collections.abc import Container, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from maskloop_converters import __version__
from maskloop_converters.errors import MaskloopError

from ...loop.outcome_store import Statistics
from ...loop.queue import Job, JobQueue
from ...loop.worker import describe, log_tail
from ...registry.history import Served, Serving
from ...registry.store import Registry
from ...studio.links import project_page
from ...web import charts
from ..models import Models
from ..observing import Observer
from .forms import Tokens
from .gallery import Gallery, Picture, channel_colors

VERSIONS = 30
JOBS = 8
CHANGES = 20
# With a version of their own.
PROJECTS = 30
# Lines of a chart, the classes with most pixels.
CLASSES = 8
LOG_BYTES = 8 << 10


class Overview:
    """Gathers what the page shows.

    Args:
        home: of the registry.
        models: what answers.
        queue: of trainings.
        observer: knows what became of predictions.
        gallery: of predicted images.
        tokens: of the page's forms.
        studio_url: the operator's Label Studio as browsers call it, that tasks are linked to; None: nothing is linked, as
            anybody who may call /setup could say where.
    """

    def __init__(
        self,
        home: Path,
        *,
        models: Models,
        queue: JobQueue,
        observer: Observer,
        gallery: Gallery,
        tokens: Tokens,
        studio_url: str | None,
    ) -> None:
        self._registry = Registry(home)
        self._models = models
        self._queue = queue
        self._observer = observer
        self._gallery = gallery
        self._tokens = tokens
        self._studio_url = studio_url

    def values(self) -> dict[str, Any]:
        """Return what templates/page.html shows."""
        recent = self._gallery.recent()
        statistics, trouble = self._statistics()
        return {
            "state": self._models.state,
            "runtime": self._models.runtime,
            "served": self._served(),
            **self.trainings(),
            **self._versions(),
            "outcomes": _outcomes(statistics),
            "outcomes_problem": trouble,
            "corrected": self._corrected(statistics),
            "unsure": [self._shown(one) for one in self._gallery.unsure()],
            "recent": [self._shown(one) for one in recent],
            "colors": _legend(recent),
            "code_version": __version__,
            "now": _minute(datetime.now(UTC).timestamp()),
        }

    def trainings(self) -> dict[str, Any]:
        """Return what templates/running.html shows, and the trainings that are over."""
        try:
            jobs = self._queue.jobs()
        except sqlite3.Error as error:
            return {"running": None, "queued": [], "jobs": [_unreadable(error)]}
        running = next((job for job in jobs if job.state == "running"), None)
        return {
            "running": None if running is None else self._running(running),
            "queued": [
                {
                    "id": job.id,
                    "project": job.project,
                    "reason": job.reason,
                    "waits_for": job.waits_for,
                    "token": self._tokens.make("cancel", str(job.id)),
                }
                for job in jobs
                if job.state == "queued"
            ],
            "jobs": [_over(job) for job in jobs if job.finished is not None][:JOBS],
        }

    def _running(self, job: Job) -> dict[str, Any]:
        progress: Mapping[str, Any] = describe(self._queue, job)["progress"] or {}
        left, miou = progress.get("seconds_left"), progress.get("miou")
        return {
            "id": job.id,
            "project": job.project,
            "reason": job.reason,
            "started": _minute(job.started),
            "cancel": job.cancel,
            "phase": progress.get("phase"),
            "step": progress.get("step", 0),
            "steps": progress.get("steps", 0),
            "left": _duration(left) if isinstance(left, int | float) else None,
            "miou": f"{miou:.3f}" if isinstance(miou, int | float) else None,
            "log": log_tail(self._queue.directory(job.id), LOG_BYTES),
            "token": self._tokens.make("cancel", str(job.id)),
        }

    def _served(self) -> dict[str, Any]:
        announced = self._models.announced()
        found: dict[str, Any] = {"version": announced, "why": "", "other": None, "back": None, "token": ""}
        found |= {"changes": [], "projects": [], "more_projects": 0, "problem": None}
        try:
            served = self._registry.served()
        except MaskloopError as error:
            return {**found, "problem": str(error)}
        there = set(self._registry.versions())
        own = sorted((number, one) for number, one in served.projects.items() if one.version is not None)
        found["projects"] = [self._one(number, one, served, there) for number, one in own[:PROJECTS]]
        found["more_projects"] = len(own) - len(found["projects"])
        found["changes"] = _changes(served)
        if served.default is None:
            unknown = "It is not of this server's registry, or was chosen when the server was started."
            return {**found, "why": unknown if announced else ""}
        found |= self._one(None, served.default, served, there)
        if announced is not None and announced != served.default.version:
            found["other"] = (
                f"{announced} answers now: the other one is loading, cannot be loaded, or --model names this one."
            )
        return found

    def _one(self, project: int | None, serving: Serving, served: Served, there: Container[str]) -> dict[str, Any]:
        """Return what is said of what a project is served, or all without a version of their own."""
        default = served.version()
        back = next((name or default for name in reversed(serving.before) if (name or default) in there), None)
        number = "" if project is None else str(project)
        return {
            "project": number,
            "version": serving.version,
            "why": _why(serving),
            "back": back,
            "token": self._tokens.make("rollback", number, str(serving.version)),
        }

    def _versions(self) -> dict[str, Any]:
        try:
            rows = self._registry.summary()
        except MaskloopError:
            # serving.json is damaged, which is said above
            rows = []
        shown = rows[-VERSIONS:]
        measured = [row for row in shown if "error" not in row]
        series = [
            (name, [_figure(row["metrics"].get(key)) for row in measured])
            for name, key in (("mean IoU", "holdout_miou"), ("pixels right", "pixel_accuracy"))
        ]
        series = [(name, own) for name, own in series if any(value is not None for value in own)]
        figures = None
        if series:
            days = [str(row["created"])[5:10] for row in measured]
            tips = [row["version"] for row in measured]
            figures = charts.lines("Measured figures of the versions, oldest first", days, series, tips=tips)
        return {
            "versions": [_version(row) for row in reversed(shown)],
            "more_versions": len(rows) - len(shown),
            "figures": figures,
        }

    def _statistics(self) -> tuple[Statistics | None, str | None]:
        try:
            return self._observer.statistics(), None
        except MaskloopError as error:
            return None, str(error)

    def _corrected(self, statistics: Statistics | None) -> list[dict[str, Any]]:
        shown = []
        for row in statistics.tasks if statistics else ():
            project, task = str(row["project"]), str(row["task"])
            told = {
                "told": f"{row['share']:.0%} of its pixels changed, {row['week']}",
                "version": row["version"] or "unknown version",
            }
            picture = self._gallery.of(project, task)
            if picture is not None:
                shown.append({**self._shown(picture), **told})
            else:
                shown.append(
                    {"number": None, "title": _title(project, task), "link": self._link(project, task), **told}
                )
        return shown

    def _shown(self, picture: Picture) -> dict[str, Any]:
        height, width = picture.label_map.shape
        return {
            "number": picture.number,
            "width": width,
            "height": height,
            "title": _title(picture.project, picture.task),
            "link": self._link(picture.project, picture.task),
            "told": f"score {picture.score:.2f}, {_minute(picture.at)}",
            "version": picture.version,
        }

    def _link(self, project: str, task: str) -> str | None:
        if self._studio_url is None or not (
            project.isascii() and project.isdigit() and task.isascii() and task.isdigit()
        ):
            return None
        return f"{project_page(self._studio_url, project)}?task={task}"


def _why(serving: Serving) -> str:
    if not serving.changes:
        return "Nobody said why."
    last = serving.changes[-1]
    verb = {"promote": "Promoted", "rollback": "Rolled back to"}.get(last.action, last.action)
    return f"{verb} {last.at.replace('T', ' ').removesuffix('Z')}: {last.reason or 'no reason was given'}."


def _changes(served: Served) -> list[dict[str, Any]]:
    """Return the last switches of the default and of all projects, the newest first."""
    found = [("all", change) for change in (served.default.changes if served.default else ())]
    found += [(f"project {number}", change) for number, one in served.projects.items() for change in one.changes]
    found.sort(key=lambda pair: pair[1].at, reverse=True)
    return [
        {
            "at": change.at.replace("T", " ").removesuffix("Z"),
            "whom": whom,
            "action": change.action,
            "version": change.version,
            "reason": change.reason,
        }
        for whom, change in found[:CHANGES]
    ]


def _over(job: Job) -> dict[str, Any]:
    result = job.result if isinstance(job.result, dict) else {}
    promoted = {True: "promoted", False: "not promoted"}.get(bool(result["promoted"])) if "promoted" in result else ""
    told = ": ".join(str(part) for part in (promoted, result.get("reason") or result.get("version")) if part)
    return {
        "id": job.id,
        "project": job.project,
        "state": job.state,
        "finished": _minute(job.finished),
        "told": job.error or told or job.reason,
    }


def _unreadable(error: sqlite3.Error) -> dict[str, Any]:
    return {
        "id": "-",
        "project": "-",
        "state": "unreadable",
        "finished": "",
        "told": f"The trainings cannot be read: {error}",
    }


def _version(row: Mapping[str, Any]) -> dict[str, Any]:
    whom = [*(["all"] if row["serving"] else []), *(f"project {number}" for number in row["projects"])]
    told = {"name": row["version"], "serving": ", ".join(whom[:PROJECTS]), "error": row.get("error")}
    if told["error"]:
        return told
    metrics = row["metrics"]
    gate, changed = metrics.get("gate"), metrics.get("annotators_changed")
    return {
        **told,
        # to the minute
        "created": str(row["created"]).replace("T", " ")[:16],
        "miou": _three(metrics.get("holdout_miou")),
        "accuracy": _three(metrics.get("pixel_accuracy")),
        "changed": _percent(_figure(changed.get("share"))) if isinstance(changed, dict) else "-",
        "classes": len(row["labels"]),
        "gate": str(gate.get("reason", "")) if isinstance(gate, dict) else "",
    }


def _outcomes(statistics: Statistics | None) -> dict[str, Any] | None:
    """Return what the section of outcomes shows, None where there are none."""
    if statistics is None or not statistics.totals["tasks"]:
        return None
    totals = statistics.totals
    judged = max(1, totals["accepted"] + totals["changed"] + totals["rejected"])
    weeks = [row["week"] for row in statistics.weeks]
    kinds = (
        ("accepted unchanged", "accepted"),
        ("changed", "changed"),
        ("rejected", "rejected"),
        ("drawn by hand", "drawn"),
    )
    return {
        "tiles": [
            *(
                (
                    name,
                    f"{totals[kind]:,}",
                    f"{totals[kind] / judged:.0%} of predictions" if kind != "drawn" else "no prediction",
                )
                for name, kind in kinds
            ),
            ("pixels changed", _percent(_share(totals)), "of those that anybody drew"),
        ],
        "weeks": charts.bars(
            "Tasks by week: accepted unchanged, changed, rejected, drawn by hand",
            _short(weeks),
            [(name, [row[kind] for row in statistics.weeks]) for name, kind in kinds],
            tips=weeks,
        ),
        "pixels": _by_class(statistics, weeks),
        "versions": [
            {**row, "name": row["version"] or "(none or unknown)", "pixels": _percent(_share(row))}
            for row in statistics.versions
        ],
        "classes": [{**row, "name": row["class"], "pixels": _percent(_share(row))} for row in statistics.classes[:50]],
    }


def _by_class(statistics: Statistics, weeks: Sequence[str]) -> charts.Chart | None:
    by_class: dict[str, dict[str, float | None]] = {}
    for row in statistics.class_weeks:
        by_class.setdefault(row["class"], {})[row["week"]] = _share(row)
    names = [row["class"] for row in statistics.classes if row["pixels"]][:CLASSES]
    series = [(name, [by_class.get(name, {}).get(week) for week in weeks]) for name in names]
    if not series:
        return None
    return charts.lines("Share of changed pixels by class and week", _short(weeks), series, tips=weeks, percent=True)


def _short(weeks: Sequence[str]) -> list[str]:
    """Return weeks as they stand below a chart, without their year."""
    return [week.partition("-")[2] for week in weeks]


def _share(row: Mapping[str, Any]) -> float | None:
    return row["off"] / row["pixels"] if row["pixels"] else None


def _legend(pictures: Sequence[Picture]) -> list[tuple[str, str]]:
    """Return the classes of pictures with their colours."""
    found: dict[str, str] = {}
    for picture in pictures:
        for label, (red, green, blue) in zip(picture.labels.classes, channel_colors(picture.labels), strict=True):
            found.setdefault(label.name, f"rgb({red},{green},{blue})")
    return list(found.items())


def _title(project: str, task: str) -> str:
    return f"project {project}, task {task}" if project else f"task {task}"


def _figure(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _three(value: Any) -> str:
    figure = _figure(value)
    return "-" if figure is None else f"{figure:.3f}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def _minute(seconds: float | None) -> str:
    return "" if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M")


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"

"""Which runtime a network is run by: what was asked for, else the fastest of those that are here, by measurement."""

from __future__ import annotations

import functools
import statistics
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from maskloop_converters.errors import DataError

from ...model.bundle import Bundle
from . import openvino_runtime
from .keras_runtime import KerasRuntime, computes_bfloat16
from .openvino_runtime import OpenVinoRuntime
from .protocol import Computed, Precision, Runtime, checked, cpu_has_bfloat16

Name = Literal["auto", "keras", "openvino"]

# The image that runtimes are measured with, and how often each runs: they take turns, the first time is not counted.
_SIZE = (384, 512)
_ROUNDS = 5
# Another must take this share of the time of the first (Keras, in float32 if there is a choice) or less: noise is no reason to
# leave the reference.
_GAIN = 0.9
# In float32 at most so many pixels may fall otherwise than with Keras; rounding decides at borders only.
_DIFFERING = 0.01


@dataclass(frozen=True, slots=True)
class Choice:
    """A runtime and why it was taken.

    Attributes:
        runtime: ready to predict.
        reason: in one line, for logs and /health.
    """

    runtime: Runtime
    reason: str


# A runtime's name and what it computes in.
_Candidate = tuple[str, Computed]
# What was chosen in this process, by network and wish, and why.
_chosen: dict[tuple[object, Name, Precision, bool, bool], tuple[_Candidate, str]] = {}
_choosing = threading.Lock()


def choose(
    bundle: Bundle,
    name: Name = "auto",
    precision: Precision = "auto",
    *,
    threads: int | None = None,
    repeatable: bool = False,
) -> Choice:
    """Return a bundle's network, compiled by the runtime that was asked for or, with 'auto', by the fastest.

    Where there is a choice it is measured, once a process and kind of network: all predict one image a few times, in
    turns. OpenVINO is not taken where it is not installed, cannot take the network or answers otherwise than Keras.

    Args:
        bundle: the model.
        name: of the runtime.
        precision: what to compute in; 'auto' is float32, or bfloat16 where the processor has it and it is faster, or int8
            where the version has it, it costs little and is the fastest.
        threads: of OpenVINO; None takes all cores. TensorFlow's are set for a whole process, before it is imported.
        repeatable: an image's answer does not depend, by rounding, on what was predicted before the runtime's stretch.

    Raises:
        DataError: no such runtime or precision, or int8 of a version that has none, or of Keras.
        RuntimeUnavailableError: the runtime that was asked for cannot run here.
    """
    checked(precision)
    if name not in ("auto", "keras", "openvino"):
        raise DataError(f"there is no runtime {name!r}; there are: auto, keras, openvino")
    if name == "openvino" and (precision != "auto" or not _may_quantize(bundle)):
        return Choice(OpenVinoRuntime(bundle, precision=precision, threads=threads, repeatable=repeatable), "asked for")
    if precision == "int8":
        # nothing else computes in it
        if name == "keras":
            KerasRuntime(bundle, precision=precision)
        return Choice(
            OpenVinoRuntime(bundle, precision=precision, threads=threads, repeatable=repeatable), "int8 was asked for"
        )
    key = (bundle.record.architecture, name, precision, _may_quantize(bundle), repeatable)
    with _choosing:
        if key not in _chosen:
            choice = _fastest(bundle, name, precision, threads, repeatable)
            _chosen[key] = ((choice.runtime.name, choice.runtime.precision), choice.reason)
            return choice
        candidate, reason = _chosen[key]
    return Choice(_made(bundle, candidate, threads, repeatable), reason)


def _may_quantize(bundle: Bundle) -> bool:
    """Tell whether a bundle has an int8 graph that costs so little that nobody needs to ask for it."""
    return bundle.int8 is not None and bundle.int8.record.is_small_loss


def _candidates(bundle: Bundle, name: Name, precision: Precision) -> tuple[list[_Candidate], list[str]]:
    """Return what may run a network, the reference first, and notes on what may not."""
    first: Computed = "float32" if precision == "auto" else precision
    found: list[_Candidate] = []
    notes = []
    if name != "openvino":
        found.append(("keras", first))
        if precision == "auto" and computes_bfloat16():
            found.append(("keras", "bfloat16"))
    if name != "keras":
        if (reason := openvino_runtime.unavailable()) is not None:
            notes.append(reason)
        else:
            # not all of OpenVINO's, because building one takes seconds: bfloat16 is what it would choose itself
            found.append(("openvino", "bfloat16" if precision == "auto" and cpu_has_bfloat16() else first))
            if precision == "auto" and bundle.int8 is not None:
                loss = f"int8 costs {bundle.int8.record.loss:.4f} mIoU"
                if _may_quantize(bundle):
                    found.append(("openvino", "int8"))
                    notes.append(loss)
                else:
                    notes.append(f"{loss}, which is much: only --precision int8 takes it")
    return found, notes


def _fastest(bundle: Bundle, name: Name, precision: Precision, threads: int | None, repeatable: bool) -> Choice:
    (first, *others), notes = _candidates(bundle, name, precision)
    reference = _made(bundle, first, threads, repeatable)
    image = _image()
    runtimes: list[Runtime] = [reference]
    for candidate in others:
        try:
            runtime = _made(bundle, candidate, threads, repeatable)
            runtime.prepare(*image.shape[:3])
            differing = float(np.mean(reference.labels(image)[0] != runtime.labels(image)[0]))
        except Exception as error:  # noqa: BLE001 - whatever another cannot convert or run, the reference can
            notes.append(f"{_title(*candidate)} cannot run this network ({type(error).__name__})")
            continue
        if first[1] == candidate[1] == "float32" and differing > _DIFFERING:
            notes.append(f"{_title(*candidate)} answers otherwise at {100 * differing:.1f} % of the pixels")
            continue
        runtimes.append(runtime)
    if len(runtimes) == 1:
        return Choice(reference, "; ".join(notes) or "there is no other")
    reference.prepare(*image.shape[:3])
    seconds = _in_turns([functools.partial(runtime.labels, image) for runtime in runtimes])
    best = min(range(len(runtimes)), key=lambda k: seconds[k])
    if seconds[best] > _GAIN * seconds[0]:
        best = 0
    times = (f"{_title(r.name, r.precision)} {1000 * s:.0f} ms" for r, s in zip(runtimes, seconds, strict=True))
    height, width = _SIZE
    return Choice(runtimes[best], "; ".join([f"measured at {width} x {height}: {', '.join(times)}", *notes]))


def _made(bundle: Bundle, candidate: _Candidate, threads: int | None, repeatable: bool) -> Runtime:
    name, precision = candidate
    if name == "keras":
        return KerasRuntime(bundle, precision=precision)
    return OpenVinoRuntime(bundle, precision=precision, threads=threads, repeatable=repeatable)


def _title(name: str, precision: str) -> str:
    return f"{'Keras' if name == 'keras' else 'OpenVINO'} {precision}"


def _in_turns(calls: list[Callable[[], object]]) -> list[float]:
    """Return the median seconds of each call."""
    seconds: list[list[float]] = [[] for _ in calls]
    for _ in range(_ROUNDS):
        for taken, call in zip(seconds, calls, strict=True):
            started = time.perf_counter()
            call()
            taken.append(time.perf_counter() - started)
    return [statistics.median(taken[1:]) for taken in seconds]


def _image() -> NDArray[np.uint8]:
    """Return a picture with areas and edges, uint8 (1, H, W, 3)."""
    coarse = np.random.default_rng(0).integers(0, 256, (1, _SIZE[0] // 32, _SIZE[1] // 32, 3), np.uint8)
    return coarse.repeat(32, axis=1).repeat(32, axis=2)

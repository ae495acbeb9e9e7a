"""Ctrl-C in a process in which OpenVINO compiled something that is gone by now."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import pytest

# A signal finds its stack by the thread, and only the death of a process shows that it is gone: so one of its own.
PROGRAM = """
import gc, signal, sys
from maskloop_backend.inference.runtimes.openvino_runtime import OpenVinoRuntime
from maskloop_backend.model.bundle import Bundle
from maskloop_backend.model.config import Architecture
from maskloop_backend.model.fcn import build_fcn
from maskloop_converters.samples import LabelSet

architecture = Architecture(2, "small")
bundle = Bundle.create(build_fcn(architecture), architecture, LabelSet.from_names(["road", "car"]))
first, second = (OpenVinoRuntime(bundle, precision="float32") for _ in range(2))
del first
gc.collect()
del second
gc.collect()
signal.signal(signal.SIGINT, lambda *_: print("stopping", flush=True))
signal.raise_signal(signal.SIGINT)
"""


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="openvino is not installed")
def test_a_process_that_dropped_a_compiled_network_can_be_stopped() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode, done.stdout) == (0, "stopping\n"), done.stderr[-2000:]

"""CVAT's XML through Datumaro, which CVAT imports and exports with, in an environment of its own: the same pixels both ways."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import maskloop_converters as mc
from maskloop_converters.codecs import cvat_rle

MakeDataset = Callable[..., mc.Dataset]

ROOT = Path(__file__).parents[3]
WANTED = ("datumaro==1.13.12", "cvat-sdk==2.80.0")

pytestmark = [pytest.mark.slow]

# Reads a dataset with Datumaro, says what it sees, and writes it again.
SCRIPT = """
import sys
import numpy as np
from datumaro import Dataset
from cvat_sdk.masks import encode_mask
read, written, seen = sys.argv[1:]
dataset = Dataset.import_from(read, "cvat")
names = [label.name for label in dataset.categories()[list(dataset.categories())[0]]]
found = {}
for item in dataset:
    for k, annotation in enumerate(sorted(item.annotations, key=lambda a: a.z_order)):
        mask = np.asarray(annotation.image, bool)
        found[f"{item.id}/{k}/{names[annotation.label]}"] = mask
        found[f"{item.id}/{k}/points"] = np.array(encode_mask(mask))
np.savez(seen, **found)
dataset.export(written, "cvat", save_media=True)
"""


@pytest.fixture(scope="session")
def python() -> str:
    """Of an environment with Datumaro and cvat-sdk, kept between runs."""
    path = Path(os.environ.get("MASKLOOP_HOME") or ROOT / ".maskloop") / "datumaro-venv"
    if given := os.environ.get("MASKLOOP_DATUMARO_VENV"):
        return str(Path(given) / "bin/python")
    stamp = path / "wanted.txt"
    if not stamp.exists() or stamp.read_text() != "\n".join(WANTED):
        uv = [sys.executable, "-m", "uv"]
        subprocess.run([*uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(path)], check=True)
        subprocess.run([*uv, "pip", "install", "--quiet", "--python", str(path / "bin/python"), *WANTED], check=True)
        stamp.write_text("\n".join(WANTED))
    return str(path / "bin/python")


def test_round_trip(tmp_path: Path, python: str, make: MakeDataset) -> None:
    before = make(3, overlapping=True)
    mc.write(before, tmp_path / "ours", "cvat")
    (tmp_path / "script.py").write_text(SCRIPT)
    subprocess.run(
        [python, str(tmp_path / "script.py"), tmp_path / "ours", tmp_path / "theirs", tmp_path / "seen.npz"],
        check=True,
        capture_output=True,
    )
    seen = np.load(tmp_path / "seen.npz")
    back = {sample.id: sample for sample in mc.read(tmp_path / "theirs", "cvat")}
    for sample in before:
        for k, region in enumerate(sample.regions):
            name = before.labels.by_id(region.label).name
            assert seen[f"{sample.id}/{k}/{name}"].tolist() == sample.masks.mask(k).tolist()
            # cvat-sdk's encoder, of the points that an auto-annotation function returns
            counts, (x, y, w, h) = cvat_rle.encode(sample.masks.select([k]))[0]
            assert seen[f"{sample.id}/{k}/points"].tolist() == [*counts.tolist(), x, y, x + w - 1, y + h - 1]
        after = back[sample.id]
        assert after.masks == sample.masks
        assert after.image.read_bytes() == sample.image.read_bytes()

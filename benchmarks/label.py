"""Images a second of `maskloop label` against the bare runtime's in the same process, and the most memory.

    python benchmarks/label.py FOLDER --home HOME --version VERSION [--limit 200] [--runtime keras]

The bare runtime gets the same pictures, decoded before the clock starts, in the batches that the predictor makes.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path

from maskloop_backend.batch.engines.local import LocalEngine
from maskloop_backend.batch.labelling import Request, label, prepare
from maskloop_backend.batch.sources import listed
from maskloop_backend.batch.work import Model
from maskloop_backend.studio.images import decode


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--version", required=True)
    parser.add_argument("--limit", type=int, default=200)
    parser.add_argument("--runtime", default="keras")
    parser.add_argument("--to", default="png")
    arguments = parser.parse_args()
    model = Model(arguments.home, arguments.version, arguments.runtime, "float32")
    items = listed(arguments.folder, "images").items[: arguments.limit]
    pictures = [decode(Path(item.at).read_bytes(), item.name) for item in items]
    segmenter = model.load()
    segmenter.predict(pictures[:8])

    def bare() -> float:
        started = time.perf_counter()
        for start in range(0, len(pictures), 5):
            segmenter.predict(pictures[start : start + 5])
        return len(pictures) / (time.perf_counter() - started)

    rates = [bare()]
    with tempfile.TemporaryDirectory() as folder:
        request = Request(
            model, arguments.folder, f"{folder}/out", arguments.to, "images", limit=arguments.limit, below=0.5
        )
        report = label(prepare(request, lambda model: ("keras", "float32")), LocalEngine())
    # what else runs on the machine slows both down: measured before and after
    rates.append(bare())
    reference = sum(rates) / 2
    print(f"bare {rates[0]:.1f} and {rates[1]:.1f} images/s, label {report.rate:.1f}: {report.rate / reference:.0%}")
    print(f"{report.done} images, {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10} MiB at most")


if __name__ == "__main__":
    main()

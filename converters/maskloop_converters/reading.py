"""A dataset read by a process of its own, so that decoding and encoding share two cores.

One process reads: most formats are read from their beginning. The samples come in its order, and what it skips, notes or
fails at is what it would be here, so the output cannot tell who read.
"""

from __future__ import annotations

import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from . import datasets
from .errors import DataError, MaskloopError
from .relabel import relabel
from .report import OnError, Tally
from .samples import Dataset, Sample

# Samples that may wait for the writer: bounds memory, and lets both sides have slow ones.
_AHEAD = 16
# It imports from where this process does, and runs nothing of the program that started it.
_PROGRAM = "import sys, pickle; sys.path[:] = pickle.load(sys.stdin.buffer); from maskloop_converters.reading import serve; serve()"


@dataclass(frozen=True, slots=True)
class Reading:
    """What is read, and how; travels to another process.

    Attributes:
        source: file or folder.
        format: of it.
        options: of the format's ``read``.
        on_error: what is done with bad records.
        rename: old label name -> new one.
        drop: names of labels that are left out.
    """

    source: Path
    format: str
    options: Mapping[str, Any]
    on_error: OnError
    rename: Mapping[str, str]
    drop: Sequence[str]

    def opened(self) -> Dataset:
        """Return the dataset.

        Raises:
            FormatError, OptionError, LabelError: it cannot be read so.
        """
        dataset = datasets.read(self.source, self.format, **self.options, on_error=self.on_error)
        return relabel(dataset, rename=self.rename, drop=self.drop)


@contextmanager
def read_beside(reading: Reading, dataset: Dataset) -> Iterator[Iterator[Sample]]:
    """Give the samples of a dataset as another process reads them; it ends with the block.

    Args:
        reading: what is read.
        dataset: the same, opened here; gets what was skipped and noted, as if it had been iterated.

    Raises:
        MaskloopError, OSError: whatever reading raises; where the samples are taken.
        DataError: the process was ended.
    """
    incoming, outgoing = os.pipe()
    # Ctrl-C is for this process, which then ends that one
    line = [sys.executable, "-c", _PROGRAM, str(outgoing)]
    process = subprocess.Popen(line, stdin=subprocess.PIPE, pass_fds=(outgoing,), process_group=0)
    os.close(outgoing)
    try:
        with Connection(incoming, writable=False) as connection:
            assert process.stdin is not None
            # one that ended at once is heard of below
            with suppress(BrokenPipeError), process.stdin as asked:
                pickle.dump(sys.path, asked)
                pickle.dump(reading, asked)
            with closing(_ahead(_received(connection, process, reading, dataset), process)) as samples:
                yield samples
    finally:
        process.kill()
        process.wait()


def _received(
    connection: Connection, process: subprocess.Popen[bytes], reading: Reading, dataset: Dataset
) -> Iterator[Sample]:
    dataset.skipped.clear()
    dataset.notes.clear()
    while True:
        try:
            kind, said = connection.recv()
        except (EOFError, OSError):
            code = process.wait()
            killed = ", which is how a system that is out of memory ends it" if code == -signal.SIGKILL else ""
            ending = f"signal {-code}{killed}" if code < 0 else f"exit code {code}"
            raise DataError(
                f"the process that reads {reading.source} ended ({ending}); nothing was written: try again, or with --workers 1"
            ) from None
        if kind == "sample":
            yield said
        elif kind == "error":
            raise said
        else:
            skipped, notes = said
            dataset.skipped.merge(skipped)
            dataset.notes.merge(notes)
            return


def _ahead(samples: Iterator[Sample], process: subprocess.Popen[bytes]) -> Generator[Sample, None, None]:
    """Yield what an iterator yields, at most _AHEAD items behind a thread that runs it; its errors come through."""
    items: queue.Queue[tuple[Sample | None, BaseException | None]] = queue.Queue(_AHEAD)
    stopped = threading.Event()

    def put(item: tuple[Sample | None, BaseException | None]) -> None:
        while not stopped.is_set():
            try:
                items.put(item, timeout=0.1)
            except queue.Full:
                continue
            return

    def run() -> None:
        try:
            for sample in samples:
                put((sample, None))
                if stopped.is_set():
                    return
            put((None, None))
        except BaseException as error:  # noqa: BLE001 - raised again where the samples are used
            put((None, error))

    thread = threading.Thread(target=run, name="maskloop-read-ahead", daemon=True)
    thread.start()
    try:
        while True:
            sample, error = items.get()
            if error is not None:
                raise error
            if sample is None:
                return
            yield sample
    finally:
        stopped.set()
        # the thread waits for it
        process.kill()
        thread.join()


def serve() -> None:
    """Be the process that reads: what is asked comes by standard input, samples go to the file descriptor that is named."""
    reading: Reading = pickle.load(sys.stdin.buffer)
    # who reads no more has ended, or does not want any more
    with Connection(int(sys.argv[1]), readable=False) as connection, suppress(BrokenPipeError):
        try:
            dataset = reading.opened()
            for sample in dataset:
                connection.send(("sample", sample))
            tallies: tuple[Tally, Tally] = (dataset.skipped, dataset.notes)
            connection.send(("end", tallies))
        except BrokenPipeError:
            raise
        except Exception as error:  # noqa: BLE001 - raised again by who asked
            connection.send(("error", _portable(error)))


def _portable(error: Exception) -> Exception:
    """Return an error that another process can have."""
    try:
        travels = isinstance(pickle.loads(pickle.dumps(error)), type(error))
    except Exception:  # noqa: BLE001 - whatever does not travel is said
        travels = False
    return error if travels else MaskloopError(f"{type(error).__name__}: {error}")

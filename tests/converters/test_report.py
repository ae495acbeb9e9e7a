from __future__ import annotations

import pytest

from maskloop_converters.errors import CodecError
from maskloop_converters.report import EXAMPLES_KEPT, ErrorPolicy, Tally


def test_tally_counts_all_and_keeps_the_first_examples() -> None:
    tally = Tally()
    assert not tally
    for i in range(10):
        tally.add("soft edges", f"image {i}", 100)
    tally.add("overlaps", "image 0", 0)
    assert tally.to_dict() == {"soft edges": {"count": 1000, "examples": [f"image {i}" for i in range(EXAMPLES_KEPT)]}}
    other = Tally()
    other.add("overlaps", "image 9")
    other.merge(tally)
    other.merge(tally)
    assert other.counts == {"overlaps": 1, "soft edges": 2000}
    assert other.lines()[0] == "1 overlaps (image 9)"
    assert len(other.examples["soft edges"]) == EXAMPLES_KEPT


def test_policy_raises_or_counts() -> None:
    def read(policy: ErrorPolicy) -> None:
        with policy.record("damaged records"):
            raise CodecError("record 3 is truncated")

    with pytest.raises(CodecError, match="record 3"):
        read(ErrorPolicy())
    skipping = ErrorPolicy("skip")
    read(skipping)
    read(skipping)
    assert skipping.skipped.counts == {"damaged records": 2}
    assert skipping.skipped.examples["damaged records"][0] == "record 3 is truncated"


def test_policy_hides_no_fault_of_the_program() -> None:
    def read() -> None:
        with ErrorPolicy("skip").record():
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        read()

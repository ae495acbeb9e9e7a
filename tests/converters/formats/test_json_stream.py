from __future__ import annotations

import io
import json
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maskloop_converters.errors import FormatError
from maskloop_converters.formats import json_stream
from maskloop_converters.formats.json_cutting import ListCutter


@pytest.mark.parametrize("window", [1, 3, 1 << 20])
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[1, "ü€", nul]', r"byte 13: not JSON: Expecting value, received 'n"),
        ('[1,"éé" 3]', r"byte 10: not JSON: expected ',' or '\]', received '3"),
        ("\ufeff[1, 2", "byte 8: not JSON: .*truncated"),
        ("[] 1", "byte 3: not JSON: expected the end of the file"),
        ("", "byte 0: not JSON: Expecting value, the file ends there"),
        ('{"a": 1} x', "byte 9: not JSON: Expecting value"),
    ],
)
def test_a_fault_is_named_with_its_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, window: int, text: str, message: str
) -> None:
    monkeypatch.setattr(json_stream, "_WINDOW", window)
    path = tmp_path / "a.json"
    path.write_bytes(text.encode())
    with pytest.raises(FormatError, match=rf"a\.json: not readable at {message}"):
        list(json_stream.elements(path))


@pytest.mark.parametrize("window", [1, 2, 1 << 20])
def test_places_are_in_bytes_whatever_the_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, window: int) -> None:
    monkeypatch.setattr(json_stream, "_WINDOW", window)
    path = tmp_path / "a.json"
    path.write_bytes('{"ключ": "é", "images": ["ü", "道路", 12, "🚲x"]}'.encode())
    data = path.read_bytes()
    found = list(json_stream.scan(path, ["images"]))
    assert [element.value for element in found] == ["é", "ü", "道路", 12, "🚲x"]
    for element in found:
        raw = data[element.start : element.start + element.size]
        assert json_stream.load(raw, "a.json") == element.value


KEYS = st.sampled_from(["rle", "a", 'x"rle', "rle\\", "x\\"])
NUMBERS = st.lists(st.integers(0, 300), max_size=4)
NESTED = st.recursive(
    NUMBERS | st.text('"rle:[]12\\ ', max_size=9) | st.lists(st.floats(0, 1), max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=12,
)


def put_back(value: Any, cut: dict[int, bytes]) -> Any:
    if isinstance(value, list):
        return [put_back(v, cut) for v in value]
    if not isinstance(value, dict):
        return value
    out = {k: put_back(v, cut) for k, v in value.items()}
    stands = out.get("rle")
    if isinstance(stands, list) and len(stands) == 1 and isinstance(stands[0], int) and stands[0] in cut:
        out["rle"] = json.loads(cut[stands[0]])
    return out


@given(st.lists(NESTED.map(lambda v: {"rle": v}), max_size=4), st.integers(1, 9), st.sampled_from([None, 0, 1]))
@settings(max_examples=300)
def test_lists_that_are_cut_out_and_put_back_are_the_document(
    values: list[Any], window: int, indent: int | None
) -> None:
    with tempfile.TemporaryDirectory() as folder, mock.patch.object(json_stream, "_WINDOW", window):
        path = Path(folder, "x.json")
        path.write_text(json.dumps(values, indent=indent))
        assert [put_back(value, cut) for _, value, cut in json_stream.elements_cut(path, "rle")] == values


@pytest.mark.parametrize("window", [1, 7, 1 << 20])
def test_numbers_are_cut_out_and_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, window: int) -> None:
    monkeypatch.setattr(json_stream, "_WINDOW", window)
    path = tmp_path / "a.json"
    path.write_text('[{"rle": [1, 22], "b": {"rle" : [] }}, {"rle": ["-1"]}, {"rle": [3], "rle": [4]}, {"rle": [5]}]')
    taken = []
    for _, value, cut in json_stream.elements_cut(path, "rle"):
        taken.append([cut[number] for number in sorted(cut)])
        assert all(number >= 1 << 62 for number in cut)
        if len(taken) == 2:
            assert value == {"rle": ["-1"]}  # not what is cut
    assert taken[0][:2] == [b"[1, 22]", b"[]"]
    assert taken[-1] == [b"[5]"]


@pytest.mark.parametrize("window", [1, 3, 1 << 20])
def test_a_fault_behind_what_is_cut_is_named_with_its_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, window: int
) -> None:
    monkeypatch.setattr(json_stream, "_WINDOW", window)
    path = tmp_path / "a.json"
    for text in ('[{"rle": [1, 2, 3], "rle": [1], "b": nul}]', '[{"rle": [1, 2'):
        path.write_text(text)
        where = text.find("nul") if "nul" in text else len(text)
        with pytest.raises(FormatError, match=f"not readable at byte {where}: "):
            list(json_stream.elements_cut(path, "rle"))


@pytest.mark.parametrize("size", [1, 2, 5, 100])
def test_the_example_of_cutting(size: int) -> None:
    document, texts = b'[{"rle": [1, 22], "b": 3}, {"rle": ["x"]}]', dict[int, bytes]()
    cutter = ListCutter(io.BytesIO(document), 0, "rle", texts)
    read = b"".join(iter(lambda: cutter.read(size), b""))
    assert read == b'[{"rle": [4611686018427387904], "b": 3}, {"rle": ["x"]}]'
    assert texts == {4611686018427387904: b"[1, 22]"}
    assert (read.find(b'"b"'), cutter.position(read.find(b'"b"'))) == (32, document.find(b'"b"'))
    cutter.forget(32)
    assert texts == {}

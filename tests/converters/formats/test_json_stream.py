from __future__ import annotations

from pathlib import Path

import pytest

from maskloop_converters.errors import FormatError
from maskloop_converters.formats import json_stream


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

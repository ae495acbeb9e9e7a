"""Protocol buffers' text format, compared with protobuf's own parser."""

from __future__ import annotations

from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

from maskloop_converters.errors import DataError, FormatError
from maskloop_converters.formats.label_files import read_labels
from maskloop_converters.formats.text_format import parse
from maskloop_converters.samples import Label

NASTY = r"""
# ids of before: item { id: 9 name: 'no' }
item {
  name: 'trap { id: 3 }'   # } a bracket in a comment
  keypoints { id: 77 label: "nose" }
  id: 1
}
item: < id: 0x1F, name: "a" 'b'; display_name: "" >
item { keypoints: [ { id: 5 label: 'x' }, { id: 6 label: 'y' } ] id: 010 name: "t\303\274r \u95e8\x21 \"q\" \\ \n" }
item{id:2 name:'two' ancestor_ids:[3,0x4] ancestor_ids:5 display_name:'Two, the # second'}
"""


def label_map_class() -> type:
    """StringIntLabelMap of the Object Detection API, as far as it matters, made here from its description."""
    file = descriptor_pb2.FileDescriptorProto(name="label_map.proto", package="t", syntax="proto2")
    kinds = descriptor_pb2.FieldDescriptorProto
    fields = {
        "Keypoint": [("id", kinds.TYPE_INT32, 1, ""), ("label", kinds.TYPE_STRING, 1, "")],
        "Item": [
            ("name", kinds.TYPE_STRING, 1, ""),
            ("id", kinds.TYPE_INT32, 1, ""),
            ("display_name", kinds.TYPE_STRING, 1, ""),
            ("keypoints", kinds.TYPE_MESSAGE, 3, ".t.Keypoint"),
            ("ancestor_ids", kinds.TYPE_INT32, 3, ""),
        ],
        "Map": [("item", kinds.TYPE_MESSAGE, 3, ".t.Item")],
    }
    for name, listed in fields.items():
        message = file.message_type.add(name=name)
        for number, (field, kind, label, of) in enumerate(listed, 1):
            message.field.add(name=field, number=number, type=kind, label=label, type_name=of or None)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("t.Map"))


def test_it_reads_what_protobuf_reads() -> None:
    theirs = text_format.Parse(NASTY, label_map_class()())
    ours = parse(NASTY)["item"]
    for one, other in zip(ours, theirs.item, strict=True):
        assert (one["id"], one["name"]) == ([other.id], [other.name])
        assert one.get("display_name", [""]) == [other.display_name]
        assert [k["id"] for k in one.get("keypoints", [])] == [[k.id] for k in other.keypoints]
        assert one.get("ancestor_ids", []) == list(other.ancestor_ids)


def test_a_label_map_has_the_ids_of_its_items_alone(tmp_path: Path) -> None:
    path = tmp_path / "label_map.pbtxt"
    path.write_text(NASTY)
    labels = read_labels(path)
    assert labels.labels == (
        Label(1, "trap { id: 3 }"),
        Label(31, "ab"),
        Label(8, 'tür 门! "q" \\ \n'),
        Label(2, "Two, the # second"),
    )
    assert labels.background_id == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("item {", "line 1: expected a field's name or '}', found 'the end'"),
        ("item { id: 1\n name: }", "line 2: 'name' has no value"),
        ("item { id 1 }", "expected ':' or '{' behind 'id', found '1'"),
        ("item { id: 1 name: 'x\n' }", "line 1: unexpected"),
        ("item { name: 'x' }", "an item needs an id and a name or display_name, it has name"),
        ("item { id: 1.5 name: 'x' }", "an item needs an id"),
        ("item { id: [] name: 'x' }", "an item needs an id"),
        ("item { id: 1 name: '\\377' }", "no UTF-8"),
        ("item { id: 089 name: 'x' }", "'089' is no number"),
        ("item { id: 1 name: 'x' } item { id: 1 name: 'y' }", "label id 1 stands twice"),
        ("item { id: -1 name: 'x' }", "label id -1 is not in 0"),
        ("item {" * 60, "nested deeper"),
        ("[" * 9, "not closed"),
        ("", "no item"),
    ],
)
def test_what_is_no_label_map_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "x.pbtxt"
    path.write_text(text)
    with pytest.raises(FormatError, match=r"x\.pbtxt") as raised:
        read_labels(path)
    assert message in str(raised.value)


def test_errors_of_the_parser_give_the_line() -> None:
    with pytest.raises(DataError, match="line 3"):
        parse("a: 1\nb: 2\n}")

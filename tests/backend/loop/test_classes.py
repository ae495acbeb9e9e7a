"""Labels that stand for several classes: which classes a model has after a training, and what is drawn as what."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from maskloop_backend.loop.classes import as_the_model_says, merged, names_of, new_labels
from maskloop_backend.studio import label_config
from maskloop_converters.samples import LabelSet


@pytest.mark.parametrize(
    ("known", "labels", "classes", "drawn_as"),
    [
        # the plain case: several classes of the model are one label
        (
            ["sky", "car", "truck"],
            ['value="sky"', 'value="Auto" predicted_values="car,truck"'],
            ["sky", "car", "truck"],
            ["sky", "Auto", "Auto"],
        ),
        # a label beside it that is new, a class that no label shows
        (
            ["car", "pole", "truck"],
            ['value="Auto" predicted_values="car,truck"', 'value="tram"'],
            ["car", "truck", "tram"],
            ["Auto", "Auto", "tram"],
        ),
        # a class with a label of its own is drawn as that one
        (
            ["car", "truck"],
            ['value="car"', 'value="Auto" predicted_values="car,truck"'],
            ["car", "truck"],
            ["car", "Auto"],
        ),
        # the label is a class, too
        (
            ["car", "truck", "Auto"],
            ['value="car"', 'value="Auto" predicted_values="car,truck"'],
            ["car", "truck", "Auto"],
            ["car", "Auto", "Auto"],
        ),
        # one class: it is called as the model calls it
        (["car", "sky"], ['value="Auto" predicted_values="car"', 'value="sky"'], ["car", "sky"], ["car", "sky"]),
        # a label that an older training has made a class of
        (
            ["sky", "Auto"],
            ['value="Auto" predicted_values="car,truck"', 'value="sky"'],
            ["sky", "Auto"],
            ["sky", "Auto"],
        ),
        # the label has the name of one of its classes
        (
            ["car", "truck"],
            ['value="car" predicted_values="car,truck"', 'value="sky"'],
            ["car", "truck", "sky"],
            ["car", "car", "sky"],
        ),
    ],
)
def test_which_classes_and_which_labels(
    known: Sequence[str], labels: Sequence[str], classes: Sequence[str], drawn_as: Sequence[str]
) -> None:
    xml = (
        '<View><Image name="image" value="$image"/><BrushLabels name="tag" toName="image">'
        + "".join(f"<Label {label}/>" for label in labels)
        + "</BrushLabels></View>"
    )
    config = label_config.parse(xml)
    model = LabelSet.from_names(list(known))
    stands_for = as_the_model_says([label.written for label in config.controls[0].labels], config, model)
    names = names_of(stands_for)
    together = {names[name]: found for name, found in stands_for.items() if len(found) > 1}
    found, notes = new_labels(list(dict.fromkeys(names.values())), model, complete=True, together=together)
    merging = merged(found, model, together)
    assert [label.name for label in merging.classes.classes] == list(classes)
    assert [found.classes[k].name for k in merging.into] == list(drawn_as)
    assert merging.trivial == (list(classes) == list(drawn_as))
    gone = [name for name in known if name not in classes]
    assert [note for note in notes if note.startswith("classes without a label")] == [
        f"classes without a label in the project: {name}; the new version will not have them" for name in gone
    ]


def test_labels_that_stand_for_the_same_classes_are_one() -> None:
    assert names_of({"Auto": ["car", "truck"], "KFZ": ["car", "truck"], "r": ["red"], "red": ["red"]}) == {
        "Auto": "Auto",
        "KFZ": "Auto",
        "r": "red",
        "red": "red",
    }


def test_a_background_stays() -> None:
    model = LabelSet(LabelSet.from_names(["rest", "car", "truck"]).labels, background_id=0)
    together = {"Auto": ["car", "truck"]}
    labels, _ = new_labels(["Auto"], model, complete=True, together=together)
    assert [label.name for label in labels.classes] == ["rest", "Auto"]
    merging = merged(labels, model, together)
    assert [label.name for label in merging.classes.classes] == ["rest", "car", "truck"]
    assert merging.into == (0, 1, 1)
    assert merging.classes.background_id == 0

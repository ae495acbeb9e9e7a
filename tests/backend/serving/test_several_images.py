"""Tasks with several images, and images whose address lies deeper in the task's data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

BRUSH = '<BrushLabels name="{name}" toName="{to}"><Label value="road"/><Label value="car"/></BrushLabels>'
PAIR = (
    '<View><Image name="left" value="$a"/><Image name="right" value="$b"/>'
    + BRUSH.format(name="one", to="left")
    + BRUSH.format(name="two", to="right")
    + "</View>"
)


def ask(client: Any, config: str, *tasks: dict[str, Any], context: Any = None) -> Any:
    listed = [{"id": number, "data": data} for number, data in enumerate(tasks)]
    body = {"tasks": listed, "project": "5.1", "label_config": config, "params": {"context": context}}
    return client.request("POST", "/predict", body)


def shown(result: Any) -> set[tuple[str, int, str]]:
    return {(item["to_name"], item["original_width"], item["value"]["brushlabels"][0]) for item in result["result"]}


def test_each_image_is_predicted_by_its_name(start: Any, image_uri: Callable[..., str]) -> None:
    client = start()
    two = {"a": image_uri(width=30), "b": image_uri(width=40, bright=0)}
    one = {"a": image_uri(width=50), "b": None}
    answer = ask(client, PAIR, two, one).json["results"]
    assert shown(answer[0]) == {("left", 30, "road"), ("left", 30, "car"), ("right", 40, "road")}
    assert shown(answer[1]) == {("left", 50, "road"), ("left", 50, "car")}, "what a task does not have is left out"


def test_a_task_one_of_whose_images_is_broken_has_no_prediction(start: Any, image_uri: Callable[..., str]) -> None:
    """Half a prediction would look like a whole one."""
    client = start()
    broken = {"a": image_uri(), "b": "data:image/png;base64,AAAA"}
    assert ask(client, PAIR, broken).json["results"] == [[]]
    refused = ask(client, PAIR, {"c": image_uri()}, context={"result": []})
    assert refused.status == 424
    assert "under the key 'a'" in refused.reason


def test_a_click_is_answered_on_the_image_that_was_clicked(start: Any, image_uri: Callable[..., str]) -> None:
    client = start()
    data = {"a": image_uri(width=30, bright=0), "b": image_uri(width=40, bright=20)}
    value = {"x": 10, "y": 50, "width": 0.3, "keypointlabels": ["car"]}
    click = {"type": "keypointlabels", "to_name": "right", "from_name": "point", "value": value}
    (answer,) = ask(client, PAIR, data, context={"result": [click]}).json["results"]
    assert shown(answer) == {("right", 40, "car")}


@pytest.mark.parametrize(
    ("value", "data"),
    [
        ("$my.image", lambda uri: {"my": {"image": uri}}),
        ("$my.image", lambda uri: {"my.image": uri}),
        ("$pages[1].url", lambda uri: {"pages": [{"url": "x"}, {"url": uri}]}),
        ("data:$rest", lambda uri: {"rest": uri.removeprefix("data:")}),
    ],
)
def test_addresses_that_lie_deeper_in_the_data(
    start: Any, image_uri: Callable[..., str], value: str, data: Callable[[str], dict[str, Any]]
) -> None:
    config = f'<View><Image name="image" value="{value}"/>{BRUSH.format(name="tag", to="image")}</View>'
    (answer,) = ask(start(), config, data(image_uri())).json["results"]
    assert shown(answer) == {("image", 30, "road"), ("image", 30, "car")}

"""Options that `convert` and `inspect` share, and how they reach the formats."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..registry import FORMATS

FORMAT = click.Choice(list(FORMATS))

source_format = click.option("--from", "source_format", type=FORMAT, help="Format of SRC.  [default: found out]")
labels = click.option(
    "--labels",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Label list of SRC where it has none of its own: labels.json, a name a line, or id,name,r,g,b.",
)
part = click.option("--part", help="Read this part of SRC only (train, val).")
annotators = click.option(
    "--annotations",
    type=click.Choice(["latest", "ground-truth", "all", "majority"]),
    help="Label Studio: which annotation of a task counts.  [default: latest]",
)
label_config = click.option(
    "--label-config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Label Studio: the project's label config (XML), for labels, their order and colours.",
)
soft = click.option("--soft", is_flag=True, help="Keep the soft edges of brush strokes; without it alpha > 127 is on.")


def given(**options: Any) -> dict[str, Any]:
    """Return the options that the user gave: those that are neither None nor False."""
    return {name: value for name, value in options.items() if value is not None and value is not False}

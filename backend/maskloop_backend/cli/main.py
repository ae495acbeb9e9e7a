"""The `maskloop` command: a group that imports a command's module only when that command is asked for."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

import click

from maskloop_converters import __version__
from maskloop_converters.errors import MaskloopError

# TensorFlow greets with a dozen lines about the processor; what goes wrong comes as exceptions anyway.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

# command name -> (module, the first line of its help, so that `maskloop --help` imports none of them)
COMMANDS: dict[str, tuple[str, str]] = {
    "demo": ("maskloop_backend.cli.demo", "See the whole loop on drawn street scenes, in a real Label Studio."),
    "serve": ("maskloop_backend.cli.serve", "Serve a model's predictions to Label Studio."),
    "connect": ("maskloop_backend.cli.connect", "Register the backend in a Label Studio project, the right way."),
    "doctor": ("maskloop_backend.cli.doctor", "Find what is wrong between Label Studio and the backend; say the fix."),
    "train": ("maskloop_backend.cli.train", "Train a fully convolutional network on a labelled dataset."),
    "retrain": ("maskloop_backend.cli.retrain", "Make a better model of what annotators corrected, or change nothing."),
    "evaluate": ("maskloop_backend.cli.evaluate", "Measure a model version on labelled images; find wrong labels."),
    "review": ("maskloop_backend.cli.review", "Find labels of a project that should be looked at again."),
    "rank": ("maskloop_backend.cli.rank", "Tell which images to label first."),
    "simulate": ("maskloop_backend.cli.simulate", "Find out which strategy saves most labels on your data."),
    "label": ("maskloop_backend.cli.label", "Label whole datasets: a folder, a bucket, whatever fails on the way."),
    "models": (
        "maskloop_backend.cli.models",
        "List, compare, carry over and remove model versions; choose the served one.",
    ),
    "jobs": ("maskloop_backend.cli.jobs", "List, watch, start and cancel trainings in the background."),
    "live": ("maskloop_backend.cli.live", "Turn live versions (`serve --live`) off and on while servers run."),
    "stats": ("maskloop_backend.cli.stats", "Tell what became of predictions: accepted, changed, rejected."),
    "rollout": ("maskloop_backend.cli.rollout", "Move a Label Studio project to a model version, and back."),
    "convert": (
        "maskloop_converters.cli.convert",
        "Convert masks between PNG, COCO RLE, TFRecord, Label Studio and others.",
    ),
    "inspect": ("maskloop_converters.cli.inspect", "Count, check and draw what a dataset holds."),
}


class LazyGroup(click.Group):
    """A click group whose commands are named in COMMANDS and imported on use.

    `maskloop --help` must not import TensorFlow, which costs ten seconds and 500 MB.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order in which COMMANDS lists them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one command; a missing package is named with the extra that brings it."""
        if cmd_name not in COMMANDS:
            return None
        module = COMMANDS[cmd_name][0]
        try:
            command: click.Command = importlib.import_module(module).command
        except ModuleNotFoundError as error:
            if (error.name or "").split(".")[0] in {"maskloop_backend", "maskloop_converters"}:
                raise
            raise click.ClickException(
                f"`maskloop {cmd_name}` needs the package {error.name!r}: pip install 'maskloop[backend]'"
            ) from error
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands from COMMANDS, importing none."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; an error that maskloop raised on purpose, or the system's, is one line on stderr and exit code 1."""
        try:
            return super().invoke(ctx)
        except MaskloopError as error:
            raise click.ClickException(str(error)) from error
        except BrokenPipeError:
            raise
        except OSError as error:
            # a full disk, a folder without write permission, a file where a folder should be
            if error.filename is None and error.errno is None:
                raise
            where = f": {error.filename}" if error.filename is not None else ""
            raise click.ClickException(f"{error.strerror or type(error).__name__}{where}") from error


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="maskloop")
def cli() -> None:
    """Close the loop between a segmentation model and Label Studio.

    \b
    maskloop demo                        see it all on drawn scenes
    maskloop train DATASET               train an FCN on your images
    maskloop evaluate DATASET            how good it is, and where it is not
    maskloop serve                       serve it to Label Studio
    maskloop connect --project TITLE     pre-fill a project's masks
    maskloop convert SRC DST             move masks between formats
    """


if __name__ == "__main__":
    sys.exit(cli())

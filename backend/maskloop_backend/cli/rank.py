"""`maskloop rank`."""

from __future__ import annotations

import json
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import click

from .. import quiet
from . import options


@click.command
@click.argument("source", required=False, type=click.Path(exists=True, path_type=Path))
@click.option(
    "--project", metavar="ID|TITLE", help="A Label Studio project's tasks without annotations, instead of SOURCE."
)
@options.studio_url
@options.studio_token
@options.allow_hosts
@options.deny_private
@click.option(
    "--model",
    "version",
    metavar="VERSION",
    help="The version that is asked.  [default: the one that the project is served]",
)
@click.option("--strategy", default="default", show_default=True, help="See above.")
@click.option("--budget", type=click.IntRange(1), help="Size of the batch that is chosen together.  [default: all]")
@click.option(
    "--labelled",
    type=click.Path(exists=True, path_type=Path),
    metavar="PATH",
    help="Images that are labelled already; `default` and `diverse` stay away from them.  [default: the project's]",
)
@click.option("--apply", is_flag=True, help="Store the order in the project: its tasks are served in it.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of what is random.")
@options.home
@options.json_output
def command(
    source: Path | None,
    project: str | None,
    studio_url: str,
    studio_token: str | None,
    allow_hosts: tuple[str, ...],
    deny_private: bool,
    version: str | None,
    strategy: str,
    budget: int | None,
    labelled: Path | None,
    apply: bool,
    seed: int,
    home: Path,
    as_json: bool,
) -> None:
    """Print which images to label first: a folder of images, a dataset, or a project's open tasks.

    Each line is an image's rank, how useful it seems (0..1), its name, and a star where it belongs to the batch. The
    strategies:

    \b
    default             unsure images of every class, unlike each other, 15 % at random
    entropy, margin     those that the model is least sure of
    bald                those on which the model disagrees with itself (random dropout)
    class-balanced      the classes in turn, each with the image least sure of it
    diverse             images unlike all that are labelled or chosen
    foreground-random   at random, every predicted class alike
    random              at random

    None of them is best on all data: `maskloop simulate` tells which one is on yours. In Label Studio, projects with
    "Uncertainty sampling" serve tasks by the score of their predictions, the least sure first, without this command.
    --apply replaces those scores by the place in this order, until the next version's predictions come.

    \b
    maskloop rank photos/ --budget 50
    maskloop rank --project "Street scenes" --strategy margin --json
    maskloop rank --project "Street scenes" --apply
    """
    if (source is None) == (project is None):
        raise click.UsageError("give either SOURCE, images on disk, or --project, one of a Label Studio")
    if apply and project is None:
        raise click.UsageError("--apply stores the order in a Label Studio project: give --project")
    quiet.import_keras()
    from ..active import sources
    from ..active.ordering import Stored, store_order
    from ..active.ranking import rank
    from ..active.strategies import STRATEGIES, looks_at_labelled
    from ..registry import Registry
    from ..studio.addresses import AddressPolicy
    from ..studio.client import StudioClient
    from ..studio.images import ImageFetcher
    from .progress import bar

    chosen = next((name for name in STRATEGIES if name == strategy), None)
    if chosen is None:
        raise click.UsageError(f"--strategy: there is no {strategy!r}; there are: {', '.join(STRATEGIES)}")
    registry = Registry(home)
    number = None if version else options.project_id(project, studio_url, studio_token)
    model = version or registry.serving(number)
    if model is None:
        raise click.UsageError(f"no version is served in {home} yet: `maskloop train` makes one, --model names another")
    client: StudioClient | None = None
    stored: Stored | None = None
    with ExitStack() as stack:
        known: sources.Source | None = None
        if source is not None:
            found = sources.from_path(source)
        elif project is not None:
            token = options.required_token(studio_token)
            client = stack.enter_context(StudioClient(studio_url, token))
            policy = AddressPolicy.parse(allow_hosts, deny_private, client.url)
            fetcher = ImageFetcher(client.url, token, policy=policy)
            of_project = partial(sources.from_project, client, fetcher, project, lost=_left_out)
            found = of_project()
            if labelled is None and looks_at_labelled(chosen):
                known = of_project(annotated=True)
        if labelled is not None:
            known = sources.from_path(labelled)
        total = len(found.names) + (len(known.names) if known is not None else 0)
        with bar("images") as progress:
            ranked = rank(
                registry.load(model),
                found.images,
                strategy=chosen,
                budget=budget,
                labelled=() if known is None else known.images,
                seed=seed,
                each=lambda done: progress(done, total),
            )
        if apply and client is not None and project is not None:
            order = [int(one.id) for one in ranked]
            with bar("scores") as progress:
                stored = store_order(client, project, order, each=lambda done: progress(done, len(order)))
    if stored is not None:
        click.echo("\n".join(stored.said()), err=True)
    if as_json:
        result = {"model_version": model, "strategy": strategy, "ranked": [one.to_json() for one in ranked]}
        click.echo(json.dumps(result | ({} if stored is None else {"stored": stored.to_json()})))
        return
    for one in ranked:
        figure = "     " if one.usefulness is None else f"{one.usefulness:.3f}"
        click.echo(f"{one.rank:6}  {figure}  {'*' if one.chosen and budget else ' '} {one.id}")


def _left_out(task: int, why: Exception) -> None:
    click.echo(f"task {task} is left out: {why}", err=True)

"""`maskloop serve`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

import click

from .. import quiet
from . import options


@click.command
@options.home
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    envvar="MASKLOOP_HOST",
    show_envvar=True,
    help="Address to listen on; any but loopback needs credentials.",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=9090,
    show_default=True,
    envvar="MASKLOOP_PORT",
    show_envvar=True,
    help="Port to listen on; 0 takes a free one.",
)
@click.option(
    "--model", "pinned", metavar="VERSION", help="Serve this version to all projects, whatever `maskloop models` chose."
)
@click.option(
    "--studio-url",
    envvar="MASKLOOP_STUDIO_URL",
    show_envvar=True,
    help="Where Label Studio answers; a token goes there only. Default: http://localhost:8080 if there is a token, else "
    "what Label Studio says of itself, which is wrong from another container.",
)
@options.studio_public_url
@options.studio_token
@options.allow_hosts
@options.deny_private
@click.option(
    "--basic-auth-user",
    envvar="MASKLOOP_BASIC_AUTH_USER",
    show_envvar=True,
    help="User that Label Studio must give; the password is in MASKLOOP_BASIC_AUTH_PASSWORD or a file.",
)
@click.option(
    "--basic-auth-password-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File whose first line is the password.",
)
@click.option(
    "--regions",
    type=click.Choice(["class", "component"]),
    default="class",
    show_default=True,
    help="One region a class, or one a connected part.",
)
@click.option("--min-area", default=1, show_default=True, type=click.IntRange(1), help="Leave out smaller regions, px.")
@options.confidence_below
@click.option("--batch-size", default=8, show_default=True, type=click.IntRange(1), help="Images a call of the model.")
@click.option(
    "--runtime",
    type=click.Choice(["auto", "keras", "openvino"]),
    default="auto",
    show_default=True,
    envvar="MASKLOOP_RUNTIME",
    show_envvar=True,
    help="What computes predictions. 'openvino' is made for processors and wants: pip install 'maskloop[openvino]'. 'auto' "
    "measures it against Keras when a model is loaded and takes the faster one; the log and /health say which.",
)
@click.option(
    "--precision",
    type=click.Choice(["auto", "float32", "bfloat16", "int8"]),
    default="auto",
    show_default=True,
    envvar="MASKLOOP_PRECISION",
    show_envvar=True,
    help="What the network computes in. 'bfloat16' is faster where the processor has it (avx512_bf16, amx_bf16), slow "
    "elsewhere, and moves few pixels at the borders of classes; 'auto' takes it where it is measured to be faster. 'int8' is "
    "for versions of `maskloop models quantize`, on OpenVINO; 'auto' takes it where it costs at most 0.005 mIoU and is the "
    "fastest.",
)
@click.option(
    "--models-in-memory",
    default=4,
    show_default=True,
    type=click.IntRange(1),
    help="Versions that are held at once where projects have their own; the least recently used is loaded anew when it is "
    "asked.",
)
@options.edges
@click.option("--cache-mb", default=256, show_default=True, type=click.IntRange(0), help="Memory for predictions.")
@click.option(
    "--image-mb",
    default=1024,
    show_default=True,
    type=click.IntRange(64),
    help="Memory for images between decoding and answer; more of them wait.",
)
@click.option("--max-body-mb", default=128, show_default=True, type=click.IntRange(1), help="Largest request.")
@click.option("--max-tasks", default=10_000, show_default=True, type=click.IntRange(1), help="Tasks of one request.")
@click.option(
    "--train-after",
    type=click.IntRange(1),
    metavar="N",
    envvar="MASKLOOP_TRAIN_AFTER",
    show_envvar=True,
    help="Train a project once N of its tasks were corrected. Default: when somebody presses Start Training.",
)
@click.option(
    "--effort",
    type=click.Choice(["quick", "full"]),
    default="quick",
    show_default=True,
    help="How trainings are done, see `maskloop retrain`.",
)
@click.option(
    "--rollout/--no-rollout",
    default=True,
    help="Show a version that a training promoted in its project at once, see `maskloop rollout`.",
)
@click.option(
    "--live",
    is_flag=True,
    envvar="MASKLOOP_LIVE",
    show_envvar=True,
    help="After each submit, refit the model's last layers for the project within seconds; the next task that is opened shows "
    "that live version's masks. It is never promoted; `maskloop live off` removes it at once.",
)
@click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    envvar="MASKLOOP_LOG_FORMAT",
    show_envvar=True,
    help="'json': one object a line, with the ids of request (X-Request-ID, taken or made) and task.",
)
@click.option(
    "--drain-seconds",
    "drain_delay",
    type=click.FloatRange(0, 600),
    default=0,
    show_default=True,
    envvar="MASKLOOP_DRAIN_SECONDS",
    show_envvar=True,
    help="When it is told to stop, say so in /ready for so long before predictions are refused.",
)
@click.option("--training/--no-training", default=True, help="Do not train in the background.")
def command(
    home: Path,
    pinned: str | None,
    regions: Literal["class", "component"],
    min_area: int,
    below: float,
    basic_auth_user: str | None,
    basic_auth_password_file: Path | None,
    studio_url: str | None,
    studio_public_url: str | None,
    allow_hosts: tuple[str, ...],
    deny_private: bool,
    runtime: Literal["auto", "keras", "openvino"],
    precision: Literal["auto", "float32", "bfloat16", "int8"],
    edges: bool,
    cache_mb: int,
    image_mb: int,
    max_body_mb: int,
    log_format: Literal["text", "json"],
    **values: Any,
) -> None:
    """Serve a model's predictions to Label Studio.

    Serves the version that `maskloop models promote` chose and follows it when it changes. A project that was trained by
    itself, or that a version was promoted for, has its own and is served no other's. Connect a project with
    `maskloop connect`. Trainings that Label Studio asks for run in the background, one at a time: `maskloop jobs`.
    Its address in a browser is a page: versions, trainings, the last predictions, and what annotators made of them.
    """
    from ..serving import logs
    from ..serving.app import create_app
    from ..serving.models import RegistrySource
    from ..serving.server import serve
    from ..serving.settings import Settings
    from ..studio.addresses import AddressPolicy
    from ..studio.errors import http_address
    from ..studio.predictions import PredictionOptions

    if studio_url is None and values["studio_token"]:
        # never to an address that others say: whoever calls /setup would get the token
        studio_url = options.STUDIO_URL
        click.echo(
            f"the Label Studio token is used with {studio_url} only; --studio-url says another address", err=True
        )
    if studio_url is not None:
        studio_url = http_address(studio_url, "--studio-url")
    if studio_public_url:
        studio_public_url = http_address(studio_public_url, "--studio-public-url")
    settings = Settings(
        home=home,
        credentials=_credentials(basic_auth_user, basic_auth_password_file),
        studio_url=studio_url,
        studio_public_url=studio_public_url or None,
        policy=AddressPolicy.parse(allow_hosts, deny_private, studio_url),
        cache_bytes=cache_mb << 20,
        image_bytes=image_mb << 20,
        max_body=max_body_mb << 20,
        **values,
    )
    settings.check_exposure()
    if runtime == "openvino":
        # before anybody waits for a model that will not come
        quiet.import_keras()
        from ..inference.runtimes.openvino_runtime import require

        require()
    logs.configure(form=log_format)
    models = RegistrySource(home, pinned=pinned, runtime=runtime, precision=precision, edges=edges)
    serve(create_app(models, settings, PredictionOptions(per=regions, min_area=min_area, below=below)), settings)


def _credentials(user: str | None, password_file: Path | None) -> Any:
    """Return the credentials from option, file and environment, None where none were given."""
    from ..serving.auth import Credentials

    password = os.environ.get("MASKLOOP_BASIC_AUTH_PASSWORD")
    if password_file is not None:
        password = password_file.read_text(encoding="utf-8").partition("\n")[0].rstrip("\r")
    if not user and not password:
        return None
    if not user or not password:
        missing = "--basic-auth-user" if not user else "MASKLOOP_BASIC_AUTH_PASSWORD (or --basic-auth-password-file)"
        raise click.UsageError(f"basic auth needs both a user and a password: {missing} is missing")
    try:
        return Credentials(user, password)
    except ValueError as error:
        raise click.UsageError(str(error)) from error

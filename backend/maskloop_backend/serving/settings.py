"""What an operator can set, and the sizes that follow from it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from maskloop_converters.errors import MaskloopError

from ..loop.worker import COMMAND
from ..studio.addresses import AddressPolicy
from ..studio.images import DOWNLOAD_SECONDS
from .auth import Credentials, is_loopback


class ServerError(MaskloopError):
    """The server cannot start as it was told to; the message says the fix."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How the server runs.

    Attributes:
        home: the directory that holds models and the jobs.
        host: the address to listen on.
        port: the TCP port to listen on; 0 takes a free one.
        credentials: what every request must carry as HTTP basic auth; None lets everybody in.
        studio_url: where Label Studio answers; None trusts what it says of itself in /setup, which is often wrong.
        studio_token: a token for Label Studio's files, which goes to studio_url and nowhere else; None uses the one in
            /setup, which a default install refuses.
        policy: of the addresses that images are fetched from.
        batch_size: at most so many images go through the model at once.
        batch_pixels: at most so many pixels go through the model at once, one image excepted: an annotator's image
            waits for the batch that runs, and bigger ones are no faster.
        batch_wait: seconds that an image waits for others to fill its batch.
        cache_bytes: memory for predictions that may be asked for again.
        fetchers: images that are downloaded at once from one host for requests of many tasks, and twice as many for
            single tasks.
        fetch_seconds: for one download, on the wall clock.
        image_bytes: memory for images that are being decoded or wait for the model; who comes then waits.
        max_body: bytes of a request's body.
        max_tasks: tasks of one request.
        model_wait: seconds that a prediction waits for a model that is still loading. Label Studio gives up when it
            has heard nothing for 100 s.
        keepalive: seconds of silence after which a byte of white space keeps a slow answer's connection open.
        patience: seconds for which a smart tool's answer is held back, so that a failure can still set the status.
        threads: worker threads of the HTTP server.
        reserved_threads: how many of them predictions may never take, so that /health is answered within the 1 s that
            Label Studio gives it.
        training: whether it trains in the background.
        train_after: so many corrected tasks of a project start a training; None: only who asks for one gets it.
        quiet: seconds without a further correction before such a training starts.
        effort: of trainings, 'quick' or 'full', see `maskloop retrain`.
        rollout: whether a version that a training promoted is shown in its project at once.
        training_command: what `retrain` and its options are appended to.
        grace: seconds for which a stopping server lets running predictions finish.
    """

    home: Path
    host: str = "127.0.0.1"
    port: int = 9090
    credentials: Credentials | None = None
    studio_url: str | None = None
    studio_token: str | None = None
    policy: AddressPolicy = field(default_factory=AddressPolicy)
    batch_size: int = 8
    batch_pixels: int = 2_000_000
    batch_wait: float = 0.003
    cache_bytes: int = 256 << 20
    fetchers: int = 4
    fetch_seconds: float = DOWNLOAD_SECONDS
    image_bytes: int = 1 << 30
    max_body: int = 128 << 20
    max_tasks: int = 10_000
    model_wait: float = 60.0
    keepalive: float = 1.0
    patience: float = 20.0
    threads: int = 64
    reserved_threads: int = 16
    training: bool = True
    train_after: int | None = None
    quiet: float = 30.0
    effort: str = "quick"
    rollout: bool = True
    training_command: tuple[str, ...] = COMMAND
    grace: float = 30.0

    def check_exposure(self) -> None:
        """Refuse to listen beyond this machine without credentials.

        Raises:
            ServerError: anybody on the network could read task images through the server's token.
        """
        if self.credentials is None and not is_loopback(self.host):
            raise ServerError(
                f"refusing to listen on {self.host} without credentials: anybody who reaches it could use the model "
                "and read images with the server's token. Set MASKLOOP_BASIC_AUTH_PASSWORD and --basic-auth-user USER "
                "(and enter both in Label Studio's connection), or listen on --host 127.0.0.1"
            )

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
        studio_public_url: what people's browsers call it, for links; None: ``studio_url``.
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
        max_body: bytes of the largest body: a request for predictions, whose tasks come with the masks of all older ones.
        max_setup: bytes of a /setup body: a label config.
        max_event: bytes of a /webhook body: one annotation with its masks; not more than ``max_body``.
        max_tasks: tasks of one request.
        models_in_memory: model versions at once: projects may each have their own. The least recently used goes.
        model_wait: seconds that a prediction waits for a model that is still loading. Label Studio gives up when it
            has heard nothing for 100 s.
        keepalive: seconds of silence after which a byte of white space keeps a slow answer's connection open.
        patience: seconds for which a smart tool's answer is held back, so that a failure can still set the status.
        threads: worker threads of the HTTP server.
        reserved_threads: how many of them predictions may never take, so that /health is answered within the 1 s that
            Label Studio gives it.
        waiting_predictions: requests that may wait for one of the other threads; more are refused.
        connections: open at once; a further one takes the place of the one that waits longest for its own client.
        connections_per_address: open at once from one address. Label Studio is one address, with as many connections
            as annotators who wait.
        header_seconds: in which a request's headers must have come, counted from the connection's beginning.
        body_seconds: in which a body must have come, beside the time that it takes at the ``slowest`` rate.
        read_seconds: in which a client must read at the ``slowest`` rate what is sent to it.
        idle_seconds: for which a connection may stay open between two requests.
        slowest: bytes a second.
        training: whether it trains in the background.
        train_after: so many corrected tasks of a project start a training; None: only who asks for one gets it.
        quiet: seconds without a further correction before such a training starts.
        effort: of trainings, 'quick' or 'full', see `maskloop retrain`.
        rollout: whether a version that a training promoted is shown in its project at once.
        live: whether a head is refitted for each project after each submit and answers for it, see :mod:`.live`.
        training_command: what `retrain` and its options are appended to.
        drain_delay: seconds between the first word of stopping in /ready and the first refused prediction: whoever sends
            requests here is to notice by then.
        grace: seconds for which a stopping server lets running predictions finish.
    """

    home: Path
    host: str = "127.0.0.1"
    port: int = 9090
    credentials: Credentials | None = None
    studio_url: str | None = None
    studio_public_url: str | None = None
    studio_token: str | None = None
    policy: AddressPolicy = field(default_factory=AddressPolicy)
    batch_size: int = 8
    batch_pixels: int = 1 << 20
    batch_wait: float = 0.003
    cache_bytes: int = 256 << 20
    fetchers: int = 4
    fetch_seconds: float = DOWNLOAD_SECONDS
    image_bytes: int = 1 << 30
    max_body: int = 128 << 20
    max_setup: int = 2 << 20
    max_event: int = 64 << 20
    max_tasks: int = 10_000
    models_in_memory: int = 4
    model_wait: float = 60.0
    keepalive: float = 1.0
    patience: float = 20.0
    threads: int = 64
    reserved_threads: int = 16
    waiting_predictions: int = 200
    connections: int = 1000
    connections_per_address: int = 800
    header_seconds: float = 10.0
    body_seconds: float = 30.0
    read_seconds: float = 20.0
    idle_seconds: float = 120.0
    slowest: int = 32 << 10
    training: bool = True
    train_after: int | None = None
    quiet: float = 30.0
    effort: str = "quick"
    rollout: bool = True
    live: bool = False
    training_command: tuple[str, ...] = COMMAND
    drain_delay: float = 0.0
    grace: float = 30.0

    def body_limit(self, path: str) -> int:
        """Return how many bytes the body of a request to a path may have; what takes no body may have a little."""
        limits = {"/predict": self.max_body, "/webhook": self.max_event, "/setup": self.max_setup}
        return min(self.max_body, limits.get(path, 64 << 10))

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

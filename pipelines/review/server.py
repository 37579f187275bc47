"""The one process that serves a desk's review page: its lock, its address, and how it ends."""

from __future__ import annotations

import ipaddress
import secrets
import socket
import threading
import webbrowser
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any

import uvicorn

from desk.desk import Desk
from desk.lock import hold_file
from feedback.audits.blind_rows import Answer
from feedback.exceptions import FeedbackError
from feedback.labels.ledger import kept_policy
from label_policy import SENT_TEXT, PolicyError
from pipelines.output.exceptions import UsageError
from pipelines.review.app import create_app
from pipelines.review.guard import Guard
from pipelines.review.queue import Queue

_LOCK = ".review.lock"
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def serve(desk: Desk, *, host: str, port: int, exposed: bool, opens: bool, say: Callable[[str], None]) -> int:
    """Serve the page until it is interrupted, and return how many verdicts of this sitting are current.

    Args:
        desk: the desk whose sample is read.
        host: name or address to listen on.
        port: the port, or 0 for any that is free.
        exposed: whether `host` may be one that other machines reach.
        opens: whether to open the page in this machine's browser.
        say: prints a line.

    Raises:
        FeedbackError: another process serves the desk, there is no sample, or the address cannot be listened on.

    """
    with _hold(desk), _listen(host, port, exposed) as listener:
        queue = Queue(desk.lake, desk.policy.audit.strata)
        address = _address(host, listener.getsockname()[1])
        token = secrets.token_urlsafe(24)
        app = Guard(create_app(queue, desk=desk.name, why=_whys(desk)), token=token, hosts=_hosts(host, listener))
        if host not in _LOOPBACK:
            say(
                f"Everybody who reaches {address} and knows the address below can read the desk's texts and give "
                "verdicts, and the connection is not encrypted; stop it when you are done."
            )
        url = f"http://{address}/?token={token}"

        def started() -> None:
            say(f"The audit of desk {desk.name} is at {url} until Ctrl-C.")
            if opens:
                threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()

        _run(app, listener, started)
        return queue.kept


class _Server(uvicorn.Server):
    """Calls back once it answers."""

    def __init__(self, config: uvicorn.Config, started: Callable[[], None]) -> None:
        super().__init__(config)
        self._started = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._started()


def _run(app: Guard, listener: socket.socket, started: Callable[[], None]) -> None:
    # Its log would hold the token, and without a proxy no header may name the client.
    config = uvicorn.Config(
        app, log_level="error", access_log=False, server_header=False, proxy_headers=False, lifespan="off",
        timeout_graceful_shutdown=2,
    )  # fmt: skip
    try:
        _Server(config, started).run(sockets=[listener])
    except KeyboardInterrupt:
        return  # the usual end; every verdict is saved already


@contextmanager
def _hold(desk: Desk) -> Iterator[None]:
    """Be the only server of the desk, since claims on rows are kept in one process."""
    _ = desk.settings  # raises where there is no such desk

    def refuse(holder: Mapping[str, Any]) -> FeedbackError:
        who = f", by process {holder['process']} on {holder['host']} since {holder['since']}" if holder else ""
        return FeedbackError(
            f"the review page of desk {desk.name} is open already{who}; use the address that it printed, where several "
            "people can read at once, or stop it first"
        )

    with hold_file(desk.path / _LOCK, {}, refuse=refuse):
        yield


@contextmanager
def _listen(host: str, port: int, exposed: bool) -> Iterator[socket.socket]:
    try:
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise UsageError(f"--host {host} is not an address of this machine ({error.strerror}); give one") from error
    family, kind, protocol, _, address = addresses[0]
    at = ipaddress.ip_address(address[0])
    if at.is_unspecified:
        raise UsageError(f"--host {host} would answer under any name; give the one address that readers will use")
    if not (at.is_loopback or exposed):
        raise UsageError(
            f"--host {host} lets other machines read the desk's texts; add --exposed if that is meant, or leave it out"
        )
    with socket.socket(family, kind, protocol) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(address)
        except OSError as error:
            raise UsageError(
                f"port {port} of {host} cannot be listened on ({error.strerror}); choose another, or leave it out"
            ) from error
        yield listener


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _hosts(host: str, listener: socket.socket) -> frozenset[str]:
    """Return the hosts that the page answers as: the one of `--host`, and its address."""
    address, port = listener.getsockname()[:2]
    names = {host, address} | ({"localhost"} if ipaddress.ip_address(address).is_loopback else set())
    return frozenset(_address(name, port).lower() for name in names)


def _whys(desk: Desk) -> Callable[[Answer], str | None]:
    """Return a function that finds the `why` of an answer's rule, in the policy that labelled."""

    @cache
    def of(digest: str) -> dict[str, str]:
        try:
            policy = kept_policy(desk.lake, digest)
        except (FeedbackError, PolicyError):
            return {}  # the desk no longer keeps its text, or this release cannot read it
        whys = {rule.id: rule.why for rule in policy.rules}
        return whys | ({SENT_TEXT: policy.sent_text.why} if policy.sent_text else {})

    return lambda answer: of(answer.policy_digest).get(answer.rule)

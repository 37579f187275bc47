"""Guard the review page: only a browser with the printed address gets in, and only by the page's own forms.

Other sites can make the user's browser send requests to this machine. So the requested host must be the one that the
page listens on, and not a foreign name that is bound to 127.0.0.1. A request that changes anything must come from the
page itself and carry the session's token. A content security policy without exceptions confines what the page shows.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qs

from starlette.requests import HTTPConnection
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

MOST_BYTES: Final = 64 * 1024
"""The most bytes of a form: a note and a few words."""

HEADERS: Final = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    # Not `no-referrer`, under which browsers send forms with the origin `null`.
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}

_SAFE: Final = frozenset({"GET", "HEAD"})
_OPEN: Final = "/static/"
# For links from other sites: the browser holds back the cookie until the page itself asks for something.
_ENTER: Final = (
    '<!doctype html><html lang="en"><meta charset="utf-8"><meta http-equiv="refresh" content="0; url=/">'
    '<title>Audit review</title><a href="/">Open the review page</a></html>'
)


@dataclass
class Session:
    """A browser that knows the token.

    Attributes:
        id: the cookie's value.
        csrf: the token that its forms carry.
        reader: the name of the person who reads in it; None before it is entered.

    """

    id: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    csrf: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    reader: str | None = None


class Guard:
    """ASGI middleware that refuses everybody else, and puts the session into the scope as `session`.

    Args:
        app: the guarded application.
        token: the token in the printed address.
        hosts: the values of the `Host` header that get an answer, with the port.

    """

    def __init__(self, app: App, *, token: str, hosts: frozenset[str]) -> None:
        self._app = app
        self._token = token
        self._hosts = hosts
        self._sessions: dict[str, Session] = {}
        # Cookies are shared between the ports of a host: another desk's page must not end this one's session.
        port = next(iter(hosts)).rpartition(":")[2]
        self.cookie = f"feedback_kto_review_{port}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request, or pass it to the page."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def guarded(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                headers = {name.encode(): value.encode() for name, value in HEADERS.items()}
                message["headers"] = [pair for pair in message["headers"] if pair[0].lower() not in headers] + [
                    *headers.items()
                ]
            await send(message)

        answer = self._answer(scope)
        await (answer or self._app)(scope, receive, guarded)

    def _answer(self, scope: Scope) -> Response | None:
        """Return the guard's own answer; None where the page is to answer."""
        request = HTTPConnection(scope)
        if request.headers.get("host", "").lower() not in self._hosts:
            return PlainTextResponse(f"This page answers only as {' or '.join(sorted(self._hosts))}.", 421)
        if scope["method"] not in _SAFE:
            refused = _refuse_form(request)
            if refused:
                return refused
        elif scope["path"] == "/" and b"token=" in scope["query_string"]:
            return self._enter(request)
        if scope["path"].startswith(_OPEN) and scope["method"] in _SAFE:
            return None
        session = self._sessions.get(request.cookies.get(self.cookie, ""))
        if session is None:
            return PlainTextResponse(
                "This page opens only by its address; use the one that `feedback-kto audit review` printed.", 403
            )
        scope["session"] = session
        return None

    def _enter(self, request: HTTPConnection) -> Response:
        token = parse_qs(request.scope["query_string"].decode("latin-1")).get("token", [""])[0]
        if not hmac.compare_digest(token.encode(), self._token.encode()):
            return PlainTextResponse("This address is from an earlier start; use the one that was printed last.", 403)
        session = self._sessions.get(request.cookies.get(self.cookie, ""))
        if session is None:
            session = Session()
            self._sessions[session.id] = session
        elsewhere = request.headers.get("sec-fetch-site") == "cross-site"
        response = HTMLResponse(_ENTER) if elsewhere else RedirectResponse("/", 303)
        response.set_cookie(self.cookie, session.id, httponly=True, samesite="strict", path="/")
        return response


def _refuse_form(request: HTTPConnection) -> Response | None:
    """Return the refusal of a form that another page sent or that is too long; None for others."""
    if request.headers.get("origin", "").lower() != f"http://{request.headers['host'].lower()}":
        return PlainTextResponse("This form comes from another page.", 403)
    length = request.headers.get("content-length", "")
    if not length.isdecimal() or int(length) > MOST_BYTES:
        return PlainTextResponse(f"A form may have {MOST_BYTES:,} bytes; shorten the note.", 413)
    return None


def is_of(session: Session, token: object) -> bool:
    """Return whether a form's token is the session's."""
    return isinstance(token, str) and hmac.compare_digest(token.encode(), session.csrf.encode())

"""Serve the review page's addresses: the start, one row a screen, the row after its verdict, and the end.

Every page is complete without script. A form that the script sends is answered in JSON with the next address; a form
that the browser sends is redirected.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import urlencode

from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.exception_handlers import http_exception_handler
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import Response
from starlette.staticfiles import StaticFiles

from feedback.audits.blind_rows import Answer
from feedback.audits.verdicts import REASONS, SIMULATED_PREFIX, VerdictKind
from feedback.exceptions import FeedbackError
from pipelines.output.safe_text import visible
from pipelines.review.guard import Session, is_of
from pipelines.review.queue import CurrentVerdict, Filters, Queue
from pipelines.review.row_view import about, describe, reveal
from pipelines.review.safe_html import line, text

MOST_NOTE: Final = 4_000
MOST_NAME: Final = 60

VERDICTS: Final = (
    (VerdictKind.DESIRABLE, "Desirable", "d", "The copilot should answer like this again."),
    (VerdictKind.UNDESIRABLE, "Undesirable", "u", "The copilot should not answer like this."),
    (VerdictKind.UNSURE, "Can’t tell", "c", "What is here does not say whether it is good."),
)
REASON_KEYS: Final = "1234567890-"

_HERE: Final = Path(__file__).parent
_ANY: Final = "any"
_NONE: Final = "none"


def create_app(queue: Queue, *, desk: str, why: Callable[[Answer], str | None]) -> FastAPI:
    """Make the application; `pipelines.review.guard.Guard` must stand before it.

    Args:
        queue: the desk's queue.
        desk: the desk's name.
        why: returns the `why` of the answer's rule; None where that is not known.

    """
    app = FastAPI(title="Audit review", docs_url=None, redoc_url=None, openapi_url=None)
    app.mount("/static", StaticFiles(directory=_HERE / "static"), name="static")
    pages = _Pages(queue, desk, why)
    app.add_api_route("/", pages.start, methods=["GET"])
    app.add_api_route("/start", pages.name, methods=["POST"])
    app.add_api_route("/next", pages.next, methods=["GET"])
    app.add_api_route("/row/{key}", pages.row, methods=["GET"])
    app.add_api_route("/row/{key}/verdict", pages.post_verdict, methods=["POST"])
    app.add_api_route("/row/{key}/reason", pages.give_reason, methods=["POST"])
    app.add_api_route("/row/{key}/skip", pages.skip, methods=["POST"])
    app.add_api_route("/row/{key}/hold", pages.hold, methods=["POST"])
    app.add_api_route("/row/{key}/undo", pages.undo, methods=["POST"])
    app.add_api_route("/undo", pages.undo_last, methods=["POST"])
    app.add_exception_handler(HTTPException, pages.problem)
    return app


def _session(request: Request) -> Session:
    session: Session = request.scope["session"]
    return session


def _reader(request: Request) -> str:
    """Return the reader's name; without one, redirect to the start page."""
    reader = _session(request).reader
    if reader is None:
        raise HTTPException(303, headers={"location": "/"})
    return reader


async def _form(request: Request) -> dict[str, str]:
    """Return the fields of a form, which must carry this session's token."""
    fields = {name: value for name, value in (await request.form()).items() if isinstance(value, str)}
    if not is_of(_session(request), fields.get("csrf")):
        raise HTTPException(403, "This form is from another session; open the page again.")
    return fields


Reader = Annotated[str, Depends(_reader)]
Form = Annotated[dict[str, str], Depends(_form)]


class _Pages:
    def __init__(self, queue: Queue, desk: str, why: Callable[[Answer], str | None]) -> None:
        self._queue = queue
        self._why = why
        self._templates = Environment(
            loader=FileSystemLoader(_HERE / "templates"), autoescape=True, undefined=StrictUndefined,
            trim_blocks=True, lstrip_blocks=True,
        )  # fmt: skip
        self._templates.filters |= {"n": "{:,}".format, "text": text, "line": line}
        self._templates.globals |= {
            "desk": desk,
            "verdicts": VERDICTS,
            "reasons": list(zip(REASON_KEYS, REASONS.items(), strict=True)),
            "most_note": MOST_NOTE,
            "most_name": MOST_NAME,
        }

    def _render(self, template: str, request: Request, /, *, status: int = 200, **context: Any) -> HTMLResponse:  # noqa: ANN401
        session = _session(request)
        page = self._templates.get_template(template).render(session=session, **context)
        return HTMLResponse(page, status)

    def _filters(self, request: Request) -> Filters:
        values = {name: request.query_params.get(name, _ANY) for name in self._queue.facets}
        return {name: _decode(value) for name, value in values.items() if value == _NONE or value.startswith("=")}

    def start(self, request: Request) -> Response:
        """Show the start page: the reader's name, the choice of rows, and the guide."""
        self._queue.refresh()
        reader = _session(request).reader
        if reader is not None:
            self._queue.release(reader, request.query_params.get("leave", ""))
        filters = self._filters(request)
        facets = [
            (name, [(_encode(value), value, rows, filters.get(name, _ANY) == value) for value, rows in values.items()])
            for name, values in self._queue.values().items()
        ]
        return self._render(
            "start.html.j2", request, facets=facets, readers=self._queue.readers(), name=reader, problem=None,
            progress=self._queue.progress(reader or "", {}), about=about,
        )  # fmt: skip

    def name(self, request: Request, form: Form) -> Response:
        """Take the reader's name and go on to the first row."""
        name = " ".join(visible(form.get("name", "")).split())
        if not name or len(name) > MOST_NAME:
            return self._refuse_name(request, f"Give a name of 1 to {MOST_NAME} characters.")
        if name.casefold().startswith(SIMULATED_PREFIX):
            return self._refuse_name(
                request, f"Names that begin with “{SIMULATED_PREFIX}” are for simulated readers; give another."
            )
        _session(request).reader = self._queue.reader(name)
        filters = {facet: form[facet] for facet in self._queue.facets if form.get(facet, _ANY) != _ANY}
        return _go(request, "/next?" + urlencode(filters))

    def _refuse_name(self, request: Request, problem: str) -> Response:
        return self._render(
            "start.html.j2", request, status=422, facets=[], readers=[], name=None, problem=problem,
            progress=self._queue.progress("", {}), about=about,
        )  # fmt: skip

    def next(self, request: Request, reader: Reader) -> Response:
        """Go on to the next row, or to the end."""
        self._queue.refresh()
        filters = self._filters(request)
        key = self._queue.next(reader, filters)
        if key is not None:
            return RedirectResponse(f"/row/{key}{_query(filters)}", 303)
        progress = self._queue.progress(reader, filters)
        return self._render(
            "end.html.j2", request, progress=progress, everything=self._queue.progress(reader, {}), filters=filters,
            query=_query(filters), last=self._queue.last(reader),
        )  # fmt: skip

    def row(self, request: Request, reader: Reader, key: str) -> Response:
        """Show one row: with the form for a verdict or, once the reader has judged it, with the policy's label."""
        if key not in self._queue:
            raise HTTPException(404, "The sample has no such row; it may have been drawn anew.")
        verdict = self._queue.verdict(reader, key)
        if verdict is None and not self._queue.hold(reader, key):
            raise HTTPException(409, "Somebody else is reading this row, and it needs no more readers.")
        filters = self._filters(request)
        context: dict[str, Any] = {
            "row": describe(self._queue.question(key), self._queue.moments(key)),
            "progress": self._queue.progress(reader, filters),
            "about": about,
            "filters": filters,
            "query": _query(filters),
            "undoable": self._queue.last(reader) is not None,
        }
        if verdict is not None:
            return self._render("judged.html.j2", request, **context, **self._revealed(reader, key, verdict))
        return self._render(
            "row.html.j2", request, **context, form=secrets.token_urlsafe(12),
            skipped=self._queue.was_skipped(reader, key), withdrawn="withdrawn" in request.query_params,
        )  # fmt: skip

    def _revealed(self, reader: str, key: str, verdict: CurrentVerdict) -> dict[str, Any]:
        answer = self._queue.answer(reader, key)
        assert answer is not None  # the reader has judged the row
        return {"verdict": verdict, "answer": answer, "reveal": reveal(verdict, answer), "why": self._why(answer)}

    def post_verdict(self, request: Request, reader: Reader, form: Form, key: str) -> Response:
        """Keep a verdict at once."""
        self._queue.refresh()
        note = form.get("note", "").replace("\r\n", "\n").strip() or None
        verdict = form.get("verdict", "")
        if verdict not in {name for name, *_ in VERDICTS}:
            raise HTTPException(422, "The form holds no verdict; press one of its three buttons.")
        if note is not None and len(note) > MOST_NOTE:
            raise HTTPException(422, f"The note has {len(note):,} characters; {MOST_NOTE:,} can be kept.")
        try:
            self._queue.give_verdict(
                reader, key, form=form.get("form", ""), digest=form.get("digest", ""), verdict=verdict,
                reason=form.get("reason") or None, note=note, seconds=_seconds(form.get("seconds")),
            )  # fmt: skip
        except FeedbackError as error:
            raise HTTPException(409, f"Not saved: {error}.") from error
        return _go(request, f"/row/{key}{_query(self._filters(request))}")

    def give_reason(self, request: Request, reader: Reader, form: Form, key: str) -> Response:
        """Keep a reason that comes after the verdict; an empty one takes it back."""
        self._queue.refresh()
        try:
            self._queue.give_reason(reader, key, digest=form.get("digest", ""), reason=form.get("reason") or None)
        except FeedbackError as error:
            raise HTTPException(409, f"Not saved: {error}.") from error
        return _go(request, f"/row/{key}{_query(self._filters(request))}")

    def skip(self, request: Request, reader: Reader, form: Form, key: str) -> Response:
        """Skip a row."""
        self._queue.skip(reader, key)
        return _go(request, "/next" + _query(self._filters(request)))

    def hold(self, reader: Reader, form: Form, key: str) -> Response:
        """Renew the claim on a row that is still being read."""
        return JSONResponse({"held": self._queue.hold(reader, key)})

    def undo(self, request: Request, reader: Reader, form: Form, key: str) -> Response:
        """Take a verdict back; the row is to be judged again."""
        if not self._queue.withdraw(reader, key):
            return _go(request, f"/row/{key}{_query(self._filters(request))}")
        return _go(request, f"/row/{key}{_query(self._filters(request), withdrawn='yes')}")

    def undo_last(self, request: Request, reader: Reader, form: Form) -> Response:
        """Take the reader's last verdict back."""
        last = self._queue.last(reader)
        if last is None:
            raise HTTPException(409, "There is no verdict of yours to take back.")
        self._queue.release(reader, form.get("row", ""))
        return self.undo(request, reader, form, last)

    async def problem(self, request: Request, error: Exception) -> Response:
        """Show what is wrong, as JSON or as a page."""
        assert isinstance(error, HTTPException)
        if error.status_code < 400:
            return await http_exception_handler(request, error)
        if _asks_for_json(request):
            return JSONResponse({"problem": error.detail}, error.status_code)
        return self._render("problem.html.j2", request, status=error.status_code, problem=error.detail)


def _asks_for_json(request: Request) -> bool:
    return "application/json" in request.headers.get("accept", "")


def _go(request: Request, to: str) -> Response:
    return JSONResponse({"to": to}) if _asks_for_json(request) else RedirectResponse(to, 303)


def _encode(value: str | None) -> str:
    return _NONE if value is None else f"={value}"


def _decode(value: str) -> str | None:
    return None if value == _NONE else value[1:]


def _query(filters: Filters, **more: str) -> str:
    pairs = {name: _encode(value) for name, value in filters.items()} | more
    return "?" + urlencode(pairs) if pairs else ""


def _seconds(text: str | None) -> float | None:
    """Return the seconds that the page was in sight, by its own clock; None for no number or more than a day."""
    try:
        seconds = float(text or "")
    except ValueError:
        return None
    return round(seconds, 1) if 0 <= seconds <= 86_400 else None

"""The routes of the dashboard: `/api/dashboard`, `/api/v1`, and the page. Who may use them is decided by a guard."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from getpatter.dashboard.board import Board, Wanted
from getpatter.dashboard.export import Period, as_json, calls_to_csv, calls_to_json

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from getpatter.dashboard.feed import Feed, Stream

_T = TypeVar("_T")
Endpoint = Callable[[Request], Awaitable[Response]]

MOST_CALLS: Final = 1000
_DEFAULT_LIMIT: Final = 50
_LONGEST_BODY: Final = 256 * 1024
_BODY_SECONDS: Final = 10.0
_TRUE: Final = frozenset({"1", "true", "yes", "on"})

_COMMON: Final = {
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
"""Nothing but our own files runs, and no text can become a script, whatever a caller is called."""
_PAGE: Final = {**_COMMON, "content-security-policy": _POLICY, "x-frame-options": "DENY"}
_STATIC: Final = {
    "page.css": "text/css; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "view.js": "text/javascript; charset=utf-8",
}


class Guard(Protocol):
    """Puts a rule about who may in front of an endpoint."""

    def __call__(self, endpoint: Endpoint, *, is_page: bool = False) -> Endpoint:
        """The endpoint, behind the rule; the page takes its token from the URL as well."""
        ...


class RefusedError(Exception):
    """What was asked for cannot be answered."""

    def __init__(self, status: int, error: str) -> None:
        super().__init__(error)
        self.status = status


# --------------------------------------------------------------------------------- what there is


def page_routes(guard: Guard, *, at_root: bool = True) -> list[Route]:
    """The page and its files; `at_root`: also at `/`."""

    async def show_page(_request: Request) -> Response:
        return Response(_static("page.html"), headers=_PAGE, media_type="text/html")

    def file_of(name: str) -> Endpoint:
        async def show_file(_request: Request) -> Response:
            # Not `media_type=`: Starlette would add a second charset.
            headers = {**_COMMON, "cache-control": "no-cache", "content-type": _STATIC[name]}
            return Response(_static(name), headers=headers)

        return show_file

    paths = ["/dashboard", "/"] if at_root else ["/dashboard"]
    return [
        *(Route(path, guard(show_page, is_page=True)) for path in paths),
        *(Route(f"/dashboard/{name}", guard(file_of(name))) for name in _STATIC),
    ]


def dashboard_routes(board: Board, guard: Guard) -> list[Route]:
    """`/api/dashboard`: what the page is made from."""

    async def calls(request: Request) -> Response:
        limit, offset = _paging(request)
        found, total = await _in_thread(board.calls, _wanted(request), limit=limit, offset=offset)
        answer = await _in_thread(_json, found)
        answer.headers["x-total-count"] = str(total)
        return answer

    async def call(request: Request) -> Response:
        record = await _in_thread(board.store.get_call, request.path_params["call_id"])
        return _found(record, "Not found")

    async def active(_request: Request) -> Response:
        return await _in_thread(lambda: _json(board.store.get_active_calls()))

    async def aggregates(_request: Request) -> Response:
        return await _in_thread(lambda: _json(board.aggregates()))

    async def delete_one(request: Request) -> Response:
        call_id = request.path_params["call_id"]
        if await _in_thread(board.store.get_call, call_id) is None:
            raise RefusedError(404, "Not found")
        return _json(await _delete(board, request, [call_id]))

    async def delete_many(request: Request) -> Response:
        return _json(await _delete(board, request, _call_ids(await body_of(request))))

    return _routed(
        guard,
        ("/api/dashboard/calls", "GET", calls),
        ("/api/dashboard/calls/delete", "POST", delete_many),
        ("/api/dashboard/calls/{call_id}", "GET", call),
        ("/api/dashboard/calls/{call_id}", "DELETE", delete_one),
        ("/api/dashboard/active", "GET", active),
        ("/api/dashboard/aggregates", "GET", aggregates),
        ("/api/dashboard/events", "GET", _events_of(board)),
        ("/api/dashboard/export/calls", "GET", _export_of(board, "")),
    )


def api_routes(board: Board, guard: Guard) -> list[Route]:
    """`/api/v1`: the same for programs."""

    async def calls(request: Request) -> Response:
        limit, offset = _paging(request)
        wanted = _wanted(request)
        found, total = await _in_thread(board.calls, wanted, limit=limit, offset=offset)
        paging = {"limit": limit, "offset": offset, "count": len(found), "total": total}
        return await _in_thread(_json, {"data": found, "pagination": paging})

    async def active(_request: Request) -> Response:
        running = await _in_thread(board.store.get_active_calls)
        return await _in_thread(_json, {"data": running, "count": len(running)})

    async def call(request: Request) -> Response:
        record = await _in_thread(board.store.get_call, request.path_params["call_id"])
        return _found(record, "Call not found", envelope=True)

    async def overview(_request: Request) -> Response:
        return _json({"data": await _in_thread(board.aggregates)})

    async def costs(request: Request) -> Response:
        fields = request.query_params
        found = await _in_thread(board.costs, _period(request))
        period = {name: fields.get(name) or None for name in ("from", "to")}
        return _json({"data": {**found, "period": period}})

    return _routed(
        guard,
        ("/api/v1/calls", "GET", calls),
        ("/api/v1/calls/active", "GET", active),
        ("/api/v1/calls/{call_id}", "GET", call),
        ("/api/v1/analytics/overview", "GET", overview),
        ("/api/v1/analytics/costs", "GET", costs),
        ("/api/v1/export/csv", "GET", _export_of(board, "csv")),
        ("/api/v1/export/json", "GET", _export_of(board, "json")),
        ("/api/v1/events", "GET", _events_of(board)),
    )


def _routed(guard: Guard, *table: tuple[str, str, Endpoint]) -> list[Route]:
    """Routes by path; a path with several methods is one route, so that any other method is 405."""
    paths: dict[str, dict[str, Endpoint]] = {}
    for path, method, endpoint in table:
        paths.setdefault(path, {})[method] = endpoint

    def one_of(methods: Mapping[str, Endpoint]) -> Endpoint:
        async def answer(request: Request) -> Response:
            endpoint = methods["GET" if request.method == "HEAD" else request.method]
            try:
                return await endpoint(request)
            except RefusedError as refused:
                return _json({"error": str(refused)}, refused.status)

        return answer

    return [
        Route(path, guard(one_of(methods)), methods=list(methods))
        for path, methods in paths.items()
    ]


# --------------------------------------------------------------------------------- what was asked


def _paging(request: Request) -> tuple[int, int]:
    return (
        _whole(request, "limit", _DEFAULT_LIMIT, 1, MOST_CALLS),
        _whole(request, "offset", 0, 0, None),
    )


def _whole(request: Request, name: str, default: int, least: int, most: int | None) -> int:
    text = request.query_params.get(name)
    if text is None:
        return default
    digits = text.isascii() and text.isdigit() and len(text) <= len(str(2**53))
    number = int(text) if digits else -1
    if number < least or (most is not None and number > most):
        bounds = f"{least} to {most}" if most is not None else f"{least} or more"
        raise RefusedError(422, f"{name} must be {bounds}")
    return number


def _wanted(request: Request) -> Wanted:
    fields = request.query_params
    return Wanted(
        q=fields.get("q", "").strip(),
        status=fields.get("status", "").strip(),
        direction=fields.get("direction", "").strip(),
        period=_period(request),
    )


def _period(request: Request) -> Period:
    fields = request.query_params
    try:
        return Period.of(fields.get("from", ""), fields.get("to", ""))
    except ValueError as error:
        raise RefusedError(400, str(error)) from error


async def body_of(request: Request, longest: int = _LONGEST_BODY) -> Any:
    """The JSON of a request's body.

    Raises:
        RefusedError: it is too long, too slow, or no JSON.
    """
    body = bytearray()
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            async for piece in request.stream():
                body += piece
                if len(body) > longest:
                    raise RefusedError(413, "Request body too large")
        return msgspec.json.decode(bytes(body))
    except TimeoutError as error:
        raise RefusedError(408, "Request body too slow") from error
    except (ClientDisconnect, ValueError, RecursionError) as error:
        raise RefusedError(400, "Invalid JSON body") from error


def _call_ids(body: Any) -> list[str]:
    call_ids = body.get("call_ids") if isinstance(body, dict) else None
    if not isinstance(call_ids, list) or not all(isinstance(each, str) for each in call_ids):
        raise RefusedError(400, "call_ids must be a list of texts")
    if not 1 <= len(call_ids) <= MOST_CALLS:
        raise RefusedError(400, f"call_ids must be 1 to {MOST_CALLS}")
    return call_ids


# ------------------------------------------------------------------------------- what is answered


async def _in_thread(work: Callable[..., _T], /, *what: object, **named: object) -> _T:
    """Off the loop, which carries the audio of calls."""
    return await asyncio.to_thread(work, *what, **named)


async def _delete(board: Board, request: Request, call_ids: list[str]) -> dict[str, object]:
    purges = request.query_params.get("purge", "").lower() in _TRUE
    return await _in_thread(board.delete, call_ids, purges=purges)


def _export_of(board: Board, kind: str) -> Endpoint:
    async def export(request: Request) -> Response:
        chosen = kind or request.query_params.get("format", "csv").lower()
        if chosen not in {"csv", "json"}:
            raise RefusedError(400, "format must be csv or json")
        period = _period(request)
        write = calls_to_csv if chosen == "csv" else calls_to_json
        text = await _in_thread(lambda: write(board.all(Wanted(period=period))).encode())
        content_type = "text/csv" if chosen == "csv" else "application/json"
        headers = {
            **_COMMON,
            "content-type": f"{content_type}; charset=utf-8",
            "content-disposition": f'attachment; filename="patter_calls.{chosen}"',
        }
        return Response(text, headers=headers)

    return export


def _events_of(board: Board) -> Endpoint:
    async def events(request: Request) -> Response:
        if request.method == "HEAD":
            return Response(headers=_STREAM)
        stream = board.feed.open(request.headers.get("last-event-id", ""))
        if stream is None:
            raise RefusedError(503, "Too many event streams")
        return _EventStream(board.feed, stream)

    return events


_STREAM: Final = {
    **_COMMON,
    "content-type": "text/event-stream; charset=utf-8",
    "x-accel-buffering": "no",  # or nginx collects events until they fill a page
}


class _EventStream(StreamingResponse):
    """A stream that gives its place back however it ends, even before it has begun."""

    def __init__(self, feed: Feed, stream: Stream) -> None:
        super().__init__(stream.frames(), headers=_STREAM)
        self._feed = feed
        self._stream = stream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._feed.leave(self._stream)


def _found(record: object, missing: str, *, envelope: bool = False) -> Response:
    if record is None:
        raise RefusedError(404, missing)
    return _json({"data": record} if envelope else record)


def _json(value: object, status: int = 200) -> Response:
    headers = {**_COMMON, "content-type": "application/json"}
    return Response(as_json(value), status, headers=headers)


def _static(name: str) -> bytes:
    return (files("getpatter.dashboard") / "static" / name).read_bytes()


__all__ = [
    "Endpoint",
    "Guard",
    "RefusedError",
    "api_routes",
    "body_of",
    "dashboard_routes",
    "page_routes",
]

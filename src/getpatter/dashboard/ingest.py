"""`POST /api/dashboard/ingest`: news of calls of other processes, for the standalone dashboard."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from getpatter.dashboard.notice import INGEST_PATH
from getpatter.dashboard.routes import RefusedError, body_of

if TYPE_CHECKING:
    from starlette.requests import Request

    from getpatter.dashboard.store import MetricsStore

_LONGEST_BODY: Final = 16 * 1024 * 1024
"""A call of hours, with its transcript and the numbers of every turn."""


def ingest_route(store: MetricsStore, token: str) -> Route:
    """The route: `{"type": "call_start" | "call_end", "data": {...}}`, from whoever has the token."""
    writers: dict[str, Callable[[Mapping[str, object]], None]] = {
        "call_start": store.record_call_start,
        "call_end": store.record_call_end,
    }

    async def ingest(request: Request) -> Response:
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(given.encode(), token.encode()):
            return JSONResponse({"detail": "Unauthorized"}, 401)
        try:
            news = await body_of(request, _LONGEST_BODY)
            write, data = _read(news, writers)
        except RefusedError as refused:
            return JSONResponse({"error": str(refused)}, refused.status)
        write(data)
        return Response(status_code=204)

    return Route(INGEST_PATH, ingest, methods=["POST"])


def _read(
    news: object, writers: Mapping[str, Callable[[Mapping[str, object]], None]]
) -> tuple[Callable[[Mapping[str, object]], None], Mapping[str, object]]:
    if isinstance(news, dict):
        write, data = writers.get(str(news.get("type"))), news.get("data")
        if write is not None and isinstance(data, dict) and isinstance(data.get("call_id"), str):
            return write, data
    raise RefusedError(400, "type must be call_start or call_end, with a call_id in data")

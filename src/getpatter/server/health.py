"""`GET /health`: whether this process takes calls. Says nothing about how it is set up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.responses import JSONResponse
from starlette.routing import Route

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request


def health_route(is_stopping: Callable[[], bool]) -> Route:
    """The route; 503 from the first step of a shutdown on."""

    async def health(_request: Request) -> JSONResponse:
        if is_stopping():
            return JSONResponse({"status": "stopping", "mode": "local"}, 503)
        return JSONResponse({"status": "ok", "mode": "local"})

    return Route("/health", health)

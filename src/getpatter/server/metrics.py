"""`GET /metrics`: the numbers of all calls, for Prometheus. Guarded as the dashboard is: see `access.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.responses import Response
from starlette.routing import Route

if TYPE_CHECKING:
    from starlette.requests import Request

    from getpatter.observability.prometheus import CallCounts
    from getpatter.server.access import Access


def metrics_route(counts: CallCounts, access: Access) -> Route:
    """The route: no content, no phone numbers, and not for everybody."""

    async def show(request: Request) -> Response:
        body, content_type = counts.page(request.headers.get("accept", ""))
        # Not `media_type=`: Starlette would add a second charset.
        return Response(body, headers={"content-type": content_type, "cache-control": "no-store"})

    return Route("/metrics", access.guard(show))

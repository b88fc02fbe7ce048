"""The dashboard and its API inside a web application of your own: `mount_dashboard`, `mount_api`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from getpatter.dashboard.board import Board
from getpatter.dashboard.routes import api_routes, dashboard_routes, page_routes
from getpatter.dashboard.store import MetricsStoreProtocol
from getpatter.server.access import Access

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.routing import BaseRoute


def mount_dashboard(app: Any, store: MetricsStoreProtocol, token: str = "") -> None:
    """Add `/dashboard` and `/api/dashboard` to a Starlette or FastAPI application.

    Args:
        app: The application; the routes come after its own.
        store: `phone.metrics_store`, or a store of your own.
        token: What a browser must show once, as `/dashboard?token=...`, and a program in `Authorization: Bearer`.
            Without one only requests that come straight from this machine are answered.

    Raises:
        TypeError: `app` has no list of routes, or `store` is no store.
    """
    board, guard = _board_of(store), Access(token=token).guard
    _add(app, [*page_routes(guard, at_root=False), *dashboard_routes(board, guard)])


def mount_api(app: Any, store: MetricsStoreProtocol, token: str = "") -> None:
    """Add `/api/v1` to a Starlette or FastAPI application. The arguments are those of `mount_dashboard`.

    Raises:
        TypeError: `app` has no list of routes, or `store` is no store.
    """
    _add(app, api_routes(_board_of(store), Access(token=token).guard))


def missing_in(store: object) -> list[str]:
    """What an object lacks to be shown as a store of calls."""
    wanted = [name for name in vars(MetricsStoreProtocol) if not name.startswith("_")]
    return [name for name in wanted if not callable(getattr(store, name, None))]


def _board_of(store: MetricsStoreProtocol) -> Board:
    missing = missing_in(store)
    if missing:
        raise TypeError(f"a store needs {', '.join(missing)}: see MetricsStoreProtocol")
    return Board(store)


def _add(app: Any, routes: Sequence[BaseRoute]) -> None:
    known = getattr(getattr(app, "router", app), "routes", None)
    if not isinstance(known, list):
        raise TypeError(f"routes can be added to a Starlette application, not to {app!r}")
    known.extend(routes)

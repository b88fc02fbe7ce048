"""The ASGI application of a phone: webhooks, media sockets, health, and room for more routes.

It can be served by `HttpServer`, or mounted in an application of yours under any path.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from starlette.exceptions import HTTPException
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route, Router

from getpatter.net.messages import WebhookReply, WebhookRequest
from getpatter.server.gate import NOT_FOUND, STOPPING, Clocks, MediaGate, ServerSettings, headers_of
from getpatter.server.health import health_route
from getpatter.server.limits import Refusal
from getpatter.server.plain import carry, refuse
from getpatter.server.webhooks import Webhooks, problem

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from getpatter.carriers.base import Carrier
    from getpatter.runtime.media import Switchboard

from getpatter.tracebacks import without_text

logger = logging.getLogger(__name__)

_HEALTH: Final = "/health"
_NOSNIFF: Final = (b"x-content-type-options", b"nosniff")
_TOO_LARGE: Final = problem(413, "Request body too large")
_TOO_SLOW: Final = problem(408, "Request body too slow")


class PhoneApp:
    """An ASGI application. Make one with `create_app`."""

    def __init__(self, gate: MediaGate, inner: ASGIApp, *, new_error_id: Callable[[], str]) -> None:
        self.gate = gate
        """Lets media sockets in. A server that has a faster way to carry them uses it directly."""
        self._inner = inner
        self._new_error_id = new_error_id

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or one WebSocket to its end."""
        match scope["type"]:
            case "http":
                await self._http(scope, receive, send)
            case "websocket":
                await self._websocket(scope, receive, send)
            case _:  # "lifespan"
                await self._inner(scope, receive, send)

    def client_address(self, request: Request) -> str:
        """Address of who sent this request, behind the proxies that are trusted."""
        peer = request.client.host if request.client else ""
        return self.gate.settings.proxies.client(peer, headers_of(request.headers.raw))

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        has_begun = False

        async def send_guarded(message: Message) -> None:
            nonlocal has_begun
            if message["type"] == "http.response.start":
                has_begun = True
                headers = list(message.get("headers", ()))
                message["headers"] = headers if _NOSNIFF in headers else [*headers, _NOSNIFF]
            await send(message)

        if self.gate.is_stopping and route_path(scope) != _HEALTH:
            await _response(STOPPING)(scope, receive, send_guarded)
            return
        try:
            # Routes raise their 404 and 405, for us to word, only for something they take for an app.
            await self._inner({**scope, "app": self}, receive, send_guarded)
        except Exception as error:
            error_id = self._new_error_id()
            logger.exception("server.failed id=%s", error_id, exc_info=without_text(error))
            if has_begun:
                raise
            await JSONResponse({"id": error_id}, 500)(scope, receive, send_guarded)

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()  # "websocket.connect"
        path = route_path(scope)
        if not self.gate.leads_to(path):
            await refuse(NOT_FOUND, scope, send)
            return
        request = _as_received(scope, "GET", b"")
        client = scope.get("client")
        decision = self.gate.decide(request, path, str(client[0]) if client else "")
        if isinstance(decision, Refusal):
            await refuse(decision, scope, send)
        else:
            await carry(self.gate, decision, receive, send)


def create_app(
    switchboard: Switchboard,
    carriers: Mapping[str, Carrier],
    *,
    settings: ServerSettings,
    clocks: Clocks | None = None,
    absent: Mapping[str, frozenset[str]] | None = None,
    routes: Sequence[BaseRoute] = (),
) -> PhoneApp:
    """The application that answers for these carriers, by name; the first serves `/ws/stream/`.

    `absent`: names and webhook kinds of carriers that exist but are not configured, whose webhooks cannot be
    verified (503). `routes` are added after ours, for a dashboard.
    """
    known_absent = absent or {}
    gate = MediaGate(switchboard, carriers, settings=settings, clocks=clocks, absent=known_absent)
    webhooks = Webhooks(switchboard, carriers, settings=settings, clocks=gate.clocks)
    kinds = {**known_absent, **{name: one.webhook_kinds for name, one in carriers.items()}}
    router = Router(
        routes=[
            health_route(lambda: gate.is_stopping),
            *(
                Route(
                    f"/webhooks/{name}/{kind}",
                    _webhook_endpoint(webhooks, settings, name, kind),
                    methods=["POST"],
                )
                for name in sorted(kinds)
                for kind in sorted(kinds[name])
            ),
            Route("/ws/{rest:path}", _plain_get(gate)),
            *routes,
        ],
        redirect_slashes=False,
    )
    inner = ExceptionMiddleware(router, handlers={HTTPException: _http_error})
    return PhoneApp(gate, inner, new_error_id=lambda: secrets.token_hex(8))


def route_path(scope: Scope) -> str:
    """The decoded path below the place where the application is mounted."""
    path, root = str(scope["path"]), str(scope.get("root_path", ""))
    if root and path.startswith(root) and path[len(root) : len(root) + 1] in {"", "/"}:
        return path[len(root) :] or "/"
    return path


_Endpoint = Callable[[Request], Awaitable[Response]]


def _webhook_endpoint(
    webhooks: Webhooks, settings: ServerSettings, name: str, kind: str
) -> _Endpoint:
    async def receive_webhook(request: Request) -> Response:
        try:
            async with asyncio.timeout(settings.body_seconds):
                body = await _read_body(request, settings.body_bytes)
        except TimeoutError:
            return _as_response(_TOO_SLOW)
        except ClientDisconnect:
            return Response(status_code=400)  # nobody reads it
        if body is None:
            return _as_response(_TOO_LARGE)
        return _as_response(
            webhooks.answer(name, kind, _as_received(request.scope, request.method, body))
        )

    return receive_webhook


def _plain_get(gate: MediaGate) -> _Endpoint:
    async def upgrade_required(request: Request) -> Response:
        if not gate.leads_to(route_path(request.scope)):
            raise HTTPException(404)
        return _response(Refusal(426, "Upgrade Required", {"upgrade": "websocket"}))

    return upgrade_required


async def _read_body(request: Request, limit: int) -> bytes | None:
    """The whole body, or `None` as soon as it is known to be longer than `limit`."""
    declared = request.headers.get("content-length", "")
    if declared.isascii() and declared.isdigit() and len(declared.lstrip("0")) > len(str(limit)):
        return None
    if declared.isascii() and declared.isdigit() and int(declared) > limit:
        return None
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > limit:
            return None
    return bytes(body)


def _as_received(scope: Scope, method: str, body: bytes) -> WebhookRequest:
    raw_path = scope.get("raw_path")
    if raw_path is None:  # optional in ASGI; a server without it has decoded nothing we sign
        raw_path = str(scope["path"]).encode()
    return WebhookRequest(
        method,
        bytes(raw_path).partition(b"?")[0].decode("latin-1"),
        bytes(scope.get("query_string", b"")).decode("latin-1"),
        headers_of(scope["headers"]),
        body,
    )


def _as_response(reply: WebhookReply) -> Response:
    # Not `media_type=`: Starlette would add a charset to what the carrier's file decided.
    headers = {"content-type": reply.content_type} if reply.content_type else {}
    if reply.status == _TOO_LARGE.status:
        headers["connection"] = "close"
    return Response(reply.body, reply.status, headers=headers)


def _response(refusal: Refusal) -> Response:
    return JSONResponse({"detail": refusal.detail}, refusal.status, headers=dict(refusal.headers))


async def _http_error(_request: Request, exc: Exception) -> Response:
    assert isinstance(exc, HTTPException)
    return JSONResponse({"detail": exc.detail}, exc.status_code, headers=exc.headers)

"""The ASGI application: webhooks in, media sockets in."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from getpatter.server.embedded import EmbeddedServer as EmbeddedServer

__all__ = ["EmbeddedServer"]


def __getattr__(name: str) -> object:
    if name == "EmbeddedServer":
        from getpatter.server.embedded import EmbeddedServer  # noqa: PLC0415 - loads the server

        return EmbeddedServer
    message = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(message, name=name)

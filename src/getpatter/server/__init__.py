"""The ASGI application: webhooks in, media sockets in."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from getpatter.config import LocalConfig as LocalConfig
    from getpatter.server.embedded import EmbeddedServer as EmbeddedServer

__all__ = ["EmbeddedServer", "LocalConfig"]


def __getattr__(name: str) -> object:
    match name:
        case "EmbeddedServer":
            from getpatter.server.embedded import EmbeddedServer  # noqa: PLC0415 - loads the server

            return EmbeddedServer
        case "LocalConfig":
            from getpatter.config import LocalConfig  # noqa: PLC0415 - as lazy as its neighbour

            return LocalConfig
        case _:
            message = f"module {__name__!r} has no attribute {name!r}"
            raise AttributeError(message, name=name)

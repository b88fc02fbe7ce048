"""Keeps a tunnel up: one that ended by itself is started again, and whoever needs its new name is told."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

from getpatter.errors import PatterConnectionError

if TYPE_CHECKING:
    from getpatter.tunnels import Tunnel

logger = logging.getLogger(__name__)

WAITS: Final = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
"""Seconds before each attempt to start it again; the last is that of all further ones."""
STEADY_AFTER: Final = 60.0
"""Seconds after which a tunnel counts as up, so that its next end is a new misfortune."""


async def keep_up(tunnel: Tunnel, port: int, moved: Callable[[str], Awaitable[None]]) -> None:
    """Start `tunnel` again whenever it ends by itself, and tell `moved` the name it then has.

    Runs until it is cancelled, or until the tunnel cannot be started again. A tunnel that is not ours never ends.
    """
    loop = asyncio.get_running_loop()
    attempts = 0
    while True:
        began = loop.time()
        await tunnel.lost()
        if loop.time() - began >= STEADY_AFTER:
            attempts = 0
        logger.error("tunnel.lost host=%s: it is started again", tunnel.hostname)
        host = ""
        while not host:
            await asyncio.sleep(WAITS[min(attempts, len(WAITS) - 1)])
            attempts += 1
            try:
                host = await tunnel.start(port)
            except PatterConnectionError as error:
                if not error.retryable:
                    _give_up(error, "gave_up")
                    return
                if attempts == len(WAITS):
                    _give_up(error, "still_trying")
                else:
                    logger.warning("tunnel.not_back attempt=%d reason=%s", attempts, error)
        logger.error("tunnel.moved host=%s: the carrier is told the new name", host)
        await moved(host)


def _give_up(error: PatterConnectionError, outcome: str) -> None:
    logger.error(
        "tunnel.gone outcome=%s reason=%s: no call can come in; restart the program, or forward a name of your "
        "own to this port and pass webhook_url='...'",
        outcome,
        error,
    )

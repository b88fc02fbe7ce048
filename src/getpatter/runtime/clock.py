"""The only reader of time. Everything else is told what time it is.

Deciding is done with `now()`, the clock of the running event loop, so that a loop with virtual time
(`getpatter.testing.time`) moves a whole call. `wall()` is for people and files. `precise()` measures how long
something took: uvloop's own clock counts whole milliseconds and stands still while a callback runs.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from getpatter.types import Instant


def now() -> Instant:
    """The instant on the running loop's clock; what `loop.call_at` takes. Only inside a running loop."""
    return Instant(asyncio.get_running_loop().time())


def wall() -> float:
    """Unix seconds, for people and files: nothing is decided by it. Works without a loop too.

    An event loop whose time is not that of this machine has a method `wall()` that knows the date.
    """
    virtual: Callable[[], float] | None = getattr(_running_loop(), "wall", None)
    return time.time() if virtual is None else virtual()


def precise() -> Instant:
    """The same clock as `now()`, read afresh and finer than a millisecond: to measure, not to decide."""
    loop = _running_loop()
    if loop is not None and hasattr(loop, "wall"):
        return Instant(loop.time())
    return Instant(time.monotonic())


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None

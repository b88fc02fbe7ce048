"""Things to do later: once, at set times, or again and again.

```python
from getpatter import schedule_cron

async def remind() -> None:
    await phone.call(to="+15550002222", agent=reminder)

schedule_cron("0 9 * * MON-FRI", remind)
```

A schedule belongs to the event loop in which it was made and ends with it. Cron expressions are read by
`cronsim` (extra `scheduling`), which follows Debian's cron; the rest needs nothing.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import math
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import datetime, tzinfo
from typing import TYPE_CHECKING, Final

from getpatter.runtime import clock

if TYPE_CHECKING:
    from cronsim import CronSim

__all__ = ["ScheduleHandle", "schedule_cron", "schedule_interval", "schedule_once", "shutdown"]

from getpatter.tracebacks import without_text

logger = logging.getLogger(__name__)

Callback = Callable[[], object]

_LOOK_AGAIN_S: Final = 60.0
"""A date is compared with the clock at least this often: clocks are set, and machines sleep."""
_SHORTEST_INTERVAL_S: Final = 0.001


class ScheduleHandle:
    """One schedule. It runs until it is cancelled, its time is over, or its event loop ends."""

    def __init__(self, times: AsyncIterator[None], callback: Callback) -> None:
        """Made by `schedule_once`, `schedule_cron` and `schedule_interval`."""
        self._callback = callback
        self._name = getattr(callback, "__qualname__", type(callback).__name__)
        self._work: asyncio.Task[None] | None = None
        self._task = asyncio.get_running_loop().create_task(
            self._keep(times), name=f"schedule {self._name}"
        )
        _handles.add(self)
        self._task.add_done_callback(self._forget)

    def __repr__(self) -> str:
        return f"ScheduleHandle({self._name}, pending={self.pending})"

    @property
    def pending(self) -> bool:
        """Whether a run is still to come. A run that has begun does not count."""
        return not self._task.done()

    def cancel(self) -> None:
        """No run begins any more; one that has begun goes on. Idempotent."""
        if not self._task.get_loop().is_closed():
            self._task.cancel()

    def stop(self) -> None:
        """Cancel, and a run that has begun is cancelled too. Idempotent."""
        self.cancel()
        if self._work is not None and not self._work.get_loop().is_closed():
            self._work.cancel()

    def _forget(self, _: asyncio.Task[None]) -> None:
        if self._task.done() and (self._work is None or self._work.done()):
            _handles.discard(self)

    async def _keep(self, times: AsyncIterator[None]) -> None:
        async for _ in times:
            if self._work is not None and not self._work.done():
                logger.warning("schedule.skipped schedule=%s reason=still_running", self._name)
                continue
            self._work = asyncio.get_running_loop().create_task(self._run(), name=self._name)
            self._work.add_done_callback(self._forget)

    async def _run(self) -> None:
        try:
            answer = self._callback()
            if inspect.isawaitable(answer):
                await answer
        except Exception as error:
            logger.exception(
                "schedule.failed schedule=%s", self._name, exc_info=without_text(error)
            )


_handles: set[ScheduleHandle] = set()


def schedule_once(at: datetime, callback: Callback) -> ScheduleHandle:
    """Run `callback` once, at `at`.

    Args:
        at: When. Naive: local time of this machine. Aware: that instant.
        callback: A function without arguments, plain or async. What it raises is logged.

    Raises:
        ValueError: `at` is over.
        TypeError: `at` is no `datetime`, or `callback` cannot be called.
        RuntimeError: no event loop is running here.
    """
    _check(callback)
    if not isinstance(at, datetime):
        raise TypeError(f"at must be a datetime, not {type(at).__name__}")
    if at.timestamp() < clock.wall():
        raise ValueError(f"at is over: {at.isoformat()}. A naive datetime is local time")
    return ScheduleHandle(_dates(iter([at.timestamp()])), callback)


def schedule_cron(
    expr: str, callback: Callback, *, timezone: tzinfo | None = None
) -> ScheduleHandle:
    """Run `callback` whenever the clock matches a cron expression.

    Args:
        expr: Five fields: minute, hour, day of month, month, weekday (0 and 7 are Sunday; names work too).
        callback: A function without arguments, plain or async. What it raises is logged, and the schedule
            goes on; a run that would overlap the one before is skipped.
        timezone: Whose clock (`zoneinfo.ZoneInfo("Europe/Rome")`). `None`: local time of this machine.

    Raises:
        ValueError: the expression is malformed.
        TypeError: `callback` cannot be called.
        ImportError: the extra `scheduling` is not installed.
        RuntimeError: no event loop is running here.
    """
    _check(callback)
    _cron(expr, timezone)
    return ScheduleHandle(_dates(_moments(expr, timezone)), callback)


def schedule_interval(seconds: float, callback: Callback) -> ScheduleHandle:
    """Run `callback` every `seconds`, the first time in `seconds` from now.

    Args:
        seconds: From the start of a run to the start of the next.
        callback: As for `schedule_cron`.

    Raises:
        ValueError: `seconds` is not positive.
        TypeError: `seconds` is no number, or `callback` cannot be called.
        RuntimeError: no event loop is running here.
    """
    _check(callback)
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        raise TypeError(f"seconds must be a number, not {type(seconds).__name__}")
    if not (math.isfinite(seconds) and seconds >= _SHORTEST_INTERVAL_S):
        raise ValueError(f"seconds must be positive, got {seconds}")
    return ScheduleHandle(_beats(seconds), callback)


def shutdown() -> None:
    """Stop everything: nothing begins any more, and what runs is cancelled. Idempotent."""
    for handle in list(_handles):
        handle.stop()


def _check(callback: object) -> None:
    if not callable(callback):
        raise TypeError(f"callback must be a function, not {type(callback).__name__}")
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        raise RuntimeError(
            "a schedule runs in an event loop: call this inside an async function, such as the one "
            "that asyncio.run() started"
        ) from None


# --------------------------------------------------------------------------------------------- time


async def _beats(seconds: float) -> AsyncIterator[None]:
    due = clock.now() + seconds
    while True:
        await _until(due, clock.now)
        yield
        # A machine that slept for an hour is not owed an hour's runs.
        due += seconds * max(1, math.ceil((clock.now() - due) / seconds))


async def _dates(moments: Iterator[float]) -> AsyncIterator[None]:
    for moment in moments:
        await _until(moment, clock.wall)
        yield


async def _until(due: float, read: Callable[[], float]) -> None:
    while (left := due - read()) > 0:  # noqa: ASYNC110 - a date is no event
        await asyncio.sleep(min(left, _LOOK_AGAIN_S))


def _moments(expr: str, timezone: tzinfo | None) -> Iterator[float]:
    """The Unix times that match, each after the instant at which it is asked for."""
    while True:
        try:
            yield next(_cron(expr, timezone)).timestamp()
        except StopIteration:  # such as the 30th of February, which gave no error when it was read
            return


def _cron(expr: str, timezone: tzinfo | None) -> CronSim:
    try:
        from cronsim import CronSim, CronSimError  # noqa: PLC0415 - an extra
    except ImportError:
        raise ImportError("cron expressions need: pip install 'getpatter[scheduling]'") from None
    if not isinstance(expr, str):
        raise TypeError(f"expr must be a str, not {type(expr).__name__}")
    if len(expr.split()) != 5:  # noqa: PLR2004 - the fields of cron
        raise ValueError(
            f"a cron expression has five fields (minute hour day month weekday), got {expr!r}"
        )
    try:
        return CronSim(expr, datetime.fromtimestamp(clock.wall(), tz=timezone))
    except CronSimError as error:
        raise ValueError(f"{expr!r} is no cron expression: {error}") from error

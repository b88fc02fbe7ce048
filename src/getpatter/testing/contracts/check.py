"""One promise that can be put to the test, and how a broken one reads."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

_T = TypeVar("_T")
NewLoop = Callable[[], asyncio.AbstractEventLoop]

WITHIN_S: Final = 30.0
"""Seconds that one check may take on its loop."""


class BrokenPromiseError(AssertionError):
    """The object under test does not do what a call relies on."""


@dataclass(frozen=True, slots=True)
class Check:
    """A promise. Call it: it returns, or raises `BrokenPromiseError` (or what the object itself raised)."""

    name: str
    """Short and unique among its contract; the id of a parametrised test."""
    promise: str
    """A sentence: what holds, and what a call would suffer without it."""
    run: Callable[[], None] = field(repr=False)

    def __call__(self) -> None:
        """Put it to the test. Not from inside a running event loop."""
        try:
            self.run()
        except BrokenPromiseError as broken:
            raise BrokenPromiseError(f"{self.name}: {broken}\nPromised: {self.promise}") from None

    def __str__(self) -> str:
        return self.name


def require(holds: object, what_happened: str) -> None:
    """Break the promise unless `holds`."""
    if not holds:
        raise BrokenPromiseError(what_happened)


def on_a_loop(
    work: Callable[[], Coroutine[Any, Any, None]],
    *,
    new_loop: NewLoop | None,
    within_s: float = WITHIN_S,
) -> None:
    """Run `work` on a loop of its own; a task that it leaves behind breaks a promise too."""

    async def main() -> None:
        try:
            async with asyncio.timeout(within_s):
                await work()
        except TimeoutError:
            raise BrokenPromiseError(f"nothing more happened within {within_s:g} s") from None
        for _ in range(5):  # a task that was cancelled needs a turn of the loop to notice
            await asyncio.sleep(0)
        left = asyncio.all_tasks() - {asyncio.current_task()}
        names = ", ".join(sorted(task.get_name() for task in left))
        require(not left, f"after close() {len(left)} task(s) of it still run: {names}")

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main())


async def in_time(work: Coroutine[Any, Any, _T], seconds: float, what: str) -> _T:
    """The result of `work`, or a broken promise when it takes longer."""
    try:
        async with asyncio.timeout(seconds):
            return await work
    except TimeoutError:
        raise BrokenPromiseError(f"{what} took more than {seconds:g} s") from None


def cloning(thing: _T) -> Callable[[], _T] | None:
    """What makes copies of a provider for calls of their own; `None` when it has no `clone()`."""
    clone: Callable[[], _T] | None = getattr(thing, "clone", None)
    return clone if callable(clone) else None


async def end(pieces: AsyncIterator[object], name: str, within_s: float) -> None:
    """Close an iterator in the middle, as a caller who interrupts does."""
    close: Callable[[], Coroutine[Any, Any, None]] | None = getattr(pieces, "aclose", None)
    if close is None:
        raise BrokenPromiseError(
            f"{name}() gives an iterator without aclose(): write it as `async def ... yield`"
        )
    await in_time(close(), within_s, "closing the iterator")


@asynccontextmanager
async def beside(work: Coroutine[Any, Any, _T]) -> AsyncGenerator[asyncio.Task[_T]]:
    """Run `work` meanwhile; it is cancelled at the end. What it raises is raised here."""
    try:
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(work)
            try:
                yield task
            finally:
                task.cancel()
    except ExceptionGroup as group:
        raise group.exceptions[0] from None

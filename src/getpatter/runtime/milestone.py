"""Something the program may wait for: reached once, or missed for a reason."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from typing import Generic, TypeVar

_T = TypeVar("_T")


class Milestone(Generic[_T]):
    """Awaitable any number of times, by any number of tasks, before and after it is reached.

    Unlike a future it belongs to no event loop, and a failure that nobody waits for is silent.
    """

    def __init__(self, name: str) -> None:
        """`name` is for `repr`."""
        self._name = name
        self._waiting: set[asyncio.Future[None]] = set()
        self._value: _T | None = None
        self._error: BaseException | None = None
        self._is_settled = False

    def __repr__(self) -> str:
        state = "missed" if self._error else "reached" if self._is_settled else "ahead"
        return f"<Milestone {self._name}: {state}>"

    def __await__(self) -> Generator[object, None, _T]:
        return self._wait().__await__()

    async def _wait(self) -> _T:
        if not self._is_settled:
            waiting = asyncio.get_running_loop().create_future()
            self._waiting.add(waiting)
            try:
                await waiting
            finally:
                self._waiting.discard(waiting)
        if self._error is not None:
            raise self._error
        return self._value  # type: ignore[return-value]  # settled without an error: it was reached

    @property
    def is_settled(self) -> bool:
        """Whether it was reached or missed."""
        return self._is_settled

    def reach(self, value: _T) -> None:
        """Everybody who waits goes on with `value`. Only the first `reach` or `miss` counts."""
        if not self._is_settled:
            self._value = value
            self._settle()

    def change(self, value: _T) -> None:
        """It was reached with another value: whoever waits from now on gets this one."""
        if self._is_settled and self._error is None:
            self._value = value

    def miss(self, error: BaseException) -> None:
        """Everybody who waits gets `error`."""
        if not self._is_settled:
            self._error = error
            self._settle()

    def _settle(self) -> None:
        self._is_settled = True
        for waiting in self._waiting:
            if not waiting.done():
                waiting.get_loop().call_soon_threadsafe(_wake, waiting)


def _wake(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)

"""The one place where tasks are made, so that each has an owner who ends it.

It stands below `net` and `observability`, which need tasks too; a call knows it as `runtime.tasks`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from getpatter.errors import CallEndedError
from getpatter.tracebacks import without_text

logger = logging.getLogger(__name__)

_T = TypeVar("_T")

CLOSE_LIMIT_S: Final = 5.0

TaskFailed = Callable[[str, BaseException], None]
"""Told the name of a task and what it raised."""


class TaskNest:
    """The tasks of one owner (a call, a server). None outlives `close()`, none fails unseen.

    An exception that leaves a task is told to `on_error`, or logged where there is none; the other tasks go on.
    """

    def __init__(self, name: str, *, on_error: TaskFailed | None = None) -> None:
        """`name` is what logs call the owner. `on_error` is called on the loop and must not raise."""
        self._name = name
        self._on_error = on_error
        self._tasks: set[asyncio.Task[Any]] = set()
        self._is_closed = False

    def __len__(self) -> int:
        return len(self._tasks)

    @property
    def is_closed(self) -> bool:
        """True from the beginning of `close()` on: nothing more can be spawned."""
        return self._is_closed

    def spawn(self, work: Coroutine[Any, Any, _T], name: str) -> asyncio.Task[_T]:
        """Start `work` beside everything else. Awaiting the task is allowed, not needed.

        Raises:
            CallEndedError: the nest is closed; `work` is not started.
        """
        if self._is_closed:
            work.close()
            raise CallEndedError(f"{self._name} is over, so {name} cannot start")
        task = asyncio.get_running_loop().create_task(work, name=f"{self._name}:{name}")
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    async def close(self, timeout: float = CLOSE_LIMIT_S) -> tuple[str, ...]:  # noqa: ASYNC109 - a limit, not a wish
        """Cancel every task and wait until they have ended, `timeout` seconds at most. Idempotent.

        Called by one of its own tasks, it spares that one. Returns the names of tasks that would not end.
        """
        self._is_closed = True
        others = self._tasks - {asyncio.current_task()}
        if not others:
            return ()
        for task in others:
            task.cancel()
        _, stubborn = await asyncio.wait(others, timeout=timeout)
        names = tuple(sorted(task.get_name() for task in stubborn))
        for name in names:
            logger.error("task.would_not_end task=%s waited_s=%g", name, timeout)
        return names

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is None:
            return
        if self._on_error is None:
            logger.error("task.failed task=%s", task.get_name(), exc_info=without_text(error))
        else:
            self._on_error(task.get_name(), error)

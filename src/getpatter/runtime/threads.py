"""Threads for plain functions of the user's, one each: a slow one keeps nobody else waiting.

The event loop's own pool has a handful of threads, and a tool that hangs would hold one of them for ever: six of
those, and name resolution stops for every call. These threads are daemons, so none keeps the program alive.
"""

from __future__ import annotations

import asyncio
import contextvars
import itertools
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any, Final, ParamSpec, TypeVar

_T = TypeVar("_T")
_P = ParamSpec("_P")


class _ThreadEach(Executor):
    """Begins a thread for each job."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)

    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        job: Future[_T] = Future()

        def work() -> None:
            if not job.set_running_or_notify_cancel():
                return
            try:
                result = fn(*args, **kwargs)
            except StopIteration:  # no future takes this one
                job.set_exception(RuntimeError("a plain function raised StopIteration"))
            except BaseException as error:  # noqa: BLE001 - it belongs to whoever waits for the job
                job.set_exception(error)
            else:
                job.set_result(result)

        name = f"getpatter-{next(self._numbers)}"
        threading.Thread(target=work, name=name, daemon=True).start()
        return job


_threads: Final = _ThreadEach()


def in_thread(work: Callable[[], _T]) -> asyncio.Future[_T]:
    """Run `work` in a thread of its own, with the context variables of whoever asks."""
    loop = asyncio.get_running_loop()
    context = contextvars.copy_context()
    run: Callable[..., Any] = context.run
    return loop.run_in_executor(_threads, run, work)

"""Runs what users wrote: in order, one at a time, each in its time, never in front of the audio.

A callback may be a coroutine function, a plain function, a lambda, a bound method, a `functools.partial` or an
object that can be called. Whatever it raises belongs to it alone: it is logged, counted and reported.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import logging
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final

from getpatter.errors import CallEndedError
from getpatter.observability.payloads import name_of, own_copy
from getpatter.runtime import clock
from getpatter.runtime.tasks import TaskNest
from getpatter.tracebacks import without_text

logger = logging.getLogger(__name__)

START_LIMIT_S: Final = 10.0
END_LIMIT_S: Final = 30.0
USUAL_LIMIT_S: Final = 30.0
DRAIN_LIMIT_S: Final = 10.0
"""How long callbacks that still wait may keep `on_call_end` waiting."""
CAPACITY: Final = 1000
HELD_S: Final = 0.050
_MS: Final = 1000
_GRACE_S: Final = 1.0  # for a callback that is cancelled to tidy up

Callback = Callable[..., object]


@dataclass(frozen=True, slots=True)
class CallbackFailed:
    """A callback raised, or took longer than it may (`TimeoutError`)."""

    call_id: str
    callback: str
    """Its public name: `"on_transcript"`."""
    function: str
    """`module.function` of the user."""
    error: BaseException


@dataclass(slots=True)
class _Job:
    name: str
    function: Callback
    payload: object
    limit_s: float
    answer: asyncio.Future[object] | None = None


class Callbacks:
    """The callbacks of one call.

    `tell` queues and returns at once; `ask` waits for the answer; `finish` is the last. A failure never
    leaves this class, except the cancellation of whoever waits.
    """

    def __init__(
        self,
        call_id: str,
        nest: TaskNest,
        *,
        on_error: Callable[[CallbackFailed], None] | None = None,
        capacity: int = CAPACITY,
    ) -> None:
        """`nest` runs the callbacks: close it after `finish`. `on_error` must return at once and not raise.

        With `capacity` callbacks waiting, the oldest of them is dropped for each new one, and counted.
        """
        self._call_id = call_id
        self._nest = nest
        self._on_error = on_error
        self._capacity = capacity
        self._jobs: deque[_Job] = deque()
        self._runner: asyncio.Task[None] | None = None
        self._is_finished = False
        self.failed = 0
        """Callbacks that raised or took too long."""
        self.dropped = 0
        """Callbacks that never ran, because earlier ones were too slow."""

    def tell(
        self,
        name: str,
        function: Callback | None,
        payload: object,
        *,
        limit_s: float = USUAL_LIMIT_S,
    ) -> None:
        """Call `function` with a copy of `payload` when its turn comes. Does nothing without a function."""
        if function is None or self._is_finished:
            return
        if len(self._jobs) >= self._capacity:
            self._drop(self._jobs.popleft())
        self._queue(_Job(name, function, own_copy(payload), limit_s))

    async def ask(
        self,
        name: str,
        function: Callback | None,
        payload: object,
        *,
        limit_s: float = START_LIMIT_S,
    ) -> dict[str, object] | None:
        """Call `function` in its turn and wait for the dict that it returns.

        `None` when there is no function, when it returns something else, fails, or takes longer than `limit_s`
        seconds.
        """
        if function is None or self._is_finished:
            return None
        answer: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        self._queue(_Job(name, function, own_copy(payload), limit_s, answer))
        result = await answer
        return result if isinstance(result, dict) else None

    async def finish(
        self,
        name: str,
        function: Callback | None,
        payload: object,
        *,
        limit_s: float = END_LIMIT_S,
        drain_s: float = DRAIN_LIMIT_S,
    ) -> None:
        """Let what waits run (`drain_s` seconds at most), then call `function` last of all and wait for it.

        Only the first `finish` does anything, and nothing can be told or asked afterwards.
        """
        if self._is_finished:
            return
        self._is_finished = True
        await self._drain(drain_s)
        if function is not None:
            await self._run(_Job(name, function, own_copy(payload), limit_s))

    # ---------------------------------------------------------------------------------------- inside

    def _queue(self, job: _Job) -> None:
        self._jobs.append(job)
        if self._runner is None or self._runner.done():
            try:
                self._runner = self._nest.spawn(self._run_all(), "callbacks")
            except CallEndedError:
                self._drop(self._jobs.pop())

    async def _run_all(self) -> None:
        try:
            while self._jobs:
                await self._run(self._jobs.popleft())
        finally:
            while self._jobs:
                self._drop(self._jobs.popleft())

    async def _drain(self, limit_s: float) -> None:
        runner = self._runner
        if runner is None or runner.done():
            return
        _, late = await asyncio.wait({runner}, timeout=limit_s)
        if late:
            runner.cancel()
            await asyncio.wait({runner}, timeout=_GRACE_S)

    async def _run(self, job: _Job) -> None:
        result: object = None
        try:
            result = self._begin(job)
            if inspect.isawaitable(result):
                result = await self._wait_for(job, result)
        except Exception as error:  # noqa: BLE001 - the top of every callback
            result = None
            self._report(job, error)
        finally:
            if job.answer is not None and not job.answer.done():
                job.answer.set_result(result)

    def _begin(self, job: _Job) -> object:
        began = clock.precise()
        try:
            return job.function(job.payload)
        finally:
            warn_if_held(job.name, job.function, clock.precise() - began)

    async def _wait_for(self, job: _Job, work: Awaitable[object]) -> object:
        task = self._nest.spawn(_outcome(work), job.name)
        try:
            await asyncio.wait({task}, timeout=job.limit_s)
        finally:
            is_late = not task.done()
            if is_late:
                task.cancel()
        if is_late:
            await asyncio.wait({task}, timeout=_GRACE_S)
            raise _TookTooLongError(f"{job.name} took longer than {job.limit_s:g} s")
        if task.cancelled():
            raise CallEndedError(f"{job.name} was cancelled with its call")
        result, error = task.result()
        if error is not None:
            raise error
        return result

    def _report(self, job: _Job, error: Exception) -> None:
        self.failed += 1
        function = name_of(job.function)
        if isinstance(error, _TookTooLongError):
            logger.warning(
                "callback.too_slow callback=%s function=%s limit_s=%g",
                job.name,
                function,
                job.limit_s,
            )
        else:
            logger.error(
                "callback.failed callback=%s function=%s",
                job.name,
                function,
                exc_info=without_text(error),
            )
        if self._on_error is not None:
            self._on_error(CallbackFailed(self._call_id, job.name, function, error))

    def _drop(self, job: _Job) -> None:
        if not self.dropped:
            logger.warning(
                "callback.dropped callback=%s function=%s waiting=%d",
                job.name,
                name_of(job.function),
                len(self._jobs),
            )
        self.dropped += 1
        if job.answer is not None and not job.answer.done():
            job.answer.set_result(None)


class _TookTooLongError(TimeoutError):
    """A callback was given up."""


class _UserCancelledError(Exception):
    """A callback raised `CancelledError` of its own accord; the call was not cancelled."""


async def _outcome(work: Awaitable[object]) -> tuple[object, Exception | None]:
    """Await what a user wrote; an exception is a result here, so that no task of ours fails."""
    try:
        return await work, None
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        cancelled = _UserCancelledError("the callback raised CancelledError")
        cancelled.__cause__ = error
        return None, cancelled
    except Exception as error:  # noqa: BLE001 - the top of a user's coroutine
        return None, error


def warn_if_held(name: str, function: Callback, lasted_s: float) -> None:
    """Name a plain function that held the event loop, and with it every call, for more than 50 ms."""
    if lasted_s > HELD_S:
        logger.warning(
            "callback.held_loop callback=%s function=%s ms=%d advice=%s",
            name,
            name_of(function),
            lasted_s * _MS,
            "make it a coroutine function, or use asyncio.to_thread",
        )


# ------------------------------------------------------------------------------------------ on_message


def takes_call_control(function: Callback) -> bool:
    """Whether an `on_message` function can take `(event, call)`. Decided once, from its signature."""
    try:
        inspect.signature(function).bind(None, None)
    except (TypeError, ValueError):  # ValueError: a builtin that has no signature
        return False
    return True


async def reply_of(
    function: Callback, payload: Mapping[str, object], control: object | None = None
) -> AsyncGenerator[str, None]:
    """Call an `on_message` function with a copy of `payload` (and `control`, unless None); yield what to say.

    Close it (`contextlib.aclosing`) when the caller interrupts. What the function raises is raised here.
    """
    arguments = (
        (own_copy(dict(payload)),) if control is None else (own_copy(dict(payload)), control)
    )
    began = clock.precise()
    try:
        result = function(*arguments)
    finally:
        warn_if_held("on_message", function, clock.precise() - began)
    pieces = as_text_stream(result)
    try:
        async for piece in pieces:
            yield piece
    finally:
        await pieces.aclose()


async def as_text_stream(result: object) -> AsyncGenerator[str, None]:
    """What an `on_message` function returned, as pieces of text: a str, a generator of them, or nothing.

    An awaitable is awaited first. A plain generator runs in a thread, because nobody knows how long its next
    piece takes. Closing this closes the generator. Other types are logged, and nothing is said.
    """
    if inspect.isawaitable(result):
        result = await result
    match result:
        case None | "":
            logger.info("on_message.silent")
        case str():
            yield result
        case AsyncIterator():
            pieces = _async_pieces(result)
            try:
                async for piece in pieces:
                    yield piece
            finally:
                await pieces.aclose()
        case Iterator():
            pieces = _thread_pieces(result)
            try:
                async for piece in pieces:
                    yield piece
            finally:
                await pieces.aclose()
        case _:
            _log_unspeakable(result)


async def _async_pieces(source: AsyncIterator[object]) -> AsyncGenerator[str, None]:
    try:
        async for piece in source:
            if isinstance(piece, str):
                yield piece
            else:
                _log_unspeakable(piece)
    finally:
        close: Callable[[], Awaitable[None]] | None = getattr(source, "aclose", None)
        if close is not None:
            await close()


_END: Final = object()


async def _thread_pieces(source: Iterator[object]) -> AsyncGenerator[str, None]:
    loop = asyncio.get_running_loop()
    context = contextvars.copy_context()
    close: Callable[[], object] = getattr(source, "close", lambda: None)
    step: asyncio.Future[object] | None = None
    try:
        while True:
            step = loop.run_in_executor(None, partial(context.run, next, source, _END))
            piece = await asyncio.shield(step)
            if piece is _END:
                return
            if isinstance(piece, str):
                yield piece
            else:
                _log_unspeakable(piece)
    finally:
        if step is None or step.done():
            close()
        else:  # it runs in its thread: it can be closed only after that
            step.add_done_callback(partial(_close_later, close))


def _close_later(close: Callable[[], object], step: asyncio.Future[object]) -> None:
    if not step.cancelled():
        step.exception()
    try:
        close()
    except Exception as error:
        logger.exception("on_message.close_failed", exc_info=without_text(error))


def _log_unspeakable(value: object) -> None:
    logger.warning("on_message.unspeakable type=%s", type(value).__qualname__)

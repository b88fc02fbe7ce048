"""Runs an agent's tools beside the audio of one call, and never does the same thing to the world twice.

A tool belongs to the call, not to the reply that asked for it: when the caller interrupts, the reply is gone and
the tool goes on, and what it found is there for the next reply. So a second reply may ask for what the first has
already set going. Whether that is a repetition or a new wish is decided by what the tool does to the world:

| `effect` | asked again with equal arguments |
|---|---|
| `read` | it runs |
| `write`, and its reply was interrupted | it does not run: the answer of the first run is given |
| `write`, and its reply was heard to the end | it runs: the model knows what it has done |
| `irreversible` | it does not run, unless the tool itself had answered with an error |

A run whose outcome nobody knows (it raised, took too long, was cancelled) counts as not done for `write`, and is
repeated with the same idempotency key; for `irreversible` it counts as done.
"""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import json
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

import msgspec

from getpatter.core.arguments import ArgumentsRefusedError, canonical, parsed
from getpatter.errors import CallEndedError
from getpatter.runtime import clock
from getpatter.runtime.tasks import TaskNest
from getpatter.runtime.threads import in_thread

if TYPE_CHECKING:
    from getpatter.tools import Tool
    from getpatter.types import Instant

from getpatter.tracebacks import without_text

logger = logging.getLogger(__name__)

HANDLER_LIMIT: Final = 30.0
WEBHOOK_LIMIT: Final = 10.0
END_GRACE: Final = 5.0
"""Seconds that tools may go on when the call has ended."""
_CANCEL_GRACE: Final = 1.0
_KEY_LETTERS: Final = 32

UNKNOWN_OUTCOME: Final = (
    "It may or may not have been done; it is not tried again. Tell the caller so."
)


class State(Enum):
    """What is known of a run."""

    RUNNING = "running"
    DONE = "done"
    REFUSED = "refused"
    """The tool answered that it has not done it."""
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a tool came to."""

    text: str
    state: State = State.DONE

    @property
    def error(self) -> str | None:
        """The text, if it tells of a failure."""
        return None if self.state is State.DONE else self.text


def failure(message: str, state: State = State.UNKNOWN, **more: object) -> Answer:
    """An answer that tells the model what went wrong, without internals."""
    return Answer(json.dumps({"error": message, **more}, ensure_ascii=False), state)


class Webhooks(Protocol):
    """Asks tools that are somewhere on the web (`runtime/webhook_tools.py`)."""

    async def ask(
        self, tool: Tool, arguments: Mapping[str, object], context: Mapping[str, object]
    ) -> Answer:
        """The answer of the tool's webhook. Never raises for what the other side did."""
        ...


@dataclass(slots=True, eq=False)
class Run:
    """One execution of a tool. `wait` for it as often as you like; it goes on without you."""

    tool: Tool
    key: str
    """Equal for equal arguments."""
    idempotency_key: str
    began_at: Instant
    call_ids: list[str]
    task: asyncio.Task[Answer] | None = None
    thread: asyncio.Future[object] | None = None
    answer: Answer | None = None
    waiting: int = 0
    was_cut: bool = False
    """The reply that asked for it, or that was to tell of it, was interrupted."""
    was_told: bool = False
    """A model has seen its answer."""

    @property
    def state(self) -> State:
        """What is known of it."""
        return State.RUNNING if self.answer is None else self.answer.state

    @property
    def is_at_work(self) -> bool:
        """Whether code of the tool still runs, given up or not."""
        return self.answer is None or (self.thread is not None and not self.thread.done())


@dataclass(slots=True)
class Surroundings:
    """What the executor is told of its call, and whom it tells."""

    context: Callable[[], dict[str, object]] = dict
    """What handlers get as `ctx`, fresh for each run."""
    say: Callable[[str], None] = lambda _: None
    """Speaks while a tool takes its time."""
    emit: Callable[[str, dict[str, object]], None] = lambda _event, _payload: None
    returned: Callable[[str, str], None] = lambda _call_id, _text: None
    """Told the answer to each tool call, also of those nobody waits for any more; once more if it changes."""
    untold: Callable[[], None] = lambda: None
    """Told that something was done for which nobody waits any more."""
    webhooks: Webhooks | None = None
    name: str = "call"
    """The id of the call; part of every idempotency key."""


class ToolExecutor:
    """The tools of one call."""

    def __init__(self, tools: Sequence[Tool], surroundings: Surroundings | None = None) -> None:
        """Offer `tools`. Names are unique."""
        self._tools = {tool.name: tool for tool in tools}
        self._around = surroundings or Surroundings()
        self._nest = TaskNest(f"tools {self._around.name}")
        self._runs: list[Run] = []
        """Those that a later call may have to be compared with."""
        self._done: set[str] = set()
        self._calls = 0
        self._is_closed = False

    def offer(self, tools: Sequence[Tool]) -> None:
        """Offer these from now on, and no others. What runs goes on. Names are unique."""
        self._tools = {tool.name: tool for tool in tools}

    @property
    def schemas(self) -> list[dict[str, object]]:
        """The tools in the function form that all providers take."""
        return [_schema(tool) for tool in self._tools.values()]

    async def run(self, name: str, arguments: str, call_id: str = "") -> str:
        """The answer of a tool to `arguments` (JSON). Never raises for what the tool or the model did.

        Cancelling it does not stop the tool.
        """
        [answer] = await self.wait([self.start(name, arguments, call_id)])
        return answer

    def start(self, name: str, arguments: str, call_id: str = "") -> Run | str:
        """Begin a tool; a text is the answer already. It runs from now on, whether anybody waits or not."""
        self._calls += 1
        call_id = call_id or f"call_{self._calls}"
        tool = self._tools.get(name)
        if tool is None:
            return self._refused(call_id, name, "There is no tool of this name.")
        try:
            given = parsed(arguments, tool.schema)
        except ArgumentsRefusedError as error:
            return self._refused(call_id, name, str(error))
        key = f"{name} {canonical(given)}"
        earlier = self._earlier(tool, key)
        if earlier is not None:
            return self._joined(earlier, call_id)
        return self._begun(tool, given, key, call_id)

    async def wait(self, runs: Sequence[Run | str]) -> list[str]:
        """The answers of what `start` returned, in its order. Cancelling it stops no tool."""
        begun = [run for run in runs if isinstance(run, Run)]
        tasks = {run.task for run in begun if run.task is not None}
        for run in begun:
            run.waiting += 1
        try:
            if tasks:
                await asyncio.wait(tasks)
        finally:
            for run in begun:
                run.waiting -= 1
        return [run if isinstance(run, str) else self._answer(run) for run in runs]

    def _answer(self, run: Run) -> str:
        assert run.answer is not None, (
            "`_ended` was the task's first callback, before whoever waits"
        )
        run.was_told = True
        return run.answer.text

    @property
    def is_busy(self) -> bool:
        """Whether a tool runs."""
        return any(run.answer is None for run in self._runs)

    @property
    def has_untold(self) -> bool:
        """Whether something was done to the world that no model has been told of."""
        return any(
            run.answer is not None and not run.was_told and run.tool.effect != "read"
            for run in self._runs
        )

    def told(self, call_ids: Sequence[str]) -> None:
        """A model is being shown the answers to these calls."""
        ids = set(call_ids)
        for run in self._runs:
            if run.answer is not None and not ids.isdisjoint(run.call_ids):
                run.was_told = True

    def turn_over(self, *, was_interrupted: bool) -> None:
        """An agent turn has ended. What was done for one that was heard to its end may be asked for anew."""
        if was_interrupted:
            for run in self._runs:
                run.was_cut = True
                run.was_told = False
                if run.tool.cancel_on_interrupt and run.task is not None:
                    run.task.cancel()
            return
        self._runs = [run for run in self._runs if self._is_to_be_kept(run)]

    def _is_to_be_kept(self, run: Run) -> bool:
        if run.is_at_work or not run.was_told:
            return True
        if run.tool.effect == "read":
            return False
        return run.tool.effect == "irreversible" or run.state is State.UNKNOWN

    def has_done(self, name: str) -> bool:
        """Whether this tool was run in this call, and did what it was asked."""
        return name in self._done

    def is_current_task(self) -> bool:
        """Whether the code that asks is a tool of this call."""
        current = asyncio.current_task()
        return any(run.task is current for run in self._runs)

    async def close(self, grace: float = END_GRACE) -> None:
        """The call is over: tools that run have `grace` seconds to finish, then they are cancelled."""
        if self._is_closed:
            return
        self._is_closed = True
        tasks = {run.task for run in self._runs if run.task is not None and not run.task.done()}
        tasks.discard(asyncio.current_task())
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=grace)
            for run in self._runs:
                if run.task in late:
                    logger.warning("tool.cancelled_at_end tool=%s", run.tool.name)
        await self._nest.close(_CANCEL_GRACE)

    # -------------------------------------------------------------------------------- once, not twice

    def _earlier(self, tool: Tool, key: str) -> Run | None:
        """The run whose answer is also the answer to this call."""
        if tool.effect == "read":
            return None
        for run in reversed(self._runs):
            if run.key != key:
                continue
            if tool.effect == "irreversible":
                return None if run.state is State.REFUSED else run
            if run.was_cut and run.state in {State.RUNNING, State.DONE}:
                return run
            if run.answer is not None and run.is_at_work:
                return run  # given up, and its thread may yet do it
            return None
        return None

    def _joined(self, run: Run, call_id: str) -> Run | str:
        logger.info("tool.joined tool=%s state=%s", run.tool.name, run.state.value)
        if run.answer is None:
            run.call_ids.append(call_id)
            return run
        answer = run.answer
        if answer.state is State.UNKNOWN:
            answer = failure(UNKNOWN_OUTCOME)
        run.call_ids.append(call_id)
        run.was_told = True
        self._around.returned(call_id, answer.text)
        return answer.text

    def _idempotency_key(self, key: str) -> str:
        """The same for a repetition of a run that may have failed, another for each new wish."""
        for run in self._runs:
            if run.key == key and run.state is State.UNKNOWN:
                return run.idempotency_key
        seed = f"{self._around.name}\0{key}\0{self._calls}"
        return hashlib.sha256(seed.encode()).hexdigest()[:_KEY_LETTERS]

    # ---------------------------------------------------------------------------------------- running

    def _refused(self, call_id: str, name: str, message: str) -> str:
        answer = failure(message, State.REFUSED)
        logger.info("tool.refused tool=%s", name if name in self._tools else "unknown")
        self._report_started(call_id, name, {})
        self._report_completed(call_id, name, answer, 0.0)
        self._around.returned(call_id, answer.text)
        return answer.text

    def _begun(self, tool: Tool, given: dict[str, object], key: str, call_id: str) -> Run | str:
        run = Run(tool, key, self._idempotency_key(key), clock.now(), [call_id])
        work = self._work(run, given)
        try:
            run.task = self._nest.spawn(work, tool.name)
        except CallEndedError:
            return self._refused(call_id, tool.name, "The call is over.")
        self._runs.append(run)
        self._report_started(call_id, tool.name, given)
        run.task.add_done_callback(partial(self._ended, run))
        return run

    def _ended(self, run: Run, task: asyncio.Task[Answer]) -> None:
        """Also for a task that was cancelled before its first step."""
        if task.cancelled():
            answer = failure("The tool was stopped.")
        elif (error := task.exception()) is not None:
            logger.error("tool.failed tool=%s", run.tool.name, exc_info=without_text(error))
            answer = failure("The tool failed.")
        else:
            answer = task.result()
        self._settled(run, answer)

    def _settled(self, run: Run, answer: Answer) -> None:
        run.answer = answer
        if answer.state is State.DONE:
            self._done.add(run.tool.name)
            # What had failed under the same key is done now; the next equal wish is a new one.
            self._runs = [
                each
                for each in self._runs
                if each is run or each.idempotency_key != run.idempotency_key
            ]
        lasted_ms = (clock.now() - run.began_at) * 1000
        for call_id in run.call_ids:
            self._report_completed(call_id, run.tool.name, answer, lasted_ms)
            self._around.returned(call_id, answer.text)
        if not run.waiting and run.tool.effect != "read":
            self._around.untold()

    async def _work(self, run: Run, given: dict[str, object]) -> Answer:
        tool = run.tool
        reassuring = self._reassure_later(run)
        context = {
            **self._around.context(),
            "tool_call_id": run.call_ids[0],
            "idempotency_key": run.idempotency_key,
        }
        try:
            if tool.webhook_url:
                assert self._around.webhooks is not None, "a server has somebody who asks webhooks"
                return await self._around.webhooks.ask(tool, given, context)
            return await self._handled(run, given, context)
        finally:
            if reassuring is not None:
                reassuring.cancel()

    async def _handled(
        self, run: Run, given: dict[str, object], context: dict[str, object]
    ) -> Answer:
        limit = run.tool.timeout_s if run.tool.timeout_s is not None else HANDLER_LIMIT
        try:
            async with asyncio.timeout(limit):
                result = await self._result(run, given, context)
        except TimeoutError:
            logger.warning("tool.too_slow tool=%s limit_s=%g", run.tool.name, limit)
            self._await_thread(run)
            return failure(f"The tool did not answer within {limit:g} s.")
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                self._await_thread(run)
                raise
            logger.exception("tool.failed tool=%s", run.tool.name, exc_info=without_text(error))
            return failure("The tool failed.")
        except Exception as error:
            logger.exception("tool.failed tool=%s", run.tool.name, exc_info=without_text(error))
            return failure("The tool failed.")
        return answer_of(result)

    async def _result(
        self, run: Run, given: dict[str, object], context: dict[str, object]
    ) -> object:
        handler = run.tool.handler
        assert handler is not None, "a tool has a handler or a webhook"
        if _runs_on_loop(handler):
            result = handler(given, context)
        else:
            run.thread = in_thread(partial(handler, given, context))
            result = await asyncio.shield(run.thread)
        if inspect.isawaitable(result):
            result = await result
        if isinstance(result, AsyncIterator):
            return await self._steps(run, result)
        return result

    async def _steps(self, run: Run, steps: AsyncIterator[object]) -> object:
        """Speak the progress that a generator reports; its last `{"result": ...}` is the answer."""
        result: object = None
        try:
            async for step in steps:
                if isinstance(step, Mapping) and "result" in step:
                    result = step["result"]
                elif isinstance(step, Mapping) and isinstance(
                    progress := step.get("progress"), str
                ):
                    self._say(run, progress)
                else:
                    logger.warning("tool.step_ignored tool=%s", run.tool.name)
        finally:
            close = getattr(steps, "aclose", None)
            if close is not None:
                await close()
        return result

    def _say(self, run: Run, text: str) -> None:
        """Only while somebody waits for it: the caller has gone on to something else otherwise."""
        if run.waiting and text.strip():
            self._around.say(text)

    def _reassure_later(self, run: Run) -> asyncio.TimerHandle | None:
        text = run.tool.reassurance_text
        if not text:
            return None
        after = run.tool.reassurance_after_ms / 1000
        return asyncio.get_running_loop().call_later(after, self._say, run, text)

    def _await_thread(self, run: Run) -> None:
        """A thread cannot be stopped: what it does after its time is still true, and told when it is known."""
        if run.thread is not None and not run.thread.done():
            run.thread.add_done_callback(partial(self._came_late, run))

    def _came_late(self, run: Run, thread: asyncio.Future[object]) -> None:
        if thread.cancelled() or thread.exception() is not None:
            return
        logger.info("tool.came_late tool=%s", run.tool.name)
        run.was_told = False
        self._settled(run, answer_of(thread.result()))

    # ----------------------------------------------------------------------------------------- events

    def _report_started(self, call_id: str, name: str, given: Mapping[str, object]) -> None:
        self._around.emit(
            "tool_call_started",
            {
                "name": name,
                "arguments": dict(given),
                "tool_call_id": call_id,
                "transport": self._transport(name),
            },
        )

    def _transport(self, name: str) -> str:
        """How a tool is reached; a model may also ask for one that there is not."""
        tool = self._tools.get(name)
        if tool is None:
            return "unknown"
        return "webhook" if tool.webhook_url else str(getattr(tool, "transport", "handler"))

    def _report_completed(self, call_id: str, name: str, answer: Answer, lasted_ms: float) -> None:
        error = answer.error
        self._around.emit(
            "tool_call_completed",
            {
                "name": name,
                "result": answer.text if error is None else None,
                "error": error,
                "duration_ms": lasted_ms,
                "tool_call_id": call_id,
                "transport": self._transport(name),
            },
        )


def answer_of(result: object) -> Answer:
    """A handler's result for the model: a text as it is, anything else as JSON."""
    if isinstance(result, str):
        return Answer(result)
    try:
        text = msgspec.json.encode(result, enc_hook=str).decode()
    except Exception as error:  # noqa: BLE001 - an object of the user's, with a `__str__` of the user's
        logger.warning("tool.result_unwritable error=%s", type(error).__name__)
        return Answer(json.dumps({"error": "It was done, but its result cannot be shown."}))
    is_refusal = isinstance(result, Mapping) and bool(result.get("error"))
    return Answer(text, State.REFUSED if is_refusal else State.DONE)


def _schema(tool: Tool) -> dict[str, object]:
    function: dict[str, object] = {
        "name": tool.name,
        "description": tool.description,
        "parameters": tool.schema,
    }
    if tool.strict:
        function["strict"] = True
    return {"type": "function", "function": function}


def _runs_on_loop(handler: Callable[..., object]) -> bool:
    called = handler if inspect.isroutine(handler) else getattr(handler, "__call__", handler)  # noqa: B004
    return any(
        inspect.iscoroutinefunction(each) or inspect.isasyncgenfunction(each)
        for each in (handler, called)
    )

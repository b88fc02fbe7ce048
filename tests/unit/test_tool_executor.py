"""The executor of one call's tools: once and not twice, in time and out of it, and never an internal told."""

from __future__ import annotations

import asyncio
import contextvars
import dataclasses
import datetime
import functools
import json
import threading
from typing import Any

import pytest

from getpatter.runtime.tools import State, Surroundings, ToolExecutor, answer_of
from getpatter.testing import time as virtual_time
from getpatter.tools import Effect, Tool

in_virtual_time = virtual_time.in_virtual_time

ITEM: Any = {"type": "object", "properties": {"item": {"type": "string"}}}


class Counted:
    """A handler that counts its runs and does what it is told."""

    def __init__(self, *results: object, takes: float = 1.0) -> None:
        self.results, self.takes = list(results), takes
        self.keys: list[str] = []

    async def __call__(self, args: Any, ctx: Any) -> object:
        self.keys.append(ctx["idempotency_key"])
        await asyncio.sleep(self.takes)
        result = self.results.pop(0) if len(self.results) > 1 else self.results[0]
        if isinstance(result, Exception):
            raise result
        return result


def executor(handler: Any, effect: Effect = "write", **options: Any) -> ToolExecutor:
    around = options.pop("around", None)
    return ToolExecutor([Tool("do", "", ITEM, handler, effect=effect, **options)], around)


async def cut(tools: ToolExecutor, after: float, arguments: str = "{}") -> None:
    """A reply that asks for the tool and is interrupted."""
    asking = asyncio.create_task(tools.run("do", arguments, f"id{id(object())}"))
    await asyncio.sleep(after)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    tools.turn_over(was_interrupted=True)


@pytest.mark.parametrize("after", [0.5, 1.5])
@pytest.mark.parametrize("effect", ["write", "irreversible"])
@in_virtual_time
async def test_what_an_interrupted_reply_began_is_not_begun_again(
    effect: Effect, after: float
) -> None:
    handler = Counted("done")
    tools = executor(handler, effect)
    await cut(tools, after)
    assert await tools.run("do", " { } ") == "done"
    assert len(handler.keys) == 1
    await tools.close()


@in_virtual_time
async def test_other_arguments_are_another_wish_and_reading_is_free() -> None:
    handler = Counted("done")
    tools = executor(handler)
    await cut(tools, 0.5, '{"item": "a"}')
    await tools.run("do", '{"item": "b"}')
    assert len(set(handler.keys)) == 2
    reader = Counted("seen")
    reading = executor(reader, "read")
    await cut(reading, 0.5)
    await reading.run("do", "{}")
    assert len(reader.keys) == 2
    await tools.close()
    await reading.close()


@in_virtual_time
async def test_after_a_reply_that_was_heard_the_same_is_a_new_wish_with_a_new_key() -> None:
    handler = Counted("done")
    tools = executor(handler)
    await tools.run("do", "{}")
    tools.turn_over(was_interrupted=False)
    await tools.run("do", "{}")
    assert len(set(handler.keys)) == 2
    once = Counted("done")
    final = executor(once, "irreversible")
    await final.run("do", "{}")
    final.turn_over(was_interrupted=False)
    assert await final.run("do", "{}") == "done"
    assert len(once.keys) == 1
    await tools.close()
    await final.close()


@in_virtual_time
async def test_a_run_that_may_have_failed_is_repeated_with_its_key_or_not_at_all() -> None:
    handler = Counted(OSError("secret"), "done")
    tools = executor(handler)
    assert json.loads(await tools.run("do", "{}")) == {"error": "The tool failed."}
    tools.turn_over(was_interrupted=False)
    assert await tools.run("do", "{}") == "done"
    assert handler.keys[0] == handler.keys[1]
    tools.turn_over(was_interrupted=False)
    await tools.run("do", "{}")
    assert handler.keys[2] != handler.keys[1]  # what was done is done: this is a new wish
    final = executor(once := Counted(OSError("secret"), "done"), "irreversible")
    await final.run("do", "{}")
    assert "may or may not" in await final.run("do", "{}")
    assert len(once.keys) == 1
    await tools.close()
    await final.close()


@in_virtual_time
async def test_a_tool_that_says_it_has_not_done_it_may_be_asked_again() -> None:
    handler = Counted({"error": "full"}, "done")
    tools = executor(handler, "irreversible")
    assert await tools.run("do", "{}") == '{"error":"full"}'
    assert await tools.run("do", "{}") == "done"
    assert len(set(handler.keys)) == 2
    await tools.close()


@in_virtual_time
async def test_two_equal_calls_of_one_round_are_two_wishes_unless_they_cannot_be_undone() -> None:
    for effect, runs in (("write", 2), ("irreversible", 1)):
        handler = Counted("done")
        tools = executor(handler, effect)  # type: ignore[arg-type]
        assert await tools.wait([tools.start("do", "{}"), tools.start("do", "{}")]) == ["done"] * 2
        assert len(handler.keys) == runs
        await tools.close()


@in_virtual_time
async def test_a_tool_may_be_declared_to_stop_when_the_caller_interrupts() -> None:
    handler = Counted("done", takes=5.0)
    tools = executor(handler, cancel_on_interrupt=True)
    await cut(tools, 1.0)
    await asyncio.sleep(0.01)
    assert not tools.is_busy
    await tools.close()


async def test_a_thread_that_took_too_long_is_believed_when_it_ends() -> None:
    may_end = threading.Event()
    told: list[tuple[str, str]] = []
    runs: list[int] = []

    def slow(args: Any, ctx: Any) -> str:
        runs.append(1)
        may_end.wait(5)
        return "done after all"

    came = asyncio.Event()

    def returned(call_id: str, text: str) -> None:
        told.append((call_id, text))
        if text == "done after all":
            came.set()

    tools = executor(slow, timeout_s=0.1, around=Surroundings(returned=returned))
    assert "did not answer" in await tools.run("do", "{}", "a")
    tools.turn_over(was_interrupted=False)
    assert "may or may not" in await tools.run("do", "{}", "b")  # it still runs: not a second time
    may_end.set()
    async with asyncio.timeout(5):
        await came.wait()
    assert told[-2:] == [("a", "done after all"), ("b", "done after all")]
    assert len(runs) == 1
    assert tools.has_untold
    await tools.close()


VARIABLE: contextvars.ContextVar[str] = contextvars.ContextVar("VARIABLE", default="")


async def test_plain_functions_get_a_thread_and_the_context_of_the_call() -> None:
    VARIABLE.set("of the call")
    seen: list[tuple[str, bool]] = []

    def plain(args: Any, ctx: Any, extra: str) -> str:
        seen.append((VARIABLE.get() + extra, threading.current_thread() is threading.main_thread()))
        return "ok"

    tools = executor(functools.partial(plain, extra="!"))
    assert await tools.run("do", "{}") == "ok"
    assert seen == [("of the call!", False)]

    def promises(args: Any, ctx: Any) -> Any:
        return asyncio.sleep(0, "later")

    assert await executor(promises).run("do", "{}") == "later"

    def stops(args: Any, ctx: Any) -> Any:
        raise StopIteration

    assert "failed" in await executor(stops).run("do", "{}")


@in_virtual_time
async def test_a_handler_that_cancels_itself_has_failed_and_nothing_else_has() -> None:
    async def odd(args: Any, ctx: Any) -> str:
        raise asyncio.CancelledError

    tools = executor(odd)
    assert json.loads(await tools.run("do", "{}")) == {"error": "The tool failed."}
    await tools.close()
    assert json.loads(await tools.run("do", "{}")) == {"error": "The call is over."}


@in_virtual_time
async def test_events_tell_of_each_run() -> None:
    told: list[tuple[str, dict[str, object]]] = []
    around = Surroundings(emit=lambda name, payload: told.append((name, payload)))
    tools = executor(Counted("done", takes=0.5), around=around)
    await tools.run("do", '{"item": "x"}', "a")
    await tools.run("nothing", "{}", "b")
    assert told == [
        (
            "tool_call_started",
            {"name": "do", "arguments": {"item": "x"}, "tool_call_id": "a", "transport": "handler"},
        ),
        (
            "tool_call_completed",
            {
                "name": "do",
                "result": "done",
                "error": None,
                "duration_ms": 500.0,
                "tool_call_id": "a",
                "transport": "handler",
            },
        ),
        (
            "tool_call_started",
            {"name": "nothing", "arguments": {}, "tool_call_id": "b", "transport": "unknown"},
        ),
        (
            "tool_call_completed",
            {
                "name": "nothing",
                "result": None,
                "error": '{"error": "There is no tool of this name."}',
                "duration_ms": 0.0,
                "tool_call_id": "b",
                "transport": "unknown",
            },
        ),
    ]  # fmt: skip
    await tools.close()


@dataclasses.dataclass
class Seat:
    row: int


class Odd:
    def __str__(self) -> str:
        raise ValueError


@pytest.mark.parametrize(
    ("result", "text", "state"),
    [
        ("as it is", "as it is", State.DONE),
        (None, "null", State.DONE),
        ({"day": datetime.date(2026, 1, 2)}, '{"day":"2026-01-02"}', State.DONE),
        ([Seat(7)], '[{"row":7}]', State.DONE),
        ({"error": ""}, '{"error":""}', State.DONE),
        ({"error": "full"}, '{"error":"full"}', State.REFUSED),
        (Odd(), '{"error": "It was done, but its result cannot be shown."}', State.DONE),
    ],
)  # fmt: skip
def test_results_as_a_model_reads_them(result: object, text: str, state: State) -> None:
    answer = answer_of(result)
    assert (answer.text, answer.state) == (text, state)


def test_tools_are_offered_in_function_form() -> None:
    strict = Tool("do", "Does.", ITEM, Counted("x"), strict=True)
    assert ToolExecutor([strict]).schemas == [
        {
            "type": "function",
            "function": {"name": "do", "description": "Does.", "parameters": ITEM, "strict": True},
        }
    ]

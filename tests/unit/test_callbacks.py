"""User callbacks: in order, one at a time, each in its time, and none can hurt the call."""

from __future__ import annotations

import asyncio
import functools
import logging
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing

import pytest

from getpatter.runtime import clock
from getpatter.runtime.callbacks import (
    CallbackFailed,
    Callbacks,
    as_text_stream,
    reply_of,
    takes_call_control,
)
from getpatter.runtime.tasks import TaskNest
from getpatter.testing.time import START, in_virtual_time


class Line:
    """The callbacks of one call, with what was reported."""

    def __init__(self, *, capacity: int = 1000) -> None:
        self.reports: list[CallbackFailed] = []
        self.nest = TaskNest("call-1")
        self.calls = Callbacks("CA1", self.nest, on_error=self.reports.append, capacity=capacity)

    async def settle(self) -> None:
        await self.calls.finish("on_call_end", None, {})
        await self.nest.close()


@in_virtual_time
async def test_every_kind_of_callable_is_called() -> None:
    seen: list[str] = []

    async def coroutine(event: dict[str, str]) -> None:
        await asyncio.sleep(0.01)
        seen.append("coroutine")

    def plain(event: dict[str, str]) -> None:
        seen.append("plain")

    class Listens:
        async def method(self, event: dict[str, str]) -> None:
            seen.append("method")

        def __call__(self, event: dict[str, str]) -> None:
            seen.append("object")

    class AsyncListens:
        async def __call__(self, event: dict[str, str]) -> None:
            await asyncio.sleep(0)
            seen.append("async object")

    def with_name(name: str, event: dict[str, str]) -> None:
        seen.append(name)

    line = Line()
    for function in (
        coroutine,
        plain,
        lambda event: seen.append("lambda"),
        Listens().method,
        functools.partial(with_name, "partial"),
        functools.partial(coroutine),
        Listens(),
        AsyncListens(),
    ):
        line.calls.tell("on_transcript", function, {"text": "hi"})
    await line.settle()
    assert seen == [
        "coroutine", "plain", "lambda", "method", "partial", "coroutine", "object", "async object",
    ]  # fmt: skip
    assert line.reports == []


@in_virtual_time
async def test_callbacks_run_in_order_one_at_a_time_and_telling_never_waits() -> None:
    running = 0
    seen: list[int] = []

    async def slow(event: dict[str, int]) -> None:
        nonlocal running
        running += 1
        assert running == 1
        await asyncio.sleep(1 / (event["n"] + 1))
        running -= 1
        seen.append(event["n"])

    line = Line()
    for n in range(5):
        line.calls.tell("on_transcript", slow, {"n": n})
    assert seen == []
    assert clock.now() == START
    await line.settle()
    assert seen == [0, 1, 2, 3, 4]


@in_virtual_time
async def test_a_failing_callback_is_logged_counted_reported_and_forgotten(
    caplog: pytest.LogCaptureFixture,
) -> None:
    seen: list[str] = []

    async def fails(event: object) -> None:
        raise ZeroDivisionError("secret plan")

    def fails_plainly(event: object) -> None:
        raise KeyError("x")

    line = Line()
    line.calls.tell("on_transcript", fails, {})
    line.calls.tell("on_metrics", fails_plainly, {})
    line.calls.tell("on_transcript", lambda _: seen.append("still here"), {})
    await line.settle()
    assert seen == ["still here"]
    assert line.calls.failed == 2
    assert [(each.call_id, each.callback, type(each.error)) for each in line.reports] == [
        ("CA1", "on_transcript", ZeroDivisionError),
        ("CA1", "on_metrics", KeyError),
    ]
    assert line.reports[0].function.endswith("fails")
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(errors) == 2
    assert all(record.exc_info for record in errors)


@in_virtual_time
async def test_a_callback_that_raises_cancelled_error_cancels_nothing() -> None:
    seen: list[str] = []

    async def cancels(event: object) -> None:
        raise asyncio.CancelledError

    line = Line()
    line.calls.tell("on_transcript", cancels, {})
    line.calls.tell("on_transcript", lambda _: seen.append("next"), {})
    await line.settle()
    assert seen == ["next"]
    assert len(line.reports) == 1


@in_virtual_time
async def test_cancelling_the_call_is_not_swallowed() -> None:
    line = Line()

    async def endless(event: object) -> None:
        await asyncio.sleep(1e6)

    asking = asyncio.create_task(line.calls.ask("on_call_start", endless, {}, limit_s=1e9))
    await asyncio.sleep(1)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await line.nest.close()
    assert line.reports == []


@in_virtual_time
async def test_the_answer_of_on_call_start_is_its_dict() -> None:
    async def overrides(event: dict[str, str]) -> dict[str, str]:
        await asyncio.sleep(2)
        return {"voice": event["caller"]}

    line = Line()
    assert await line.calls.ask("on_call_start", overrides, {"caller": "x"}) == {"voice": "x"}
    assert await line.calls.ask("on_call_start", lambda _: {"a": 1}, {}) == {"a": 1}
    assert await line.calls.ask("on_call_start", lambda _: "nonsense", {}) is None
    assert await line.calls.ask("on_call_start", None, {}) is None
    await line.settle()


@in_virtual_time
async def test_on_call_start_may_take_ten_seconds_and_no_more(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ended: list[str] = []

    async def too_slow(event: object) -> dict[str, str]:
        try:
            await asyncio.sleep(11)
        finally:
            ended.append("tidied up")
        return {}

    line = Line()
    assert await line.calls.ask("on_call_start", too_slow, {}) is None
    assert clock.now() == START + 10
    assert ended == ["tidied up"]
    assert isinstance(line.reports[0].error, TimeoutError)
    assert "callback.too_slow callback=on_call_start" in caplog.text
    await line.settle()


@in_virtual_time
async def test_a_callback_that_will_not_be_cancelled_is_left_behind_in_bounded_time() -> None:
    may_end = False

    async def stubborn(event: object) -> None:
        while not may_end:
            try:
                await asyncio.sleep(5)
            except asyncio.CancelledError:
                continue

    line = Line()
    assert await line.calls.ask("on_call_start", stubborn, {}) is None
    assert clock.now() <= START + 11.001
    may_end = True
    await asyncio.sleep(10)
    await line.settle()


@in_virtual_time
async def test_on_call_end_is_last_and_fires_once() -> None:
    seen: list[str] = []

    async def slow(event: object) -> None:
        await asyncio.sleep(3)
        seen.append("transcript")

    line = Line()
    line.calls.tell("on_transcript", slow, {})
    line.calls.tell("on_transcript", slow, {})
    await line.calls.finish("on_call_end", lambda _: seen.append("end"), {})
    await line.calls.finish("on_call_end", lambda _: seen.append("end again"), {})
    line.calls.tell("on_transcript", lambda _: seen.append("too late"), {})
    assert await line.calls.ask("on_call_start", lambda _: {}, {}) is None
    await line.nest.close()
    assert seen == ["transcript", "transcript", "end"]


@in_virtual_time
async def test_a_hanging_callback_cannot_keep_on_call_end_away() -> None:
    seen: list[str] = []

    async def hangs(event: object) -> None:
        await asyncio.sleep(1e6)

    line = Line()
    line.calls.tell("on_transcript", hangs, {}, limit_s=1e9)
    line.calls.tell("on_transcript", hangs, {}, limit_s=1e9)
    await line.calls.finish("on_call_end", lambda _: seen.append("end"), {})
    assert seen == ["end"]
    assert clock.now() <= START + 11.001
    assert line.calls.dropped == 1
    await line.nest.close()


@in_virtual_time
async def test_on_call_end_may_take_thirty_seconds() -> None:
    async def hangs(event: object) -> None:
        await asyncio.sleep(1e6)

    line = Line()
    await line.calls.finish("on_call_end", hangs, {})
    assert clock.now() == pytest.approx(START + 30)
    assert isinstance(line.reports[0].error, TimeoutError)
    await line.nest.close()


@in_virtual_time
async def test_the_queue_is_bounded_and_drops_the_oldest(caplog: pytest.LogCaptureFixture) -> None:
    seen: list[int] = []

    async def slow(event: dict[str, int]) -> None:
        await asyncio.sleep(0.1)
        seen.append(event["n"])

    line = Line(capacity=3)
    line.calls.tell("on_transcript", slow, {"n": 0})
    await asyncio.sleep(0.05)
    for n in range(1, 6):
        line.calls.tell("on_transcript", slow, {"n": n})
    await line.settle()
    assert seen == [0, 3, 4, 5]
    assert line.calls.dropped == 2
    assert caplog.text.count("callback.dropped") == 1


@in_virtual_time
async def test_a_payload_belongs_to_its_receiver() -> None:
    history = [{"role": "user", "text": "hi"}]
    got: list[dict[str, list[dict[str, str]]]] = []

    def spoils(event: dict[str, list[dict[str, str]]]) -> None:
        event["history"][0]["text"] = "changed"
        event["history"].clear()
        got.append(event)

    line = Line()
    line.calls.tell("on_transcript", spoils, {"history": history})
    history.append({"role": "assistant", "text": "later"})
    await line.settle()
    assert got == [{"history": []}]
    assert history[0] == {"role": "user", "text": "hi"}


@in_virtual_time
async def test_a_payload_is_as_it_was_when_it_was_told() -> None:
    payload: dict[str, object] = {"history": [1]}
    seen: list[object] = []
    line = Line()
    line.calls.tell("on_transcript", seen.append, payload)
    payload["history"] = []
    await line.settle()
    assert seen == [{"history": [1]}]


async def test_a_plain_function_that_holds_the_loop_is_named(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = iter([0.0, 0.080, 1.0, 1.049])
    monkeypatch.setattr(clock, "precise", lambda: next(ticks))
    line = Line()
    line.calls.tell("on_transcript", functools.partial(_holds), {})
    line.calls.tell("on_transcript", _holds, {})
    await line.settle()
    warnings = [record.getMessage() for record in caplog.records]
    assert len(warnings) == 1
    assert "callback.held_loop callback=on_transcript" in warnings[0]
    assert "_holds ms=80" in warnings[0]


def _holds(event: object) -> None:
    """Takes as long as the clock of the test says."""


@in_virtual_time
async def test_calls_do_not_wait_for_each_other() -> None:
    seen: list[str] = []

    async def hangs(event: object) -> None:
        await asyncio.sleep(20)

    one, other = Line(), Line()
    one.calls.tell("on_transcript", hangs, {})
    await asyncio.sleep(0)
    other.calls.tell("on_transcript", lambda _: seen.append("other"), {})
    await asyncio.sleep(0.01)
    assert seen == ["other"]
    await one.nest.close()
    await other.nest.close()


@in_virtual_time
async def test_after_the_nest_closed_telling_is_harmless() -> None:
    line = Line()
    await line.nest.close()
    line.calls.tell("on_transcript", lambda _: None, {})
    assert await line.calls.ask("on_call_start", lambda _: {}, {}) is None
    assert line.calls.dropped == 2


# ------------------------------------------------------------------------------------------ on_message


@pytest.mark.parametrize(
    ("function", "takes"),
    [
        (lambda event: None, False),
        (lambda event, call: None, True),
        (lambda event, call=None: None, True),
        (lambda *events: None, True),
        (lambda event, *, call: None, False),
        (lambda event, **more: None, False),
        (functools.partial(lambda name, event: None, "x"), False),
        (functools.partial(lambda name, event, call: None, "x"), True),
        (lambda: None, False),
    ],
)
def test_two_positional_arguments_mean_call_control(function: object, takes: bool) -> None:
    assert callable(function)
    assert takes_call_control(function) is takes


def test_methods_and_objects_are_judged_without_self() -> None:
    class Desk:
        async def one(self, event: object) -> None: ...

        async def two(self, event: object, call: object) -> None: ...

        def __call__(self, event: object, call: object) -> None: ...

    assert not takes_call_control(Desk().one)
    assert takes_call_control(Desk().two)
    assert takes_call_control(Desk())


async def _text(result: object) -> list[str]:
    return [piece async for piece in as_text_stream(result)]


@in_virtual_time
async def test_every_result_becomes_text() -> None:
    async def answer() -> str:
        await asyncio.sleep(1)
        return "later"

    async def pieces() -> AsyncIterator[str]:
        yield "a"
        await asyncio.sleep(1)
        yield "b"

    def plain_pieces() -> Iterator[str]:
        yield "c"
        yield "d"

    async def answers_with_pieces() -> AsyncIterator[str]:
        return pieces()

    assert await _text("now") == ["now"]
    assert await _text(answer()) == ["later"]
    assert await _text(pieces()) == ["a", "b"]
    assert await _text(plain_pieces()) == ["c", "d"]
    assert await _text(iter(["e"])) == ["e"]
    assert await _text(answers_with_pieces()) == ["a", "b"]


@in_virtual_time
async def test_silence_is_logged_as_information(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    assert await _text("") == []
    assert await _text(None) == []
    assert caplog.text.count("on_message.silent") == 2


@in_virtual_time
async def test_other_types_are_spoken_as_nothing_and_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def mixed() -> AsyncIterator[object]:
        yield "a"
        yield 5
        yield "b"

    assert await _text(42) == []
    assert await _text(["list"]) == []
    assert await _text({"text": "x"}) == []
    assert await _text(mixed()) == ["a", "b"]
    assert await _text(iter(("c", None))) == ["c"]
    assert caplog.text.count("on_message.unspeakable") == 5
    assert "list" in caplog.text
    assert "42" not in caplog.text


@in_virtual_time
async def test_closing_the_stream_closes_an_async_generator() -> None:
    ended: list[str] = []

    async def pieces() -> AsyncIterator[str]:
        try:
            while True:
                yield "more"
        finally:
            ended.append("closed")

    async with aclosing(as_text_stream(pieces())) as stream:
        assert await anext(stream) == "more"
    assert ended == ["closed"]


@in_virtual_time
async def test_cancelling_the_reader_cancels_what_runs() -> None:
    ended: list[str] = []

    async def pieces() -> AsyncIterator[str]:
        try:
            yield "first"
            await asyncio.sleep(1e6)
        finally:
            ended.append("closed")

    async def read() -> None:
        async with aclosing(as_text_stream(pieces())) as stream:
            async for _ in stream:
                pass

    reader = asyncio.create_task(read())
    await asyncio.sleep(1)
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader
    assert ended == ["closed"]


@in_virtual_time
async def test_a_plain_generator_runs_in_a_thread_and_is_closed_when_it_comes_back() -> None:
    loop_thread = threading.get_ident()
    may_go_on = threading.Event()
    is_in_second = threading.Event()
    ended: list[str] = []
    threads: list[int] = []

    def pieces() -> Iterator[str]:
        try:
            threads.append(threading.get_ident())
            yield "first"
            is_in_second.set()
            may_go_on.wait(5)
            yield "second"
        finally:
            ended.append("closed")

    async def read() -> None:
        async with aclosing(as_text_stream(pieces())) as stream:
            async for _ in stream:
                pass

    reader = asyncio.create_task(read())
    while not is_in_second.is_set():
        await asyncio.sleep(0)
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader
    assert ended == []
    may_go_on.set()
    await asyncio.to_thread(lambda: None)
    for _ in range(1000):
        if ended:
            break
        await asyncio.sleep(0.001)
    assert ended == ["closed"]
    assert threads[0] != loop_thread


@in_virtual_time
async def test_what_a_generator_raises_reaches_the_reader() -> None:
    def plain() -> Iterator[str]:
        yield "a"
        raise LookupError

    async def pieces() -> AsyncIterator[str]:
        yield "a"
        raise LookupError

    for source in (plain(), pieces()):
        with pytest.raises(LookupError):
            await _text(source)


@in_virtual_time
async def test_reply_of_gives_call_control_where_there_is_one() -> None:
    payload = {"text": "hi", "history": [1]}

    def greedy(event: dict[str, list[int]]) -> str:
        event["history"].clear()
        return "one"

    assert [piece async for piece in reply_of(greedy, payload)] == ["one"]
    assert payload["history"] == [1]
    with_control = reply_of(lambda event, call: f"{event['text']} {call}", payload, "control")
    assert [piece async for piece in with_control] == ["hi control"]

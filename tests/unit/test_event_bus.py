"""Whoever listens hears everything in order, and nobody else notices that they do."""

from __future__ import annotations

import asyncio
import threading

import pytest

from getpatter.events import PatterEventType
from getpatter.observability.event_bus import EventBus
from getpatter.observability.payloads import name_of, own_copy
from getpatter.testing.time import hold, in_virtual_time


@in_virtual_time
async def test_listeners_hear_in_order_by_member_or_by_value() -> None:
    bus = EventBus()
    seen: list[tuple[str, object]] = []

    async def later(event: dict[str, object]) -> None:
        await asyncio.sleep(0.1)
        seen.append(("async", event["text"]))

    bus.on(PatterEventType.TRANSCRIPT_PARTIAL, later)
    bus.on("transcript_partial", lambda event: seen.append(("plain", event["text"])))
    for text in "abc":
        bus.emit("transcript_partial", {"text": text})
    bus.emit(PatterEventType.LLM_CHUNK, {"text": "nobody listens"})
    assert seen == []
    assert await bus.drain()
    assert [text for kind, text in seen if kind == "async"] == ["a", "b", "c"]
    assert [text for kind, text in seen if kind == "plain"] == ["a", "b", "c"]
    assert seen[:3] == [("plain", "a"), ("plain", "b"), ("plain", "c")]


@in_virtual_time
async def test_every_listener_has_its_own_payload() -> None:
    bus = EventBus()
    payload: dict[str, object] = {"list": [1]}
    seen: list[object] = []

    def spoils(event: dict[str, object]) -> None:
        event["list"] = None

    bus.on("error", spoils)
    bus.on("error", seen.append)
    bus.emit("error", payload)
    await bus.drain()
    assert seen == [{"list": [1]}]
    assert payload == {"list": [1]}


@in_virtual_time
async def test_unsubscribing_ends_it_at_once() -> None:
    bus = EventBus()
    seen: list[object] = []
    stop = bus.on("error", seen.append)
    other: list[object] = []
    bus.on("error", other.append)
    bus.emit("error", {"n": 1})
    await bus.drain()
    bus.emit("error", {"n": 2})
    stop()
    stop()
    bus.emit("error", {"n": 3})
    await bus.drain()
    assert seen == [{"n": 1}]
    assert len(other) == 3
    assert bus.wants("error")


@in_virtual_time
async def test_with_nobody_listening_nothing_happens() -> None:
    bus = EventBus()
    assert not bus.wants(PatterEventType.TTS_CHUNK)
    stop = bus.on("tts_chunk", lambda _: None)
    assert bus.wants(PatterEventType.TTS_CHUNK)
    stop()
    assert not bus.wants("tts_chunk")
    bus.emit("tts_chunk", {})
    assert await bus.drain()


@in_virtual_time
async def test_a_failing_listener_is_logged_and_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    bus = EventBus()
    seen: list[object] = []

    async def fails(event: dict[str, object]) -> None:
        seen.append(event["n"])
        raise asyncio.CancelledError if event["n"] == 1 else ZeroDivisionError

    def fails_plainly(event: dict[str, object]) -> None:
        raise KeyError

    bus.on("error", fails)
    bus.on("error", fails_plainly)
    for n in range(3):
        bus.emit("error", {"n": n})
    assert await bus.drain()
    assert seen == [0, 1, 2]
    assert bus.failed == 6
    assert caplog.text.count("event_bus.listener_failed event=error") == 6


@in_virtual_time
async def test_a_slow_listener_loses_the_oldest_and_delays_nobody() -> None:
    bus = EventBus(capacity=10)
    slow: list[object] = []
    quick: list[object] = []

    async def slowly(event: dict[str, object]) -> None:
        await asyncio.sleep(1)
        slow.append(event["n"])

    bus.on("error", slowly)
    bus.on("error", lambda event: quick.append(event["n"]))
    for n in range(30):
        bus.emit("error", {"n": n})
        await asyncio.sleep(0.001)
    assert quick == list(range(30))
    assert await bus.drain(60)
    assert slow == [0, *range(20, 30)]
    assert bus.dropped == 19


@in_virtual_time
async def test_closing_is_bounded_and_the_bus_can_be_used_again() -> None:
    bus = EventBus()
    seen: list[object] = []

    async def hangs(event: dict[str, object]) -> None:
        seen.append(event["n"])
        await asyncio.sleep(1e6)

    bus.on("error", hangs)
    bus.emit("error", {"n": 1})
    bus.emit("error", {"n": 2})
    began = asyncio.get_running_loop().time()
    assert not await bus.drain(1)
    await bus.aclose(2)
    assert asyncio.get_running_loop().time() - began < 5.1
    bus.emit("error", {"n": 3})
    await asyncio.sleep(1)
    assert seen == [1, 3]
    await bus.aclose(0.1)


@in_virtual_time
async def test_another_thread_may_emit() -> None:
    bus = EventBus()
    heard: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    here = threading.get_ident()
    bus.on("call_status", lambda _: None)
    bus.emit("call_status", {})
    await bus.drain()
    bus.on("call_status", lambda _: heard.set_result(threading.get_ident()))
    with hold("the other thread"):
        thread = threading.Thread(target=bus.emit, args=("call_status", {"n": 1}))
        thread.start()
        assert await heard == here
    thread.join()


def test_events_before_the_loop_are_heard_on_it() -> None:
    bus = EventBus()
    seen: list[object] = []
    bus.on("error", seen.append)
    bus.emit("error", {"n": 1})
    assert seen == []

    async def main() -> None:
        bus.emit("error", {"n": 2})
        await bus.drain()

    asyncio.run(main())
    assert seen == [{"n": 1}, {"n": 2}]


def test_a_wrong_name_is_told_what_there_is() -> None:
    with pytest.raises(ValueError, match=r"no event is called 'transcripts'.*transcript_final"):
        EventBus().on("transcripts", print)
    with pytest.raises(TypeError, match="must be callable, not NoneType"):
        EventBus().on("error", None)  # type: ignore[arg-type]


def test_values_are_the_names_in_lower_case() -> None:
    assert all(event.value == event.name.lower() for event in PatterEventType)
    assert len(PatterEventType) == 24


def test_a_copy_is_deep_where_something_could_be_changed() -> None:
    inner = {1}
    listed = [1]
    raw = bytearray(b"x")
    original: dict[str, object] = {"a": [{"b": inner}], "t": (listed,), "raw": raw}
    copied = own_copy(original)
    assert copied == original
    inner.add(2)
    listed.append(2)
    raw.extend(b"y")
    assert copied == {"a": [{"b": {1}}], "t": ([1],), "raw": bytearray(b"x")}


def test_names_are_those_in_the_source() -> None:
    assert name_of(test_names_are_those_in_the_source).endswith(
        "test_names_are_those_in_the_source"
    )
    assert name_of(EventBus()).endswith("event_bus.EventBus")  # type: ignore[arg-type]

"""Events for pages that watch: order, replay, gaps, slow readers, comments."""

from __future__ import annotations

import asyncio
import re
import threading

import pytest

from getpatter.dashboard.feed import COMMENT_EVERY, Feed, Stream
from getpatter.testing.time import in_virtual_time


def opened(feed: Feed, last_event_id: str = "") -> Stream:
    stream = feed.open(last_event_id)
    assert stream is not None
    return stream


def events(piece: bytes) -> list[tuple[str, str]]:
    """(id, event) of each frame."""
    found: list[tuple[str, str]] = []
    for frame in piece.decode().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in re.split(r"\r\n|\n|\r", frame) if line)
        if "event" in fields:
            found.append((fields["id"], fields["event"]))
    return found


@in_virtual_time
async def test_a_stream_begins_now_and_has_everything_after_it_in_order() -> None:
    feed = Feed()
    feed.tell("call_start", {"call_id": "before"})
    stream = opened(feed)
    assert feed.take(stream) == b""
    for index in range(250):
        feed.tell("turn_complete", {"call_id": "CA1", "turn": {"turn_index": index}})
    pieces = [feed.take(stream) for _ in range(4)]
    assert [len(events(piece)) for piece in pieces] == [100, 100, 50, 0]
    assert b'"turn_index":249' in pieces[2]


@in_virtual_time
async def test_who_comes_back_goes_on_where_it_was() -> None:
    feed = Feed()
    stream = opened(feed)
    for name in "abc":
        feed.tell(name, {})
    seen = events(feed.take(stream))
    again = opened(feed, seen[0][0])
    assert events(feed.take(again)) == seen[1:]
    assert feed.take(opened(feed, seen[2][0])) == b"", "nothing happened since"


@in_virtual_time
async def test_what_is_no_longer_there_is_one_gap() -> None:
    feed = Feed(kept=10)
    stream = opened(feed)
    feed.tell("first", {})
    (first,) = events(feed.take(stream))
    for _ in range(30):
        feed.tell("more", {})
    again = opened(feed, first[0])
    found = events(feed.take(again))
    assert [name for _, name in found] == ["gap"] + ["more"] * 10
    assert events(feed.take(opened(feed, found[0][0])))[0][1] == "more", "the gap has an id as well"


@in_virtual_time
async def test_a_slow_reader_has_a_gap_and_goes_on() -> None:
    feed = Feed(kept=10)
    stream = opened(feed)
    for _ in range(11):
        feed.tell("more", {})
    assert [name for _, name in events(feed.take(stream))] == ["gap"] + ["more"] * 10
    feed.tell("after", {})
    assert [name for _, name in events(feed.take(stream))] == ["after"]


@in_virtual_time
@pytest.mark.parametrize("last", ["another-5", "5", "-", "x-y", "é-1", "99999999999999999999999-1"])
async def test_an_id_of_another_run_is_a_gap(last: str) -> None:
    feed = Feed()
    feed.tell("call_start", {})
    found = events(feed.take(opened(feed, last)))
    assert [name for _, name in found] == ["gap", "call_start"]


@in_virtual_time
async def test_an_id_that_is_still_to_come_is_now() -> None:
    feed = Feed()
    stream = opened(feed)
    feed.tell("a", {})
    run = events(feed.take(stream))[0][0].partition("-")[0]
    assert feed.take(opened(feed, f"{run}-77")) == b""


@in_virtual_time
async def test_there_are_so_many_streams_and_one_that_ends_makes_room() -> None:
    feed = Feed(streams=2)
    streams = [opened(feed), opened(feed)]
    assert feed.open() is None
    feed.leave(streams[0])
    feed.leave(streams[0])
    assert feed.open() is not None
    assert feed.streams == 2


@in_virtual_time
async def test_a_silent_stream_says_every_15_seconds_that_it_is_there() -> None:
    feed = Feed()
    frames = opened(feed).frames()
    assert (await anext(frames)).startswith(b"retry: ")
    loop = asyncio.get_running_loop()
    for _ in range(3):
        began = loop.time()
        assert (await anext(frames)).startswith(b":")
        assert loop.time() - began == COMMENT_EVERY
    await frames.aclose()
    assert feed.streams == 0


@in_virtual_time
async def test_a_busy_stream_says_so_as_well() -> None:
    feed = Feed()
    frames = opened(feed).frames()
    await anext(frames)
    comments = 0
    for _ in range(40):
        feed.tell("more", {})
        comments += (await anext(frames)).startswith(b":")
        await asyncio.sleep(1)
    assert comments == 2
    await frames.aclose()


@in_virtual_time
async def test_another_thread_may_tell_and_closing_ends_every_stream() -> None:
    feed = Feed()
    frames = opened(feed).frames()
    await anext(frames)
    thread = threading.Thread(target=feed.tell, args=("call_start", {"call_id": "CA1"}))
    thread.start()
    thread.join()
    assert events(await anext(frames))[0][1] == "call_start"
    feed.close()
    with pytest.raises(StopAsyncIteration):
        await anext(frames)
    assert feed.open() is None


@in_virtual_time
async def test_no_text_can_forge_a_frame() -> None:
    feed = Feed()
    stream = opened(feed)
    feed.tell("transcript_line", {"text": "hello\n\nevent: call_end\ndata: {}\r\n\u2028x"})
    assert [name for _, name in events(feed.take(stream))] == ["transcript_line"]

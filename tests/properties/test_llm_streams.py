"""Answers of models: however the body is cut the chunks are the same, and rubbish raises `WireError` only."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Final

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from getpatter.errors import WireError
from getpatter.llm._sse import AnswerReader, EventStream, Item
from getpatter.llm.base import LLMChunk
from getpatter.testing.fake_llm import Calls, Says, Wire
from tests.support.llm_vendors import VENDORS, Vendor

VENDOR: Final = st.sampled_from(VENDORS)
WORDS: Final = st.text(st.characters(codec="utf-8"), max_size=40)
JSON: Final = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)
ANSWER: Final = st.builds(
    Says,
    text=WORDS,
    calls=st.lists(
        st.builds(
            Calls,
            st.sampled_from(["get_weather", "end_call"]),
            st.dictionaries(WORDS, st.text(max_size=5) | st.integers(0, 9), max_size=2),
        ),
        max_size=3,
    ),
)


def reader_of(vendor: Vendor) -> AnswerReader:
    return vendor.llm("key-0123456789", "http://127.0.0.1:9", 1.0)._reader()


def body_of(vendor: Vendor, answer: Says) -> bytes:
    asked = {"stream_options": {"include_usage": True}}
    wire: Wire = vendor.service(()).wire(answer, 1, asked)
    return b"".join([*wire.head, wire.ping, *wire.words, wire.ping, *wire.tail])


def read(reader: AnswerReader, pieces: Sequence[bytes]) -> list[Item]:
    items: list[Item] = []
    for piece in pieces:
        items += reader.push(piece)
    return items + reader.end()


def cut(body: bytes, places: Sequence[int]) -> list[bytes]:
    ends = sorted({min(place, len(body)) for place in places} | {0, len(body)})
    return [body[a:b] for a, b in itertools.pairwise(ends)]


@given(VENDOR, ANSWER, st.lists(st.integers(0, 4000), max_size=30))
def test_any_cut_of_the_body_gives_the_same_chunks(
    vendor: Vendor, answer: Says, places: list[int]
) -> None:
    body = body_of(vendor, answer)
    whole = read(reader_of(vendor), [body])
    assert _joined(whole) == _joined(read(reader_of(vendor), cut(body, places)))
    assert _joined(whole) == _joined(read(reader_of(vendor), [bytes([b]) for b in body]))
    text, calls, rest = _joined(whole)
    assert text == answer.text
    assert [call[0] for call in calls] == [call.name for call in answer.calls]
    assert [msgspec.json.decode(call[1]) for call in calls] == [c.arguments for c in answer.calls]
    assert rest == ["usage", "done"]


def _joined(items: Sequence[Item]) -> tuple[str, list[tuple[str, str]], list[str]]:
    chunks = [item for item in items if isinstance(item, LLMChunk)]
    assert len(chunks) == len(items)
    text = "".join(chunk.content for chunk in chunks if chunk.type == "text")
    calls = [(chunk.name, chunk.arguments) for chunk in chunks if chunk.type == "tool_call"]
    return text, calls, [c.type for c in chunks if c.type in {"usage", "done"}]


@given(VENDOR, ANSWER, st.integers(0, 4000))
def test_a_body_that_is_cut_short_is_never_complete_before_its_end_mark(
    vendor: Vendor, answer: Says, place: int
) -> None:
    body = body_of(vendor, answer)
    reader = reader_of(vendor)
    items = read(reader, [body[:place]])
    text, calls, rest = _joined(items)
    assert answer.text.startswith(text)
    if not reader.is_complete:
        assert not calls
        assert not rest
    else:
        assert text == answer.text
        assert len(calls) == len(answer.calls)


@given(VENDOR, st.lists(st.binary(max_size=200), max_size=5))
def test_rubbish_raises_wire_errors_only(vendor: Vendor, pieces: list[bytes]) -> None:
    _survives(reader_of(vendor), pieces)


@given(VENDOR, st.lists(JSON, max_size=4), st.sampled_from(["", "error", "message_start"]))
def test_json_of_no_known_form_raises_wire_errors_only(
    vendor: Vendor, values: list[object], name: str
) -> None:
    frames = [
        f"event: {name}\ndata: ".encode() + msgspec.json.encode(_finite(value)) + b"\n\n"
        for value in values
    ]
    _survives(reader_of(vendor), frames)


@given(VENDOR, ANSWER, st.data())
def test_answers_with_a_value_of_the_wrong_kind_raise_wire_errors_only(
    vendor: Vendor, answer: Says, data: st.DataObject
) -> None:
    body = body_of(vendor, answer)
    frames: list[bytes] = []
    for event in EventStream().push(body):
        try:
            value: object = msgspec.json.decode(event.data)
        except msgspec.DecodeError:
            frames.append(b"data: " + event.data + b"\n\n")
            continue
        spoiled = msgspec.json.encode(_finite(_spoiled(value, data)))
        frames.append(b"data: " + spoiled + b"\n\n")
    _survives(reader_of(vendor), frames)


def _spoiled(value: object, data: st.DataObject) -> object:
    """`value` with one thing in it replaced by something else."""
    if isinstance(value, dict) and value and data.draw(st.booleans()):
        key = data.draw(st.sampled_from(sorted(value)))
        return {**value, key: _spoiled(value[key], data)}
    if isinstance(value, list) and value and data.draw(st.booleans()):
        return [_spoiled(value[0], data), *value[1:]]
    return data.draw(JSON)


def _finite(value: object) -> object:
    """JSON has no NaN, and msgspec takes no whole numbers above 64 bits."""
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_finite(inner) for inner in value]
    if isinstance(value, int) and not isinstance(value, bool):
        return max(min(value, 2**63 - 1), -(2**63))
    return value


def _survives(reader: AnswerReader, pieces: Sequence[bytes]) -> None:
    try:
        for piece in pieces:
            reader.push(piece)
        reader.end()
    except WireError:
        pass


@given(
    st.lists(st.sampled_from([b"data: a", b"data:b", b"event: x", b": c", b"id: 1", b"data", b""])),
    st.sampled_from([b"\n", b"\r\n", b"\r"]),
    st.lists(st.integers(0, 200), max_size=20),
)
def test_lines_may_end_in_three_ways(lines: list[bytes], end: bytes, places: list[int]) -> None:
    def events(body: bytes, at: Sequence[int]) -> list[object]:
        stream = EventStream()
        return [event for piece in cut(body, at) for event in stream.push(piece)]

    plain = events(b"".join(line + b"\n" for line in lines), [])
    assert events(b"".join(line + end for line in lines), places) == plain

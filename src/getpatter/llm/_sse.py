"""Server-sent events, byte by byte, and what the answers of all models that come as such have in common. Pure.

Protocol: https://html.spec.whatwg.org/multipage/server-sent-events.html, section 9.2.6.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, TypeVar

import msgspec

from getpatter.errors import WireError
from getpatter.llm.base import LLMChunk

_T = TypeVar("_T")

LONGEST_EVENT: Final = 4 * 1024 * 1024
_LINE_END: Final = re.compile(rb"[\r\n]")


@dataclass(frozen=True, slots=True)
class Event:
    """One event: its name (empty when it has none) and its data, lines joined with a line feed."""

    name: str
    data: bytes


class EventStream:
    """Finds events in a body, however it is cut into pieces."""

    def __init__(self) -> None:
        self._rest = b""
        self._is_after_cr = False
        self._is_first_line = True
        self._name = ""
        self._data: list[bytes] = []
        self._size = 0

    def push(self, data: bytes) -> list[Event]:
        """The events that are complete with `data`.

        Raises:
            WireError: an event is longer than 4 MB.
        """
        events: list[Event] = []
        data = self._rest + data
        start = 0
        searched = len(self._rest)
        while found := _LINE_END.search(data, max(start, searched)):
            end = found.start()
            is_rest_of_crlf = self._is_after_cr and end == start and data[end : end + 1] == b"\n"
            self._is_after_cr = data[end : end + 1] == b"\r"
            if not is_rest_of_crlf:
                events += self._line(data[start:end])
            start = end + 1
        self._rest = data[start:]
        if self._rest:
            self._is_after_cr = False
        if len(self._rest) + self._size > LONGEST_EVENT:
            raise WireError(f"an event is longer than {LONGEST_EVENT} bytes")
        return events

    def end(self) -> list[Event]:
        """The event that was not followed by an empty line, if there is one; a cut one looks the same."""
        rest, self._rest = self._rest, b""
        events = self._line(rest) if rest else []
        return events + self._line(b"")

    def _line(self, line: bytes) -> list[Event]:
        if self._is_first_line:
            self._is_first_line = False
            line = line.removeprefix(b"\xef\xbb\xbf")
        if not line:
            event = Event(self._name, b"\n".join(self._data))
            has_data = bool(self._data)
            self._name, self._data, self._size = "", [], 0
            return [event] if has_data else []
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            self._data.append(value)
            self._size += len(value)
        elif field == b"event":
            self._name = value.decode(errors="replace")
        return []


@dataclass(frozen=True, slots=True)
class Refused:
    """The service reported a failure inside an answer that had begun with success."""

    status: int
    """What it would have been over HTTP; 0 when the answer was withheld, and asking again would not help."""
    text: str
    request_id: str = ""


Item = LLMChunk | Refused


@dataclass(slots=True)
class _Call:
    id: str = ""
    name: str = ""
    arguments: str = ""


class AnswerReader:
    """Reads one answer. A vendor says what an event means (`_event`); splits of the body change nothing."""

    def __init__(self) -> None:
        self._events = EventStream()
        self._calls: dict[int, _Call] = {}
        self._usage: LLMChunk | None = None
        self._has_said_anything = False
        self.tokens = 0
        """Rises with everything the model wrote, also with what is not passed on yet."""
        self.is_complete = False
        """The answer has its end mark."""
        self.is_over = False
        """The end was reported; the body holds nothing more that matters."""
        self.request_id = ""

    def push(self, data: bytes) -> list[Item]:
        """What the next bytes of the body say.

        Raises:
            WireError: they break the protocol.
        """
        items: list[Item] = []
        for event in self._events.push(data):
            if not self.is_over:
                items += self._event(event)
        return items

    def end(self) -> list[Item]:
        """The body is over: what was held back. Look at `is_complete` afterwards.

        Raises:
            WireError: as `push`.
        """
        items: list[Item] = []
        for event in self._events.end():
            if not self.is_over:
                try:
                    items += self._event(event)
                except WireError:
                    break  # cut in the middle: what is missing is told by `is_complete`
        if self.is_complete and not self.is_over:
            items += self._closing()
        return items

    def _event(self, event: Event) -> list[Item]:
        raise NotImplementedError

    # --------------------------------------------------------------------------- for the vendors

    def _text(self, text: str) -> list[Item]:
        if not text:
            return []
        self.tokens += 1
        self._has_said_anything = True
        return [LLMChunk("text", content=text)]

    def _call_part(
        self,
        index: int,
        *,
        id: str = "",  # noqa: A002 - the wire's word
        name: str = "",
        arguments: str = "",
    ) -> None:
        """Add a fragment to the tool call with that index; one that it has not seen begins a new call."""
        self.tokens += 1
        call = self._calls.setdefault(index, _Call())
        call.id = call.id or id
        call.name = call.name or name
        call.arguments += arguments

    def _finished_calls(self) -> list[Item]:
        """The tool calls, whole, numbered in the order in which they began. Nobody sees half a call."""
        calls, self._calls = self._calls, {}
        chunks: list[Item] = []
        for index, call in enumerate(calls.values()):
            if not call.name:
                raise WireError("a tool call without a name")
            self._has_said_anything = True
            chunks.append(
                LLMChunk(
                    "tool_call",
                    index=index,
                    id=call.id or f"call_{self.request_id}_{index}",
                    name=call.name,
                    arguments=call.arguments.strip() or "{}",
                )
            )
        return chunks

    def _withheld(self, reason: str) -> list[Item]:
        """The model may not answer. Silence is no answer, so it is a failure, unless it had begun to speak."""
        self.is_complete = True
        if self._has_said_anything:
            return []
        self.is_over = True
        return [Refused(0, f"the model gave no answer: {reason}", self.request_id)]

    def _closing(self) -> list[Item]:
        """The end: usage, then `done`."""
        self.is_complete = self.is_over = True
        calls = self._finished_calls()
        usage: list[Item] = [self._usage] if self._usage is not None else []
        return [*calls, *usage, LLMChunk("done")]


def decoded(decoder: msgspec.json.Decoder[_T], data: bytes) -> _T:
    """`data` as the type of `decoder`.

    Raises:
        WireError: it is something else.
    """
    try:
        return decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise WireError(f"an event of no known form: {error}") from error

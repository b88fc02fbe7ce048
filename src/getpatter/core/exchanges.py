"""What the model asked of its tools and what they answered, kept at their place in the conversation.

The history of a call holds what was said and heard. A model needs more: that it looked something up, and
what it found, or it would look again. One `Exchange` is the calls of one round; it stands before the line
that the agent said because of it:

```
line 0  assistant  "Welcome."
line 1  user       "A table for two, please."
        exchange   book(seats=2) -> "ok, 7 pm"        anchored at 2: before what will be line 2
line 2  assistant  "Done, at seven."
```

A call whose tool still runs stands there with a note instead of its result, because models refuse a
conversation in which a call has no answer. The result takes the note's place when it comes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from getpatter.core.history import Line

RESULT_BYTES: Final = 4096
"""Of each result, once the reply that asked for it is over."""
CUT_MARK: Final = " ... [cut]"
STILL_RUNNING: Final = json.dumps(
    {
        "status": "running",
        "note": "Not finished yet. Do not start it again; its result will follow.",
    }
)

Message = dict[str, object]
"""One message in the chat form that all providers take."""


@dataclass(frozen=True, slots=True)
class Wish:
    """A tool call as the model wrote it."""

    id: str
    name: str
    arguments: str
    """JSON, or what the model took for it."""


@dataclass(slots=True)
class _Answered:
    wish: Wish
    result: str | None = None


@dataclass(slots=True)
class Exchange:
    """The calls of one round, in the order in which they were asked for."""

    reply: int
    """Whose round it is; numbers are the caller's own."""
    before_line: int
    text: str
    """What the model said in the same breath."""
    calls: list[_Answered] = field(default_factory=list)


class Exchanges:
    """All tool calls of one call."""

    def __init__(self) -> None:
        """Begin with none."""
        self._rounds: list[Exchange] = []
        self._by_id: dict[str, _Answered] = {}

    def __len__(self) -> int:
        return len(self._rounds)

    def unused_id(self, wanted: str) -> str:
        """`wanted`, or a variant of it: some providers count every answer's calls from zero."""
        fresh, number = wanted or "call", 1
        while fresh in self._by_id:
            number += 1
            fresh = f"{wanted or 'call'}-{number}"
        return fresh

    def begin(self, reply: int, before_line: int, text: str, wishes: Sequence[Wish]) -> None:
        """Enter the calls of a round. Their ids must be unused."""
        made = Exchange(reply, before_line, text, [_Answered(wish) for wish in wishes])
        for call in made.calls:
            assert call.wish.id not in self._by_id, "an id names one call"
            self._by_id[call.wish.id] = call
        self._rounds.append(made)

    def returned(self, call_id: str, result: str) -> None:
        """A tool has answered. A later answer to the same call, such as one after its time, replaces the first."""
        call = self._by_id.get(call_id)
        if call is not None:
            call.result = result

    @property
    def unanswered(self) -> tuple[Wish, ...]:
        """Calls whose tools still run."""
        return tuple(each.wish for each in self._by_id.values() if each.result is None)

    def messages(
        self, lines: Sequence[Line], reply: int, *, most: int, since: int = 0
    ) -> list[Message]:
        """The newest `most` lines and everything asked between them, as `reply` must see it.

        `since`: lines before this one are left out, too, however few there are.
        Rounds of other replies have no text of their own: what was heard of it is in the lines.
        """
        first = max(since, len(lines) - most, 0)
        told: list[Message] = []
        rounds = [each for each in self._rounds if each.before_line > first or not first]
        for index in range(first, len(lines) + 1):
            while rounds and rounds[0].before_line <= index:
                told.extend(_told(rounds.pop(0), reply))
            if index < len(lines):
                told.append({"role": lines[index].role, "content": lines[index].text})
        return told


def _told(exchange: Exchange, reply: int) -> list[Message]:
    is_own = exchange.reply == reply
    calls = [
        {
            "id": call.wish.id,
            "type": "function",
            "function": {"name": call.wish.name, "arguments": _object(call.wish.arguments)},
        }
        for call in exchange.calls
    ]
    asked: Message = {
        "role": "assistant",
        "content": exchange.text if is_own and exchange.text else None,
        "tool_calls": calls,
    }
    answers: list[Message] = [
        {"role": "tool", "tool_call_id": call.wish.id, "content": _result(call, whole=is_own)}
        for call in exchange.calls
    ]
    return [asked, *answers]


def _result(call: _Answered, *, whole: bool) -> str:
    if call.result is None:
        return STILL_RUNNING
    return call.result if whole else shortened(call.result)


def shortened(result: str, most: int = RESULT_BYTES) -> str:
    """`result` in at most `most` bytes of UTF-8, with a mark where it was cut."""
    raw = result.encode()
    if len(raw) <= most:
        return result
    return raw[: most - len(CUT_MARK)].decode(errors="ignore") + CUT_MARK


def _object(arguments: str) -> str:
    """Arguments as a JSON object: a provider that reads them again must not fail on what a model once wrote."""
    try:
        given: object = json.loads(arguments)
    except (ValueError, RecursionError):
        return "{}"
    return arguments if isinstance(given, dict) else "{}"

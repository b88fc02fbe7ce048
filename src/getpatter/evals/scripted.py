"""A language model that says what you wrote, and doubles for the other parts of one call.

```python
llm = ScriptedLLMProvider([tool_call_turn("book", {"day": "Monday"}), text_turn("It is booked.")])
```

Each request takes the next turn. A request too many, and a turn that nobody asked for, are mistakes of the script
and are told as such: `EvalSession` raises them, anybody else asks `problems`.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from getpatter.llm.base import LLMChunk
from getpatter.runtime.text_call import TextEars, TextVoice

__all__ = [
    "FakeAudioSender",
    "FakeSTT",
    "FakeTTS",
    "ScriptedLLMProvider",
    "ScriptedTurn",
    "ScriptedTurnsError",
    "text_turn",
    "tool_call_turn",
]

_NOTHING: Final[Mapping[str, object]] = {}


class ScriptedTurnsError(AssertionError):
    """The conversation and its script do not fit: a turn is missing, or was not used."""


@dataclass(frozen=True, slots=True)
class ScriptedTurn:
    """One answer of the model: words, or a tool that it wants to have called."""

    text: str = ""
    tool: str = ""
    arguments: Mapping[str, object] | str = field(default_factory=dict)
    """As a text: sent as it is, for arguments that are no JSON."""


def text_turn(text: str) -> ScriptedTurn:
    """The model says `text`."""
    return ScriptedTurn(text=text)


def tool_call_turn(name: str, arguments: Mapping[str, object] | str = _NOTHING) -> ScriptedTurn:
    """The model asks for the tool `name`; the next turn is what it makes of the result."""
    given = arguments if isinstance(arguments, str) else dict(arguments)
    return ScriptedTurn(tool=name, arguments=given)


@dataclass(frozen=True, slots=True)
class ScriptedRequest:
    """What the model was asked."""

    messages: tuple[Mapping[str, object], ...]
    tools: tuple[Mapping[str, object], ...]


class ScriptedLLMProvider:
    """A deterministic `LLMProvider`: one turn a request, in order."""

    provider_key = "scripted"
    model = "scripted"

    def __init__(self, turns: Iterable[ScriptedTurn | str]) -> None:
        """`turns`: made with `text_turn` and `tool_call_turn`; a text is short for the former."""
        given = [text_turn(each) if isinstance(each, str) else each for each in turns]
        for each in given:
            if not isinstance(each, ScriptedTurn):
                raise TypeError(
                    f"a turn is text_turn(...), tool_call_turn(...) or a text, not {type(each).__name__}"
                )
        self._turns: Final = tuple(given)
        self._missing = 0
        self.requests: list[ScriptedRequest] = []
        """What the model was asked, in order."""

    @property
    def unused(self) -> tuple[ScriptedTurn, ...]:
        """Turns that nobody has asked for yet."""
        return self._turns[len(self.requests) :]

    @property
    def problems(self) -> list[str]:
        """What does not fit, now that the conversation is over. Empty: everything does."""
        return [*self._too_few(), *self._too_many()]

    def check(self, *, is_over: bool = True) -> None:
        """Complain.

        Args:
            is_over: Unused turns are mistakes; else only missing ones are.

        Raises:
            ScriptedTurnsError: the script does not fit.
        """
        problems = self.problems if is_over else self._too_few()
        if problems:
            raise ScriptedTurnsError("; ".join(problems))

    def _too_few(self) -> list[str]:
        if not self._missing:
            return []
        asked, turns = len(self.requests), len(self._turns)
        return [f"the model was asked {asked} times, and there are {turns} scripted turns"]

    def _too_many(self) -> list[str]:
        return [
            f"scripted turn {len(self.requests) + number} was not used: {_shown(turn)}"
            for number, turn in enumerate(self.unused, 1)
        ]

    async def stream(
        self,
        messages: Sequence[Mapping[str, object]],
        tools: Sequence[Mapping[str, object]] | None = None,
    ) -> AsyncIterator[LLMChunk]:
        """The next turn.

        Raises:
            ScriptedTurnsError: there is none.
        """
        number = len(self.requests)
        self.requests.append(ScriptedRequest(tuple(map(dict, messages)), tuple(tools or ())))
        if number >= len(self._turns):
            self._missing += 1
            raise ScriptedTurnsError("; ".join(self._too_few()))
        turn = self._turns[number]
        if turn.text:
            yield LLMChunk("text", content=turn.text)
        if turn.tool:
            yield LLMChunk(
                "tool_call",
                id=f"call_{number + 1}",
                name=turn.tool,
                arguments=turn.arguments
                if isinstance(turn.arguments, str)
                else json.dumps(dict(turn.arguments)),
            )
        yield LLMChunk("done")


def _shown(turn: ScriptedTurn) -> str:
    return f"the call of {turn.tool!r}" if turn.tool else repr(turn.text[:80])


# ------------------------------------------------------------------------------------------- doubles


class FakeSTT(TextEars):
    """A recogniser that hears no sound and understands what it is told: `hear("hello")` is one final result."""

    def __init__(self, lines: Iterable[str] = ()) -> None:
        """`lines`: understood at once, one after the other."""
        super().__init__()
        self.received_bytes = 0
        """Sound that it was given."""
        for line in lines:
            self.hear(line)

    def feed(self, data: bytes) -> None:
        """Count what comes."""
        self.received_bytes += len(data)

    async def send_audio(self, pcm: bytes) -> None:
        """Count what comes."""
        self.feed(pcm)


class FakeTTS(TextVoice):
    """A voice that makes 20 ms of silence of each sentence and remembers it."""

    def __init__(self) -> None:
        """Nothing was said yet."""
        self.spoken: list[str] = []
        """The sentences, in order."""
        super().__init__(self.spoken.append)


class FakeAudioSender:
    """The phone's end of the agent's voice: remembers what it is sent."""

    def __init__(self) -> None:
        """Nothing was sent yet."""
        self.audio: deque[bytes] = deque()
        """Pieces that would still be heard: a clear drops them."""
        self.sent_bytes = 0
        self.marks: list[str] = []
        self.clears = 0

    async def send_audio(self, audio: bytes) -> None:
        """Queue a piece."""
        self.audio.append(audio)
        self.sent_bytes += len(audio)

    async def send_mark(self, name: str) -> None:
        """Ask to be told when everything so far was played."""
        self.marks.append(name)

    async def send_clear(self) -> None:
        """Drop what is queued."""
        self.audio.clear()
        self.clears += 1

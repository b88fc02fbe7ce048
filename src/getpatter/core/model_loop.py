"""One reply of a language model: asked, told what its tools found, asked again, until it has only words left.

```
          Ask ------> chunks ------> end of answer --- no calls ---> Finish
           ^            |                 |
           |            | first call      | calls
           |            v                 v
           |          SayNow          RunTools
           |                              |
           +----- all have returned ------+      at most MAX_ROUNDS times; then once without tools
```

An answer that breaks off before it gave anything is asked for once more; one that gave nothing for
`FIRST_CHUNK_WITHIN` seconds has broken off. A reply that cannot go on gives up, and somebody apologises.

It is told what happened and when, and answers with what to do. Who runs the tools, and what became of earlier
calls, is not its business (`exchanges.py`, `runtime/tools.py`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from getpatter.core.exchanges import Wish
from getpatter.types import Instant

MAX_ROUNDS: Final = 10
ATTEMPTS: Final = 2
FIRST_CHUNK_WITHIN: Final = 15.0
NEXT_CHUNK_WITHIN: Final = 15.0
MAX_CALLS: Final = 32
"""Calls of one round that are run; a model that wants more is stuck in a loop."""


# -------------------------------------------------------------------------------------------- inputs


@dataclass(frozen=True, slots=True)
class Wrote:
    """The model wrote text."""

    text: str


@dataclass(frozen=True, slots=True)
class CallPart:
    """A fragment of a tool call; fragments of one `index` belong together."""

    index: int
    id: str = ""
    name: str = ""
    arguments: str = ""


@dataclass(frozen=True, slots=True)
class Ended:
    """The answer is complete."""


@dataclass(frozen=True, slots=True)
class Broke:
    """The request failed, or its answer broke off. The reason is for logs."""

    reason: str = ""
    is_final: bool = False
    """Asking again cannot help: the key is refused."""


@dataclass(frozen=True, slots=True)
class Returned:
    """A tool of this round has answered (what, is in `Exchanges`)."""

    call_id: str
    ends_call: bool = False
    """The tool is about to end the call: the model need not be asked what to say next."""


@dataclass(frozen=True, slots=True)
class Ticked:
    """The deadline has come."""


Input = Wrote | CallPart | Ended | Broke | Returned | Ticked


# ------------------------------------------------------------------------------------------ commands


@dataclass(frozen=True, slots=True)
class Ask:
    """Send the conversation to the model; an answer that is still coming is no longer wanted."""

    request: int
    with_tools: bool


@dataclass(frozen=True, slots=True)
class Say:
    """Speak this, as more of the reply."""

    text: str


@dataclass(frozen=True, slots=True)
class SayNow:
    """What was written so far is whole: it must not wait for more."""


@dataclass(frozen=True, slots=True)
class RunTools:
    """Run all of these at the same time. `text` was said in the same answer."""

    wishes: tuple[Wish, ...]
    text: str


@dataclass(frozen=True, slots=True)
class Finish:
    """The reply is written."""


@dataclass(frozen=True, slots=True)
class GiveUp:
    """The reply cannot be written, or not to its end."""

    reason: str


Command = Ask | Say | SayNow | RunTools | Finish | GiveUp


# ----------------------------------------------------------------------------------------- the loop


class _Phase(Enum):
    WAITING = "waiting"
    """Asked, and nothing came yet."""
    READING = "reading"
    RUNNING = "running"
    """Tools run."""
    OVER = "over"


@dataclass(slots=True)
class _Parts:
    """A tool call as far as it was written."""

    id: str = ""
    name: str = ""
    arguments: list[str] = field(default_factory=list)


class ModelLoop:
    """The state of one reply. `begin` once, then `handle` until `is_over`."""

    def __init__(self, *, has_tools: bool = True, max_rounds: int = MAX_ROUNDS) -> None:
        """Prepare a reply of a model that may use tools, or has none."""
        self._has_tools = has_tools
        self._max_rounds = max_rounds
        self._phase = _Phase.OVER
        self._rounds = 0
        self._requests = 0
        self._attempt = 1
        self._has_spoken = False
        self._text: list[str] = []
        self._parts: dict[int, _Parts] = {}
        self._open: set[str] = set()
        self._ends_call = False
        self.deadline: Instant | None = None
        """When `Ticked` is wanted, if nothing else happens before."""

    @property
    def is_over(self) -> bool:
        """Whether nothing more will be asked for."""
        return self._phase is _Phase.OVER

    def begin(self, now: Instant) -> list[Command]:
        """Ask for the first time."""
        return [self._ask(now)]

    def handle(self, event: Input, now: Instant) -> list[Command]:
        """Take one input; returns what to do, in order. What comes too late changes nothing."""
        match self._phase:
            case _Phase.WAITING | _Phase.READING:
                return self._read(event, now)
            case _Phase.RUNNING:
                return self._returned(event, now) if isinstance(event, Returned) else []
            case _Phase.OVER:
                return []

    def _read(self, event: Input, now: Instant) -> list[Command]:
        match event:
            case Wrote(text=text):
                return self._wrote(text, now)
            case CallPart():
                return self._call_part(event, now)
            case Ended():
                return self._ended()
            case Broke(reason=reason, is_final=is_final):
                return self._over(GiveUp(reason)) if is_final else self._broke(reason, now)
            case Ticked() if self.deadline is not None and now >= self.deadline:
                return self._broke("the model is silent", now)
            case _:
                return []

    def _ask(self, now: Instant) -> Ask:
        self._requests += 1
        self._phase = _Phase.WAITING
        self._text.clear()
        self._parts.clear()
        self.deadline = Instant(now + FIRST_CHUNK_WITHIN)
        may_use_tools = self._rounds < self._max_rounds and not self._ends_call
        return Ask(self._requests, self._has_tools and may_use_tools)

    def _came(self, now: Instant) -> None:
        self._phase = _Phase.READING
        self.deadline = Instant(now + NEXT_CHUNK_WITHIN)

    def _wrote(self, text: str, now: Instant) -> list[Command]:
        if not text:
            return []
        self._came(now)
        self._text.append(text)
        self._has_spoken = self._has_spoken or bool(text.strip())
        return [Say(text)]

    def _call_part(self, part: CallPart, now: Instant) -> list[Command]:
        is_first = not self._parts
        self._came(now)
        if part.index not in self._parts and len(self._parts) >= MAX_CALLS:
            return []
        call = self._parts.setdefault(part.index, _Parts())
        call.id = part.id or call.id
        call.name = part.name or call.name
        call.arguments.append(part.arguments)
        return [SayNow()] if is_first and self._text else []

    def _ended(self) -> list[Command]:
        wishes = self._wishes()
        if not wishes:
            return self._over(Finish())
        if self._rounds >= self._max_rounds or self._ends_call:
            # It was asked without tools and wants some all the same.
            return self._over(
                Finish() if self._has_spoken else GiveUp("the model only wants tools")
            )
        self._rounds += 1
        self._attempt = 1
        self._phase = _Phase.RUNNING
        self._open = {wish.id for wish in wishes}
        self.deadline = None
        return [SayNow(), RunTools(wishes, "".join(self._text))]

    def _wishes(self) -> tuple[Wish, ...]:
        taken: set[str] = set()
        wishes: list[Wish] = []
        for index, part in sorted(self._parts.items()):
            call_id = part.id or f"call_{self._requests}_{index}"
            while call_id in taken:
                call_id += "x"
            taken.add(call_id)
            wishes.append(Wish(call_id, part.name, "".join(part.arguments)))
        return tuple(wishes)

    def _returned(self, event: Returned, now: Instant) -> list[Command]:
        self._open.discard(event.call_id)
        self._ends_call = self._ends_call or event.ends_call
        if self._open:
            return []
        if self._ends_call and self._has_spoken:
            return self._over(Finish())
        return [self._ask(now)]

    def _broke(self, reason: str, now: Instant) -> list[Command]:
        if not self._text and self._attempt < ATTEMPTS:
            self._attempt += 1
            return [self._ask(now)]
        return self._over(GiveUp(reason))

    def _over(self, last: Finish | GiveUp) -> list[Command]:
        self._phase = _Phase.OVER
        self.deadline = None
        return [last]

"""Whole conversations as pure code: a virtual clock, a carrier that plays, a writer, a voice, people.

Nothing here waits: the driver jumps from one event to the next, so an hour of talk takes milliseconds.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from getpatter.core import messages as m
from getpatter.core.manners import Manners
from getpatter.core.session import Session
from getpatter.core.turns import Floor
from getpatter.types import MULAW_8K, Instant

MS_PER_LETTER: Final = 65.0
"""How long the voice takes over a letter."""
MOST_TICKS_AT_ONE_INSTANT: Final = 20


@dataclass(slots=True)
class Line:
    """What lies between the session and the person: where marks get lost, and how late things are."""

    mark_delay: float = 0.03
    loses_marks: Callable[[int], bool] = lambda _number: False
    writes_after: float = 0.3
    voices_after: float = 0.1
    answers: Callable[[str], str] = lambda text: f"You said {text}, and that is noted. What else?"


@dataclass(slots=True)
class Conversation:
    """One call. Tell it what the person does and when; then `run`."""

    manners: Manners = field(default_factory=Manners)
    line: Line = field(default_factory=Line)
    now: float = 100.0
    commands: list[tuple[float, m.AnyCommand]] = field(default_factory=list)
    is_writing: bool = True
    """Whether the writer and the voice do what they are asked for."""
    session: Session = field(init=False)
    _agenda: list[tuple[float, int, m.AnyInput]] = field(default_factory=list)
    _entries: int = 0
    _marks: int = 0
    _plays_until: float = 0.0
    _marks_out: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.session = Session(MULAW_8K, self.manners, began_at=Instant(self.now))

    # ------------------------------------------------------------------------------------ the world

    def at(self, time: float, event: m.AnyInput) -> None:
        """Have `event` happen at `time`, seconds after 100."""
        self._entries += 1
        heapq.heappush(self._agenda, (100.0 + time, self._entries, event))

    def later(self, seconds: float, event: m.AnyInput) -> None:
        """Have `event` happen `seconds` from now."""
        self.at(self.now - 100.0 + seconds, event)

    def says(self, time: float, text: str, *, lasts: float = 1.0, late: float = 0.2) -> None:
        """A person says `text`: frames of the detector, an interim, a final `late` seconds after."""
        self.sounds(time, lasts)
        self.at(time + lasts / 2, m.Transcribed(text.split(maxsplit=1)[0], is_final=False))
        self.at(time + lasts + late, m.Transcribed(text, is_final=True, confidence=0.9))

    def sounds(self, time: float, lasts: float) -> None:
        """Something that the detector takes for a voice, and the silence after it."""
        frame = self.manners.frame_ms / 1000
        frames = round(lasts / frame)
        for number in range(1, frames + 1):
            self.at(time + number * frame, m.Voiced(0.95))
        for number in range(frames + 1, frames + 16):
            self.at(time + number * frame, m.Voiced(0.02))

    def tell(self, event: m.AnyInput) -> list[m.AnyCommand]:
        """Hand `event` to the session now, and do what it asks for."""
        asked = self.session.handle(event, Instant(self.now))
        for command in asked:
            self.commands.append((self.now, command))
            self._do(command)
        return asked

    def run(self, until: float) -> None:
        """Let time pass until `until` (seconds after 100), the alarms of the session included."""
        end, ticks, instant = 100.0 + until, 0, -1.0
        while True:
            due = self.session.deadline(Instant(self.now))
            event_at = self._agenda[0][0] if self._agenda else None
            if due is not None and (event_at is None or due < event_at):
                if due > end:
                    break
                self.now = max(self.now, due)
                ticks = ticks + 1 if self.now == instant else 0
                instant = self.now
                assert ticks < MOST_TICKS_AT_ONE_INSTANT, f"busy at {self.now} in {self.floor}"
                self.tell(m.Ticked())
            elif event_at is not None and event_at <= end:
                self.now = max(self.now, event_at)
                self.tell(heapq.heappop(self._agenda)[2])
            else:
                break
        self.now = max(self.now, end)

    def _do(self, command: m.AnyCommand) -> None:
        match command:
            case m.SendAudio(data=data):
                self._plays_until = max(self._plays_until, self.now) + MULAW_8K.ms(len(data)) / 1000
            case m.SendMark(name=name):
                self._marks += 1
                if not self.line.loses_marks(self._marks):
                    back = self._plays_until + self.line.mark_delay
                    self.at(back - 100.0, m.MarkCame(name))
            case m.SendClear():
                self._plays_until = self.now
            case m.StartReply(reply=reply, text=text) if self.is_writing:
                self.later(self.line.writes_after, m.ReplyText(reply, self.line.answers(text)))
                self.later(self.line.writes_after, m.ReplyWritten(reply))
            case m.Speak(piece=piece, text=text) if self.is_writing:
                audio = b"\x7f" * MULAW_8K.size(MS_PER_LETTER * len(text))
                after = self.line.voices_after
                self.later(after, m.PieceWorded(piece, text))
                if audio:
                    self.later(after, m.PieceVoiced(piece, audio))
                self.later(after, m.PieceDone(piece))
            case _:
                pass

    # ------------------------------------------------------------------------------- what came of it

    @property
    def floor(self) -> Floor:
        """Who may speak now."""
        return self.session.floor

    def all(self, kind: type[m.Command]) -> list[m.Command]:
        """The commands of one kind, in order."""
        return [command for _, command in self.commands if isinstance(command, kind)]

    def times(self, kind: type[m.Command]) -> list[float]:
        """When the commands of one kind were given, seconds after 100."""
        return [at - 100.0 for at, command in self.commands if isinstance(command, kind)]

    @property
    def lines(self) -> list[tuple[str, str]]:
        """The transcript: who said what."""
        return [(line.role, line.text) for line in self.session.history.lines]

    @property
    def turns(self) -> list[m.TurnRecord]:
        """The turns that are complete."""
        return [c.record for _, c in self.commands if isinstance(c, m.ReportTurn)]


def opened(
    manners: Manners | None = None, line: Line | None = None, *, greeting: str = ""
) -> Conversation:
    """A call that has just been configured."""
    call = Conversation(manners or Manners(), line or Line())
    call.tell(m.Opened(greeting))
    return call


def play(call: Conversation, events: Iterable[tuple[float, m.AnyInput]]) -> None:
    """Put a whole script on the agenda."""
    for time, event in events:
        call.at(time, event)

"""Conversations with an engine as pure code: a virtual clock, a carrier that plays, an engine that keeps its rules."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field

from getpatter.core import messages as m
from getpatter.core.duplex import DuplexSession
from getpatter.core.engine_manners import EngineManners
from getpatter.core.manners import Manners
from getpatter.core.turns import Floor
from getpatter.types import MULAW_8K, Instant

MOST_TICKS_AT_ONE_INSTANT = 20


@dataclass(slots=True)
class EngineTalk:
    """One call. Tell it what happens and when; then `run`."""

    manners: Manners = field(default_factory=Manners)
    engine: EngineManners = field(default_factory=EngineManners)
    now: float = 100.0
    commands: list[tuple[float, m.AnyCommand]] = field(default_factory=list)
    is_working: bool = True
    """Whether the engine and the tools do what they are asked for."""
    says: str = "You said something, and that is noted."
    session: DuplexSession = field(init=False)
    running: str = ""
    breaches: list[str] = field(default_factory=list)
    """What the session asked of the engine against its rules."""
    _agenda: list[tuple[float, int, m.AnyInput]] = field(default_factory=list)
    _entries: int = 0
    _responses: int = 0
    _turns: int = 0
    _plays_until: float = 0.0

    def __post_init__(self) -> None:
        self.session = DuplexSession(
            MULAW_8K, self.manners, self.engine, began_at=Instant(self.now)
        )

    @property
    def floor(self) -> Floor:
        return self.session.floor

    def at(self, time: float, event: m.AnyInput) -> None:
        """Have `event` happen `time` seconds after 100."""
        self._entries += 1
        heapq.heappush(self._agenda, (100.0 + time, self._entries, event))

    def later(self, seconds: float, event: m.AnyInput) -> None:
        self.at(self.now - 100.0 + seconds, event)

    def turn(self, time: float, text: str = "Hello.", *, lasts: float = 1.0) -> None:
        """The caller says something, and the engine hears it."""
        self._turns += 1
        item = f"u{self._turns}"
        self.at(time, m.EngineHeardVoice(item))
        self.at(time + lasts, m.EngineHeardPause(item))
        self.at(time + lasts + 0.3, m.EngineTookTurn(item))
        self.at(time + lasts + 0.5, m.EngineTranscribed(item, text))

    def tell(self, event: m.AnyInput) -> list[m.AnyCommand]:
        self._follow(event)
        asked = self.session.handle(event, Instant(self.now))
        for command in asked:
            self.commands.append((self.now, command))
            self._do(command)
        return asked

    def run(self, until: float) -> None:
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

    # ------------------------------------------------------------------------------------ the engine

    def _follow(self, event: m.AnyInput) -> None:
        """What the engine itself does about its own events."""
        match event:
            case m.EngineHeardVoice() if self.engine.answers_itself and self.running:
                self._end("cancelled")
            case m.EngineTookTurn() if self.engine.answers_itself and not self.running:
                if self.is_working:
                    self._respond(0)
            case m.EngineReplyEnded(response=response) if response == self.running:
                self.running = ""
            case m.EngineLost():
                self.running = ""
            case _:
                pass

    def _respond(self, request: int) -> None:
        self._responses += 1
        name = self.running = f"w{self._responses}"
        self.later(0.0, m.EngineReplyBegan(name, request))
        self.later(0.3, m.EngineText(name, f"{name}.i", self.says, is_whole=True))
        self.later(0.3, m.EngineAudio(name, f"{name}.i", b"\x7f" * 8000))
        self.later(0.5, m.EngineAudio(name, f"{name}.i", b"\x7f" * 8000))
        self.later(0.6, m.EngineItemDone(name, f"{name}.i"))
        self.later(0.6, m.EngineReplyEnded(name))

    def _end(self, status: str) -> None:
        name, self.running = self.running, ""
        self._agenda = [
            entry for entry in self._agenda if getattr(entry[2], "response", None) != name
        ]
        heapq.heapify(self._agenda)
        assert status == "cancelled"
        self.later(0.05, m.EngineReplyEnded(name, "cancelled"))

    def _do(self, command: m.AnyCommand) -> None:  # noqa: C901 - one case for each command
        match command:
            case m.SendAudio(data=data):
                self._plays_until = max(self._plays_until, self.now) + MULAW_8K.ms(len(data)) / 1000
            case m.SendMark(name=name):
                self.at(self._plays_until + 0.03 - 100.0, m.MarkCame(name))
            case m.SendClear():
                self._plays_until = self.now
            case m.AskReply(request=request):
                if self.running:
                    # The vendor refuses it; our own session should have waited.
                    self.breaches.append(f"asked while {self.running} runs")
                    self.later(0.05, m.EngineRefused(request))
                elif self.is_working:
                    self._respond(request)
            case m.StopReply(response=response) if response == self.running:
                self._end("cancelled")
            case m.RunTool(call=call) if self.is_working:
                self.later(0.4, m.ToolDone(call, "42"))
            case m.Screen(item=item, text=text) if self.is_working:
                self.later(0.02, m.Screened(item, len(text)))
            case m.ReturnTool() if self.running and self.engine.says_when_done:
                self.breaches.append(f"a result while {self.running} runs")
            case _:
                pass

    # ------------------------------------------------------------------------------- what came of it

    @property
    def lines(self) -> list[tuple[str, str]]:
        return [(line.role, line.text) for line in self.session.history.lines]

    def all(self, kind: type[m.Command]) -> list[m.Command]:
        return [command for _, command in self.commands if isinstance(command, kind)]

"""What every call has, whoever listens and writes in it: its record, its sound, its limits and its end.

`session.py` (a recogniser, a model, a voice) and `duplex.py` (a speech-to-speech engine) decide differently when
the agent speaks. They agree on the rest, which is here: the floor, the playout, what is told to the outside, how
long a call and a silence may last, and how it is hung up.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal

from getpatter.core import messages as m
from getpatter.core.absence import Absence
from getpatter.core.hearing import hearing
from getpatter.core.history import History, Line, Role
from getpatter.core.manners import Manners
from getpatter.core.playout import Audio, Playout
from getpatter.core.reply import Anchors, Reply
from getpatter.core.speech_gate import SpeechStarted, SpeechStopped
from getpatter.core.turns import Floor, Turn, TurnTable
from getpatter.types import AudioFormat, Instant

_ALONE: Final = frozenset({Floor.AWAY, Floor.CLOSED})
"""States in which nobody hears what we play."""


class Conversation:
    """The books of one call. It takes no decision about whose turn it is: it says what happened to the floor."""

    def __init__(
        self, audio_format: AudioFormat, manners: Manners, began_at: Instant, wall_offset: float
    ) -> None:
        """Begin when media is connected; see `Session`."""
        self.manners = manners
        self.history = History()
        self.playout = Playout(audio_format, can_pause=manners.barge_in_pauses)
        self.table = TurnTable(
            manners.long_turn_after,
            closing_bound=manners.closing_bound,
            confirm_within=manners.barge_in_confirm_within,
            since=began_at,
        )
        self.gate, self.barge_in = hearing(manners)
        self.absence = Absence()
        self.out: list[m.AnyCommand] = []
        self.turns = 0
        """Index of the turn that is being made."""
        self.sound_at = began_at
        """When anything was last heard of either side."""
        self.has_prompted = False
        """Whether a silent caller was asked whether they are there, and has not answered."""
        self.is_finished = False
        self.end_reason: m.EndReason | None = None
        self.close_reason: m.EndReason = "agent_hangup"
        self.voice_began: Instant | None = None
        self.voice_ended: Instant | None = None
        self._began_at = began_at
        self._wall_offset = wall_offset
        self._limit_reached = False
        self._is_hung_up = False
        self._quiet: dict[int, Instant] = {}

    def hold_as(self, manners: Manners) -> None:
        """The call is held otherwise from now on. The voice detector stays as it is."""
        self.manners = manners
        self.table.reassure_after = manners.long_turn_after
        self.table.closing_bound = manners.closing_bound
        self.table.confirm_within = manners.barge_in_confirm_within
        self.barge_in.threshold_ms = manners.barge_in_threshold_ms
        self.playout.can_pause = manners.barge_in_pauses

    @property
    def floor(self) -> Floor:
        """Who may speak."""
        return self.table.floor

    def take(self, event: m.AnyInput, now: Instant) -> Turn | None:
        """Take an input that means the same in every call. Returns what it does to the floor."""
        match event:
            case m.MarkCame(name=name):
                self.playout.marked(name, now)
            case m.KeysAsked(audio=audio):
                self.playout.press(audio)
            case m.QuietAwaited(ticket=ticket):
                self._quiet[ticket] = Instant(now + self.manners.closing_bound)
            case m.CloseAsked(reason=reason):
                self.close_reason = reason
                return Turn.CLOSE_ASKED
            case m.MachineFound():
                return Turn.MACHINE_FOUND
            case (
                m.StreamEnded()
                | m.CallOver()
                | m.HandOverAsked()
                | m.HandOverRefused()
                | m.HandedOver()
            ):
                turn = self.absence.turn(event)
                if turn is Turn.GONE and isinstance(event, m.StreamEnded | m.CallOver):
                    self.end_reason = self.end_reason or event.reason
                return turn
            case _:
                pass  # of one kind of call only
        return None

    def came_back(self, back: m.CameBack, now: Instant) -> None:
        """The caller is here again, on another stream: nothing is known of its sound yet."""
        self.absence.is_possible = False
        self.playout.restart(back.format)
        self.gate, self.barge_in = hearing(self.manners)
        self.sound_at = now

    def commands(self) -> list[m.AnyCommand]:
        """What was asked for since the last time, in order."""
        if self.is_finished:
            self.out.append(m.Finish(self.end_reason or "caller_hangup"))
        asked, self.out = self.out, []
        return asked

    # -------------------------------------------------------------------------------------- hearing

    def edge(self, heard: m.Voiced) -> SpeechStarted | SpeechStopped | None:
        """The beginning or end of speech that one frame of the detector makes certain."""
        return self.gate.feed(heard.probability, self.manners.frame_ms)

    def interrupts(self, heard: m.Voiced) -> bool:
        """Whether that frame makes the voice an interruption."""
        return self.barge_in.voice(
            heard.probability, self.manners.frame_ms, heard.powers, heard.brightness
        )

    def report_voice(self, onset: Instant) -> None:
        """The caller is heard since `onset`."""
        self.out.append(m.ReportSpeech("user", started=True, at=onset))

    def report_silence(self, last: Instant) -> None:
        """The caller is silent since `last`."""
        began = self.voice_began if self.voice_began is not None else last
        lasted = max(0.0, (last - began) * 1000)
        self.out.append(m.ReportSpeech("user", started=False, at=last, duration_ms=lasted))

    # ------------------------------------------------------------------------------------- speaking

    def send(self, reply: Reply | None, now: Instant) -> Literal["", "more", "first"]:
        """Send what is due. Says whether speech was among it, and whether it was the first of `reply`."""
        self._mind_background()
        sends = self.playout.pull(now)
        if reply is not None and reply.is_voiced:
            sends.extend(self.playout.end_mark(now))
        has_speech = False
        for outgoing in sends:
            if isinstance(outgoing, Audio):
                self.out.append(m.SendAudio(outgoing.data))
                has_speech = has_speech or outgoing.is_speech
            else:
                self.out.append(m.SendMark(outgoing.name))
        if not has_speech:
            return ""
        if reply is None or reply.has_audio:
            return "more"
        reply.first_audio_at = now
        self.out.append(m.ReportSpeech("agent", started=True, at=now))
        return "first"

    def _mind_background(self) -> None:
        self.playout.is_listened_to = self.floor not in _ALONE

    def report_agent_over(self, reply: Reply, now: Instant, *, was_cut: bool) -> None:
        """The agent is silent again, if it ever spoke."""
        if reply.first_audio_at is not None:
            lasted = (now - reply.first_audio_at) * 1000
            self.out.append(
                m.ReportSpeech("agent", False, now, lasted, was_cut)  # noqa: FBT003 - `started`
            )

    def report_turn(self, reply: Reply, anchors: Anchors, *, is_answer: bool) -> None:
        """A turn begins with `reply`; `anchors` are those of the caller's side."""
        self.out.append(
            m.ReportTurnBegan(
                reply.turn_index,
                reply.user_text,
                is_answer,
                anchors.speech_began,
                anchors.speech_ended,
                anchors.final_at,
            )
        )

    def report_interruption(self, heard: str, unsaid: int, now: Instant) -> float | None:
        """The caller has cut the agent short after `heard`, `unsaid` letters before its end.

        Returns the milliseconds since they began.
        """
        began = self.voice_began
        bargein_ms = None if began is None else max(0.0, (now - began) * 1000)
        self.out.append(m.ReportInterruption(heard, bargein_ms or 0.0, unsaid))
        return bargein_ms

    def add_line(
        self, role: Role, text: str, index: int, now: Instant, *, is_interrupted: bool = False
    ) -> None:
        """Enter one thing said in the history, and tell it."""
        self.history.add(Line(role, text, now + self._wall_offset, index, is_interrupted))
        self.out.append(m.ReportLine(role, text, index, is_interrupted))

    # ------------------------------------------------------------------------------------ what waits

    def answer_quiet(self, now: Instant, *, is_quiet: bool) -> None:
        """Tell those who wait for silence that it is there, or will not come."""
        is_over = is_quiet or self.floor in {Floor.CALLER, Floor.CLOSED}
        for ticket in [t for t, due in self._quiet.items() if is_over or now >= due]:
            del self._quiet[ticket]
            self.out.append(m.SayQuiet(ticket))

    @property
    def is_quiet_awaited(self) -> bool:
        """Whether somebody waits for silence."""
        return bool(self._quiet)

    # --------------------------------------------------------------------------------- limits, ends

    def dues(self, now: Instant) -> Iterable[Instant | None]:
        """The alarms that every call has."""
        self._mind_background()
        yield self.table.deadline
        yield self.playout.next_send(now)
        yield self.idle_due
        yield min(self._quiet.values(), default=None)
        if not self._limit_reached:
            yield Instant(self._began_at + self.manners.max_duration)

    def ticked(self, now: Instant) -> Turn | None:
        """Look at the alarms that end a call or a wait. Returns what that does to the floor."""
        if not self._limit_reached and now >= self._began_at + self.manners.max_duration:
            self._limit_reached = True
            self.hang_up("time_limit")
        deadline = self.table.deadline
        return Turn.ALARM if deadline is not None and now >= deadline else None

    def hang_up(self, reason: m.EndReason) -> None:
        """End the call at the carrier, once."""
        if not self._is_hung_up:
            self._is_hung_up = True
            self.end_reason = self.end_reason or reason
            self.out.append(m.HangUp(self.end_reason))

    @property
    def idle_due(self) -> Instant | None:
        """When nobody has said anything for as long as that may last."""
        if self.manners.idle_timeout is None or self.floor is not Floor.OPEN:
            return None
        return Instant(self.sound_at + self.manners.idle_timeout)

    def idle(self, now: Instant) -> str | None:
        """Nobody speaks: what to ask them now. `None`: they were asked, or shall not be; the call ends."""
        self.sound_at = now
        if self.has_prompted or not self.manners.idle_prompt:
            self.close_reason = "idle"
            return None
        self.has_prompted = True
        return self.manners.idle_prompt

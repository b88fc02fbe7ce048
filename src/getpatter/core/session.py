"""The brain of one call: told what happened and when, it answers with what to do.

```
handle(input, now) -> commands          nothing else goes in, nothing else comes out
deadline                                 when to say `Ticked`, if nothing happens before
```

It reads no clock and knows no vendor, so a call that was recorded can be run again, and a thousand calls can
be run in a second. The parts: `turns` decides who has the floor, `endpointing` whether the caller has
finished, `barge_in` whether a sound is an interruption, `playout` what was heard; the session carries their
verdicts from one to the other and keeps the one reply that is being given.
"""

from __future__ import annotations

from typing import Final

from getpatter.core import messages as m
from getpatter.core.confirmation import Confirmation
from getpatter.core.conversation import Conversation
from getpatter.core.drafting import Drafting
from getpatter.core.endpointing import Endpointing, Verdict
from getpatter.core.history import Role
from getpatter.core.manners import Manners
from getpatter.core.reply import Anchors, Interruption, Reply
from getpatter.core.speech_gate import SpeechStarted, SpeechStopped
from getpatter.core.turn_hold import TurnHold
from getpatter.core.turns import AUDIBLE, LISTENING, Act, Floor, Turn
from getpatter.core.written_reply import WrittenReply
from getpatter.models import Transcript
from getpatter.types import AudioFormat, Instant

_CALLERS: Final = frozenset({Floor.CALLER, Floor.PAUSE})
"""States in which the caller's words grow towards a turn."""
_PENDING: Final = frozenset({Floor.THINKING, Floor.DOUBT, Floor.HELD})
"""States in which a reply is under way and is not heard."""


class Session:
    """The conversation of one call. `handle` is its only entrance; it never raises for what a peer sent."""

    def __init__(
        self,
        audio_format: AudioFormat,
        manners: Manners,
        *,
        began_at: Instant,
        wall_offset: float = 0.0,
    ) -> None:
        """Begin when media is connected.

        Args:
            audio_format: What the carrier's stream carries, both ways.
            manners: Settings of this call.
            began_at: The instant of the first input.
            wall_offset: Unix seconds minus `Instant`, for time stamps that people read.
        """
        self._talk = talk = Conversation(audio_format, manners, began_at, wall_offset)
        self.history = talk.history
        self.playout = talk.playout
        self._endpointing = Endpointing(manners.patience)
        self._agent = WrittenReply(talk, began_at=began_at)
        self._to_say: list[str] = []
        self._has_result = False
        self._is_cut_held = False
        self._reported_since: Instant | None = None
        self._interruption: Interruption | None = None
        self._confirmation = Confirmation(manners)
        self._drafting = Drafting(manners.draft_after)
        self._turn_hold = TurnHold(manners.turn_held_within)

    # ------------------------------------------------------------------------------------ entrance

    def handle(self, event: m.AnyInput, now: Instant) -> list[m.AnyCommand]:
        """Take one input; returns what to do, in order. `now` never goes back."""
        if self._talk.is_finished:
            return []
        self._take(event, now)
        self._settle(now)
        return self._talk.commands()

    @property
    def manners(self) -> Manners:
        """How the call is held."""
        return self._talk.manners

    @property
    def _reply(self) -> Reply | None:
        return self._agent.reply

    @property
    def floor(self) -> Floor:
        """Who may speak."""
        return self._talk.floor

    @property
    def end_reason(self) -> m.EndReason | None:
        """Why the call ends, once it does."""
        return self._talk.end_reason

    def deadline(self, now: Instant) -> Instant | None:
        """When `Ticked` is wanted, if nothing else happens before. `None` when the call is over."""
        if self.floor is Floor.CLOSED:
            return None
        times = (
            *self._talk.dues(now),
            self._turn_due if self.floor in LISTENING else None,
            self._drafting.due if self.floor in _CALLERS else None,
            self._silence_due(now),
            self._sustained_due(),
        )
        return min((time for time in times if time is not None), default=None)

    def _take(  # noqa: C901, PLR0912 - one case for each input, nothing nested
        self, event: m.AnyInput, now: Instant
    ) -> None:
        match event:
            case m.Voiced():
                self._voiced(event, now)
            case m.VoiceStarted() | m.VoiceStopped():
                self._reported(event, now)
            case m.Transcribed():
                self._transcribed(event, now)
            case m.KeyPressed(digit=digit):
                self._endpointing.pressed(digit, now)
                self._talk.sound_at = now
                self._turn(Turn.KEY_PRESSED, now)
            case m.PieceWorded() | m.PieceVoiced() | m.PieceDone():
                self._agent.spoken(event, now)
            case m.ReplyText() | m.ReplyPaused() | m.ReplyWritten() | m.ReplyFailed():
                self._agent.written(event, now)
            case m.Opened():
                self._opened(event, now)
            case m.SayAsked(text=text) if text.strip():
                self._say_asked(text, now)
            case m.TurnJudged(number=number, is_over=is_over):
                self._turn_hold.judged(number, is_over=is_over)
            case m.InterruptionConfirmed(reply=reply):
                if self._reply is not None and self._reply.number == reply:
                    self._turn(Turn.CONFIRMED, now)
            case m.ResultCame():
                self._has_result = True
            case m.CameBack() if self.floor is Floor.AWAY:
                self._came_back(event, now)
            case m.Ticked():
                self._ticked(now)
            case _:
                turn = self._talk.take(event, now)
                if turn is not None:
                    self._turn(turn, now)

    def _opened(self, event: m.Opened, now: Instant) -> None:
        if self.floor is not Floor.OPENING:
            return
        if event.manners is not None:
            self._hold_as(event.manners)
        self._turn(Turn.OPENED, now)
        self._talk.sound_at = now
        if event.first_message:
            self._say_unasked(event.first_message, now, is_greeting=True)
        elif self._endpointing.is_speaking:
            self._turn(Turn.CALLER_STARTED, now)

    def _hold_as(self, manners: Manners) -> None:
        self._talk.hold_as(manners)
        self._endpointing.patience = manners.patience
        self._confirmation.manners = manners
        self._drafting.after = manners.draft_after
        self._turn_hold.within = manners.turn_held_within

    def _came_back(self, back: m.CameBack, now: Instant) -> None:
        self._talk.came_back(back, now)
        self._has_result, self._reported_since = False, None
        self._drafting.over()
        self._endpointing.speech_stopped(now)
        self._turn(Turn.CAME_BACK, now)
        # What was said over the announcement, then what came of it.
        for each in filter(None, (self._endpointing.take(), back.note)):
            self._add_line("user", each, now)
        self._turn(Turn.REPLY_OWED, now)
        reply = self._begin_reply(now, user_text=back.note)
        self._talk.out.append(m.StartReply(reply.number, back.note, reply.turn_index))

    def _settle(self, now: Instant) -> None:
        """Carry on until nothing changes: words complete, audio to send, replies heard."""
        if self.floor in LISTENING:
            self._listen(now)
        if self.floor in _CALLERS and (due := self._drafting.due) is not None and now >= due:
            self._talk.out.append(m.StartDraft(self._drafting.begin()))
        self._send(now)
        if self._is_cut_held and not self.playout.is_pressing(now):
            self._is_cut_held = False
            if self._talk.barge_in.is_reached:
                self._turn(Turn.SUSTAINED, now)
        if self._reply is not None and self._is_lost_for_words(self._reply, now):
            self._turn(Turn.AGENT_PAUSED, now)
        if self._reply is not None or self.floor is Floor.CLOSING:
            self._finish_reply(now)
        if self._has_result and self.floor is Floor.OPEN:
            self._has_result = False
            self._turn(Turn.REPLY_OWED, now)
            reply = self._begin_reply(now)
            self._talk.out.append(m.StartReply(reply.number, "", reply.turn_index))
        if self._to_say and self.floor is Floor.OPEN:
            self._say_waiting(now)
        if self._talk.is_quiet_awaited:
            is_quiet = self.playout.is_silent(now) and self._agent.is_voiced
            self._talk.answer_quiet(now, is_quiet=is_quiet)

    def _turn(self, event: Turn, now: Instant) -> None:
        if event is Turn.SUSTAINED and self.playout.is_pressing(now):
            # A menu goes on talking while keys are pressed. They must arrive whole.
            self._is_cut_held = True
            return
        if event is Turn.SUSTAINED:
            meant = self._confirmation.sustained(self.floor)
            if meant is None:
                return
            event = meant
        for act in self._talk.table.handle(event, now):
            self._act(act, event, now)

    def _act(  # noqa: C901 - one case for each act
        self, act: Act, event: Turn, now: Instant
    ) -> None:
        match act:
            case Act.ANSWER:
                self._answer(now)
            case Act.CUT:
                self._cut(event, now)
            case Act.ASK_FINAL:
                self._talk.out.append(m.AskFinal())
            case Act.CARRY_ON:
                self._carry_on(now)
            case Act.RECONSIDER:
                self._endpointing.set_aside_murmur(now, self.manners.language)
            case Act.REASSURE:
                if self.manners.long_turn_message and self._reply is not None:
                    self._agent.say(self.manners.long_turn_message)
            case Act.HOLD:
                self._hold(now)
            case Act.RESUME:
                self._resume(now)
            case Act.LEAVE:
                self._talk.out.append(m.LeaveStream())
            case Act.HANG_UP:
                self._talk.hang_up(self._talk.close_reason)
            case Act.REPORT_END:  # pragma: no branch - the last there is
                self._talk.is_finished = True

    # ------------------------------------------------------------------------------------- hearing

    def _voiced(self, heard: m.Voiced, now: Instant) -> None:
        match self._talk.edge(heard):
            case SpeechStarted(ago_ms=ago):
                self._voice_started(Instant(now - ago / 1000), now)
            case SpeechStopped(ago_ms=ago):
                self._voice_stopped(Instant(now - ago / 1000), now)
            case None:  # pragma: no branch - the last there is
                pass
        if self._talk.interrupts(heard):
            self._turn(Turn.SUSTAINED, now)

    def _reported(self, event: m.VoiceStarted | m.VoiceStopped, now: Instant) -> None:
        edge = Instant(now - event.ago_ms / 1000)
        match event:
            case m.VoiceStarted():
                self._reported_since = edge
                self._voice_started(edge, now)
            case m.VoiceStopped():  # pragma: no branch - the last there is
                self._reported_since = None
                self._voice_stopped(edge, now)

    def _voice_started(self, onset: Instant, now: Instant) -> None:
        self._talk.voice_began = onset
        self._talk.sound_at = now
        self._turn_hold.reset()
        self._confirmation.voice_began(self._endpointing.text)
        self._endpointing.speech_started(onset)
        self._talk.report_voice(onset)
        self._turn(Turn.CALLER_STARTED, now)
        if self._talk.barge_in.is_reached:
            # A threshold shorter than the detector's own doubt was passed before it was sure.
            self._turn(Turn.SUSTAINED, now)

    def _voice_stopped(self, last: Instant, now: Instant) -> None:
        self._talk.voice_ended = last
        self._talk.sound_at = now
        self._endpointing.speech_stopped(last)
        self._talk.report_silence(last)
        self._turn(Turn.CALLER_STOPPED, now)

    def _transcribed(self, said: m.Transcribed, now: Instant) -> None:
        fresh = self._endpointing.transcribed(
            Transcript(
                text=said.text,
                is_final=said.is_final,
                confidence=said.confidence,
                speech_final=said.speech_final,
            ),
            now,
        )
        if not fresh:
            return
        self._turn_hold.reset()
        self._talk.sound_at = now
        if self._drafting.heard(self._endpointing.whole, now):
            self._talk.out.append(m.DropDraft())
        if not said.is_final:
            self._talk.out.append(m.ReportPartial(self._endpointing.text))
        lasts = None
        if said.start_ms is not None and said.end_ms is not None:
            lasts = said.end_ms - said.start_ms
        is_long = self._talk.barge_in.words(len(fresh.split()), lasts)
        if self.floor is Floor.AGENT and is_long:
            # The detector heard nothing, the recogniser did: its words count by their length.
            self._turn(Turn.SUSTAINED, now)
        self._weigh(said, is_long=is_long, now=now)

    def _weigh(self, said: m.Transcribed, *, is_long: bool, now: Instant) -> None:
        """Words over the agent, where they decide whether it is interrupted."""
        if self._reply is None:
            return
        meant = self._confirmation.words(
            self._reply.number,
            self.floor,
            self._endpointing.text,
            is_interim=not said.is_final,
            is_long=is_long,
        )
        if isinstance(meant, Turn):
            self._turn(meant, now)
        elif meant is not None:
            self._talk.out.append(meant)

    def _listen(self, now: Instant) -> None:
        verdict = self._endpointing.verdict(now)
        if verdict is Verdict.COMPLETE and self._reply is not None and self._reply.has_audio:
            # The agent pauses in the middle of a reply: "okay" asks for no other one.
            self._endpointing.set_aside_murmur(now, self.manners.language, at_once=True)
            verdict = self._endpointing.verdict(now)
        if verdict is not Verdict.COMPLETE and self._turn_hold.due is not None:
            self._turn_hold.reset()
        match verdict:
            case Verdict.COMPLETE:
                if self._may_commit(now):
                    self._turn(Turn.TURN_ENDED, now)
            case Verdict.EMPTY:
                self._endpointing.take()
                if self._drafting.over():
                    self._talk.out.append(m.DropDraft())
                self._turn(Turn.TURN_EMPTY, now)
            case Verdict.NOTHING:
                # Whatever took the floor, no word of it is left to wait for.
                self._turn(Turn.TURN_EMPTY, now)
            case Verdict.WAIT:  # pragma: no branch - the last there is
                pass

    def _may_commit(self, now: Instant) -> bool:
        """Whether the turn detector, if there is one, lets a turn end whose words are complete."""
        if self._endpointing.has_keys:
            return True
        if self._turn_hold.asks(now):
            self._talk.out.append(m.AskTurnEnd(self._turn_hold.number))
        return self._turn_hold.is_free(now)

    @property
    def _turn_due(self) -> Instant | None:
        """When the caller's words may be complete, or have been held for long enough."""
        held = self._turn_hold.due
        return self._endpointing.deadline if held is None else held

    # ----------------------------------------------------------------------------------- answering

    def _answer(self, now: Instant) -> None:
        final_at, (began_at, ended_at) = self._endpointing.final_at, self._speech(now)
        text = self._endpointing.take()
        self._drafting.over()
        self._turn_hold.reset()
        self._interruption = None
        self._talk.has_prompted = False
        self._has_result = False  # whoever answers now sees it
        self._add_line("user", text, now)
        reply = self._begin_reply(
            now, user_text=text, answers=Anchors(began_at, ended_at, final_at, now)
        )
        self._talk.out.append(m.StartReply(reply.number, text, reply.turn_index))

    def _speech(self, now: Instant) -> tuple[Instant | None, Instant | None]:
        """When the words that are about to be answered began and ended, as far as the detector knows."""
        began, ended = self._talk.voice_began, self._talk.voice_ended
        if not self._endpointing.was_spoken:
            return None, None
        if self._talk.gate.is_speech and self._talk.gate.silence_ms:
            # The recogniser was sure of the end before the detector was.
            return began, Instant(now - self._talk.gate.silence_ms / 1000)
        is_stale = began is not None and ended is not None and ended < began
        return began, None if is_stale else ended

    def _begin_reply(
        self,
        now: Instant,
        *,
        user_text: str = "",
        unasked: bool = False,
        greeting: bool = False,
        answers: Anchors | None = None,
    ) -> Reply:
        self._confirmation.new_reply()
        return self._agent.begin(
            now, user_text=user_text, unasked=unasked, greeting=greeting, answers=answers
        )

    def _say_unasked(self, text: str, now: Instant, *, is_greeting: bool = False) -> None:
        self._turn(Turn.REPLY_OWED, now)
        self._begin_reply(now, unasked=True, greeting=is_greeting)
        self._agent.is_all(text, now)

    def _say_waiting(self, now: Instant) -> None:
        words, self._to_say = " ".join(self._to_say), []
        self._say_unasked(words, now)

    def _say_asked(self, text: str, now: Instant) -> None:
        """Words of the program: beside a reply under way, else as one of their own."""
        if self._reply is not None and self.floor in AUDIBLE | _PENDING:
            self._agent.say(text)
        else:
            self._to_say.append(text)

    # ------------------------------------------------------------------------------------ speaking

    def _send(self, now: Instant) -> None:
        sent = self._talk.send(self._reply, now)
        is_owed = self.floor in {Floor.THINKING, Floor.DOUBT}
        if sent == "first" or (sent and is_owed):
            self._turn(Turn.AGENT_STARTED, now)

    def _silence_due(self, now: Instant) -> Instant | None:
        reply = self._reply
        is_watched = reply is not None and reply.is_voiced and reply.has_audio
        is_over_then = reply is not None and reply.is_written
        return (
            self.playout.silent_at(now) if is_watched and (is_over_then or self._speaks) else None
        )

    @property
    def _speaks(self) -> bool:
        return self.floor in {Floor.AGENT, Floor.OVERLAP}

    def _is_lost_for_words(self, reply: Reply, now: Instant) -> bool:
        """Whether all there is of a reply was heard, and the rest is still being written: a tool runs."""
        is_waiting = reply.is_voiced and reply.has_audio and not reply.is_written
        # An agent that may not be interrupted is not interrupted in a pause either.
        may_be_cut = self.manners.barge_in_threshold_ms > 0
        return is_waiting and self._speaks and may_be_cut and self.playout.is_silent(now)

    def _finish_reply(self, now: Instant) -> None:
        """Close the reply once the last of it was heard; in `CLOSING` silence is enough."""
        reply = self._reply
        if reply is not None and not (reply.is_spoken and self.playout.is_silent(now)):
            return
        if reply is not None:
            self._agent.close(reply.text, now, was_cut=False)
        if self._to_say and self.floor is Floor.CLOSING:
            self._say_waiting(now)
            return
        self._talk.sound_at = now
        self._turn(Turn.REPLY_OVER, now)
        if self.floor in LISTENING:
            self._listen(now)

    # -------------------------------------------------------------------------------- interruption

    def _cut(self, event: Turn, now: Instant) -> None:
        reply = self._reply
        if reply is None:
            return
        heard = reply.heard(self.playout, now)
        is_pressing = self.playout.is_pressing(now)
        held_at, self._confirmation.held_at = self._confirmation.held_at, None
        plays = (reply.has_audio and held_at is None) or self.playout.bed is not None
        if plays and not is_pressing:
            self._talk.out.append(m.SendClear())
        self._talk.out.append(m.CancelReply(reply.number))
        if is_pressing:
            self.playout.drop_unsent()
        else:
            self.playout.clear(now)
        bargein_ms: float | None = None
        if event in {Turn.SUSTAINED, Turn.CONFIRMED}:
            self._endpointing.interrupted(now)
            unsaid = reply.rest(heard)
            self._interruption = Interruption(
                unsaid=unsaid,
                user_text=reply.user_text,
                was_unwritten=not unsaid and not reply.is_written,
            )
            if reply.has_audio:
                bargein_ms = self._talk.report_interruption(
                    heard, len(unsaid), now if held_at is None else held_at
                )
        was_cut = event is not Turn.HANDED_OVER or heard != reply.text
        self._agent.close(heard, now, was_cut=was_cut, bargein_ms=bargein_ms)

    def _hold(self, now: Instant) -> None:
        """Somebody speaks over the agent: stop the sound, and wait for words."""
        self._confirmation.held(now)
        self.playout.pause(now)
        self._talk.out.append(m.SendClear())

    def _resume(self, now: Instant) -> None:
        """It was nobody, or nothing: go on from where the sound stopped."""
        self._confirmation.held_at = None
        self.playout.resume()
        if self._endpointing.is_speaking:
            self._turn(Turn.CALLER_STARTED, now)

    def _carry_on(self, now: Instant) -> None:
        """A noise cut the reply: nobody spoke, so the caller still waits for the rest of it."""
        cut, self._interruption = self._interruption, None
        if cut is None:
            return
        if cut.was_unwritten:
            self._turn(Turn.REPLY_OWED, now)
            reply = self._begin_reply(now, user_text=cut.user_text)
            self._talk.out.append(m.StartReply(reply.number, cut.user_text, reply.turn_index))
        elif cut.unsaid:
            self._say_unasked(cut.unsaid, now)

    # -------------------------------------------------------------------------------- limits, ends

    def _ticked(self, now: Instant) -> None:
        if (turn := self._talk.ticked(now)) is not None:
            self._turn(turn, now)
        if (due := self._talk.idle_due) is not None and now >= due:
            self._idle(now)
        sustained = self._sustained_due()
        if sustained is not None and now >= sustained:
            self._reported_since = None  # one voice interrupts once
            self._turn(Turn.SUSTAINED, now)

    def _sustained_due(self) -> Instant | None:
        """When the voice that a detector of the user's own reports is an interruption: no frames to count."""
        since, threshold = self._reported_since, self.manners.barge_in_threshold_ms
        if since is None or threshold <= 0 or self.floor not in {Floor.DOUBT, Floor.OVERLAP}:
            return None
        return Instant(since + threshold / 1000)

    def _idle(self, now: Instant) -> None:
        question = self._talk.idle(now)
        if question is None:
            self._turn(Turn.CLOSE_ASKED, now)
        else:
            self._say_unasked(question, now)

    def _add_line(
        self, role: Role, text: str, now: Instant, *, is_interrupted: bool = False
    ) -> None:
        self._talk.add_line(role, text, self._talk.turns, now, is_interrupted=is_interrupted)

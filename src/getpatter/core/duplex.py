r"""The brain of one call with a speech-to-speech engine: told what happened and when, it answers with what to do.

It has the entrance of `core/session.py` (`handle`, `deadline`) and the same parts: `turns` decides who has the
floor, `playout` what was heard, `reply` and `history` keep it. What differs is who listens and writes: the engine
does both, on the far side of a connection, and says so in events (`Engine...`). One agent turn is one `Reply`,
made of as many responses of the engine as it takes:

```
EngineTookTurn -> Reply 1 -> response a: "Let me see." + calls lookup -> response b: "It is open." -> heard -> closed
                              \__ RunTool ... ToolDone -> ReturnTool, AskReply __/
```

Three parts know a side each: `engine_caller` the caller's voice and words, `engine_reply` the agent's turn,
`asking` what the engine is asked for. They change nothing about the floor: they say what happened to it, and the
session carries that from one to the other.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from getpatter.core import messages as m
from getpatter.core.asking import GO_ON, Asking, Wish
from getpatter.core.conversation import Conversation
from getpatter.core.engine_caller import EngineCaller
from getpatter.core.engine_manners import EngineManners
from getpatter.core.engine_reply import EngineReply
from getpatter.core.manners import Manners
from getpatter.core.minutes import Entry, Minutes
from getpatter.core.reply import Anchors, Reply
from getpatter.core.speech_gate import SpeechStarted, SpeechStopped
from getpatter.core.turns import Act, Floor, Turn
from getpatter.types import AudioFormat, Instant

FALSE_ALARM_AFTER: Final = 1.5
"""Silence after which a voice that only our own detector heard was nobody."""
NO_TURN_AFTER: Final = 8.0
"""Silence after which a voice that the engine may have heard has not become a turn: an answer may be slow."""
_OWED: Final = frozenset({Floor.THINKING, Floor.DOUBT})
_SPEAKS: Final = frozenset({Floor.AGENT, Floor.OVERLAP})


class DuplexSession:
    """The conversation of one call with an engine. `handle` is its only entrance; it never raises for a peer."""

    def __init__(
        self,
        audio_format: AudioFormat,
        manners: Manners,
        engine: EngineManners,
        *,
        began_at: Instant,
        wall_offset: float = 0.0,
    ) -> None:
        """Begin when media is connected; see `core.session.Session`."""
        self._talk = talk = Conversation(audio_format, manners, began_at, wall_offset)
        self.history = talk.history
        self.playout = talk.playout
        self._engine = engine
        self._minutes = Minutes()
        self._caller = EngineCaller(talk, self._minutes, stops_itself=engine.answers_itself)
        self._agent = EngineReply(
            talk, self._minutes, is_guarded=engine.is_guarded, began_at=began_at
        )
        self._asking = Asking(
            talk,
            self._agent,
            says_when_done=engine.says_when_done,
            acknowledges=engine.acknowledges,
            talks_beside_tools=engine.talks_beside_tools,
        )
        self._to_say: list[str] = []
        self._reassurance = ""
        """Words for a caller who waits, until they are said or not needed."""
        self._must_ask = False
        """What the engine cannot know by itself waits for an answer."""
        self._cut_short = False
        """A voice cut the reply, and nobody has said anything since."""
        self._is_gone = False

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
    def floor(self) -> Floor:
        """Who may speak."""
        return self._talk.floor

    @property
    def end_reason(self) -> m.EndReason | None:
        """Why the call ends, once it does."""
        return self._talk.end_reason

    @property
    def is_quiet(self) -> bool:
        """Nobody speaks and nothing is owed."""
        is_heard = self._caller.is_heard
        return self.floor is Floor.OPEN and self._agent.reply is None and not is_heard

    def so_far(self) -> list[tuple[str, str]]:
        """`(role, text)` of everything said, the reply under way included: what a new connection must know."""
        told = [(line.role, line.text) for line in self.history.lines]
        reply = self._agent.reply
        for entry in self._minutes.pending:
            is_now = entry is self._agent.entry and reply is not None
            told.append((entry.role, reply.text if is_now and reply is not None else entry.text))
        return [(role, text) for role, text in told if text]

    def deadline(self, now: Instant) -> Instant | None:
        """When `Ticked` is wanted, if nothing else happens before. `None` when the call is over."""
        if self.floor is Floor.CLOSED:
            return None
        times = (
            *self._talk.dues(now),
            self._silence_due(now),
            self._minutes.deadline,
            self._caller.keys_due,
            self._caller.sustained_due,
            self._nobody_due(),
            self._presumed_due(),
            self._asking.owed_due,
            self._agent.held_due,
        )
        return min((time for time in times if time is not None), default=None)

    def _take(  # noqa: C901 - one case for each input
        self, event: m.AnyInput, now: Instant
    ) -> None:
        match event:
            case m.Voiced():
                self._voiced(event, now)
            case m.VoiceStarted(ago_ms=ago):
                self._turns(self._caller.began(Instant(now - ago / 1000), now), now)
            case m.VoiceStopped(ago_ms=ago):
                self._turns(self._caller.ended(Instant(now - ago / 1000), now), now)
            case m.KeyPressed(digit=digit):
                self._turns(self._caller.pressed(digit, now), now)
            case m.Opened():
                self._opened(event, now)
            case m.SayAsked(text=text):
                if text.strip() and not self._is_gone:
                    self._to_say.append(text)
            case m.CameBack():
                self._came_back(event, now)
            case m.Ticked():
                self._ticked(now)
            case _:
                turn = self._talk.take(event, now)
                if turn is not None:
                    self._turn(turn, now)
                self._engine_said(event, now)

    def _engine_said(self, event: m.AnyInput, now: Instant) -> None:  # noqa: C901, PLR0912 - one case for each input
        match event:
            case m.EngineReady(is_again=is_again):
                self._asking.ready(now, is_again=is_again)
            case m.EngineLost():
                self._lost(now)
            case m.EngineGone():
                self._gone(now)
            case m.EngineHeardVoice(item=item, ago_ms=ago):
                self._turns(self._caller.engine_heard(item, Instant(now - ago / 1000), now), now)
            case m.EngineHeardPause(ago_ms=ago):
                self._turns(self._caller.engine_heard_pause(Instant(now - ago / 1000), now), now)
            case m.EngineTookTurn(item=item):
                self._turns(self._caller.took_turn(item, self._next_turn, now), now)
            case m.EngineTranscribed():
                self._caller.transcribed(event, now)
            case m.EngineReplyBegan():
                self._reply_began(event, now)
            case m.EngineText() | m.EngineAudio() | m.EngineItemDone() | m.EngineCalledTool():
                if event.response in self._agent.live:
                    self._of_reply(event, now)
            case m.EngineReplyEnded():
                self._reply_ended(event, now)
            case m.EngineRefused(request=request):
                if self._asking.is_refused(request):
                    self._asking.again(now)
            case m.EngineInterrupted():
                self._interrupted(now)
            case m.EngineCorrected(text=text):
                self._corrected(text)
            case m.EngineGuarded(is_guarded=is_guarded):
                self._agent.is_guarded = is_guarded
            case m.ToolDone(call=call, output=output):
                self._asking.tool_done(call, output)
            case m.Screened():
                self._screened(event, now)
            case _:
                pass  # of a pipeline

    def _settle(self, now: Instant) -> None:
        """Carry on until nothing changes: sound to send, replies heard, questions to the engine."""
        if turns := self._caller.take_keys(self._next_turn, now):
            self._must_ask = True
            self._turns(turns, now)
        self._agent.let_through(now)
        self._send(now)
        if (response := self._asking.taken_for_over(now)) is not None:
            self._reply_ended(m.EngineReplyEnded(response), now)
            self._agent.let_through(now)
        if (reply := self._agent.reply) is not None and self._is_lost_for_words(reply, now):
            self._turn(Turn.AGENT_PAUSED, now)
        self._reassure()
        self._asking.serve(now)
        if self._agent.reply is not None or self.floor is Floor.CLOSING:
            self._finish_reply(now)
        self._say_waiting(now)
        self._asking.serve(now)
        self._tell(self._minutes.ready(now), now)
        if self._talk.is_quiet_awaited:
            is_quiet = self.playout.is_silent(now) and self._asking.is_free
            self._talk.answer_quiet(now, is_quiet=is_quiet and self._agent.is_let_through)
        if self._talk.is_finished:
            self._tell(self._minutes.rest(), now)

    # ----------------------------------------------------------------------------------- the floor

    def _turns(self, events: Iterable[Turn], now: Instant) -> None:
        for event in events:
            self._turn(event, now)

    def _turn(self, event: Turn, now: Instant) -> None:
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
            case Act.CARRY_ON:
                self._carry_on(now)
            case Act.RECONSIDER:
                if self._caller.is_unanswered:
                    self._turn(Turn.TURN_ENDED, now)
            case Act.REASSURE:
                self._reassurance = self.manners.long_turn_message
                self._reassure()
            case Act.LEAVE:
                self._talk.out.append(m.LeaveStream())
            case Act.HANG_UP:
                self._talk.hang_up(self._talk.close_reason)
            case Act.REPORT_END:
                self._talk.is_finished = True
            case Act.ASK_FINAL | Act.HOLD | Act.RESUME:
                pass  # the engine hears for itself, and its sound is not held back

    def _opened(self, event: m.Opened, now: Instant) -> None:
        if self.floor is not Floor.OPENING:
            return
        if event.manners is not None:
            self._talk.hold_as(event.manners)
        self._turn(Turn.OPENED, now)
        self._talk.sound_at = now
        if self._is_gone:
            return
        if event.first_message:
            self._turn(Turn.REPLY_OWED, now)
            self._begin_reply(now, is_unasked=True, is_greeting=True)
            if not self._engine.greets_itself:
                self._asking.wish = Wish(words=event.first_message)
        elif self._caller.engine_hears is not None:
            self._turn(Turn.CALLER_STARTED, now)
        elif self._caller.is_unanswered:
            self._turn(Turn.TURN_ENDED, now)

    def _came_back(self, back: m.CameBack, now: Instant) -> None:
        if self.floor is not Floor.AWAY:
            return
        self._talk.came_back(back, now)
        self._to_say.clear()
        self._turn(Turn.CAME_BACK, now)
        self._must_ask = True
        self._turns(self._caller.came_back(back.note, self._next_turn, now), now)

    def _voiced(self, heard: m.Voiced, now: Instant) -> None:
        match self._talk.edge(heard):
            case SpeechStarted(ago_ms=ago):
                self._turns(self._caller.began(Instant(now - ago / 1000), now), now)
            case SpeechStopped(ago_ms=ago):
                self._turns(self._caller.ended(Instant(now - ago / 1000), now), now)
            case None:
                pass
        if self._talk.interrupts(heard):
            self._turn(Turn.SUSTAINED, now)

    # ----------------------------------------------------------------------------------- answering

    @property
    def _next_turn(self) -> int:
        """Index of the turn that the caller's words begin now."""
        return self._talk.turns + (self._agent.reply is not None)

    def _answer(self, now: Instant) -> None:
        self._caller.is_unanswered = self._cut_short = False
        self._talk.has_prompted = False
        talk = self._talk
        self._begin_reply(now, Anchors(talk.voice_began, talk.voice_ended, None, now))
        if self._must_ask or not self._engine.answers_itself:
            self._asking.wish = Wish()
        self._must_ask = False

    def _begin_reply(
        self,
        now: Instant,
        answers: Anchors | None = None,
        *,
        is_unasked: bool = False,
        is_greeting: bool = False,
    ) -> None:
        self._asking.begin()
        self._agent.begin(now, answers, is_unasked=is_unasked, is_greeting=is_greeting)

    def _reply_began(self, began: m.EngineReplyBegan, now: Instant) -> None:
        asked = self._asking.began(began)
        is_answer = asked is not None
        if began.request and not is_answer:
            # Asked for by a reply that was cut since.
            self._asking.stop(began.response)
            return
        self._asking.runs(began.response)
        if self.floor is Floor.OPEN:
            self._turn(Turn.REPLY_OWED, now)
            self._begin_reply(now, is_unasked=True)
        reply = self._agent.reply
        if reply is None or not self._may_speak(reply, is_answer=is_answer):
            self._asking.stop(began.response)
            return
        self._agent.joined(began.response, now, is_given=asked is not None and bool(asked.words))
        if not is_answer:
            self._caller.is_unanswered = False
            self._asking.answered_unasked()

    def _may_speak(self, reply: Reply, *, is_answer: bool) -> bool:
        if self.floor is Floor.CLOSING:
            return is_answer or not reply.pieces
        return self.floor in _OWED | _SPEAKS

    def _of_reply(
        self,
        event: m.EngineText | m.EngineAudio | m.EngineItemDone | m.EngineCalledTool,
        now: Instant,
    ) -> None:
        reply = self._agent.reply
        assert reply is not None, "a live response belongs to a reply"
        self._agent.told_at = now
        self._asking.came()
        match event:
            case m.EngineText():
                self._agent.text(event, now)
            case m.EngineAudio():
                self._agent.audio(event, now)
            case m.EngineItemDone(item=name):
                self._agent.item_done(name)
            case m.EngineCalledTool():
                self._asking.called(event, reply)

    def _reply_ended(self, ended: m.EngineReplyEnded, now: Instant) -> None:
        if self._asking.running == ended.response:
            self._asking.running = None
        if ended.response not in self._agent.live:
            return
        self._agent.response_over(ended.response, now)
        reply = self._agent.reply
        assert reply is not None, "a live response belongs to a reply"
        if ended.status == "failed" and not reply.pieces and not self._asking.errands_of(reply):
            self._asking.again(now)

    # ------------------------------------------------------------------------------------ speaking

    def _send(self, now: Instant) -> None:
        sent = self._talk.send(self._agent.reply, now)
        if sent == "first" or (sent and self.floor in _OWED):
            self._turn(Turn.AGENT_STARTED, now)

    def _is_lost_for_words(self, reply: Reply, now: Instant) -> bool:
        """Whether all there is of a reply was heard, and more will follow: a tool runs, or the engine thinks."""
        # An agent that may not be interrupted is not interrupted in a pause either.
        if self.manners.barge_in_threshold_ms <= 0 or self.floor not in _SPEAKS:
            return False
        if reply.is_written or (self._agent.live and not self._asking.errands_of(reply)):
            return False
        return reply.has_audio and self._agent.is_let_through and self.playout.is_silent(now)

    def _silence_due(self, now: Instant) -> Instant | None:
        reply = self._agent.reply
        if reply is None or not reply.is_spoken or not reply.has_audio:
            return self._asking.pause_due(now)
        return self.playout.silent_at(now)

    def _finish_reply(self, now: Instant) -> None:
        reply = self._agent.reply
        if reply is not None and not (reply.is_spoken and self.playout.is_silent(now)):
            return
        if reply is None and (self._to_say or self._asking.is_asked or self._is_gone):
            return
        if reply is not None:
            self._close_reply(reply.text, now, was_cut=False)
            self._cut_short = False
        self._talk.sound_at = now
        if self.floor is Floor.CLOSING and (self._to_say or self._is_gone):
            return
        self._turn(Turn.REPLY_OVER, now)

    def _close_reply(
        self, text: str, now: Instant, *, was_cut: bool, bargein_ms: float | None = None
    ) -> None:
        self._asking.wish = None
        self._agent.close(text, now, was_cut=was_cut, bargein_ms=bargein_ms)

    def _say_waiting(self, now: Instant) -> None:
        """Words of the program: beside a tool that runs, or as a reply of their own."""
        asking = self._asking
        if not self._to_say or not asking.is_ready or not asking.is_free or asking.wish is not None:
            return
        reply = self._agent.reply
        if reply is not None:
            if asking.may_talk_beside(reply) and self.floor in _OWED | _SPEAKS:
                asking.wish = Wish(words=self._take_words())
            return
        if self.floor is Floor.OPEN:
            self._turn(Turn.REPLY_OWED, now)
        elif self.floor is not Floor.CLOSING:
            return
        self._begin_reply(now, is_unasked=True)
        asking.wish = Wish(words=self._take_words())

    def _reassure(self) -> None:
        """Say that it takes a while: beside a tool, or before an answer that has not begun."""
        reply, words = self._agent.reply, self._reassurance
        is_late = self.floor in _OWED
        if reply is None or not is_late or (words and self._asking.let_first(words, reply)):
            self._reassurance = ""

    def _take_words(self) -> str:
        words, self._to_say = " ".join(self._to_say), []
        return words

    # -------------------------------------------------------------------------------- interruption

    def _cut(self, event: Turn, now: Instant) -> None:
        reply = self._agent.reply
        if reply is None:
            return
        is_heard = reply.has_audio and not self._agent.live and self.playout.is_silent(now)
        heard = reply.text if is_heard else reply.heard(self.playout, now)
        is_whole = event is Turn.HANDED_OVER or not self._asking.errands_of(reply)
        was_cut = not (is_heard and is_whole)
        if (reply.has_audio and not is_heard) or self.playout.bed is not None:
            self._talk.out.append(m.SendClear())
        self._asking.stop_reply()
        # The engine must forget what was not heard.
        self._talk.out.extend(self._agent.unheard(now))
        self.playout.clear(now)
        bargein_ms: float | None = None
        if event is Turn.SUSTAINED:
            self._cut_short = was_cut
            if reply.has_audio and was_cut:
                unsaid = max(0, len(reply.text) - len(heard))
                bargein_ms = self._talk.report_interruption(heard, unsaid, now)
        self._asking.forget()
        self._close_reply(heard, now, was_cut=was_cut, bargein_ms=bargein_ms)

    def _interrupted(self, now: Instant) -> None:
        """The engine has stopped by itself, on a voice that it did not announce."""
        if self.manners.barge_in_threshold_ms > 0 and self.floor in _OWED | _SPEAKS:
            self._turns((Turn.CALLER_STARTED, Turn.SUSTAINED), now)

    def _corrected(self, text: str) -> None:
        """The engine knows better than our clock what the caller has heard of the reply cut last."""
        for entry in reversed(self._minutes.pending):
            if entry.role == "assistant" and entry.is_interrupted:
                entry.text = text.strip()
                return

    def _carry_on(self, now: Instant) -> None:
        if not self._cut_short or self._is_gone:
            return
        self._cut_short = False
        self._turn(Turn.REPLY_OWED, now)
        self._begin_reply(now)
        self._asking.wish = Wish(hint=GO_ON)

    def _screened(self, verdict: m.Screened, now: Instant) -> None:
        reply = self._agent.reply
        if reply is None or not self._agent.has_item(verdict.item):
            return
        if verdict.replacement is None:
            self._agent.approved(verdict.item, verdict.letters)
            return
        if reply.has_audio or self.playout.bed is not None:
            self._talk.out.append(m.SendClear())
        self._asking.stop_reply()
        self._talk.out.extend(self._agent.drop_unheard(verdict.item, now))
        self._agent.forget_items()
        self._asking.wish = Wish(words=verdict.replacement)
        reply.is_written = False

    # -------------------------------------------------------------------------------- limits, ends

    def _lost(self, now: Instant) -> None:
        self._asking.lost()
        self._agent.broke_off()
        if self._caller.engine_hears is not None:
            # The new connection hears the caller afresh.
            self._caller.engine_hears = None
            self._turn(Turn.TURN_EMPTY, now)

    def _gone(self, now: Instant) -> None:
        self._lost(now)
        self._is_gone = True
        self._to_say.clear()
        self._asking.gone()
        if self._agent.reply is not None:
            self._agent.reply.is_written = True
        # Whoever runs the call has the carrier apologise, which ends the stream; else the alarm does.
        self._talk.end_reason = self._talk.end_reason or "provider_error"
        self._talk.close_reason = "provider_error"
        self._turn(Turn.CLOSE_ASKED, now)

    def _ticked(self, now: Instant) -> None:
        if (turn := self._talk.ticked(now)) is not None:
            self._turn(turn, now)
        if (due := self._caller.sustained_due) is not None and now >= due:
            self._turn(Turn.SUSTAINED, now)
        if (due := self._presumed_due()) is not None and now >= due:
            self._turns(self._caller.presume(self._next_turn, now), now)
        if (due := self._nobody_due()) is not None and now >= due:
            self._caller.engine_hears = None
            self._turn(Turn.TURN_EMPTY, now)
        if (due := self._asking.owed_due) is not None and now >= due:
            self._asking.again(now)
        if (due := self._talk.idle_due) is not None and now >= due:
            self._idle(now)

    def _presumed_due(self) -> Instant | None:
        """When words that no turn has come of are taken for one, of an engine that may be silent about it."""
        return None if self._engine.announces_voices else self._caller.owed_due

    def _nobody_due(self) -> Instant | None:
        """When a silence shows that no turn will come of what was heard."""
        if self.floor is not Floor.PAUSE and not (
            self.floor is Floor.CALLER and not self._caller.is_heard
        ):
            return None
        is_alone = self._caller.engine_hears is None and self._engine.announces_voices
        wait = FALSE_ALARM_AFTER if is_alone else NO_TURN_AFTER
        return Instant(self._talk.table.since + wait)

    def _idle(self, now: Instant) -> None:
        question = self._talk.idle(now)
        if question is None:
            self._turn(Turn.CLOSE_ASKED, now)
        else:
            self._to_say.append(question)

    # --------------------------------------------------------------------------------- the minutes

    def _tell(self, entries: list[Entry], now: Instant) -> None:
        for entry in entries:
            if entry is self._agent.entry and self._agent.reply is not None:
                entry.is_void = True
            if not entry.is_void:
                self._talk.add_line(
                    entry.role,
                    entry.text.strip(),
                    entry.turn_index,
                    now,
                    is_interrupted=entry.is_interrupted,
                )
            if entry.record is not None:
                self._talk.out.append(m.ReportTurn(self._with_user_text(entry.record)))

    def _with_user_text(self, record: m.TurnRecord) -> m.TurnRecord:
        said = [
            line.text
            for line in self.history.lines
            if line.role == "user" and line.turn_index == record.index
        ]
        return msgspec.structs.replace(record, user_text=" ".join(filter(None, said)))

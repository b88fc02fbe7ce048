r"""The brain of one call with a speech-to-speech engine: told what happened and when, it answers with what to do.

It has the entrance of `core/session.py` (`handle`, `deadline`) and the same parts: `turns` decides who has the
floor, `playout` what was heard, `reply` and `history` keep it. What differs is who listens and writes: the engine
does both, on the far side of a connection, and says so in events (`Engine...`). One agent turn is one `Reply`,
made of as many responses of the engine as it takes:

```
EngineTookTurn -> Reply 1 -> response a: "Let me see." + calls lookup -> response b: "It is open." -> heard -> closed
                              \__ RunTool ... ToolDone -> ReturnTool, AskReply __/
```

Two rules keep caller and engine in step. Sound of a response that is not one of the present reply's is dropped,
so what was cut never comes back. And an `AskReply` or `ReturnTool` leaves only while no response is being made
(CV-63).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import msgspec

from getpatter.core import messages as m
from getpatter.core.barge_in import BargeIn
from getpatter.core.endpointing import Patience
from getpatter.core.history import History, Line
from getpatter.core.manners import Manners
from getpatter.core.minutes import Entry, Minutes
from getpatter.core.playout import Audio, Playout, Span
from getpatter.core.released import Held
from getpatter.core.reply import Piece, Reply
from getpatter.core.speech_gate import SpeechGate, SpeechStarted, SpeechStopped
from getpatter.core.turns import Act, Floor, Turn, TurnTable
from getpatter.types import AudioFormat, Instant

BEGINS_WITHIN: Final = 4.0
"""Seconds until a response that is owed is asked for (again)."""
ANSWERS_WITHIN: Final = 15.0
"""The same for an engine that need not be asked: then it is taken to have nothing to say."""
ATTEMPTS: Final = 2
FALSE_ALARM_AFTER: Final = 1.5
"""Silence after which a voice that only our own detector heard was nobody."""
NO_TURN_AFTER: Final = 5.0
"""Silence after which a voice that the engine heard has not become a turn."""
SETTLES_AFTER: Final = 0.8
"""Silence of an engine that does not say when a reply is complete."""
GO_ON: Final = (
    "You were cut off by a noise or a broken connection; the caller did not say anything. Go on from where "
    "you were interrupted, without repeating yourself and without mentioning the interruption."
)
FAREWELL: Final = "Say goodbye to the caller in one short sentence."
_OWED: Final = frozenset({Floor.THINKING, Floor.DOUBT})
_SPEAKS: Final = frozenset({Floor.AGENT, Floor.OVERLAP})


@dataclass(frozen=True, slots=True)
class EngineManners:
    """What a session must know of its engine."""

    answers_itself: bool = True
    """It begins a reply when the caller's turn ends, and stops one when the caller speaks; else we ask for both."""
    says_when_done: bool = True
    """It tells when a reply is complete."""
    greets_itself: bool = False
    """It was told the first message and says it unasked."""
    is_guarded: bool = False
    """Replies are judged before they are heard."""


@dataclass(slots=True, eq=False)
class _Item:
    """One output item of the engine: a piece of the reply, and its sound on the way to the caller."""

    id: str
    piece: Piece
    held: Held
    has_all_sound: bool = False
    screened: int = 0


@dataclass(slots=True, eq=False)
class _Errand:
    """A tool that the model wants run."""

    asked: m.EngineCalledTool
    reply: int
    output: str | None = None
    is_returned: bool = False


@dataclass(frozen=True, slots=True)
class _Anchors:
    speech_began: Instant | None = None
    speech_ended: Instant | None = None
    committed_at: Instant | None = None


@dataclass(slots=True)
class _Asked:
    """A response that was asked for and has not begun."""

    request: int
    at: Instant
    ask: m.AskReply


@dataclass(slots=True)
class _Wish:
    """What the engine shall be asked for as soon as it is free."""

    words: str = ""
    hint: str = ""


class DuplexSession:
    """The conversation of one call with an engine. `handle` is its only entrance; it never raises for a peer."""

    def __init__(  # noqa: PLR0915 - the state of a call, field by field
        self,
        audio_format: AudioFormat,
        manners: Manners,
        engine: EngineManners,
        *,
        began_at: Instant,
        wall_offset: float = 0.0,
    ) -> None:
        """Begin when media is connected; see `core.session.Session`."""
        self.manners = manners
        self.history = History()
        self.playout = Playout(audio_format)
        self.end_reason: m.EndReason | None = None
        self._engine = engine
        self._table = TurnTable(manners.long_turn_after, manners.closing_bound, since=began_at)
        self._gate = SpeechGate(
            min_speech_ms=manners.min_speech_ms,
            min_silence_ms=manners.min_silence_ms,
            threshold=manners.speech_threshold,
        )
        self._barge_in = BargeIn(manners.barge_in_threshold_ms, manners.speech_threshold)
        self._patience: Patience = manners.patience
        self._minutes = Minutes()
        self._began_at = began_at
        self._wall_offset = wall_offset
        self._out: list[m.AnyCommand] = []
        self._is_finished = False
        self._is_hung_up = False
        self._close_reason: m.EndReason = "agent_hangup"
        self._limit_reached = False
        self._sound_at = began_at
        self._has_prompted = False
        self._quiet: dict[int, Instant] = {}
        self._to_say: list[str] = []
        self._keys = ""
        self._key_at = began_at
        # The caller.
        self._voice_began: Instant | None = None
        self._voice_ended: Instant | None = None
        self._engine_voice: str | None = None
        """The item that the engine hears at the moment."""
        self._own_voice = False
        self._callers: dict[str, Entry] = {}
        self._early: dict[str, str] = {}
        self._unanswered = False
        self._must_ask = False
        """What the engine cannot know by itself waits for an answer."""
        # The engine.
        self._is_ready = False
        self._is_gone = False
        self._running: str | None = None
        self._asked: _Asked | None = None
        self._wish: _Wish | None = None
        self._attempts = 0
        self._requests = 0
        # The reply.
        self._turns = 0
        self._replies = 0
        self._pieces = 0
        self._reply: Reply | None = None
        self._entry: Entry | None = None
        self._live: set[str] = set()
        self._unjudged: set[str] = set()
        """Responses that say what they were told, word for word (CV-37)."""
        self._items: dict[str, _Item] = {}
        self._errands: dict[str, _Errand] = {}
        self._anchors = _Anchors()
        self._cut_short = False
        self._engine_at = began_at
        """When the engine last said anything of the present reply."""

    # ------------------------------------------------------------------------------------ entrance

    def handle(self, event: m.AnyInput, now: Instant) -> list[m.AnyCommand]:
        """Take one input; returns what to do, in order. `now` never goes back."""
        if self._is_finished:
            return []
        self._take(event, now)
        self._settle(now)
        return self._asked_for(now)

    def _asked_for(self, now: Instant) -> list[m.AnyCommand]:
        if self._is_finished:
            self._tell(self._minutes.rest(), now)
            self._out.append(m.Finish(self.end_reason or "caller_hangup"))
        out, self._out = self._out, []
        return out

    @property
    def floor(self) -> Floor:
        """Who may speak."""
        return self._table.floor

    def so_far(self) -> list[tuple[str, str]]:
        """`(role, text)` of everything said, the reply under way included: what a new connection must know."""
        told = [(line.role, line.text) for line in self.history.lines]
        for entry in self._minutes.pending:
            is_now = entry is self._entry and self._reply is not None
            text = self._reply.text if is_now and self._reply is not None else entry.text
            told.append((entry.role, text))
        return [(role, text) for role, text in told if text]

    def deadline(self, now: Instant) -> Instant | None:
        """When `Ticked` is wanted, if nothing else happens before. `None` when the call is over."""
        if self.floor is Floor.CLOSED:
            return None
        times = [
            self._table.deadline,
            self.playout.next_send(now),
            self._silence_due(now),
            self._minutes.deadline,
            self._keys_due(),
            self._sustained_due(),
            self._nobody_due(),
            self._owed_due(),
            self._idle_due(),
            min(self._quiet.values()) if self._quiet else None,
            min(
                (item.held.deadline for item in self._items.values() if item.held.deadline),
                default=None,
            ),
            None if self._limit_reached else Instant(self._began_at + self.manners.max_duration),
        ]
        return min((time for time in times if time is not None), default=None)

    def _take(self, event: m.AnyInput, now: Instant) -> None:  # noqa: C901, PLR0912 - one case for each input
        match event:
            case m.Voiced():
                self._voiced(event, now)
            case m.VoiceStarted(ago_ms=ago):
                self._own_voice_began(Instant(now - ago / 1000), now)
            case m.VoiceStopped(ago_ms=ago):
                self._own_voice_ended(Instant(now - ago / 1000), now)
            case m.KeyPressed(digit=digit):
                self._keys, self._key_at, self._sound_at = self._keys + digit, now, now
                self._turn(Turn.KEY_PRESSED, now)
            case m.MarkCame(name=name):
                self.playout.marked(name, now)
            case m.Opened(first_message=first):
                self._opened(first, now)
            case m.SayAsked(text=text):
                if text.strip() and not self._is_gone:
                    self._to_say.append(text)
            case m.KeysAsked(audio=audio):
                self.playout.press(audio)
            case m.QuietAwaited(ticket=ticket):
                self._quiet[ticket] = Instant(now + self.manners.closing_bound)
            case m.CloseAsked(reason=reason):
                self._close_reason = reason
                self._turn(Turn.CLOSE_ASKED, now)
            case m.MachineFound():
                self._turn(Turn.MACHINE_FOUND, now)
            case m.StreamEnded(reason=reason):
                self.end_reason = self.end_reason or reason
                self._turn(Turn.GONE, now)
            case m.Ticked():
                self._ticked(now)
            case _:
                self._engine_said(event, now)

    def _engine_said(self, event: m.AnyInput, now: Instant) -> None:  # noqa: C901, PLR0912 - as above
        match event:
            case m.EngineReady(is_again=is_again):
                self._ready(now, is_again=is_again)
            case m.EngineLost():
                self._lost(now)
            case m.EngineGone():
                self._gone(now)
            case m.EngineHeardVoice(item=item, ago_ms=ago):
                self._heard_voice(item, Instant(now - ago / 1000), now)
            case m.EngineHeardPause(ago_ms=ago):
                self._heard_pause(Instant(now - ago / 1000), now)
            case m.EngineTookTurn(item=item):
                self._took_turn(item, now)
            case m.EngineTranscribed():
                self._transcribed(event, now)
            case m.EngineReplyBegan():
                self._reply_began(event, now)
            case m.EngineText() | m.EngineAudio() | m.EngineItemDone() | m.EngineCalledTool():
                if event.response in self._live:
                    self._of_reply(event, now)
            case m.EngineReplyEnded():
                self._reply_ended(event, now)
            case m.EngineRefused(request=request):
                if self._asked is not None and self._asked.request == request:
                    self._ask_again(now)
            case m.EngineInterrupted():
                self._interrupted(now)
            case m.EngineCorrected(text=text):
                self._corrected(text)
            case m.ToolDone(call=call, output=output):
                errand = self._errands.get(call)
                if errand is not None:
                    errand.output = output
            case m.Screened():
                self._screened(event, now)
            case _:
                pass  # of a pipeline

    def _settle(self, now: Instant) -> None:
        """Carry on until nothing changes: sound to send, replies heard, questions to the engine."""
        if self._keys and (
            self._keys.endswith("#") or now >= self._key_at + self._patience.key_gap
        ):
            self._keys_complete(now)
        self._let_through(now)
        self._send(now)
        self._take_pause_for_end(now)
        self._serve_engine(now)
        if self._reply is not None or self.floor is Floor.CLOSING:
            self._finish_reply(now)
        self._say_waiting(now)
        self._serve_engine(now)
        self._tell(self._minutes.ready(now), now)
        if self._quiet:
            self._answer_quiet(now)

    # ----------------------------------------------------------------------------------- the floor

    def _turn(self, event: Turn, now: Instant) -> None:
        for act in self._table.handle(event, now):
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
                if self._unanswered:
                    self._turn(Turn.TURN_ENDED, now)
            case Act.REASSURE:
                if self.manners.long_turn_message:
                    self._to_say.append(self.manners.long_turn_message)
            case Act.HANG_UP:
                self._hang_up(self._close_reason)
            case Act.REPORT_END:
                self._is_finished = True
            case Act.ASK_FINAL:
                pass

    def _opened(self, first_message: str, now: Instant) -> None:
        if self.floor is not Floor.OPENING:
            return
        self._turn(Turn.OPENED, now)
        self._sound_at = now
        if self._is_gone:
            return
        if first_message:
            self._turn(Turn.REPLY_OWED, now)
            self._begin_reply(now, is_unasked=True, is_greeting=True)
            if not self._engine.greets_itself:
                self._wish = _Wish(words=first_message)
        elif self._engine_voice is not None:
            self._turn(Turn.CALLER_STARTED, now)
        elif self._unanswered:
            self._turn(Turn.TURN_ENDED, now)

    # ---------------------------------------------------------------------------------- the caller

    def _voiced(self, heard: m.Voiced, now: Instant) -> None:
        frame_ms = self.manners.frame_ms
        match self._gate.feed(heard.probability, frame_ms):
            case SpeechStarted(ago_ms=ago):
                self._own_voice_began(Instant(now - ago / 1000), now)
            case SpeechStopped(ago_ms=ago):
                self._own_voice_ended(Instant(now - ago / 1000), now)
            case None:
                pass
        if self._barge_in.voice(heard.probability, frame_ms, heard.powers, heard.brightness):
            self._turn(Turn.SUSTAINED, now)

    def _own_voice_began(self, onset: Instant, now: Instant) -> None:
        self._own_voice = True
        self._voice_began = onset
        self._sound_at = now
        if self._engine_voice is None:
            self._out.append(m.ReportSpeech("user", started=True))
        if self.floor in _OWED | _SPEAKS | {Floor.CLOSING}:
            # Elsewhere the engine decides whether somebody speaks: it is the one that answers.
            self._turn(Turn.CALLER_STARTED, now)
            if self._barge_in.is_reached:
                self._turn(Turn.SUSTAINED, now)

    def _own_voice_ended(self, last: Instant, now: Instant) -> None:
        self._own_voice = False
        self._voice_ended = last
        self._sound_at = now
        if self._engine_voice is None:
            self._report_silence(last)
            self._turn(Turn.CALLER_STOPPED, now)

    def _report_silence(self, last: Instant) -> None:
        began = self._voice_began if self._voice_began is not None else last
        lasted = max(0.0, (last - began) * 1000)
        self._out.append(m.ReportSpeech("user", started=False, duration_ms=lasted))

    def _heard_voice(self, item: str, onset: Instant, now: Instant) -> None:
        if self._engine_voice is None and not self._own_voice:
            self._out.append(m.ReportSpeech("user", started=True))
        self._engine_voice = item
        if not self._own_voice:
            self._voice_began = onset
        self._sound_at = now
        self._turn(Turn.CALLER_STARTED, now)
        if self._engine.answers_itself and self.manners.barge_in_threshold_ms > 0:
            # The engine has stopped its reply: what is left of it must not be heard.
            self._turn(Turn.SUSTAINED, now)

    def _heard_pause(self, last: Instant, now: Instant) -> None:
        if not self._own_voice:
            self._report_silence(last)
            self._voice_ended = last
        elif self._voice_ended is None or self._voice_ended < last:
            self._voice_ended = last
        self._sound_at = now
        self._turn(Turn.CALLER_STOPPED, now)

    def _took_turn(self, item: str, now: Instant) -> None:
        self._engine_voice = None
        self._enter(item, self._early.pop(item, None), now)
        self._turn(Turn.TURN_ENDED, now)

    def _enter(self, item: str, text: str | None, now: Instant) -> None:
        entry = self._minutes.user(self._turns + (self._reply is not None), now)
        if text is not None:
            entry.text, entry.is_settled = text, True
        self._callers[item] = entry
        self._unanswered = True

    def _transcribed(self, said: m.EngineTranscribed, now: Instant) -> None:
        self._sound_at = now
        entry = self._callers.get(said.item)
        if entry is None:
            if said.is_final:
                self._early[said.item] = said.text.strip()
            elif said.text:
                self._out.append(m.ReportPartial(said.text.strip()))
            return
        if not said.is_final:
            entry.text += said.text
            self._out.append(m.ReportPartial(entry.text.strip()))
            return
        is_told = entry not in self._minutes.pending
        entry.text, entry.is_settled = said.text.strip(), True
        del self._callers[said.item]
        if is_told and entry.text:
            self._amend(entry)

    def _amend(self, entry: Entry) -> None:
        """Words that came after their turn was told without them: the record at the end has them."""
        for index, line in enumerate(self.history.lines):
            if line.role == "user" and line.turn_index == entry.turn_index and not line.text:
                self.history.lines[index] = Line(
                    "user", entry.text, line.timestamp, line.turn_index, line.is_interrupted
                )
                return

    def _keys_due(self) -> Instant | None:
        if not self._keys or self.floor is Floor.OPENING:
            return None
        return Instant(self._key_at + self._patience.key_gap)

    def _keys_complete(self, now: Instant) -> None:
        if self.floor is Floor.OPENING:
            return
        text, self._keys = f"[DTMF: {self._keys}]", ""
        self._enter(f"keys {now}", text, now)
        self._out.append(m.TellEngine(text))
        self._must_ask = True
        self._turn(Turn.TURN_ENDED, now)

    # ----------------------------------------------------------------------------------- answering

    def _answer(self, now: Instant) -> None:
        self._unanswered = self._cut_short = False
        self._has_prompted = False
        self._begin_reply(now)
        self._anchors = _Anchors(self._voice_began, self._voice_ended, now)
        if self._must_ask or not self._engine.answers_itself:
            self._wish = _Wish()
        self._must_ask = False

    def _begin_reply(
        self, now: Instant, *, is_unasked: bool = False, is_greeting: bool = False
    ) -> Reply:
        self._replies += 1
        self._attempts = 0
        self._engine_at = now
        self._live.clear()
        self._items.clear()
        self._reply = Reply(
            self._replies, self._turns, is_unasked=is_unasked, is_greeting=is_greeting
        )
        self._entry = self._minutes.agent(self._turns)
        self._anchors = _Anchors(committed_at=now)
        return self._reply

    def _reply_began(self, began: m.EngineReplyBegan, now: Instant) -> None:
        asked = self._asked
        is_answer = asked is not None and (
            began.request == asked.request or not self._engine.says_when_done
        )
        if is_answer:
            self._asked = None
        elif began.request:
            # Asked for by a reply that was cut since.
            self._stop(began.response)
            return
        self._running = began.response
        if self.floor is Floor.OPEN:
            self._turn(Turn.REPLY_OWED, now)
            self._begin_reply(now, is_unasked=True)
        reply = self._reply
        if reply is None or not self._may_speak(reply, is_answer=is_answer):
            self._stop(began.response)
            return
        reply.is_written = False
        self._engine_at = now
        self._live.add(began.response)
        if asked is not None and is_answer and asked.ask.words:
            self._unjudged.add(began.response)
        if not is_answer:
            self._unanswered = False
        if self._wish is not None and not is_answer and not self._wish.words:
            # It answers: nobody needs to ask it to. Words that must be said wait for their turn.
            self._wish = None

    def _may_speak(self, reply: Reply, *, is_answer: bool) -> bool:
        if self.floor is Floor.CLOSING:
            return is_answer or not reply.pieces
        return self.floor in _OWED | _SPEAKS

    def _stop(self, response: str) -> None:
        self._running = response
        self._out.append(m.StopReply(response))

    def _of_reply(
        self,
        event: m.EngineText | m.EngineAudio | m.EngineItemDone | m.EngineCalledTool,
        now: Instant,
    ) -> None:
        reply = self._reply
        assert reply is not None, "a live response belongs to a reply"
        self._engine_at = now
        self._attempts = 0
        match event:
            case m.EngineText():
                self._text(reply, event, now)
            case m.EngineAudio(audio=audio):
                reply.first_voice_at = now if reply.first_voice_at is None else reply.first_voice_at
                reply.last_voice_at = now
                lasts = self.playout.format.ms(len(audio))
                self._item(reply, event).held.add(audio, lasts, now)
            case m.EngineItemDone(item=name):
                if name in self._items:
                    self._items[name].has_all_sound = True
            case m.EngineCalledTool(call=call):
                if call not in self._errands:
                    self._errands[call] = _Errand(event, reply.number)
                    self._out.append(m.RunTool(call, event.name, event.arguments))

    def _item(self, reply: Reply, event: m.EngineText | m.EngineAudio) -> _Item:
        item = self._items.get(event.item)
        if item is None:
            self._pieces += 1
            piece = Piece(self._pieces, "")
            reply.pieces.append(piece)
            is_guarded = self._engine.is_guarded and event.response not in self._unjudged
            item = self._items[event.item] = _Item(event.item, piece, Held(is_guarded))
        return item

    def _text(self, reply: Reply, event: m.EngineText, now: Instant) -> None:
        item = self._item(reply, event)
        reply.first_text_at = now if reply.first_text_at is None else reply.first_text_at
        reply.last_text_at = now
        text = event.text if event.is_whole else item.piece.text + event.text
        item.piece.text = text
        held = item.held
        held.is_whole = held.is_whole or event.is_whole
        held.letters = len(text) if held.is_whole else _whole_words(text)
        if not held.is_guarded:
            held.checked = held.letters
        elif held.letters > item.screened or held.is_whole:
            item.screened = held.letters
            self._out.append(m.Screen(item.id, text[: held.letters], held.is_whole))

    def _reply_ended(self, ended: m.EngineReplyEnded, now: Instant) -> None:
        if self._running == ended.response:
            self._running = None
        if ended.response not in self._live:
            return
        reply = self._reply
        assert reply is not None, "a live response belongs to a reply"
        self._live.discard(ended.response)
        self._engine_at = now
        for item in self._items.values():
            item.has_all_sound = item.held.is_whole = True
            item.held.letters = len(item.piece.text)
            if item.held.is_guarded and item.screened < item.held.letters:
                item.screened = item.held.letters
                self._out.append(m.Screen(item.id, item.piece.text, is_whole=True))
            elif not item.held.is_guarded:
                item.held.checked = item.held.letters
        if ended.status == "failed" and not reply.pieces and not self._errands_of(reply):
            self._ask_again(now)

    def _errands_of(self, reply: Reply) -> list[_Errand]:
        return [
            each
            for each in self._errands.values()
            if each.reply == reply.number and not each.is_returned
        ]

    def _ask_again(self, now: Instant) -> None:
        """A response that was owed did not come."""
        failed, self._asked = self._asked, None
        if not self._engine.says_when_done and self._reply is not None:
            self._reply.is_written = True
            return
        self._attempts += 1
        self._engine_at = now
        if self._attempts < ATTEMPTS:
            self._wish = _Wish(failed.ask.words, failed.ask.hint) if failed else _Wish()
        elif self._attempts == ATTEMPTS and self.manners.apology and self._reply is not None:
            self._wish = _Wish(words=self.manners.apology)
        elif self._reply is not None:
            self._reply.is_written = True

    # ----------------------------------------------------------------------- talking to the engine

    def _serve_engine(self, now: Instant) -> None:
        """Return results and ask for responses, while none is being made."""
        if not self._is_ready:
            return
        if not self._engine.says_when_done:
            self._return_at_once(now)
        if self._running is not None or self._asked is not None:
            return
        reply = self._reply
        errands = self._errands_of(reply) if reply is not None else []
        is_complete = all(each.output is not None for each in errands)
        returned = [
            each
            for each in self._errands.values()
            if each.output is not None and (each not in errands or is_complete)
        ]
        wants_more = False
        for each in returned:
            wants_more = wants_more or each in errands
            self._return(each)
        if wants_more and self._wants_follow_up():
            is_farewell = self.floor is Floor.CLOSING
            self._wish = self._wish or _Wish(hint=FAREWELL if is_farewell else "")
        if self._wish is not None and reply is not None and self.floor is not Floor.OPENING:
            wish, self._wish = self._wish, None
            self._ask(wish, now)
            return
        if reply is not None and not self._live and self._is_written(reply, errands):
            reply.is_written = True

    def _return_at_once(self, now: Instant) -> None:
        """To an engine that waits for results in the middle of a reply, and then goes on by itself."""
        for each in [errand for errand in self._errands.values() if errand.output is not None]:
            self._return(each)
            self._engine_at = now

    def _return(self, errand: _Errand) -> None:
        errand.is_returned = True
        asked = errand.asked
        del self._errands[asked.call]
        assert errand.output is not None, "a result is returned when it is there"
        self._out.append(m.ReturnTool(asked.call, asked.name, asked.arguments, errand.output))

    def _wants_follow_up(self) -> bool:
        if self.floor is not Floor.CLOSING:
            return True
        # The goodbye was said before the tool was called, or it has not been said (CV-53).
        return self._reply is not None and not self._reply.text

    def _ask(self, wish: _Wish, now: Instant) -> None:
        self._requests += 1
        ask = m.AskReply(self._requests, wish.words, wish.hint)
        self._asked = _Asked(self._requests, now, ask)
        self._engine_at = now
        if self._reply is not None:
            self._reply.is_written = False
        self._out.append(ask)

    def _is_written(self, reply: Reply, errands: list[_Errand]) -> bool:
        return not errands and (bool(reply.pieces) or self._owed_due() is None)

    def _pause_due(self, now: Instant) -> Instant | None:
        """When an engine that does not say so has finished a reply: it and the line are silent for a while."""
        reply, running = self._reply, self._running
        if self._engine.says_when_done or reply is None or running not in self._live:
            return None
        if self._errands_of(reply):
            return None
        if not reply.has_audio:
            return Instant(self._engine_at + ANSWERS_WITHIN)
        silent = self.playout.silent_at(now)
        return None if silent is None else max(silent, Instant(self._engine_at + SETTLES_AFTER))

    def _take_pause_for_end(self, now: Instant) -> None:
        due, running = self._pause_due(now), self._running
        if due is None or running is None or now < due:
            return
        if self.playout.is_silent(now) and not self.playout.queued_ms:
            self._reply_ended(m.EngineReplyEnded(running), now)
            self._let_through(now)

    def _owed_due(self) -> Instant | None:
        """When a response that should have begun is asked for."""
        reply = self._reply
        if reply is None or not self._is_ready or reply.is_written or self._live:
            return None
        if self._wish is not None or self._errands_of(reply) or reply.pieces:
            return None
        at = self._asked.at if self._asked is not None else self._engine_at
        return Instant(at + (BEGINS_WITHIN if self._engine.says_when_done else ANSWERS_WITHIN))

    def _ready(self, now: Instant, *, is_again: bool) -> None:
        self._is_ready = True
        reply = self._reply
        if not is_again or reply is None or reply.is_written:
            return
        self._engine_at = now
        if reply.pieces and self._wish is None and not self._errands_of(reply):
            self._wish = _Wish(hint=GO_ON)
        elif self._wish is None and not self._errands_of(reply):
            self._wish = _Wish()

    def _lost(self, now: Instant) -> None:
        self._is_ready = False
        self._running = None
        self._live.clear()
        if self._asked is not None:
            self._wish = _Wish(self._asked.ask.words, self._asked.ask.hint)
            self._asked = None
        for item in self._items.values():
            item.has_all_sound = item.held.is_whole = True
        if self._engine_voice is not None:
            # The new connection hears the caller afresh.
            self._engine_voice = None
            self._turn(Turn.TURN_EMPTY, now)

    def _gone(self, now: Instant) -> None:
        self._lost(now)
        self._is_gone = True
        self._wish = None
        self._to_say.clear()
        self._errands.clear()
        if self._reply is not None:
            self._reply.is_written = True
        # Whoever runs the call has the carrier apologise, which ends the stream; else the alarm does.
        self.end_reason = self.end_reason or "provider_error"
        self._close_reason = "provider_error"
        self._turn(Turn.CLOSE_ASKED, now)

    # ------------------------------------------------------------------------------------ speaking

    def _let_through(self, now: Instant) -> None:
        reply = self._reply
        if reply is None:
            return
        for item in list(self._items.values()):
            piece = item.piece
            for audio in item.held.release(now):
                if not piece.has_begun:
                    piece.has_begun = True
                    self.playout.begin(piece.number)
                self.playout.add(audio)
            if item.has_all_sound and item.held.is_empty and not piece.is_done:
                piece.is_done = True
                if piece.has_begun:
                    self.playout.finish()
                else:
                    piece.text = ""

    def _send(self, now: Instant) -> None:
        sends = self.playout.pull(now)
        reply = self._reply
        if reply is not None and all(piece.is_done for piece in reply.pieces):
            sends.extend(self.playout.end_mark(now))
        for outgoing in sends:
            if isinstance(outgoing, Audio):
                self._out.append(m.SendAudio(outgoing.data))
            else:
                self._out.append(m.SendMark(outgoing.name))
        has_audio = any(isinstance(outgoing, Audio) and outgoing.is_speech for outgoing in sends)
        if has_audio and reply is not None and not reply.has_audio:
            reply.first_audio_at = now
            self._out.append(m.ReportSpeech("agent", started=True))
            self._turn(Turn.AGENT_STARTED, now)

    def _silence_due(self, now: Instant) -> Instant | None:
        reply = self._reply
        if reply is None or not reply.is_spoken or not reply.has_audio:
            return self._pause_due(now)
        return self.playout.silent_at(now)

    def _finish_reply(self, now: Instant) -> None:
        reply = self._reply
        if reply is not None and not (reply.is_spoken and self.playout.is_silent(now)):
            return
        if reply is None and (self._to_say or self._asked is not None or self._is_gone):
            return
        if reply is not None:
            self._close_reply(reply, reply.text, now, was_cut=False)
            self._cut_short = False
        self._sound_at = now
        if self.floor is Floor.CLOSING and (self._to_say or self._is_gone):
            return
        self._turn(Turn.REPLY_OVER, now)

    def _close_reply(
        self,
        reply: Reply,
        text: str,
        now: Instant,
        *,
        was_cut: bool,
        bargein_ms: float | None = None,
    ) -> None:
        entry = self._entry
        assert entry is not None, "a reply is entered when it begins"
        self._reply = self._entry = self._wish = None
        self._live.clear()
        self._items.clear()
        if reply.first_audio_at is not None:
            lasted = (now - reply.first_audio_at) * 1000
            self._out.append(
                m.ReportSpeech("agent", started=False, duration_ms=lasted, was_interrupted=was_cut)
            )
        anchors = self._anchors
        entry.text, entry.is_settled, entry.is_interrupted = text, True, was_cut
        entry.is_void = not text
        entry.record = m.TurnRecord(
            index=self._turns,
            user_text="",
            agent_text=text,
            is_interrupted=was_cut,
            is_greeting=reply.is_greeting,
            speech_began=anchors.speech_began,
            speech_ended=anchors.speech_ended,
            committed_at=anchors.committed_at,
            first_text_at=reply.first_text_at,
            last_text_at=reply.last_text_at,
            first_voice_at=reply.first_voice_at,
            last_voice_at=reply.last_voice_at,
            first_audio_at=reply.first_audio_at,
            bargein_ms=bargein_ms,
        )
        self._turns += 1
        self.playout.forget_before(self.playout.heard_ms(now))

    def _say_waiting(self, now: Instant) -> None:
        """Words of the program: beside a tool that runs, or as a reply of their own."""
        if not self._to_say or not self._is_ready or self._running is not None:
            return
        if self._asked is not None or self._wish is not None:
            return
        reply = self._reply
        if reply is not None:
            if self._errands_of(reply) and self.floor in _OWED | _SPEAKS:
                self._wish = _Wish(words=self._take_words())
            return
        if self.floor is Floor.OPEN:
            self._turn(Turn.REPLY_OWED, now)
        elif self.floor is not Floor.CLOSING:
            return
        self._begin_reply(now, is_unasked=True)
        self._wish = _Wish(words=self._take_words())

    def _take_words(self) -> str:
        words, self._to_say = " ".join(self._to_say), []
        return words

    # -------------------------------------------------------------------------------- interruption

    def _cut(self, event: Turn, now: Instant) -> None:
        reply = self._reply
        if reply is None:
            return
        is_heard = reply.has_audio and not self._live and self.playout.is_silent(now)
        heard = reply.text if is_heard else reply.heard(self.playout, now)
        was_cut = not (is_heard and not self._errands_of(reply))
        if reply.has_audio and not is_heard:
            self._out.append(m.SendClear())
        self._stop_engine(now)
        self.playout.clear(now)
        bargein_ms: float | None = None
        if event is Turn.SUSTAINED:
            self._cut_short = was_cut
            if reply.has_audio and was_cut:
                if self._voice_began is not None:
                    bargein_ms = max(0.0, (now - self._voice_began) * 1000)
                self._out.append(m.ReportInterruption(heard, bargein_ms or 0.0))
        self._asked = None
        self._close_reply(reply, heard, now, was_cut=was_cut, bargein_ms=bargein_ms)

    def _stop_engine(self, now: Instant) -> None:
        """Stop the response that is being made, and have the engine forget what was not heard."""
        if self._running is not None and self._running in self._live:
            self._out.append(m.StopReply(self._running))
        if not self._engine.says_when_done:
            self._running = None
        spans = {span.piece: span for span in self.playout.spans}
        for item in self._items.values():
            heard = _heard_of(spans.get(item.piece.number), self.playout.heard_ms(now))
            if item.held.received_ms > 0 and heard < item.held.received_ms - 1:
                self._out.append(m.CutItem(item.id, int(heard)))

    def _interrupted(self, now: Instant) -> None:
        """The engine has stopped by itself, on a voice that it did not announce."""
        if self.manners.barge_in_threshold_ms > 0 and self.floor in _OWED | _SPEAKS:
            self._turn(Turn.CALLER_STARTED, now)
            self._turn(Turn.SUSTAINED, now)

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
        self._wish = _Wish(hint=GO_ON)

    def _screened(self, verdict: m.Screened, now: Instant) -> None:
        item = self._items.get(verdict.item)
        reply = self._reply
        if item is None or reply is None:
            return
        if verdict.replacement is None:
            item.held.checked = max(item.held.checked, verdict.letters)
            return
        item.piece.text = item.piece.text[: item.held.checked]
        ear = self.playout.heard_ms(now)
        for piece in reply.pieces:
            alone = Reply(0, 0, pieces=[Piece(piece.number, piece.text)])
            piece.text, piece.is_done = alone.heard(self.playout, now), True
        if reply.has_audio:
            self._out.append(m.SendClear())
        self._stop_engine(now)
        self.playout.clear(now)
        for span in self.playout.spans:
            span.ends_ms, span.is_complete = min(span.ends_ms, ear), True
        self._live.clear()
        self._items.clear()
        reply.pieces = [piece for piece in reply.pieces if piece.text]
        self._wish = _Wish(words=verdict.replacement)
        reply.is_written = False

    # -------------------------------------------------------------------------------- limits, ends

    def _ticked(self, now: Instant) -> None:
        if not self._limit_reached and now >= self._began_at + self.manners.max_duration:
            self._limit_reached = True
            self._hang_up("time_limit")
        if self._table.deadline is not None and now >= self._table.deadline:
            self._turn(Turn.ALARM, now)
        if (due := self._sustained_due()) is not None and now >= due:
            self._turn(Turn.SUSTAINED, now)
        if (due := self._nobody_due()) is not None and now >= due:
            self._engine_voice = None
            self._turn(Turn.TURN_EMPTY, now)
        if (due := self._owed_due()) is not None and now >= due:
            self._ask_again(now)
        if (due := self._idle_due()) is not None and now >= due:
            self._idle(now)

    def _hang_up(self, reason: m.EndReason) -> None:
        if not self._is_hung_up:
            self._is_hung_up = True
            self.end_reason = self.end_reason or reason
            self._out.append(m.HangUp(self.end_reason))

    def _sustained_due(self) -> Instant | None:
        """When a voice that the engine hears is an interruption, where it leaves that to us."""
        threshold, began = self.manners.barge_in_threshold_ms, self._voice_began
        if self._engine_voice is None or began is None or threshold <= 0:
            return None
        if self.floor not in {Floor.DOUBT, Floor.OVERLAP}:
            return None
        return Instant(began + threshold / 1000)

    def _nobody_due(self) -> Instant | None:
        """When a silence shows that no turn will come of what was heard."""
        if self.floor is not Floor.PAUSE and not (
            self.floor is Floor.CALLER and self._engine_voice is None and not self._own_voice
        ):
            return None
        is_alone = self._engine_voice is None and self._engine.says_when_done
        wait = FALSE_ALARM_AFTER if is_alone else NO_TURN_AFTER
        return Instant(self._table.since + wait)

    def _idle_due(self) -> Instant | None:
        if self.manners.idle_timeout is None or self.floor is not Floor.OPEN:
            return None
        return Instant(self._sound_at + self.manners.idle_timeout)

    def _idle(self, now: Instant) -> None:
        self._sound_at = now
        if self._has_prompted or not self.manners.idle_prompt:
            self._close_reason = "idle"
            self._turn(Turn.CLOSE_ASKED, now)
            return
        self._has_prompted = True
        self._to_say.append(self.manners.idle_prompt)

    def _answer_quiet(self, now: Instant) -> None:
        is_quiet = self.playout.is_silent(now) and self._running is None and self._asked is None
        is_quiet = is_quiet and all(item.held.is_empty for item in self._items.values())
        is_taken = self.floor in {Floor.CALLER, Floor.CLOSED}
        for ticket in [t for t, due in self._quiet.items() if is_quiet or is_taken or now >= due]:
            del self._quiet[ticket]
            self._out.append(m.SayQuiet(ticket))

    def _tell(self, entries: list[Entry], now: Instant) -> None:
        for entry in entries:
            if entry is self._entry and self._reply is not None:
                entry.is_void = True
            if not entry.is_void:
                self.history.add(
                    Line(
                        entry.role,
                        entry.text.strip(),
                        now + self._wall_offset,
                        entry.turn_index,
                        entry.is_interrupted,
                    )
                )
                self._out.append(
                    m.ReportLine(
                        entry.role, entry.text.strip(), entry.turn_index, entry.is_interrupted
                    )
                )
            if entry.record is not None:
                self._out.append(m.ReportTurn(self._with_user_text(entry.record)))

    def _with_user_text(self, record: m.TurnRecord) -> m.TurnRecord:
        said = [
            line.text
            for line in self.history.lines
            if line.role == "user" and line.turn_index == record.index
        ]
        return msgspec.structs.replace(record, user_text=" ".join(filter(None, said)))


def _whole_words(text: str) -> int:
    """Letters of `text` up to the end of the last word that is certainly complete."""
    end = len(text)
    while end and not text[end - 1].isspace() and text[end - 1] not in ".,;:!?…。！？、":
        end -= 1
    return end


def _heard_of(span: Span | None, ear: float) -> float:
    """Milliseconds of a piece that were heard."""
    if span is None:
        return 0.0
    return min(max(0.0, ear - span.starts_ms), span.ends_ms - span.starts_ms)

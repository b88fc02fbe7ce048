"""What each stage of a call does, told as it happens: who speaks, what was recognised, written and voiced, and when.

It follows what goes into a session and what comes out (`Call` shows it both), so nothing in the call itself knows
that anybody watches, and every time it tells is the time of an event:

```
Transcribed (final)                    -> STT_METRICS        EngineTranscribed (final)       -> STT_METRICS
ReportTurnBegan (an answer)            -> EOU_METRICS        EngineReplyBegan ... Ended      -> LLM_METRICS
ReportTurnBegan                        -> TURN_STARTED       EngineText                      -> LLM_CHUNK
PieceWorded ... PieceVoiced            -> TTS_CHUNK          EngineAudio                     -> TTS_CHUNK
PieceWorded ... PieceDone, or cut      -> TTS_METRICS        ReportSpeech                    -> speech callbacks
```

`LLM_METRICS` of a language model are told by whoever asks it (`model_replies.py`): a session sees no requests.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from getpatter.core import messages as m
from getpatter.core.ledger import latency_of
from getpatter.core.playout import Playout
from getpatter.core.turns import Floor
from getpatter.engines.base import Usage
from getpatter.models import TurnMetrics
from getpatter.runtime.identity import name_of_provider
from getpatter.types import Instant

if TYPE_CHECKING:
    from getpatter.agent import Agent
    from getpatter.core.history import History
    from getpatter.runtime.account import Account
    from getpatter.runtime.reports import Reports

_MS = 1000.0
_CALLER_SPEAKS = frozenset({Floor.CALLER, Floor.DOUBT, Floor.OVERLAP, Floor.HELD})
_AGENT_SPEAKS = frozenset({Floor.AGENT, Floor.OVERLAP, Floor.CLOSING})


@dataclass(slots=True)
class _Piece:
    """A sentence on its way through the voice."""

    asked_at: Instant
    text: str
    first_at: Instant | None = None
    bytes: int = 0
    is_operators: bool = False


@dataclass(slots=True)
class _Response:
    """A response of a speech-to-speech engine."""

    number: str
    began_at: Instant
    iteration: int
    history_size: int
    first_at: Instant | None = None
    has_deltas: bool = False
    usages: list[Usage] = field(default_factory=list)


class Stages:
    """Follows one call. `Call` shows it every input and every command; it answers nothing."""

    def __init__(
        self,
        reports: Reports,
        account: Account,
        *,
        agent: Callable[[], Agent],
        wall_offset: float,
    ) -> None:
        """Tell `reports`. `wall_offset`: Unix seconds minus the call's clock."""
        self._reports = reports
        self._account = account
        self._agent = agent
        self._wall_offset = wall_offset
        self._playout: Playout | None = None
        self._history: History | None = None
        self._turn = -1
        """Index of the turn that began last."""
        self._is_token_told = False
        self._probability = 0.0
        self._voice_turn = 0
        self._voice_began: float | None = None
        self._partial = ""
        self._pieces: dict[int, _Piece] = {}
        self._response: _Response | None = None
        self._responses = 0
        self._says_when_done = False
        """Whether the engine tells the end of its responses; else they end with their turn."""
        self._engine_model = ""
        """The model really used, once the engine has said so."""
        self._saw: dict[type[m.Input], Callable[[Any, Instant], None]] = {
            m.Voiced: self._voiced,
            m.Transcribed: self._transcribed,
            m.EngineTranscribed: self._engine_transcribed,
            m.KeyPressed: self._pressed,
            m.ReplyText: self._written,
            m.PieceWorded: self._worded,
            m.PieceVoiced: self._voiced_piece,
            m.PieceDone: self._done,
            m.EngineReplyBegan: self._reply_began,
            m.EngineText: self._engine_text,
            m.EngineAudio: self._engine_audio,
            m.EngineReplyEnded: self._reply_ended,
        }
        self._did: dict[type[m.Command], Callable[[Any, Instant], None]] = {
            m.CancelReply: self._cancelled,
            m.ReportPartial: self._heard_partial,
            m.TellEngine: self._keyed,
            m.ReportSpeech: self._spoke,
            m.ReportTurnBegan: self._turn_began,
            m.ReportTurn: self._turn_over,
        }

    def attend(self, playout: Playout, history: History) -> None:
        """The call has begun."""
        self._playout, self._history = playout, history

    def saw(self, event: m.AnyInput, at: Instant) -> None:
        """The session is about to be told this."""
        look = self._saw.get(type(event))
        if look is not None:
            look(event, at)

    def did(self, command: m.AnyCommand, at: Instant) -> None:
        """The session wants this done."""
        look = self._did.get(type(command))
        if look is not None:
            look(command, at)

    def state(self, floor: Floor) -> dict[str, object]:
        """Where the conversation stands, for a program that asks."""
        return {
            "state": floor.value,
            "is_user_speaking": floor in _CALLER_SPEAKS,
            "is_agent_speaking": floor in _AGENT_SPEAKS,
            "turn_idx": max(0, self._turn),
        }

    def used(self, usage: Usage) -> None:
        """The engine says what it will be paid for."""
        self._account.usage.append(usage)
        if usage.of_response:
            self._engine_model = usage.model
            if self._response is not None:
                self._response.usages.append(usage)

    # ---------------------------------------------------------------------------------- the caller

    def _voiced(self, heard: m.Voiced, _at: Instant) -> None:
        self._probability = heard.probability

    def _heard_partial(self, partial: m.ReportPartial, _at: Instant) -> None:
        self._partial = partial.text

    def _pressed(self, key: m.KeyPressed, _at: Instant) -> None:
        self._reports.write("dtmf", {"digit": key.digit})

    def _keyed(self, told: m.TellEngine, _at: Instant) -> None:
        self._partial = told.text

    def _spoke(self, speech: m.ReportSpeech, _at: Instant) -> None:
        if speech.who == "user":
            self._caller_spoke(speech)
        else:
            self._agent_spoke(speech)

    def _caller_spoke(self, speech: m.ReportSpeech) -> None:
        if speech.started:
            self._voice_turn, self._voice_began = self._turn + 1, speech.at
            self._speech(
                "on_user_speech_started",
                speech.at,
                self._voice_turn,
                vad_confidence=self._probability,
            )
        else:
            self._speech(
                "on_user_speech_ended",
                speech.at,
                self._voice_turn,
                speech_duration_ms=speech.duration_ms,
            )

    def _transcribed(self, said: m.Transcribed, at: Instant) -> None:
        if said.is_final and said.text:
            sound = self._account.hearing
            self._recognised(sound.provider, sound.model, said.text, at, said.confidence)

    def _engine_transcribed(self, said: m.EngineTranscribed, at: Instant) -> None:
        if said.is_final and said.text:
            # An engine has begun to answer long before it knows the words.
            self._recognised(*self._engine(), said.text, at, turn=max(0, self._turn))

    def _recognised(
        self,
        provider: str,
        model: str,
        text: str,
        at: Instant,
        confidence: float = 0.0,
        *,
        turn: int | None = None,
    ) -> None:
        began = self._voice_began if self._voice_began is not None else at
        self._stage(
            "stt",
            provider,
            model,
            min(began, at),
            at,
            turn_index=self._turn + 1 if turn is None else turn,
            text_len=len(text),
            confidence=confidence,
        )

    # ----------------------------------------------------------------------------------- the turn

    def _turn_began(self, turn: m.ReportTurnBegan, at: Instant) -> None:
        self._turn = turn.index
        self._is_token_told = False
        self._responses = 0
        if turn.is_answer:
            self._answers(turn, at)
        if self._reports.wants("turn_started"):
            record = m.TurnRecord(
                turn.index,
                turn.user_text,
                "",
                speech_began=turn.speech_began,
                speech_ended=turn.speech_ended,
                final_at=turn.final_at,
                committed_at=at,
            )
            so_far = TurnMetrics(
                turn.index,
                turn.user_text,
                latency=latency_of(record),
                timestamp=at + self._wall_offset,
            )
            self._reports.emit("turn_started", {"turn_index": turn.index, "turn": so_far})

    def _answers(self, turn: m.ReportTurnBegan, at: Instant) -> None:
        text, self._partial = turn.user_text or self._partial, ""
        ended = turn.speech_ended if turn.speech_ended is not None else at
        silence_ms = max(0.0, (at - ended) * _MS)
        trigger = self._trigger(text)
        agent = self._agent()
        is_engine = agent.mode == "engine"
        sound = self._account.hearing
        provider, model = self._engine() if is_engine else (sound.provider, sound.model)
        self._stage(
            "eou",
            provider,
            model,
            min(ended, at),
            at,
            silence_ms=silence_ms,
            trigger=trigger,
        )
        self._speech(
            "on_user_speech_eos",
            at,
            turn.index,
            trigger=trigger,
            trailing_silence_ms=silence_ms,
            transcript_so_far=text,
        )

    def _trigger(self, text: str) -> str:
        """What ended the caller's turn, in the documented words."""
        agent = self._agent()
        if text.endswith("]") and "[DTMF:" in text:
            return "manual_commit"
        detection = agent.realtime_turn_detection
        is_semantic = detection is not None and detection.type == "semantic_vad"
        if agent.turn_detector is not None or (agent.mode == "engine" and is_semantic):
            return "semantic_turn_detector"
        return "vad_silence"

    def _turn_over(self, turn: m.ReportTurn, at: Instant) -> None:
        if not self._says_when_done:
            self._close_response(at, status="cancelled" if turn.record.is_interrupted else "")

    # ---------------------------------------------------------------------------- model and voice

    def _written(self, _text: m.ReplyText, at: Instant) -> None:
        self._token(at)

    def _token(self, at: Instant) -> None:
        """The first words of a reply."""
        if self._is_token_told:
            return
        self._is_token_told = True
        agent = self._agent()
        if agent.mode == "engine":
            provider, model = self._engine()
        else:
            provider = name_of_provider(agent.llm)
            model = str(getattr(agent.llm, "model", "") or "")
        self._speech("on_llm_token", at, self._turn, llm_provider=provider, model=model)

    def _agent_spoke(self, speech: m.ReportSpeech) -> None:
        agent = self._agent()
        voice = self._account.speaking.provider
        engine = agent.engine.kind if agent.engine is not None else ""
        if speech.started:
            for name in ("on_agent_speech_started", "on_audio_out"):
                self._speech(name, speech.at, self._turn, tts_provider=voice, engine=engine)
        else:
            self._speech(
                "on_agent_speech_ended",
                speech.at,
                self._turn,
                speech_duration_ms=speech.duration_ms,
                interrupted=speech.was_interrupted,
            )

    def _worded(self, piece: m.PieceWorded, at: Instant) -> None:
        if piece.text.strip():
            self._pieces[piece.piece] = _Piece(at, piece.text)

    def _voiced_piece(self, voiced: m.PieceVoiced, at: Instant) -> None:
        piece = self._pieces.get(voiced.piece)
        if piece is not None:
            piece.first_at = piece.first_at if piece.first_at is not None else at
            piece.bytes += len(voiced.audio)
        self._sound(len(voiced.audio))

    def _sound(self, size: int) -> None:
        if self._reports.wants("tts_chunk"):
            self._reports.emit("tts_chunk", {"bytes": size, "duration_ms": self._lasts_ms(size)})

    def _lasts_ms(self, size: int) -> float:
        return self._playout.format.ms(size) if self._playout is not None else 0.0

    def _done(self, done: m.PieceDone, at: Instant) -> None:
        self._piece_over(done.piece, at, error="voice" if done.failed else "")

    def _cancelled(self, _cancel: m.CancelReply, at: Instant) -> None:
        for number in list(self._pieces):
            self._piece_over(number, at, is_cut=True)

    def _piece_over(
        self, number: int, at: Instant, *, error: str = "", is_cut: bool = False
    ) -> None:
        piece = self._pieces.pop(number, None)
        if piece is None:
            return
        sound = self._account.speaking
        first = piece.first_at
        self._stage(
            "tts",
            sound.provider,
            sound.model,
            piece.asked_at,
            at,
            text_len=len(piece.text),
            ttfb_ms=None if first is None else (first - piece.asked_at) * _MS,
            bytes=piece.bytes,
            audio_ms=self._lasts_ms(piece.bytes),
            interrupted=is_cut,
            error=error,
        )

    # ---------------------------------------------------------------------------------- an engine

    def _engine(self) -> tuple[str, str]:
        engine = self._agent().engine
        model = str(getattr(engine, "model", "") or "")
        return name_of_provider(engine), self._engine_model or model

    def _reply_began(self, began: m.EngineReplyBegan, at: Instant) -> None:
        self._close_response(at)
        self._responses += 1
        lines = len(self._history.lines) if self._history is not None else 0
        self._response = _Response(began.response, at, self._responses, lines)

    def _engine_text(self, text: m.EngineText, at: Instant) -> None:
        response = self._response
        if response is not None:
            response.first_at = response.first_at if response.first_at is not None else at
        is_repeated = text.is_whole and response is not None and response.has_deltas
        if response is not None and not text.is_whole:
            response.has_deltas = True
        self._token(at)
        if text.text and not is_repeated:
            self._reports.emit("llm_chunk", {"text": text.text})

    def _engine_audio(self, audio: m.EngineAudio, at: Instant) -> None:
        response = self._response
        if response is not None:
            response.first_at = response.first_at if response.first_at is not None else at
        self._sound(len(audio.audio))

    def _reply_ended(self, ended: m.EngineReplyEnded, at: Instant) -> None:
        self._says_when_done = True
        if self._response is not None and self._response.number == ended.response:
            self._close_response(at, status=ended.status)

    def _close_response(self, at: Instant, *, status: str = "completed") -> None:
        response, self._response = self._response, None
        if response is None:
            return
        provider, model = self._engine()
        used = response.usages
        first = response.first_at
        self._stage(
            "llm",
            used[-1].provider if used else provider,
            used[-1].model if used else model,
            response.began_at,
            at,
            iteration=response.iteration,
            history_size=response.history_size,
            ttft_ms=None if first is None else (first - response.began_at) * _MS,
            input_tokens=sum(each.input_text_tokens + each.input_audio_tokens for each in used),
            output_tokens=sum(each.output_text_tokens + each.output_audio_tokens for each in used),
            cache_read_tokens=sum(
                each.cached_text_tokens + each.cached_audio_tokens for each in used
            ),
            cache_write_tokens=0,
            interrupted=status == "cancelled",
            error="response" if status == "failed" else "",
        )

    # ------------------------------------------------------------------------------------- telling

    def _stage(
        self,
        stage: str,
        provider: str,
        model: str,
        began: float,
        ended: float,
        **more: object,
    ) -> None:
        name = f"{stage}_metrics"
        if self._reports.wants(name):
            self._reports.emit(
                name,
                {
                    "stage": stage,
                    "provider": provider,
                    "model": model,
                    "turn_index": self._turn,
                    "started_at": began + self._wall_offset,
                    "ended_at": ended + self._wall_offset,
                    "duration_ms": (ended - began) * _MS,
                    **more,
                },
            )

    def _speech(self, name: str, at: float, turn: int, **more: object) -> None:
        self._reports.speech(name, (at + self._wall_offset) * _MS, turn, more)

"""What a session is told and what it asks for: the whole vocabulary between core and runtime.

Inputs are past tense, commands imperative. They are msgspec structs because every input crosses the boundary
of the call and is written into its flight recording (`runtime/recorder.py`) exactly as it is.
"""

# ruff: noqa: PLC0414 - the vocabulary is one, in whichever file a word is written
from __future__ import annotations

from typing import Literal

import msgspec

from getpatter.core.engine_events import EngineAudio as EngineAudio
from getpatter.core.engine_events import EngineCalledTool as EngineCalledTool
from getpatter.core.engine_events import EngineCorrected as EngineCorrected
from getpatter.core.engine_events import EngineGone as EngineGone
from getpatter.core.engine_events import EngineGuarded as EngineGuarded
from getpatter.core.engine_events import EngineHeardPause as EngineHeardPause
from getpatter.core.engine_events import EngineHeardVoice as EngineHeardVoice
from getpatter.core.engine_events import EngineInterrupted as EngineInterrupted
from getpatter.core.engine_events import EngineItemDone as EngineItemDone
from getpatter.core.engine_events import EngineLost as EngineLost
from getpatter.core.engine_events import EngineReady as EngineReady
from getpatter.core.engine_events import EngineRefused as EngineRefused
from getpatter.core.engine_events import EngineReplyBegan as EngineReplyBegan
from getpatter.core.engine_events import EngineReplyEnded as EngineReplyEnded
from getpatter.core.engine_events import EngineText as EngineText
from getpatter.core.engine_events import EngineTookTurn as EngineTookTurn
from getpatter.core.engine_events import EngineTranscribed as EngineTranscribed
from getpatter.core.engine_events import Screened as Screened
from getpatter.core.engine_events import ToolDone as ToolDone
from getpatter.core.incoming import Input as Input
from getpatter.core.manners import Manners
from getpatter.core.turn_record import TurnRecord as TurnRecord
from getpatter.types import AudioFormat

EndReason = Literal[
    "caller_hangup",
    "agent_hangup",
    "transferred",
    "time_limit",
    "idle",
    "voicemail",
    "provider_error",
    "carrier_error",
    "shutdown",
]


class Opened(Input, frozen=True, tag=True):
    """The call is configured; the conversation may begin."""

    first_message: str = ""
    variables: dict[str, str] = {}  # noqa: RUF012 - msgspec makes a new one each time
    manners: Manners | None = None
    """How the call is held after all, if that was changed since it began."""


class Voiced(Input, frozen=True, tag=True):
    """One frame of the built-in voice detector: how likely it holds speech, and how it sounds."""

    probability: float
    powers: tuple[float, ...] = ()
    """Of equal parts of the frame, 1 being full scale; empty: not known."""
    brightness: float = 1.0
    """Power of the first difference over that of the sound: see `core/barge_in.py`."""


class VoiceStarted(Input, frozen=True, tag=True):
    """A detector of the user's own reports speech, begun `ago_ms` before now."""

    ago_ms: float = 0.0


class VoiceStopped(Input, frozen=True, tag=True):
    """A detector of the user's own reports silence since `ago_ms` before now."""

    ago_ms: float = 0.0


class Transcribed(Input, frozen=True, tag=True):
    """The recogniser reports words; times are milliseconds of the stream, when it knows them."""

    text: str
    is_final: bool
    speech_final: bool = False
    confidence: float = 0.0
    start_ms: float | None = None
    end_ms: float | None = None


class KeyPressed(Input, frozen=True, tag=True):
    """The caller pressed a key."""

    digit: str


class MarkCame(Input, frozen=True, tag=True):
    """The carrier returned a mark."""

    name: str


class ReplyText(Input, frozen=True, tag=True):
    """The model, or the handler, wrote more of reply `reply`."""

    reply: int
    text: str


class ReplyPaused(Input, frozen=True, tag=True):
    """The model has turned to a tool: what is written of reply `reply` is to be said, without waiting for more."""

    reply: int


class ReplyWritten(Input, frozen=True, tag=True):
    """Reply `reply` has all its text."""

    reply: int


class ReplyFailed(Input, frozen=True, tag=True):
    """Reply `reply` cannot be written. The reason is for logs, not for the caller."""

    reply: int
    reason: str = ""


class PieceWorded(Input, frozen=True, tag=True):
    """After filters, piece `piece` will be said like this; empty: it will not be said."""

    piece: int
    text: str
    ends_reply: bool = False
    """A guardrail replaced it: the rest of the reply is dropped."""


class PieceVoiced(Input, frozen=True, tag=True):
    """Audio of piece `piece`, in the carrier's format."""

    piece: int
    audio: bytes


class PieceDone(Input, frozen=True, tag=True):
    """Piece `piece` has all its audio. `failed`: the voice could not say it."""

    piece: int
    failed: bool = False


class SayAsked(Input, frozen=True, tag=True):
    """The program wants this said now, unasked."""

    text: str


class ResultCame(Input, frozen=True, tag=True):
    """A tool has answered whose reply was cut: the agent shall speak of it when nobody else does."""


class KeysAsked(Input, frozen=True, tag=True):
    """The program presses keys: their tones, in the carrier's format."""

    audio: bytes


class TurnJudged(Input, frozen=True, tag=True):
    """A turn detector has answered `AskTurnEnd` number `number`."""

    number: int
    is_over: bool


class InterruptionConfirmed(Input, frozen=True, tag=True):
    """The caller's words over reply `reply` mean that it shall stop."""

    reply: int


class QuietAwaited(Input, frozen=True, tag=True):
    """Somebody waits until the words already on their way have been heard (10 s at most)."""

    ticket: int


class CloseAsked(Input, frozen=True, tag=True):
    """Our side wants the call to end, once the last words were heard."""

    reason: EndReason = "agent_hangup"


class MachineFound(Input, frozen=True, tag=True):
    """An answering machine has picked up: be silent and take no more turns."""


class StreamEnded(Input, frozen=True, tag=True):
    """The media stream is over."""

    reason: EndReason = "caller_hangup"


class CallOver(Input, frozen=True, tag=True):
    """The call itself is over, wherever the caller was."""

    reason: EndReason = "caller_hangup"


class HandOverAsked(Input, frozen=True, tag=True):
    """The carrier is asked to connect the caller to somebody else: the end of the stream is not that of the call."""


class HandOverRefused(Input, frozen=True, tag=True):
    """The carrier will not: everything is as it was."""


class HandedOver(Input, frozen=True, tag=True):
    """The carrier has taken the caller; the stream means nothing any more."""


class CameBack(Input, frozen=True, tag=True):
    """The caller is here again, on a new stream. `note`: what the model shall know of it."""

    note: str
    format: AudioFormat


class Ticked(Input, frozen=True, tag=True):
    """The session's deadline has come."""


AnyInput = (
    Opened
    | Voiced
    | VoiceStarted
    | VoiceStopped
    | Transcribed
    | KeyPressed
    | MarkCame
    | ReplyText
    | ReplyPaused
    | ReplyWritten
    | ReplyFailed
    | PieceWorded
    | PieceVoiced
    | PieceDone
    | SayAsked
    | ResultCame
    | KeysAsked
    | TurnJudged
    | InterruptionConfirmed
    | QuietAwaited
    | CloseAsked
    | MachineFound
    | StreamEnded
    | CallOver
    | HandOverAsked
    | HandOverRefused
    | HandedOver
    | CameBack
    | Ticked
    | EngineReady
    | EngineLost
    | EngineGone
    | EngineGuarded
    | EngineHeardVoice
    | EngineHeardPause
    | EngineTookTurn
    | EngineTranscribed
    | EngineReplyBegan
    | EngineText
    | EngineAudio
    | EngineItemDone
    | EngineCalledTool
    | EngineReplyEnded
    | EngineRefused
    | EngineInterrupted
    | EngineCorrected
    | ToolDone
    | Screened
)


class Command(msgspec.Struct, frozen=True):
    """Something the runtime must do. Doing it never makes the session wait."""


class SendAudio(Command, frozen=True):
    """Send audio to the carrier, in its format."""

    data: bytes


class SendMark(Command, frozen=True):
    """Set a mark after what was sent."""

    name: str


class SendClear(Command, frozen=True):
    """Drop what the carrier has not played."""


class AskFinal(Command, frozen=True):
    """Tell the recogniser that the voice has stopped: deliver the final words now."""


class AskTurnEnd(Command, frozen=True):
    """Have the turn detector judge the caller's last sound; `TurnJudged` brings its answer."""

    number: int


class StartReply(Command, frozen=True):
    """Have reply `reply` written, an answer to `text` (empty: the agent speaks unasked)."""

    reply: int
    text: str
    turn_index: int


class StartDraft(Command, frozen=True):
    """The caller has probably finished with `text`: begin to write, and let nobody hear or notice it."""

    text: str


class DropDraft(Command, frozen=True):
    """The draft is of no use."""


class CancelReply(Command, frozen=True):
    """Stop writing reply `reply` and stop speaking its pieces."""

    reply: int


class AskConfirmation(Command, frozen=True):
    """Find out whether the caller's words over reply `reply` mean to interrupt it; `InterruptionConfirmed` says so."""

    reply: int
    text: str
    is_interim: bool
    agent_speaking: bool
    """False while the agent holds its sound back."""


class Speak(Command, frozen=True):
    """Turn `text` into audio, after the pieces asked for before."""

    reply: int
    piece: int
    text: str
    is_checked: bool
    """Operator's own words: guardrails do not apply (CV-37)."""


class AskReply(Command, frozen=True):
    """Have the engine speak; `request` comes back with the response.

    `words`: say exactly this. `hint`: what it shall do. Neither: answer the conversation.
    """

    request: int
    words: str = ""
    hint: str = ""


class StopReply(Command, frozen=True):
    """Tell the engine to stop the response that is being made."""

    response: str


class CutItem(Command, frozen=True):
    """Of output item `item` the caller has heard this much: the engine shall forget the rest."""

    item: str
    heard_ms: int


class TellEngine(Command, frozen=True):
    """Add to the conversation what the caller did without speaking. Asks for no reply."""

    text: str


class RunTool(Command, frozen=True):
    """Run a tool beside everything else; `ToolDone` brings its answer."""

    call: str
    name: str
    arguments: str


class ReturnTool(Command, frozen=True):
    """Give the engine a tool's answer."""

    call: str
    name: str
    arguments: str
    output: str


class Screen(Command, frozen=True):
    """Judge `text`, the words of output item `item` so far; `is_whole`: there will be no more."""

    item: str
    text: str
    is_whole: bool


class ReportPartial(Command, frozen=True):
    """The caller's words so far, unconfirmed."""

    text: str


class ReportLine(Command, frozen=True):
    """One thing was said: the unit of transcripts."""

    role: Literal["user", "assistant"]
    text: str
    turn_index: int
    is_interrupted: bool = False


class ReportInterruption(Command, frozen=True):
    """The caller cut the agent short."""

    heard_text: str
    bargein_ms: float
    unsaid_letters: int = 0
    """Of what was written and not heard."""


class ReportTurnBegan(Command, frozen=True):
    """The agent owes words from now on: to what the caller said (`user_text`), or of its own accord."""

    index: int
    user_text: str = ""
    is_answer: bool = False
    """The caller has ended a turn. Of an engine's call the words may follow much later."""
    speech_began: float | None = None
    speech_ended: float | None = None
    final_at: float | None = None


class ReportSpeech(Command, frozen=True):
    """Somebody began or ended speaking (for speech events)."""

    who: Literal["user", "agent"]
    started: bool
    at: float
    """When, on the call's clock: a detector says so a little later."""
    duration_ms: float = 0.0
    was_interrupted: bool = False


class ReportTurn(Command, frozen=True):
    """A turn is complete; `record` has its anchors (`ledger.py`)."""

    record: TurnRecord


class SayQuiet(Command, frozen=True):
    """What was queued when `ticket` was given has been heard, or will not be."""

    ticket: int


class LeaveStream(Command, frozen=True):
    """Let go of the stream: the caller is elsewhere, and may come back on another."""


class HangUp(Command, frozen=True):
    """End the call at the carrier."""

    reason: EndReason


class Finish(Command, frozen=True):
    """Nothing more will come from this session."""

    reason: EndReason


AnyCommand = (
    SendAudio
    | SendMark
    | SendClear
    | AskFinal
    | AskTurnEnd
    | StartReply
    | StartDraft
    | DropDraft
    | CancelReply
    | AskConfirmation
    | Speak
    | AskReply
    | StopReply
    | CutItem
    | TellEngine
    | RunTool
    | ReturnTool
    | Screen
    | ReportPartial
    | ReportLine
    | ReportInterruption
    | ReportTurnBegan
    | ReportSpeech
    | ReportTurn
    | SayQuiet
    | LeaveStream
    | HangUp
    | Finish
)

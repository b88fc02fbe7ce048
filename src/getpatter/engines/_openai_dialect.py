"""OpenAI's Realtime API (GA) for one connection: our commands to its events, its events to ours.

Protocol: https://platform.openai.com/docs/api-reference/realtime-client-events and `docs/providers/openai-realtime.md`.
"""

from __future__ import annotations

import binascii
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, cast
from urllib.parse import urlencode

import msgspec

from getpatter.core import messages as m
from getpatter.engines._openai_events import VENDOR, Details, Event, Tokens, read
from getpatter.engines.base import Briefing, Complaint, Frame, Said, ToolSchema, Usage
from getpatter.errors import WireError
from getpatter.net.messages import Exchange
from getpatter.net.sockets import SocketRequest
from getpatter.types import ALAW_8K, MULAW_8K, PCM16_24K, AudioFormat

LIFETIME: Final = 55 * 60.0
"""A session may last 60 minutes; we change before."""
VERBATIM: Final = (
    "Say the following words to the caller, exactly as they are written, in the language they are written in, and "
    "nothing else. Do not answer them, add to them or leave anything out. The words:\n\n"
)
_HARMLESS: Final = frozenset(
    {
        "response_cancel_not_active",
        "conversation_already_has_active_response",
        "input_audio_buffer_commit_empty",
    }
)
_FATAL: Final = frozenset({"session_expired"})
_ASK: Final = "ask-"
_STATUSES: Final = frozenset({"completed", "cancelled", "failed", "incomplete"})
_FORMATS: Final[Mapping[AudioFormat, Mapping[str, object]]] = {
    MULAW_8K: {"type": "audio/pcmu"},
    ALAW_8K: {"type": "audio/pcma"},
    PCM16_24K: {"type": "audio/pcm", "rate": 24000},
}
_Status = Literal["completed", "cancelled", "failed", "incomplete"]


@dataclass(frozen=True, slots=True)
class Settings:
    """What a session is made of, whoever it comes from."""

    url: str
    """`https://…/v1`."""
    key: str
    model: str
    voice: str
    briefing: Briefing
    transcription_model: str
    transcription_language: str
    noise_reduction: str | None
    turn_detection: Mapping[str, object]
    prefix_ms: float
    silence_ms: float
    reasoning_effort: str | None = None

    @property
    def format(self) -> AudioFormat:
        """What both directions carry: the carrier's own format where the service has it."""
        stream = self.briefing.stream
        return stream if stream in _FORMATS else PCM16_24K

    def session(self) -> dict[str, object]:
        """The session object (`RealtimeSessionCreateRequestGA`)."""
        wire = _FORMATS[self.format]
        transcription: dict[str, object] = {"model": self.transcription_model}
        if self.transcription_language:
            transcription["language"] = self.transcription_language
        hearing: dict[str, object] = {
            "format": wire,
            "transcription": transcription,
            "turn_detection": self.turn_detection,
        }
        if self.noise_reduction:
            hearing["noise_reduction"] = {"type": self.noise_reduction}
        session: dict[str, object] = {
            "type": "realtime",
            "output_modalities": ["audio"],
            "instructions": self.briefing.instructions,
            "audio": {
                "input": hearing,
                "output": {"format": wire, "voice": self.voice},
            },
            "tools": [_tool(each) for each in self.briefing.tools],
            "tool_choice": "auto",
        }
        if self.reasoning_effort:
            session["reasoning"] = {"effort": self.reasoning_effort}
        return session


class RealtimeDialect:
    """One connection."""

    lifetime: float | None = LIFETIME

    def __init__(self, settings_for: Callable[[Briefing], Settings], briefing: Briefing) -> None:
        """Translate for a session briefed like this."""
        self._settings_for = settings_for
        self._settings = settings = settings_for(briefing)
        self.caller_format = self.agent_format = settings.format
        self._sent_ms = 0.0
        self._known_calls: set[str] = set()
        self._unconfirmed = 0

    # --------------------------------------------------------------------------------------- opening

    def address(self) -> Exchange[SocketRequest]:
        """The socket of the model."""
        settings = self._settings
        base = settings.url.rstrip("/").replace("http", "ws", 1)
        yield from ()  # there is nothing to ask
        return SocketRequest(
            url=f"{base}/realtime?{urlencode({'model': settings.model})}",
            headers={"Authorization": f"Bearer {settings.key}"},
            vendor=VENDOR,
        )

    def opened(self) -> Sequence[Frame]:
        """The whole session, before anything else."""
        return [self._update()]

    def brief(self, briefing: Briefing) -> Sequence[Frame] | None:
        """Change the session before its first audio. The model is part of the address."""
        fresh, old = self._settings_for(briefing), self._settings
        if (fresh.url, fresh.key, fresh.model) != (old.url, old.key, old.model):
            return None
        if fresh == old:
            return []
        self._settings = fresh
        self.caller_format = self.agent_format = fresh.format
        return [self._update()]

    def amend(self, briefing: Briefing) -> Sequence[Frame] | None:
        """Change the instructions and tools of the running session. A voice that was heard cannot be changed."""
        fresh, old = self._settings_for(briefing), self._settings
        if (fresh.url, fresh.key, fresh.model, fresh.voice) != (
            old.url,
            old.key,
            old.model,
            old.voice,
        ):
            return None
        self._settings = fresh
        made = fresh.session()
        changes = {name: made[name] for name in ("type", "instructions", "tools")}
        return [_frame("session.update", session=changes)]

    def _update(self) -> Frame:
        self._unconfirmed += 1
        return _frame("session.update", session=self._settings.session())

    def recall(self, lines: Sequence[tuple[str, str]]) -> Sequence[Frame]:
        """What was said before, as text."""
        return [_message(role, text) for role, text in lines]

    # ----------------------------------------------------------------------------------- our commands

    def audio(self, data: bytes) -> Frame:
        """The caller's sound."""
        self._sent_ms += self.caller_format.ms(len(data))
        text = binascii.b2a_base64(data, newline=False)
        return b'{"type":"input_audio_buffer.append","audio":"' + text + b'"}'

    def carry_out(self, command: m.AnyCommand) -> Sequence[Frame]:
        """The client events of a command."""
        match command:
            case m.AskReply():
                return [self._ask(command)]
            case m.StopReply(response=response):
                return [_frame("response.cancel", response_id=response)]
            case m.CutItem(item=item, heard_ms=ms):
                return [
                    _frame(
                        "conversation.item.truncate", item_id=item, content_index=0, audio_end_ms=ms
                    )
                ]
            case m.TellEngine(text=text):
                return [_message("user", text)]
            case m.ReturnTool():
                return self._return(command)
            case _:
                return []

    def _ask(self, ask: m.AskReply) -> Frame:
        response: dict[str, object] = {"metadata": {"request": str(ask.request)}}
        if ask.words:
            # Without the conversation as context there is nothing that it could answer instead.
            response |= {"instructions": VERBATIM + ask.words, "input": [], "tool_choice": "none"}
        elif ask.hint:
            response["instructions"] = f"{self._settings.briefing.instructions}\n\n{ask.hint}"
        return _frame("response.create", event_id=f"{_ASK}{ask.request}", response=response)

    def _return(self, result: m.ReturnTool) -> Sequence[Frame]:
        frames: list[Frame] = []
        if result.call not in self._known_calls:
            # It was called on a connection that was lost; an answer without its call is refused.
            self._known_calls.add(result.call)
            call = {
                "type": "function_call",
                "call_id": result.call,
                "name": result.name,
                "arguments": result.arguments,
            }
            frames.append(_frame("conversation.item.create", item=call))
        output = {
            "type": "function_call_output",
            "call_id": result.call,
            "output": result.output,
        }
        frames.append(_frame("conversation.item.create", item=output))
        return frames

    # ----------------------------------------------------------------------------------- their events

    def receive(self, frame: Frame) -> Sequence[Said]:  # noqa: PLR0911 - one for each event
        """What a server event means."""
        event = read(frame)
        match event.type:
            case "response.output_audio.delta":
                return [m.EngineAudio(event.response_id, event.item_id, _sound(event.delta))]
            case "response.output_audio_transcript.delta":
                return [m.EngineText(event.response_id, event.item_id, event.delta)]
            case "response.output_audio_transcript.done":
                text = event.transcript or ""
                return [m.EngineText(event.response_id, event.item_id, text, is_whole=True)]
            case "response.output_audio.done":
                return [m.EngineItemDone(event.response_id, event.item_id)]
            case "response.output_item.done":
                return self._item_done(event)
            case "response.created" | "response.done":
                return self._response(event)
            case "session.updated":
                return self._confirmed()
            case "error":
                return _error(event)
            case _:
                return self._caller(event)

    def _confirmed(self) -> Sequence[Said]:
        """Updates are confirmed in their order, those that open the session first."""
        if self._unconfirmed == 0:
            return []  # of an amendment
        self._unconfirmed -= 1
        return [] if self._unconfirmed else [m.EngineReady()]

    def _caller(self, event: Event) -> Sequence[Said]:
        match event.type:
            case "input_audio_buffer.speech_started":
                onset = event.audio_start_ms + self._settings.prefix_ms
                return [m.EngineHeardVoice(event.item_id, max(0.0, self._sent_ms - onset))]
            case "input_audio_buffer.speech_stopped":
                last = event.audio_end_ms - self._settings.silence_ms
                return [m.EngineHeardPause(event.item_id, max(0.0, self._sent_ms - last))]
            case "input_audio_buffer.committed":
                return [m.EngineTookTurn(event.item_id)]
            case "conversation.item.input_audio_transcription.delta":
                return [m.EngineTranscribed(event.item_id, event.delta, is_final=False)]
            case "conversation.item.input_audio_transcription.completed":
                said: list[Said] = [m.EngineTranscribed(event.item_id, event.transcript or "")]
                if event.usage is not None:
                    said.append(
                        _usage(event.usage, self._settings.transcription_model, of_response=False)
                    )
                return said
            case "conversation.item.input_audio_transcription.failed":
                return [m.EngineTranscribed(event.item_id, "")]
            case _:
                return []

    def _item_done(self, event: Event) -> Sequence[Said]:
        item = event.item
        if item is None or item.type != "function_call" or not item.call_id:
            return []
        self._known_calls.add(item.call_id)
        return [
            m.EngineCalledTool(
                event.response_id, item.call_id, item.name or "", item.arguments or ""
            )
        ]

    def _response(self, event: Event) -> Sequence[Said]:
        response = event.response
        if response is None or not response.id:
            raise WireError(f"{VENDOR}: {event.type} without a response", vendor=VENDOR)
        if event.type == "response.created":
            asked = (response.metadata or {}).get("request", "")
            return [m.EngineReplyBegan(response.id, int(asked) if asked.isdecimal() else 0)]
        status = response.status if response.status in _STATUSES else "completed"
        said: list[Said] = []
        if response.usage is not None:
            said.append(_usage(response.usage, self._settings.model))
        failure = response.status_details.error if response.status_details else None
        if failure is not None:
            said.append(Complaint(failure.code or failure.type or "failed", failure.message or ""))
        said.append(m.EngineReplyEnded(response.id, cast("_Status", status)))
        return said


def _error(event: Event) -> Sequence[Said]:
    error = event.error
    code = (error.code or error.type or "error") if error else "error"
    asked = (error.event_id or "") if error else ""
    said: list[Said] = []
    if code not in _HARMLESS:
        said.append(Complaint(code, (error.message or "") if error else "", ends=code in _FATAL))
    if asked.startswith(_ASK):
        said.append(m.EngineRefused(int(asked.removeprefix(_ASK))))
    return said


def _frame(kind: str, **fields: object) -> Frame:
    return msgspec.json.encode({"type": kind, **fields})


def _message(role: str, text: str) -> Frame:
    kind = "output_text" if role == "assistant" else "input_text"
    item = {"type": "message", "role": role, "content": [{"type": kind, "text": text}]}
    return _frame("conversation.item.create", item=item)


def _tool(tool: ToolSchema) -> dict[str, object]:
    return {
        "type": "function",
        "name": tool.name,
        "description": tool.description,
        "parameters": tool.parameters,
    }


def _sound(text: str) -> bytes:
    try:
        return binascii.a2b_base64(text)
    except (binascii.Error, ValueError) as error:
        raise WireError(f"{VENDOR} sent sound that is no base64: {error}", vendor=VENDOR) from error


def _usage(tokens: Tokens, model: str, *, of_response: bool = True) -> Usage:
    given = tokens.input_token_details or Details()
    cached = given.cached_tokens_details or Details()
    made = tokens.output_token_details
    cached_text = cached.text_tokens or 0
    cached_audio = cached.audio_tokens or 0
    text = given.text_tokens or 0
    if tokens.input_token_details is None:
        text = tokens.input_tokens or 0
    return Usage(
        VENDOR,
        model,
        input_text_tokens=max(0, text - cached_text),
        input_audio_tokens=max(0, (given.audio_tokens or 0) - cached_audio),
        cached_text_tokens=cached_text,
        cached_audio_tokens=cached_audio,
        output_text_tokens=(made.text_tokens or 0) if made else tokens.output_tokens or 0,
        output_audio_tokens=(made.audio_tokens or 0) if made else 0,
        seconds=tokens.seconds or 0.0,
        of_response=of_response,
    )

"""ElevenLabs Agents (ConvAI): an agent that lives at the vendor's, over one socket.

Protocol: https://elevenlabs.io/docs/agents-platform/api-reference/agents-platform/websocket. Prompt, voice and
tools belong to the agent as it was set up there; what a program gives is sent as overrides, which the agent's
security settings must allow. Formats are the agent's too, and announced when a conversation begins.
"""

from __future__ import annotations

import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import ClassVar, Final
from urllib.parse import quote

import msgspec

from getpatter import config
from getpatter.core import messages as m
from getpatter.core.engine_manners import EngineManners
from getpatter.engines.base import Answer, Briefing, Complaint, Frame, Said
from getpatter.errors import WireError
from getpatter.net.messages import Exchange, HttpRequest
from getpatter.net.refusals import refusal
from getpatter.net.sockets import SocketRequest
from getpatter.types import MULAW_8K, PCM16_16K, AudioFormat, Encoding, shown_url

VENDOR: Final = "elevenlabs"
BASE_URL: Final = "https://api.elevenlabs.io"
OK: Final = 200


@dataclass(frozen=True, slots=True)
class ElevenLabsConvAI:
    """An agent of ElevenLabs.

    Raises:
        ValueError: the key or the agent's id is missing here and in the environment.
    """

    kind: ClassVar[str] = "elevenlabs_convai"
    provider_key: ClassVar[str] = VENDOR

    api_key: str = field(default="", repr=False)
    """Else `ELEVENLABS_API_KEY`."""
    agent_id: str = ""
    """Else `ELEVENLABS_AGENT_ID`."""
    voice: str = ""
    """Id of a voice instead of the agent's own."""
    base_url: str = field(default="", kw_only=True)
    """Another server that speaks this protocol, such as one of the vendor's regional ones."""

    def __post_init__(self) -> None:
        owner = type(self).__name__
        key = config.credential("ELEVENLABS_API_KEY", self.api_key, owner=owner)
        agent = config.credential(
            "ELEVENLABS_AGENT_ID", self.agent_id, argument="agent_id", owner=owner
        )
        url = (self.base_url or BASE_URL).rstrip("/")
        if not url.startswith(("https://", "http://")):
            raise ValueError(f"base_url must begin with https://, got {shown_url(url)[:40]!r}")
        object.__setattr__(self, "api_key", key)
        object.__setattr__(self, "agent_id", agent)
        object.__setattr__(self, "base_url", url)

    def __reduce__(self) -> tuple[object, ...]:
        """Without the key: whoever unpickles it needs one in the environment."""
        kept = {each.name: getattr(self, each.name) for each in fields(self)}
        del kept["api_key"]
        return _made_again, (type(self), kept)

    def manners(self, briefing: Briefing) -> EngineManners:
        """It greets, answers and stops by itself, and does not say when a reply is complete."""
        return EngineManners(
            says_when_done=False,
            acknowledges=False,
            talks_beside_tools=False,
            greets_itself=True,
            announces_voices=False,
            is_guarded=briefing.is_guarded,
        )

    def dialect(self, briefing: Briefing) -> ConvAIDialect:
        """A translator for a new connection."""
        return ConvAIDialect(self, briefing)


ConvAI = ElevenLabsConvAI
"""Its name in this module."""


def _made_again(kind: type[ElevenLabsConvAI], options: Mapping[str, str]) -> ElevenLabsConvAI:
    return kind(**options)


# ------------------------------------------------------------------------------------------- the wire


class _Metadata(msgspec.Struct, frozen=True):
    agent_output_audio_format: str = "pcm_16000"
    user_input_audio_format: str = "pcm_16000"


class _Audio(msgspec.Struct, frozen=True):
    audio_base_64: str = ""
    event_id: int = 0


class _UserText(msgspec.Struct, frozen=True):
    user_transcript: str = ""


class _AgentText(msgspec.Struct, frozen=True):
    agent_response: str = ""


class _Correction(msgspec.Struct, frozen=True):
    corrected_agent_response: str = ""


class _Numbered(msgspec.Struct, frozen=True):
    event_id: int = 0


class _ToolCall(msgspec.Struct, frozen=True):
    tool_name: str = ""
    tool_call_id: str = ""
    parameters: msgspec.Raw = msgspec.Raw(b"{}")


class _Failure(msgspec.Struct, frozen=True):
    code: int | None = None
    message: str | None = None
    error_type: str | None = None


class _Event(msgspec.Struct, frozen=True):
    type: str
    conversation_initiation_metadata_event: _Metadata | None = None
    audio_event: _Audio | None = None
    user_transcription_event: _UserText | None = None
    agent_response_event: _AgentText | None = None
    agent_response_correction_event: _Correction | None = None
    interruption_event: _Numbered | None = None
    ping_event: _Numbered | None = None
    client_tool_call: _ToolCall | None = None
    error_event: _Failure | None = None


class _SignedUrl(msgspec.Struct, frozen=True):
    signed_url: str


_decode: Final = msgspec.json.Decoder(_Event).decode
_decode_url: Final = msgspec.json.Decoder(_SignedUrl).decode


class ConvAIDialect:
    """One connection.

    The service numbers events, not replies. So what it says from one turn of the caller to the next is taken as one
    response, and each text of the agent as an item of it.
    """

    lifetime: float | None = None

    def __init__(self, engine: ElevenLabsConvAI, briefing: Briefing) -> None:
        """Translate for a conversation with the engine's agent."""
        self._engine = engine
        self._briefing = briefing
        self.caller_format: AudioFormat = MULAW_8K
        self.agent_format: AudioFormat = MULAW_8K
        self._turns = 0
        self._responses = 0
        self._response = ""
        self._items = 0
        self._has_text = False
        self._interrupted_to = -1

    # --------------------------------------------------------------------------------------- opening

    def address(self) -> Exchange[SocketRequest]:
        """A signed address, for agents that are not public; it is used once and as it is."""
        engine = self._engine
        answer = yield HttpRequest(
            "GET",
            f"{engine.base_url}/v1/convai/conversation/get-signed-url"
            f"?agent_id={quote(engine.agent_id, safe='')}",
            {"xi-api-key": engine.api_key},
            is_repeatable=True,
        )
        if answer.status != OK:
            raise refusal(
                VENDOR,
                answer.status,
                answer.body.decode(errors="replace"),
                headers=answer.headers,
                secrets=(engine.api_key,),
            )
        try:
            url = _decode_url(answer.body).signed_url
        except msgspec.MsgspecError as error:
            raise WireError(f"{VENDOR} gave no signed address: {error}", vendor=VENDOR) from error
        return SocketRequest(url=url, vendor=VENDOR)

    def opened(self) -> Sequence[Frame]:
        """What this conversation has of its own."""
        briefing = self._briefing
        agent: dict[str, object] = {}
        if briefing.instructions:
            agent["prompt"] = {"prompt": briefing.instructions}
        if briefing.first_message or briefing.is_resumed:
            agent["first_message"] = briefing.first_message
        if briefing.language and briefing.language != "en":
            agent["language"] = briefing.language.partition("-")[0].lower()
        override: dict[str, object] = {}
        if agent:
            override["agent"] = agent
        voice = self._engine.voice or briefing.voice
        if voice:
            override["tts"] = {"voice_id": voice}
        begin: dict[str, object] = {"type": "conversation_initiation_client_data"}
        if override:
            begin["conversation_config_override"] = override
        if briefing.variables:
            begin["dynamic_variables"] = dict(briefing.variables)
        return [msgspec.json.encode(begin)]

    def brief(self, briefing: Briefing) -> Sequence[Frame] | None:
        """A conversation cannot be changed once it has begun."""
        return [] if briefing == self._briefing else None

    def recall(self, lines: Sequence[tuple[str, str]]) -> Sequence[Frame]:
        """What was said before, as context."""
        if not lines:
            return []
        names = {"user": "Caller", "assistant": "You"}
        said = "\n".join(f"{names.get(role, role)}: {text}" for role, text in lines)
        return [_update(f"The line broke and is back. Until then you had said:\n{said}")]

    # ----------------------------------------------------------------------------------- our commands

    def audio(self, data: bytes) -> Frame:
        """The caller's sound."""
        return b'{"user_audio_chunk":"' + binascii.b2a_base64(data, newline=False) + b'"}'

    def carry_out(self, command: m.AnyCommand) -> Sequence[Frame]:
        """What the service knows of our commands: it hears texts, and results of tools."""
        match command:
            case m.AskReply(words=words, hint=hint):
                if not words and not hint:
                    return []  # it answers by itself
                self._end()
                if words:
                    hint = f"Say exactly these words to the caller and nothing else: {words}"
                return [_user_message(f"[Instruction, not said by the caller] {hint}")]
            case m.TellEngine(text=text):
                self._end()
                return [_user_message(text)]
            case m.ReturnTool(call=call, output=output):
                result = {
                    "type": "client_tool_result",
                    "tool_call_id": call,
                    "result": output,
                    "is_error": output.startswith('{"error"'),
                }
                return [msgspec.json.encode(result)]
            case _:
                return []

    # ----------------------------------------------------------------------------------- their events

    def receive(self, frame: Frame) -> Sequence[Said]:  # noqa: C901, PLR0911 - one case for each event
        """What a frame means."""
        try:
            event = _decode(frame)
        except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
            raise WireError(
                f"{VENDOR} sent a message of no known form: {error}", vendor=VENDOR
            ) from error
        match event:
            case _Event(type="audio", audio_event=_Audio() as audio):
                return self._audio(audio)
            case _Event(type="agent_response", agent_response_event=_AgentText() as said):
                return self._text(said.agent_response)
            case _Event(type="user_transcript", user_transcription_event=_UserText() as heard):
                return self._heard(heard.user_transcript)
            case _Event(type="interruption", interruption_event=_Numbered(event_id=number)):
                self._interrupted_to = max(self._interrupted_to, number)
                self._end()
                return [m.EngineInterrupted()]
            case _Event(
                type="agent_response_correction", agent_response_correction_event=_Correction() as c
            ):
                return [m.EngineCorrected(c.corrected_agent_response)]
            case _Event(type="client_tool_call", client_tool_call=_ToolCall() as call):
                return self._tool(call)
            case _Event(type="ping", ping_event=_Numbered(event_id=number)):
                return [Answer(msgspec.json.encode({"type": "pong", "event_id": number}))]
            case _Event(
                type="conversation_initiation_metadata",
                conversation_initiation_metadata_event=_Metadata() as metadata,
            ):
                self.caller_format = _format(metadata.user_input_audio_format)
                self.agent_format = _format(metadata.agent_output_audio_format)
                return [m.EngineReady()]
            case _Event(type="error", error_event=_Failure() as failure):
                code = failure.error_type or str(failure.code or "error")
                return [Complaint(code, failure.message or "")]
            case _:
                return []

    def _audio(self, audio: _Audio) -> Sequence[Said]:
        if audio.event_id <= self._interrupted_to:
            return []
        try:
            sound = binascii.a2b_base64(audio.audio_base_64)
        except (binascii.Error, ValueError) as error:
            raise WireError(
                f"{VENDOR} sent sound that is no base64: {error}", vendor=VENDOR
            ) from error
        said = self._begun()
        return [*said, m.EngineAudio(self._response, self._item, sound)]

    def _text(self, text: str) -> Sequence[Said]:
        said = self._begun()
        if self._has_text:
            said.append(m.EngineItemDone(self._response, self._item))
            self._items += 1
        self._has_text = True
        said.append(m.EngineText(self._response, self._item, text.strip(), is_whole=True))
        return said

    def _heard(self, text: str) -> Sequence[Said]:
        self._end()
        self._turns += 1
        item = f"user-{self._turns}"
        return [m.EngineTookTurn(item), m.EngineTranscribed(item, text)]

    def _tool(self, call: _ToolCall) -> Sequence[Said]:
        arguments = bytes(call.parameters).decode()
        said = self._begun()
        said.append(
            m.EngineCalledTool(self._response, call.tool_call_id, call.tool_name, arguments)
        )
        return said

    @property
    def _item(self) -> str:
        return f"{self._response}.{self._items}"

    def _begun(self) -> list[Said]:
        if self._response:
            return []
        self._responses += 1
        self._response = f"agent-{self._responses}"
        self._items = 0
        self._has_text = False
        return [m.EngineReplyBegan(self._response)]

    def _end(self) -> None:
        """What comes next is another response."""
        self._response = ""


def _format(name: str) -> AudioFormat:
    """`ulaw_8000`, `pcm_16000` ..."""
    if name == "ulaw_8000":
        return MULAW_8K
    kind, _, rate = name.partition("_")
    if kind == "pcm" and rate.isdecimal() and rate.isascii():
        return AudioFormat(Encoding.PCM16, int(rate))
    if not name:
        return PCM16_16K
    raise WireError(f"{VENDOR} announced an unknown audio format: {name[:30]}", vendor=VENDOR)


def _user_message(text: str) -> Frame:
    return msgspec.json.encode({"type": "user_message", "text": text})


def _update(text: str) -> Frame:
    return msgspec.json.encode({"type": "contextual_update", "text": text})

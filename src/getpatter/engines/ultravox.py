"""Ultravox: a model that hears, at the vendor's, with a voice of the vendor's; one call of theirs for each of ours.

Protocol: https://docs.ultravox.ai/apps/websockets, https://docs.ultravox.ai/apps/datamessages and
https://docs.ultravox.ai/api-reference/calls/calls-post. Facts that these leave open were read from clients of others,
`ultravox-client` 0.1.0, `livekit-plugins-ultravox` 1.8.9 and `pipecat-ai` 1.14.0; `docs/providers/ultravox.md` says
which are not established.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import ClassVar, Final, Literal

import msgspec

from getpatter import config
from getpatter.core import messages as m
from getpatter.core.engine_manners import EngineManners
from getpatter.engines.base import Binary, Briefing, Frame, Said, ToolSchema, Usage
from getpatter.errors import WireError
from getpatter.net.messages import Exchange, HttpRequest
from getpatter.net.refusals import refusal
from getpatter.net.sockets import SocketRequest
from getpatter.types import AudioFormat, DefaultStr, Encoding, shown_url

VENDOR: Final = "ultravox"
BASE_URL: Final = "https://api.ultravox.ai"
MODEL: Final = "ultravox-v0.7"
OK: Final = range(200, 300)
LONGEST_S: Final = 3600
"""The longest that one of their calls may last."""
LIFETIME: Final = LONGEST_S - 60.0
CLIENT_BUFFER_MS: Final = 30_000
"""We keep sound that is not due, and drop it when told."""
TOOL_TIMEOUT: Final = "20s"
"""The conversation stands still meanwhile; unless told, the service gives up after a few seconds."""
INSTRUCTION: Final = "<instruction>{}</instruction>"
ANSWER: Final = "Answer the caller now."
PING: Final = b'{"type":"ping","timestamp":0.0}'
_ENGLISH: Final = "en"
"""What an agent speaks that was told nothing."""


@dataclass(frozen=True, slots=True)
class UltravoxRealtime:
    """A speech model of Ultravox.

    Raises:
        ValueError: there is no key here and none in `ULTRAVOX_API_KEY`.
    """

    kind: ClassVar[str] = "ultravox_realtime"
    provider_key: ClassVar[str] = VENDOR

    api_key: str = field(default="", repr=False)
    """Else `ULTRAVOX_API_KEY`."""
    model: str = DefaultStr(MODEL)
    voice: str = ""
    """Name or id of a voice; the agent's, else the vendor's own choice."""
    base_url: str = field(default="", kw_only=True)
    """Another server that speaks this protocol."""

    def __post_init__(self) -> None:
        key = config.credential("ULTRAVOX_API_KEY", self.api_key, owner=type(self).__name__)
        url = (self.base_url or BASE_URL).rstrip("/")
        if not url.startswith(("https://", "http://")):
            raise ValueError(f"base_url must begin with https://, got {shown_url(url)[:40]!r}")
        object.__setattr__(self, "api_key", key)
        object.__setattr__(self, "base_url", url)

    def __reduce__(self) -> tuple[object, ...]:
        """Without the key: whoever unpickles it needs one in the environment."""
        kept = {each.name: getattr(self, each.name) for each in fields(self)}
        del kept["api_key"]
        return _made_again, (type(self), kept)

    def manners(self, briefing: Briefing) -> EngineManners:
        """It answers and stops by itself, and says of the caller's voice only that it was interrupted."""
        return EngineManners(
            acknowledges=False,
            talks_beside_tools=False,
            announces_voices=False,
            is_guarded=briefing.is_guarded,
        )

    def dialect(self, briefing: Briefing) -> UltravoxDialect:
        """A translator for a new connection."""
        return UltravoxDialect(self, briefing)

    def model_for(self, briefing: Briefing) -> str:
        """Ours, unless only the agent names one."""
        is_default = isinstance(self.model, DefaultStr)
        return briefing.model if briefing.model and is_default else str(self.model)


Realtime = UltravoxRealtime
"""Its name in this module."""


def _made_again(kind: type[UltravoxRealtime], options: Mapping[str, object]) -> UltravoxRealtime:
    return kind(**options)  # type: ignore[arg-type]  # they come from an object of this kind


# ------------------------------------------------------------------------------------------- the wire


class _Joinable(msgspec.Struct, frozen=True, rename="camel"):
    join_url: str


class _Event(msgspec.Struct, frozen=True, rename="camel"):
    """Any data message: the fields that one of them has."""

    type: str
    state: str = ""
    role: str = ""
    medium: str = "voice"
    text: str | None = None
    delta: str | None = None
    final: bool = False
    ordinal: int = -1
    tool_name: str = ""
    invocation_id: str = ""
    parameters: msgspec.Raw = msgspec.Raw(b"{}")


_decode: Final = msgspec.json.Decoder(_Event).decode
_decode_call: Final = msgspec.json.Decoder(_Joinable).decode


class UltravoxDialect:
    """One connection, which is one call of the vendor's.

    It names no responses: what it says from one state to the next is one here. A tool ends a response, as the
    conversation stands still until its result is there; what follows is another.
    """

    lifetime: float | None = LIFETIME

    def __init__(
        self,
        engine: UltravoxRealtime,
        briefing: Briefing,
        lines: Sequence[tuple[str, str]] = (),
    ) -> None:
        """Translate for a conversation briefed like this; `lines`: `(role, text)` of what was said before."""
        self._engine = engine
        self._briefing = briefing
        self._lines = lines
        # They make and take PCM at any rate, so nothing need be resampled.
        self.caller_format: AudioFormat = AudioFormat(Encoding.PCM16, briefing.stream.sample_rate)
        self.agent_format: AudioFormat = self.caller_format
        self._is_ready = False
        self._sent_ms = 0.0
        # The response that is being made.
        self._responses = 0
        self._response = ""
        self._item = ""
        self._items = 0
        self._ordinal = -1
        self._past = -1
        """Texts of the agent's up to this one belong to responses that have ended."""
        self._told = ""
        self._has_sound = False
        self._stopped = ""
        self._is_void = False
        self._cuts_itself = False
        self._is_speaking = False
        # What was asked of it.
        self._asked = 0
        self._is_due = False
        self._goes_on = False
        self._calls: set[str] = set()
        # The caller.
        self._turns = 0
        self._is_taken = False
        """The turn that the next response answers is entered."""
        self._wordless = ""
        """A turn that was answered before its words were there."""

    # --------------------------------------------------------------------------------------- opening

    def address(self) -> Exchange[SocketRequest]:
        """Create the call; its address is used once and as it is."""
        engine = self._engine
        answer = yield HttpRequest(
            "POST",
            f"{engine.base_url}/api/calls",
            {"X-API-Key": engine.api_key, "Content-Type": "application/json"},
            msgspec.json.encode(self.call()),
        )
        if answer.status not in OK:
            raise refusal(
                VENDOR,
                answer.status,
                answer.body.decode(errors="replace"),
                headers=answer.headers,
                secrets=(engine.api_key,),
            )
        try:
            url = _decode_call(answer.body).join_url
        except msgspec.MsgspecError as error:
            raise WireError(f"{VENDOR} gave no address to join: {error}", vendor=VENDOR) from error
        return SocketRequest(url=url, vendor=VENDOR)

    def call(self) -> dict[str, object]:
        """The call as it is created."""
        briefing, engine = self._briefing, self._engine
        rate = self.caller_format.sample_rate
        hearing: dict[str, object] = {}
        if briefing.interrupts:
            hearing["minimumInterruptionDuration"] = _duration(briefing.interrupts_after_ms)
        detection = briefing.turn_detection
        if detection is not None and detection.type == "server_vad":
            hearing["turnEndpointDelay"] = _duration(detection.silence_duration_ms)
        call: dict[str, object] = {
            "systemPrompt": briefing.instructions,
            "model": engine.model_for(briefing),
            # It waits: the first words are asked for when somebody is there to hear them.
            "firstSpeakerSettings": {"user": {}},
            "medium": {
                "serverWebSocket": {
                    "inputSampleRate": rate,
                    "outputSampleRate": rate,
                    "clientBufferSizeMs": CLIENT_BUFFER_MS,
                }
            },
            "maxDuration": f"{LONGEST_S}s",
        }
        if hearing:
            call["vadSettings"] = hearing
        voice = engine.voice or briefing.voice
        if voice:
            call["voice"] = voice
        if briefing.language and briefing.language != _ENGLISH:
            call["languageHint"] = briefing.language
        if briefing.tools:
            call["selectedTools"] = [_tool(each) for each in briefing.tools]
        if self._lines:
            names = {"assistant": "MESSAGE_ROLE_AGENT"}
            call["initialMessages"] = [
                {"role": names.get(role, "MESSAGE_ROLE_USER"), "text": text}
                for role, text in self._lines
            ]
        return call

    def opened(self) -> Sequence[Frame]:
        """Everything was said when the call was created."""
        return []

    def brief(self, briefing: Briefing) -> Sequence[Frame] | None:
        """A call cannot be changed once it was created."""
        return [] if briefing == self._briefing else None

    def recall(self, lines: Sequence[tuple[str, str]]) -> Sequence[Frame]:
        """The call was created with what was said."""
        del lines
        return []

    def heir(self, briefing: Briefing, lines: Sequence[tuple[str, str]]) -> UltravoxDialect:
        """Another call, which begins with what was said."""
        return UltravoxDialect(self._engine, briefing, tuple(lines))

    # ----------------------------------------------------------------------------------- our commands

    def audio(self, data: bytes) -> Frame:
        """The caller's sound."""
        self._sent_ms += self.caller_format.ms(len(data))
        return Binary(data)

    def carry_out(self, command: m.AnyCommand) -> Sequence[Frame]:
        """The data messages of a command."""
        match command:
            case m.AskReply():
                return self._ask(command)
            case m.StopReply(response=response):
                # It hears the voice itself; and words that must be said instead interrupt it.
                # The answer to the ping tells it that the response is over here.
                self._stopped = response
                return [PING]
            case m.TellEngine(text=text):
                self._is_due = self._goes_on = True
                return [self._say(text, urgency="immediate")]
            case m.ReturnTool():
                return self._return(command)
            case _:
                return []  # it keeps its own account of what was heard

    def _ask(self, ask: m.AskReply) -> Sequence[Frame]:
        self._asked, self._is_due = ask.request, True
        if ask.words:
            self._cuts_itself = self._is_speaking
            self._is_taken = False  # they come before an answer to the caller
            message = {
                "type": "forced_agent_message",
                "content": ask.words,
                "uninterruptible": not self._briefing.interrupts,
                "urgency": "immediate",
            }
            return [msgspec.json.encode(message)]
        if self._goes_on:
            self._goes_on = False
            return []  # it speaks by itself after results and texts
        self._is_taken = False
        return [self._say(INSTRUCTION.format(ask.hint or ANSWER), urgency="soon")]

    def _say(self, text: str, *, urgency: str) -> Frame:
        if urgency == "immediate":
            self._cuts_itself = self._is_speaking
        message = {"type": "user_text_message", "text": text, "urgency": urgency}
        return msgspec.json.encode(message)

    def _return(self, result: m.ReturnTool) -> Sequence[Frame]:
        if result.call not in self._calls:
            # It was called on a connection that was lost.
            text = INSTRUCTION.format(f"What {result.name} has found: {result.output}")
            return [self._say(text, urgency="later")]
        self._calls.discard(result.call)
        self._is_due = self._goes_on = True
        message: dict[str, object] = {
            "type": "client_tool_result",
            "invocationId": result.call,
            "responseType": "tool-response",
            "agentReaction": "speaks",
        }
        if result.output.startswith('{"error"'):
            message |= {"errorType": "implementation-error", "errorMessage": result.output}
        else:
            message["result"] = result.output
        return [msgspec.json.encode(message)]

    # ----------------------------------------------------------------------------------- their events

    def receive(self, frame: Frame) -> Sequence[Said]:
        """What a message means: sound if it is bytes, else data."""
        said = self._stopped_now()
        if isinstance(frame, bytes):
            return said + self._sound(frame)
        try:
            event = _decode(frame)
        except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
            raise WireError(
                f"{VENDOR} sent a message of no known form: {error}", vendor=VENDOR
            ) from error
        if not self._is_ready:
            self._is_ready = True
            said.append(m.EngineReady())
        match event.type:
            case "state":
                said += self._state(event.state)
            case "transcript" if event.role == "agent":
                said += self._said_words(event)
            case "transcript" if event.medium == "voice" and event.final:
                said += self._heard_words(event.text or event.delta or "")
            case "client_tool_invocation":
                said += self._tool(event)
            case "playback_clear_buffer":
                said += self._cleared()
            case _:
                pass
        return said

    def _stopped_now(self) -> list[Said]:
        said: list[Said] = []
        if self._stopped and self._stopped == self._response:
            said = self._ended("cancelled")
            self._is_void = True
        self._stopped = ""
        return said

    def _state(self, state: str) -> list[Said]:
        said = self._time()
        if state == "speaking":
            self._is_speaking = True
            return said
        said += self._ended("completed")
        self._is_void = self._cuts_itself = self._is_speaking = False
        return said

    def _cleared(self) -> list[Said]:
        """What is on its way must not be heard: the caller has spoken, or we have."""
        said: list[Said] = [] if self._cuts_itself else [m.EngineInterrupted()]
        if not self._cuts_itself:
            self._asked, self._is_due, self._goes_on = 0, False, False
        said += self._ended("cancelled")
        self._is_void = self._cuts_itself = False
        return said

    def _sound(self, data: bytes) -> list[Said]:
        if self._is_void or (not self._response and not any(data)):
            return []
        said = self._begun()
        self._has_sound = True
        said.append(m.EngineAudio(self._response, self._item, data))
        return said

    def _said_words(self, event: _Event) -> list[Said]:
        if event.ordinal <= self._past:
            return []
        if self._is_void:
            if self._ordinal < 0:
                self._ordinal = event.ordinal  # it was stopped before its first word
            if event.ordinal == self._ordinal:
                return []
            self._is_void = False  # these are other words
        said = self._begun()
        if event.ordinal != self._ordinal:
            if self._ordinal >= 0 and self._told:
                said += self._next_item()
            self._ordinal, self._told = event.ordinal, ""
        text = self._told + event.delta if event.delta is not None else event.text or self._told
        new = text.removeprefix(self._told)
        is_other = not text.startswith(self._told)
        self._told = text
        if new or event.final:
            is_whole = event.final or is_other
            told = text if is_whole else new
            said.append(m.EngineText(self._response, self._item, told, is_whole=is_whole))
        return said

    def _tool(self, event: _Event) -> list[Said]:
        said = self._begun()
        self._calls.add(event.invocation_id)
        arguments = bytes(event.parameters).decode()
        said.append(
            m.EngineCalledTool(self._response, event.invocation_id, event.tool_name, arguments)
        )
        said += self._ended("completed")
        self._is_due = True  # until the result is there, more of the same may come
        return said

    # ------------------------------------------------------------------------------- turns, responses

    def _heard_words(self, text: str) -> list[Said]:
        if self._wordless:
            item, self._wordless = self._wordless, ""
            return [m.EngineTranscribed(item, text.strip())]
        return [*self._took_turn(), m.EngineTranscribed(self._turn, text.strip())]

    @property
    def _turn(self) -> str:
        return f"caller-{self._turns}"

    def _took_turn(self) -> list[Said]:
        self._turns += 1
        self._is_taken = True
        return [m.EngineTookTurn(self._turn)]

    def _begun(self) -> list[Said]:
        if self._response:
            return []
        said: list[Said] = []
        if not self._is_due and not self._is_taken:
            said += self._took_turn()
            self._wordless = self._turn
        self._responses += 1
        self._response = f"agent-{self._responses}"
        self._items, self._item = 0, f"{self._response}.0"
        self._has_sound = False
        self._ordinal, self._told = -1, ""
        request = 0 if self._is_taken else self._asked
        said.append(m.EngineReplyBegan(self._response, request))
        self._is_taken = self._is_due = self._goes_on = self._cuts_itself = False
        self._asked = 0
        return said

    def _next_item(self) -> list[Said]:
        done = m.EngineItemDone(self._response, self._item)
        self._items += 1
        self._item = f"{self._response}.{self._items}"
        return [done]

    def _ended(self, status: Literal["completed", "cancelled"]) -> list[Said]:
        if not self._response:
            return []
        said: list[Said] = []
        if self._has_sound:
            said.append(m.EngineItemDone(self._response, self._item))
        said.append(m.EngineReplyEnded(self._response, status))
        self._response = ""
        self._past = max(self._past, self._ordinal)
        return said

    def _time(self) -> list[Said]:
        """Billed is the time; the caller's sound is sent all of it."""
        sent, self._sent_ms = self._sent_ms, 0.0
        if sent <= 0:
            return []
        model = self._engine.model_for(self._briefing)
        return [Usage(VENDOR, model, seconds=sent / 1000, is_conversation=True)]


def _duration(ms: float) -> str:
    return f"{ms / 1000:.3f}s"


def _tool(tool: ToolSchema) -> dict[str, object]:
    properties = tool.parameters.get("properties")
    required = tool.parameters.get("required")
    named = properties if isinstance(properties, Mapping) else {}
    needed = required if isinstance(required, Sequence) else ()
    return {
        "temporaryTool": {
            "modelToolName": tool.name,
            "description": tool.description,
            "dynamicParameters": [
                {
                    "name": name,
                    "location": "PARAMETER_LOCATION_BODY",
                    "schema": schema,
                    "required": name in needed,
                }
                for name, schema in named.items()
            ],
            "timeout": TOOL_TIMEOUT,
            "client": {},
        }
    }

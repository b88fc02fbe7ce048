"""What programs are given: metrics, results, transcripts, conversation history. Plain data, no behaviour.

All are frozen. Those that are reported have `to_dict()` with values that JSON can write; callbacks, the
dashboard, files and exports are made from them, so there is one source of numbers.
"""

# What a program hands over is unknown until it has been checked, and here is where it is checked.
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnnecessaryIsInstance=false
from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, Literal, Self, TypeAlias

JsonObject: TypeAlias = dict[str, object]

MASKED: Final = "***"
"""What is shown instead of a secret."""


def _json_ready(value: object) -> object:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            each.name: _json_ready(getattr(value, each.name)) for each in dataclasses.fields(value)
        }
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return {str(key): _json_ready(each) for key, each in value.items()}
    if isinstance(value, tuple | list | set | frozenset):
        return [_json_ready(each) for each in value]
    return value


def _fields_of(value: object) -> JsonObject:
    ready = _json_ready(value)
    assert isinstance(ready, dict)
    return ready


# ------------------------------------------------------------------------------------------- metrics


@dataclass(frozen=True, slots=True)
class CostBreakdown:
    """What a call, or a turn, costs, in US dollars."""

    stt: float = 0.0
    tts: float = 0.0
    llm: float = 0.0
    telephony: float = 0.0
    total: float = 0.0
    """Always the sum of the four above, whatever was given."""
    llm_cached_savings: float = 0.0
    """What cached tokens saved; already taken off `llm`."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "total", self.stt + self.tts + self.llm + self.telephony)

    def to_dict(self) -> JsonObject:
        """All fields, ready for JSON."""
        return _fields_of(self)


@dataclass(frozen=True, slots=True)
class LatencyBreakdown:
    """Milliseconds of one turn. What was not observed keeps its default."""

    stt_ms: float = 0.0
    """End of the caller's speech to the final transcript."""
    llm_ms: float = 0.0
    """The same as `llm_ttft_ms`."""
    tts_ms: float = 0.0
    """First token to the first byte of speech."""
    total_ms: float = 0.0
    """End of the caller's speech to the first audio handed to the carrier."""
    llm_ttft_ms: float | None = None
    """Turn accepted to first token."""
    llm_total_ms: float | None = None
    """Turn accepted to last token."""
    endpoint_ms: float | None = None
    """End of the caller's speech to the turn being accepted."""
    bargein_ms: float | None = None
    """Onset of the caller's voice to the agent being silent; interrupted turns only."""
    tts_total_ms: float | None = None
    """First token to last byte of speech."""
    user_speech_duration_ms: float | None = None
    agent_response_ms: float | None = None
    """Turn accepted to first audio."""

    def to_dict(self) -> JsonObject:
        """All fields, ready for JSON."""
        return _fields_of(self)


@dataclass(frozen=True, slots=True)
class TurnMetrics:
    """One exchange: what the caller said, what the agent said, and how long it took."""

    turn_index: int
    """From 0, without gaps. The greeting is a turn with an empty `user_text`."""
    user_text: str = ""
    agent_text: str = ""
    latency: LatencyBreakdown = LatencyBreakdown()
    stt_audio_seconds: float = 0.0
    tts_characters: int = 0
    timestamp: float = 0.0
    """Unix time."""
    interrupted: bool = False
    waterfall: Mapping[str, float] = field(default_factory=dict, hash=False)
    """Where the time of the answer went, in milliseconds and in order; the parts add up to `latency.total_ms`.

    `endpoint_ms` until the turn was accepted, `llm_ms` until the first text, `tts_ms` until the first sound,
    `playout_ms` until it was handed to the carrier. An engine makes text and sound in one: `engine_ms`. Empty
    for turns in which nobody waited for an answer.
    """

    def to_dict(self) -> JsonObject:
        """All fields, ready for JSON."""
        return _fields_of(self)


@dataclass(frozen=True, slots=True)
class CallMetrics:
    """The numbers of one call."""

    call_id: str
    duration_seconds: float = 0.0
    turns: tuple[TurnMetrics, ...] = ()
    cost: CostBreakdown = CostBreakdown()
    latency_avg: LatencyBreakdown = LatencyBreakdown()
    latency_p50: LatencyBreakdown = LatencyBreakdown()
    latency_p90: LatencyBreakdown = LatencyBreakdown()
    latency_p95: LatencyBreakdown = LatencyBreakdown()
    latency_p99: LatencyBreakdown = LatencyBreakdown()
    provider_mode: str = ""
    stt_provider: str = ""
    tts_provider: str = ""
    llm_provider: str = ""
    telephony_provider: str = ""
    stt_model: str = ""
    """The model really used; so are the next two."""
    tts_model: str = ""
    llm_model: str = ""
    error_code: str = ""
    preemptive_hits: int = 0
    preemptive_misses: int = 0
    context_tokens: int = 0
    unpriced: tuple[str, ...] = ()
    """`provider/model` of what was used and has no price; it counts as 0."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "turns", tuple(self.turns))
        object.__setattr__(self, "unpriced", tuple(self.unpriced))

    def to_dict(self) -> JsonObject:
        """All fields, ready for JSON."""
        return _fields_of(self)


# ------------------------------------------------------------------------------------ calls and words

CallOutcome: TypeAlias = Literal["answered", "voicemail", "no_answer", "busy", "failed"]
Classification: TypeAlias = Literal["human", "machine", "fax", "unknown"]


@dataclass(frozen=True, slots=True)
class CallResult:
    """How an outbound call ended, from `call(..., wait=True)`."""

    call_id: str
    outcome: CallOutcome
    status: str = ""
    """The carrier's own word."""
    duration_seconds: float = 0.0
    transcript: tuple[JsonObject, ...] = field(default=(), hash=False)
    """`{"role", "text"}` in spoken order."""
    cost: CostBreakdown | None = None
    metrics: CallMetrics | None = None
    reason: str = ""
    """Why it ended, as `on_call_end` is told; `""` when nobody talked."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "transcript", tuple(dict(each) for each in self.transcript))

    def to_dict(self) -> JsonObject:
        """All fields, ready for JSON."""
        return _fields_of(self)


@dataclass(frozen=True, slots=True)
class MachineDetectionResult:
    """Who or what took an outbound call, by the carrier's judgement."""

    call_id: str
    carrier: str
    classification: Classification
    raw: str
    """The carrier's own word."""
    detected_at: float
    """Unix time."""

    def to_dict(self) -> JsonObject:
        """All fields, ready for JSON."""
        return _fields_of(self)


@dataclass(frozen=True, slots=True)
class CallEvent:
    """Which call something is about."""

    call_id: str
    caller: str = ""
    callee: str = ""
    direction: str = ""
    """`"inbound"` or `"outbound"`."""


@dataclass(frozen=True, slots=True)
class IncomingMessage:
    """What a caller said, as a whole turn."""

    text: str
    call_id: str
    caller: str


@dataclass(frozen=True, slots=True)
class HookContext:
    """Which call a pipeline hook works on. Built once per turn."""

    call_id: str = ""
    caller: str = ""
    callee: str = ""
    history: tuple[JsonObject, ...] = field(default=(), hash=False)
    """`{"role", "text", "timestamp"}` of everything said before."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "history", tuple(self.history))


@dataclass(frozen=True, slots=True)
class Word:
    """One recognised word; times are milliseconds since the stream began."""

    text: str
    start_ms: float | None = None
    end_ms: float | None = None
    confidence: float = 0.0


@dataclass(frozen=True, slots=True)
class Transcript:
    """What a recogniser heard."""

    text: str
    is_final: bool
    """It will not change any more."""
    confidence: float = 0.0
    speech_final: bool = False
    """The recogniser thinks that the caller has finished the turn."""
    words: tuple[Word, ...] = ()
    start_ms: float | None = None
    """Where in the stream the utterance began; `None` from recognisers that do not say."""
    end_ms: float | None = None
    language: str = ""
    """BCP-47, where the recogniser detects it."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "words", tuple(self.words))

    def to_dict(self) -> JsonObject:
        """All fields, ready for JSON."""
        return _fields_of(self)


# ------------------------------------------------------------------------------- providers by name


@dataclass(frozen=True, slots=True)
class STTConfig:
    """A recogniser by name, in place of a provider object."""

    provider: str
    api_key: str = field(default="", repr=False)
    language: str = "en"
    options: Mapping[str, object] | None = field(default=None, hash=False, repr=False)
    """Further keywords of the provider's class."""

    def __post_init__(self) -> None:
        _copy_options(self)

    def to_dict(self) -> JsonObject:
        """All fields, the key masked."""
        return _fields_of(self) | {"api_key": MASKED if self.api_key else ""}


@dataclass(frozen=True, slots=True)
class TTSConfig:
    """A voice by name, in place of a provider object."""

    provider: str
    api_key: str = field(default="", repr=False)
    voice: str = "alloy"
    options: Mapping[str, object] | None = field(default=None, hash=False, repr=False)
    """Further keywords of the provider's class."""

    def __post_init__(self) -> None:
        _copy_options(self)

    def to_dict(self) -> JsonObject:
        """All fields, the key masked."""
        return _fields_of(self) | {"api_key": MASKED if self.api_key else ""}


def _copy_options(config: STTConfig | TTSConfig) -> None:
    if config.options is not None:
        object.__setattr__(config, "options", dict(config.options))


# ---------------------------------------------------------------------------------------------- chat

ChatRole: TypeAlias = Literal["system", "user", "assistant", "tool"]
_ROLES: Final = ("system", "user", "assistant", "tool")


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A tool that the model asked for."""

    id: str
    name: str
    arguments: str = "{}"
    """A JSON object, as the model wrote it."""


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """One message of a conversation with a model."""

    role: ChatRole
    content: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    """What an assistant asked for."""
    tool_call_id: str = ""
    """Which call a `tool` message answers."""
    name: str = ""
    """Name of that tool."""

    def __post_init__(self) -> None:
        if self.role not in _ROLES:
            raise ValueError(f"ChatMessage role {self.role!r} is none of {_ROLES}")
        if not isinstance(self.content, str):
            raise TypeError(f"ChatMessage content must be a str, not {type(self.content).__name__}")
        object.__setattr__(self, "tool_calls", tuple(self.tool_calls))

    def to_dict(self) -> JsonObject:
        """The fields that say something, ready for JSON."""
        whole = _fields_of(self)
        return {key: value for key, value in whole.items() if value or key in {"role", "content"}}


class ChatContext:
    """A conversation with a model, oldest message first."""

    __slots__ = ("_messages",)

    def __init__(self, messages: Iterable[ChatMessage] = ()) -> None:
        self._messages: list[ChatMessage] = list(messages)

    def __len__(self) -> int:
        return len(self._messages)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ChatContext) and self._messages == other.get_messages()

    __hash__ = None  # type: ignore[assignment] # it changes

    def add_system(self, content: str) -> ChatMessage:
        """Add an instruction."""
        return self._add(ChatMessage("system", content))

    def add_user(self, content: str) -> ChatMessage:
        """Add what the caller said."""
        return self._add(ChatMessage("user", content))

    def add_assistant(self, content: str, tool_calls: Iterable[ToolCall] = ()) -> ChatMessage:
        """Add what the agent said and the tools that it asked for."""
        return self._add(ChatMessage("assistant", content, tuple(tool_calls)))

    def add_tool_result(self, tool_call_id: str, content: str, name: str = "") -> ChatMessage:
        """Add what the tool call `tool_call_id` gave."""
        return self._add(ChatMessage("tool", content, tool_call_id=tool_call_id, name=name))

    def get_messages(self) -> list[ChatMessage]:
        """All messages, in a list of its own."""
        return list(self._messages)

    def get_last_n(self, n: int) -> list[ChatMessage]:
        """The last `n` messages, fewer if there are fewer."""
        return self._messages[-n:] if n > 0 else []

    def truncate(self, max_messages: int) -> None:
        """Drop the oldest until at most `max_messages` are left.

        Instructions stay, and count. An answer of a tool never stays without the call that it answers.
        """
        system = [each for each in self._messages if each.role == "system"]
        others = [each for each in self._messages if each.role != "system"]
        room = max(0, max_messages - len(system))
        kept = others[len(others) - room :] if room < len(others) else others
        while kept and kept[0].role == "tool":
            kept = kept[1:]
        stays = {id(each) for each in (*system, *kept)}
        self._messages = [each for each in self._messages if id(each) in stays]

    def copy(self) -> ChatContext:
        """A conversation of its own with the same messages."""
        return ChatContext(self._messages)

    def to_openai(self) -> list[JsonObject]:
        """As the `messages` of a chat completion request."""
        return [_as_completion_message(each) for each in self._messages]

    def to_anthropic(self) -> tuple[str, list[JsonObject]]:
        """As the `system` and the `messages` of a messages request, in which roles alternate."""
        system = "\n\n".join(each.content for each in self._messages if each.role == "system")
        turns: list[JsonObject] = []
        for message in self._messages:
            if message.role == "system":
                continue
            role = "assistant" if message.role == "assistant" else "user"
            blocks = _as_blocks(message)
            if turns and turns[-1]["role"] == role:
                earlier = turns[-1]["content"]
                assert isinstance(earlier, list)
                earlier.extend(blocks)
            elif blocks:
                turns.append({"role": role, "content": blocks})
        return system, [_with_plain_text(turn) for turn in turns]

    def to_json(self) -> str:
        """Everything, as a text that `from_json` reads."""
        return json.dumps([each.to_dict() for each in self._messages], ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The conversation that `to_json` wrote.

        Raises:
            ValueError: `text` is something else.
        """
        data = json.loads(text)
        if not isinstance(data, list):
            raise ValueError(  # noqa: TRY004 - what the text holds is wrong
                f"a conversation must be a JSON array, not a {type(data).__name__}"
            )
        return cls(_message_from(each) for each in data)

    def _add(self, message: ChatMessage) -> ChatMessage:
        self._messages.append(message)
        return message


def _as_completion_message(message: ChatMessage) -> JsonObject:
    out: JsonObject = {"role": message.role, "content": message.content}
    if message.tool_calls:
        out["content"] = message.content or None
        out["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for call in message.tool_calls
        ]
    if message.role == "tool":
        out["tool_call_id"] = message.tool_call_id
    return out


def _as_blocks(message: ChatMessage) -> list[JsonObject]:
    if message.role == "tool":
        answer: JsonObject = {"type": "tool_result", "tool_use_id": message.tool_call_id}
        return [answer | {"content": message.content}]
    blocks: list[JsonObject] = []
    if message.content:
        blocks.append({"type": "text", "text": message.content})
    blocks.extend(
        {"type": "tool_use", "id": call.id, "name": call.name, "input": _object(call.arguments)}
        for call in message.tool_calls
    )
    return blocks


def _with_plain_text(turn: JsonObject) -> JsonObject:
    """A turn that is one text says so without a list of blocks."""
    match turn["content"]:
        case [{"type": "text", "text": str(text)}]:
            return turn | {"content": text}
        case _:
            return turn


def _object(text: str) -> JsonObject:
    """The JSON object in `text`, or an empty one: a model may have been cut off while writing it."""
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _message_from(data: object) -> ChatMessage:
    match data:
        case {"role": str(role), "content": str(content), **rest}:
            calls = rest.get("tool_calls", [])
            tool_call_id, name = rest.get("tool_call_id", ""), rest.get("name", "")
        case _:
            raise ValueError("a message must be a JSON object with 'role' and 'content'")
    if (
        not isinstance(calls, Sequence)
        or not isinstance(tool_call_id, str)
        or not isinstance(name, str)
    ):
        raise ValueError("a message has a wrong 'tool_calls', 'tool_call_id' or 'name'")  # noqa: TRY004
    made = tuple(_call_from(each) for each in calls)
    return ChatMessage(role, content, made, tool_call_id, name)  # type: ignore[arg-type] # checked there


def _call_from(data: object) -> ToolCall:
    match data:
        case {"id": str(call_id), "name": str(name), "arguments": str(arguments)}:
            return ToolCall(call_id, name, arguments)
        case _:
            raise ValueError("a tool call must be a JSON object with 'id', 'name' and 'arguments'")

"""The grouped settings of an agent: hooks, skills, and what tunes single stages of a call."""

# What a program hands over is unknown until it has been checked, and here is where it is checked.
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnnecessaryIsInstance=false
from __future__ import annotations

import re
import shlex
import warnings
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Final, Literal, Protocol, TypeAlias
from urllib.parse import urlsplit

from getpatter.errors import PatterDeprecationWarning
from getpatter.tools import TOOL_NAME, Reassurance, Tool, tool_from
from getpatter.types import is_e164

Hook: TypeAlias = Callable[..., object]
AfterLLM: TypeAlias = Mapping[str, Hook] | object
AfterLLMStage: TypeAlias = Literal["on_chunk", "on_sentence", "on_response"]

_AFTER_LLM_STAGES: Final = ("on_chunk", "on_sentence", "on_response")


class AudioFilter(Protocol):
    """Cleans the caller's audio. One object serves all calls; `clone()`, where it has one, gives each its own."""

    def process(self, pcm: bytes, sample_rate: int) -> Awaitable[bytes]:
        """The same stretch of PCM16, cleaned."""
        ...


# --------------------------------------------------------------------------------------------- hooks


@dataclass(frozen=True, slots=True, init=False)
class PipelineHooks:
    """Functions between the stages of a pipeline, sync or async; an exception lets the value pass unchanged.

    Each may also be given by its second name: `before_stt`, `after_stt`, `before_tts`, `after_tts`.

    Raises:
        TypeError: A hook is not a function, or is given by both of its names.
        ValueError: `after_llm` is a dict with an unknown key.
    """

    before_send_to_stt: Hook | None
    """`(pcm, ctx)`: the caller's audio; `None` drops it."""
    after_transcribe: Hook | None
    """`(text, ctx)`: a final transcript; `None` or an empty text drops the turn."""
    before_llm: Hook | None
    """`(messages, ctx)`: `None` keeps them."""
    after_llm: AfterLLM | None
    """A dict or object with any of `on_chunk(chunk)`, `on_sentence(sentence, ctx)`, `on_response(text, ctx)`."""
    before_synthesize: Hook | None
    """`(text, ctx)`: `None` skips the sentence."""
    after_synthesize: Hook | None
    """`(pcm, text, ctx)`: `None` drops the chunk."""

    def __init__(  # noqa: PLR0913 - six hooks, four of which have two names
        self,
        before_send_to_stt: Hook | None = None,
        after_transcribe: Hook | None = None,
        before_llm: Hook | None = None,
        after_llm: AfterLLM | None = None,
        before_synthesize: Hook | None = None,
        after_synthesize: Hook | None = None,
        *,
        before_stt: Hook | None = None,
        after_stt: Hook | None = None,
        before_tts: Hook | None = None,
        after_tts: Hook | None = None,
    ) -> None:
        chosen = {
            "before_send_to_stt": _one(
                "before_send_to_stt", before_send_to_stt, "before_stt", before_stt
            ),
            "after_transcribe": _one("after_transcribe", after_transcribe, "after_stt", after_stt),
            "before_llm": before_llm,
            "before_synthesize": _one(
                "before_synthesize", before_synthesize, "before_tts", before_tts
            ),
            "after_synthesize": _one("after_synthesize", after_synthesize, "after_tts", after_tts),
        }
        for name, hook in chosen.items():
            if hook is not None and not callable(hook):
                raise TypeError(
                    f"PipelineHooks: {name} must be a function, not {type(hook).__name__}"
                )
            object.__setattr__(self, name, hook)
        object.__setattr__(self, "after_llm", _checked_after_llm(after_llm))

    @property
    def before_stt(self) -> Hook | None:
        """Other name of `before_send_to_stt`."""
        return self.before_send_to_stt

    @property
    def after_stt(self) -> Hook | None:
        """Other name of `after_transcribe`."""
        return self.after_transcribe

    @property
    def before_tts(self) -> Hook | None:
        """Other name of `before_synthesize`."""
        return self.before_synthesize

    @property
    def after_tts(self) -> Hook | None:
        """Other name of `after_synthesize`."""
        return self.after_synthesize

    def after_llm_stage(self, stage: AfterLLMStage) -> Hook | None:
        """The function of `after_llm` for a stage, in whichever form it was given."""
        if isinstance(self.after_llm, Mapping):
            found: object = self.after_llm.get(stage)
        else:
            found = getattr(self.after_llm, stage, None)
        return found if callable(found) else None


def _one(name: str, hook: Hook | None, other_name: str, other: Hook | None) -> Hook | None:
    if hook is not None and other is not None:
        raise TypeError(
            f"PipelineHooks: {name} and {other_name} are the same hook; give one of them"
        )
    return hook if hook is not None else other


def _checked_after_llm(value: AfterLLM | None) -> AfterLLM | None:
    if value is None:
        return None
    if isinstance(value, Mapping):
        if unknown := sorted(map(str, set(value) - set(_AFTER_LLM_STAGES))):
            raise ValueError(f"PipelineHooks: after_llm knows {_AFTER_LLM_STAGES}, not {unknown}")
        for stage, hook in value.items():
            if hook is not None and not callable(hook):
                raise TypeError(
                    f"PipelineHooks: after_llm[{stage!r}] must be a function, not {type(hook).__name__}"
                )
        return dict(value)
    if any(callable(getattr(value, stage, None)) for stage in _AFTER_LLM_STAGES):
        return value
    if callable(value):
        warnings.warn(
            "PipelineHooks(after_llm=function) is the older spelling of "
            "PipelineHooks(after_llm={'on_response': function})",
            PatterDeprecationWarning,
            stacklevel=3,
        )
        return {"on_response": value}
    raise TypeError(
        f"PipelineHooks: after_llm must have one of {_AFTER_LLM_STAGES}; a {type(value).__name__} has none"
    )


# ------------------------------------------------------------------------------------ skills, consult


@dataclass(frozen=True, slots=True)
class Skill:
    """Instructions and tools that the model takes up when it needs them, with the tool `use_skill`."""

    name: str
    description: str
    """Tells the model when to use it."""
    instructions: str
    """Added to the prompt when it is used."""
    tools: Sequence[Tool] = ()

    def __post_init__(self) -> None:
        for each in ("name", "description", "instructions"):
            if not isinstance(getattr(self, each), str):
                raise TypeError(f"Skill {self.name!r}: {each} must be a text")
        if not TOOL_NAME.fullmatch(self.name):
            raise ValueError(
                f"Skill name {self.name!r} is not valid: use letters, digits, '_' or '-'"
            )
        if isinstance(self.tools, str | Mapping) or not isinstance(self.tools, Iterable):
            raise TypeError(
                f"Skill {self.name!r}: tools must be a list, not {type(self.tools).__name__}"
            )
        object.__setattr__(self, "tools", tuple(map(tool_from, self.tools)))


@dataclass(frozen=True, slots=True)
class ConsultConfig:
    """Another agent that the model may ask, reached by exactly one of `url` and `openai_compatible`."""

    url: str | None = None
    openai_compatible: Mapping[str, object] | None = field(default=None, hash=False, repr=False)
    """`{"base_url", "model", "api_key"}` of a chat completions service."""
    headers: Mapping[str, str] | None = field(default=None, hash=False, repr=False)
    timeout_s: float = 30.0
    tool_name: str = "consult_agent"
    description: str = "Ask a specialist for help with what you cannot answer yourself."
    reassurance: Reassurance | None = field(default=None, hash=False)
    allow_loopback: bool = False
    """Let it be on this machine or in its network, for development."""

    def __post_init__(self) -> None:
        if (self.url is None) == (self.openai_compatible is None):
            raise ValueError("ConsultConfig needs exactly one of url and openai_compatible")
        service = self.openai_compatible
        if service is not None and not {"base_url", "model"} <= set(service):
            raise ValueError("ConsultConfig: openai_compatible needs 'base_url' and 'model'")
        parts = urlsplit(self.target)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError("ConsultConfig: url must look like https://example.com/consult")
        if not TOOL_NAME.fullmatch(self.tool_name):
            raise ValueError(f"ConsultConfig: tool_name {self.tool_name!r} is no tool name")
        _in_range("ConsultConfig", "timeout_s", self.timeout_s, 0.1, 300)
        for name in ("openai_compatible", "headers"):
            value = getattr(self, name)
            object.__setattr__(self, name, None if value is None else dict(value))

    @property
    def target(self) -> str:
        """The address that is asked."""
        if self.openai_compatible is None:
            return self.url or ""
        return f"{str(self.openai_compatible['base_url']).rstrip('/')}/chat/completions"


@dataclass(frozen=True, slots=True)
class MCPServerConfig:
    """A server that lends its tools to the calls of an agent, by exactly one of `command` and `url`.

    Needs the extra `mcp`. Each call has a connection of its own, from before its first turn to its end.
    """

    command: str = ""
    """A program that speaks over its standard input and output."""
    args: Sequence[str] = ()
    env: Mapping[str, str] | None = field(default=None, hash=False, repr=False)
    """Added to the few variables that the program gets anyway, such as `PATH`."""
    cwd: str | None = None
    url: str = field(default="", repr=False)
    """`http(s)` address of a server that speaks streamable HTTP. It may be in the private network."""
    headers: Mapping[str, str] | None = field(default=None, hash=False, repr=False)
    """Sent with each request to `url`."""
    name: str = ""
    """Prefix of its tools' names where they are taken; empty: the name by which it introduces itself."""
    timeout_s: float = 30.0
    """Of each tool."""

    def __post_init__(self) -> None:
        if bool(self.command) == bool(self.url):
            raise ValueError("MCPServerConfig needs exactly one of command and url")
        if self.url:
            parts = urlsplit(self.url)
            if parts.scheme not in {"http", "https"} or not parts.hostname:
                raise ValueError("MCPServerConfig: url must look like https://example.com/mcp")
        if self.name and not TOOL_NAME.fullmatch(self.name):
            raise ValueError(f"MCPServerConfig: name {self.name!r} is no prefix of tool names")
        if isinstance(self.args, str) or not all(isinstance(each, str) for each in self.args):
            raise TypeError("MCPServerConfig: args must be a list of texts")
        _in_range("MCPServerConfig", "timeout_s", self.timeout_s, 0.1, 300)
        object.__setattr__(self, "args", tuple(self.args))
        for name in ("env", "headers"):
            value = getattr(self, name)
            object.__setattr__(self, name, None if value is None else dict(value))


def mcp_server_from(value: object) -> MCPServerConfig:
    """The server that an entry of `mcp_servers` means: a URL, a command line, a list of words, or a dict.

    Raises:
        TypeError: it is none of these.
        ValueError: it is incomplete, or has an unknown key.
    """
    if isinstance(value, MCPServerConfig):
        return value
    if isinstance(value, str) and "://" in value:
        return MCPServerConfig(url=value)
    words = shlex.split(value) if isinstance(value, str) else value
    if isinstance(words, list | tuple) and words and all(isinstance(each, str) for each in words):
        return MCPServerConfig(command=words[0], args=words[1:])
    if not isinstance(value, Mapping):
        raise TypeError(
            "mcp_servers must be URLs, command lines, dicts or MCPServerConfig objects, "
            f"not {type(value).__name__}"
        )
    known = {each.name for each in fields(MCPServerConfig)}
    if unknown := sorted(set(map(str, value)) - known):
        raise ValueError(f"mcp_servers: unknown keys {unknown}; known are {sorted(known)}")
    given: dict[str, Any] = dict(value)  # checked by its own constructor
    return MCPServerConfig(**given)


# -------------------------------------------------------------------------------------- single stages


@dataclass(frozen=True, slots=True)
class AgcConfig:
    """Automatic gain of the caller's audio."""

    target_dbfs: float = -20.0
    """Level of speech that is aimed at, relative to full scale."""
    max_gain_db: float = 18.0
    """Never amplify by more, so that line noise stays noise."""
    attack_ms: float = 10.0
    """How fast the gain falls when the caller gets louder."""
    release_ms: float = 300.0
    """How fast it rises again."""

    def __post_init__(self) -> None:
        _in_range("AgcConfig", "target_dbfs", self.target_dbfs, -60, 0)
        _in_range("AgcConfig", "max_gain_db", self.max_gain_db, 0, 60)
        _in_range("AgcConfig", "attack_ms", self.attack_ms, 0.1, 10_000)
        _in_range("AgcConfig", "release_ms", self.release_ms, 0.1, 10_000)


@dataclass(frozen=True, slots=True)
class CompactionConfig:
    """When a long conversation is summarised for the model, and how much of it stays word for word."""

    trigger_tokens: int = 6000
    """Summarise when the conversation is estimated to be longer."""
    keep_last_messages: int = 12
    """The newest messages stay as they are."""
    instructions: str = "Summarise the conversation so far: facts, decisions, open questions."

    def __post_init__(self) -> None:
        _in_range("CompactionConfig", "trigger_tokens", self.trigger_tokens, 1, 10_000_000)
        _in_range("CompactionConfig", "keep_last_messages", self.keep_last_messages, 0, 100_000)


@dataclass(frozen=True, slots=True)
class RealtimeTurnDetection:
    """How a speech-to-speech engine decides that the caller has finished."""

    type: Literal["server_vad", "semantic_vad"] = "server_vad"
    threshold: float = 0.5
    """`server_vad`: loudness of speech, 0 to 1."""
    prefix_padding_ms: int = 300
    """`server_vad`: audio kept from before the speech."""
    silence_duration_ms: int = 300
    """`server_vad`: silence that ends a turn."""
    eagerness: Literal["low", "medium", "high", "auto"] | None = None
    """`semantic_vad`: how soon it answers."""

    def __post_init__(self) -> None:
        if self.type not in {"server_vad", "semantic_vad"}:
            raise ValueError(f"RealtimeTurnDetection: type {self.type!r} is no detector")
        if self.eagerness not in {None, "low", "medium", "high", "auto"}:
            raise ValueError(f"RealtimeTurnDetection: eagerness {self.eagerness!r} is not known")
        _in_range("RealtimeTurnDetection", "threshold", self.threshold, 0, 1)
        _in_range("RealtimeTurnDetection", "prefix_padding_ms", self.prefix_padding_ms, 0, 10_000)
        _in_range(
            "RealtimeTurnDetection", "silence_duration_ms", self.silence_duration_ms, 0, 10_000
        )


@dataclass(frozen=True, slots=True)
class SessionContext:
    """Which call a model is asked for; what `session_key_factory` of a provider is given."""

    call_id: str = ""
    caller: str = ""
    callee: str = ""
    direction: str = ""


def _in_range(owner: str, name: str, value: object, low: float, high: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{owner}: {name} must be a number, not {type(value).__name__}")
    if not low <= value <= high:
        raise ValueError(f"{owner}: {name} is {value}; it must be {low:g} to {high:g}")


# ----------------------------------------------------------------------------------------- transfers

_PREFIX: Final = re.compile(r"\+\d{0,15}\*?", re.ASCII)
_SIP: Final = re.compile(r"sips?:[^\s*]*[^\s*@:](?:\*)?|sips?:\*", re.IGNORECASE)


def check_transfer_entry(entry: object) -> None:
    """Raise `ValueError` unless `entry` is a number, a `+` prefix or a `sip:` address or prefix."""
    if isinstance(entry, str) and (_PREFIX.fullmatch(entry) or _SIP.fullmatch(entry)):
        return
    shown = "***" if isinstance(entry, str) else type(entry).__name__
    raise ValueError(
        f"transfer_allow has an entry {shown} that is no destination: write '+15550001234', a prefix such "
        "as '+1555*', or 'sip:desk@example.com'"
    )


def is_exact_entry(entry: str) -> bool:
    """Whether an entry of `transfer_allow` stands for one destination only."""
    return not entry.endswith("*") and (is_e164(entry) or entry.lower().startswith("sip"))


def allows_transfer(allow: Iterable[str] | None, destination: str) -> bool:
    """Whether a list lets a call go to `destination`. Without a list every destination is let through."""
    if allow is None:
        return True
    wanted = destination.lower()
    return any(
        wanted == entry.lower()
        if is_exact_entry(entry)
        else wanted.startswith(entry.lower().rstrip("*"))
        for entry in allow
    )

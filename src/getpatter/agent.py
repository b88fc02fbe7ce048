"""What a person declares about an agent, and the checks that find mistakes before a phone rings.

`Agent` is plain configuration: every call opens its own streams from it. `build_agent` is what
`Patter.agent` does: it checks everything that can be checked, chooses the mode, and says what it ignores.
"""

# What a program hands over is unknown until it has been checked, and here is where it is checked.
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnnecessaryIsInstance=false
from __future__ import annotations

import dataclasses
import importlib.util
import logging
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol, TypeAlias, TypedDict, Unpack, cast

from getpatter.agent_parts import (
    AgcConfig,
    AudioFilter,
    CompactionConfig,
    ConsultConfig,
    MCPServerConfig,
    PipelineHooks,
    RealtimeTurnDetection,
    SessionContext,
    Skill,
    allows_transfer,
    check_transfer_entry,
    is_exact_entry,
    mcp_server_from,
)
from getpatter.background_audio import BackgroundAudioPlayer
from getpatter.models import HookContext, STTConfig, TTSConfig
from getpatter.tools import Guardrail, Tool, guardrail_from, tool_from
from getpatter.turn_taking import BargeInStrategy, TurnDetector
from getpatter.types import DefaultStr

__all__ = [
    "PIPELINE",
    "SYSTEM_TOOLS",
    "AgcConfig",
    "Agent",
    "AgentOptions",
    "AudioFilter",
    "CompactionConfig",
    "ConsultConfig",
    "Engine",
    "HookContext",
    "MCPServerConfig",
    "Makers",
    "Mode",
    "PipelineHooks",
    "RealtimeTurnDetection",
    "SessionContext",
    "Skill",
    "allows_transfer",
    "build_agent",
    "check_transfer_entry",
    "is_exact_entry",
]

logger = logging.getLogger(__name__)

Mode: TypeAlias = Literal["pipeline", "engine"]
PIPELINE: Final = "pipeline"
SYSTEM_TOOLS: Final = frozenset(
    {"transfer_call", "end_call", "send_dtmf", "handoff_to", "use_skill"}
)
"""Names that a program's own tools may not have."""


class Engine(Protocol):
    """A speech-to-speech service: anything with a `kind`, such as `"openai_realtime"`."""

    @property
    def kind(self) -> str:
        """Which service it is."""
        ...


@dataclass(frozen=True, slots=True)
class Agent:
    """Who answers the phone. Only `system_prompt` is required.

    Built directly, lists are copied and dicts become tools and guardrails, but nothing else is checked:
    `Patter.agent` does that.
    """

    system_prompt: str
    """Instructions for the model. `{name}` is replaced from `variables`."""
    engine: Engine | None = None
    """Speech to speech; excludes `stt` and `tts`."""
    first_message: str = ""
    """Said as soon as the caller can hear; empty waits for the caller."""
    stt: object | None = None
    tts: object | None = None
    tools: Sequence[Tool] = ()
    guardrails: Sequence[Guardrail] = ()
    llm: object | None = None
    voice: str | None = None
    """For an engine or provider that does not carry its own; so is `model`."""
    model: str | None = None
    language: str = DefaultStr("en")
    """BCP-47; handed to providers that were built without one."""
    variables: Mapping[str, object] = field(default_factory=dict, hash=False)
    hooks: PipelineHooks | None = None
    text_transforms: Sequence[Callable[[str], str]] = ()
    """Applied in order to each sentence before it is said."""
    vad: object | None = None
    """A voice detector; `None` is the built-in one."""
    audio_filter: AudioFilter | None = None
    background_audio: BackgroundAudioPlayer | None = None
    """What is heard behind the agent and in its pauses."""
    barge_in_threshold_ms: float = 300
    """Speech over the agent that interrupts it; 0 switches interruption off."""
    aggressive_first_flush: bool = False
    """Let the first piece of a reply end at a comma."""
    transfer_allow: Sequence[str] | None = None
    """Where calls may be transferred: numbers, `+` prefixes, `sip:` addresses, `*` at the end of a prefix."""
    provider: str | None = None
    """Chooses the mode by name instead of `engine`."""
    turn_detector: TurnDetector | None = None
    """Says whether a caller who has fallen silent has finished, and holds the turn open if not."""
    max_semantic_hold_ms: float = 1200
    """How long a turn detector may hold a turn back."""
    barge_in_mode: Literal["cancel", "pause_resume"] = "cancel"
    """`pause_resume`: a voice stops the sound, which goes on from there unless words follow."""
    barge_in_confirm_ms: float = 1500
    """How long a paused agent waits for words that confirm the interruption."""
    barge_in_strategies: Sequence[BargeInStrategy] = ()
    """Decide whether words over the agent interrupt it; the first that agrees does. Without any, all words do."""
    llm_error_message: str | None = None
    """Said when no reply can be made; `None` is a short apology."""
    long_turn_message: str | None = None
    """Said when a reply takes longer than `long_turn_message_after_s`, and every 8 s of silence after that.
    `None`: "One moment, please." after 8 s; an empty text: nothing."""
    long_turn_message_after_s: float = 4.0
    preemptive_generation: bool = False
    """Write a draft reply before the turn is certain."""
    preemptive_min_stable_ms: float = 300
    prewarm: bool = True
    """Connect to providers while the phone still rings."""
    prewarm_first_message: bool = False
    max_history: int = 200
    """Messages that the model sees."""
    compaction: CompactionConfig | None = None
    context_token_budget: int | None = None
    disable_phone_preamble: bool = False
    tool_call_preambles: bool = False
    """Ask the model to say what it is about to do before it uses a tool."""
    handoffs: Mapping[str, Agent] = field(default_factory=dict, hash=False)
    """Other agents that may take over, by name."""
    skills: Sequence[Skill] = ()
    consult: ConsultConfig | None = None
    mcp_servers: Sequence[MCPServerConfig] = ()
    """Servers that lend their tools: URLs, command lines, dicts or `MCPServerConfig` objects."""
    echo_cancellation: bool = False
    high_pass_hz: float | None = None
    agc: bool | AgcConfig = False
    openai_realtime_noise_reduction: str | None = None
    realtime_turn_detection: RealtimeTurnDetection | None = None
    realtime_gate_response_on_transcript: bool | None = None

    def __post_init__(self) -> None:
        for name in _LISTS:
            object.__setattr__(self, name, _copied_list(name, getattr(self, name)))
        for name in ("variables", "handoffs"):
            object.__setattr__(self, name, _copied_dict(name, getattr(self, name)))
        if self.transfer_allow is not None:
            object.__setattr__(
                self, "transfer_allow", _copied_list("transfer_allow", self.transfer_allow)
            )
        object.__setattr__(self, "tools", tuple(map(tool_from, self.tools)))
        object.__setattr__(self, "guardrails", tuple(map(guardrail_from, self.guardrails)))
        object.__setattr__(self, "mcp_servers", tuple(map(mcp_server_from, self.mcp_servers)))

    @property
    def mode(self) -> Mode:
        """What the call is made of: an engine, or a recogniser, a model and a voice."""
        return "engine" if self.engine is not None else "pipeline"


class AgentOptions(TypedDict, total=False):
    """The keywords of `Patter.agent`: the fields of `Agent`, which say what they mean."""

    engine: Engine | None
    first_message: str
    stt: object | None
    tts: object | None
    tools: Iterable[Tool | Mapping[str, object]] | None
    guardrails: Iterable[Guardrail | Mapping[str, object]] | None
    llm: object | None
    voice: str | None
    model: str | None
    language: str
    variables: Mapping[str, object] | None
    hooks: PipelineHooks | None
    text_transforms: Iterable[Callable[[str], str]] | None
    vad: object | None
    audio_filter: AudioFilter | None
    background_audio: BackgroundAudioPlayer | None
    barge_in_threshold_ms: float
    aggressive_first_flush: bool
    transfer_allow: Iterable[str] | None
    provider: str | None
    turn_detector: TurnDetector | None
    max_semantic_hold_ms: float
    barge_in_mode: Literal["cancel", "pause_resume"]
    barge_in_confirm_ms: float
    barge_in_strategies: Iterable[BargeInStrategy]
    llm_error_message: str | None
    long_turn_message: str | None
    long_turn_message_after_s: float
    preemptive_generation: bool
    preemptive_min_stable_ms: float
    prewarm: bool
    prewarm_first_message: bool
    max_history: int
    compaction: CompactionConfig | None
    context_token_budget: int | None
    disable_phone_preamble: bool
    tool_call_preambles: bool
    handoffs: Mapping[str, Agent] | None
    skills: Iterable[Skill] | None
    consult: ConsultConfig | None
    mcp_servers: Iterable[MCPServerConfig | str | Sequence[str] | Mapping[str, object]] | None
    echo_cancellation: bool
    high_pass_hz: float | None
    agc: bool | AgcConfig
    openai_realtime_noise_reduction: str | None
    realtime_turn_detection: RealtimeTurnDetection | None
    realtime_gate_response_on_transcript: bool | None


@dataclass(frozen=True, slots=True)
class Makers:
    """How to make what an agent names but does not hold. Given by `Patter`, which knows the vendors."""

    engines: Mapping[str, Callable[[Agent], Engine]] = field(default_factory=dict)
    """By the name that `provider` takes; the first is the default. Raise `ValueError` without credentials."""
    stt: Callable[[STTConfig], object] | None = None
    tts: Callable[[TTSConfig], object] | None = None
    judge_url: Callable[[str], None] | None = None
    """Raises `ValueError` for an address that tools may not reach."""


def build_agent(
    system_prompt: str, makers: Makers | None = None, /, **options: Unpack[AgentOptions]
) -> Agent:
    """A checked agent, with an engine or with a recogniser and a voice.

    Raises:
        ValueError: Options conflict, are out of range or lack a credential.
        TypeError: An option is unknown or has the wrong type.
    """
    makers = makers or Makers()
    given = cast("Mapping[str, object]", options)
    _refuse_unknown(given)
    agent = Agent(system_prompt, **{k: v for k, v in given.items() if v is not None})  # type: ignore[arg-type]
    _check_types(agent)
    _check_values(agent)
    _check_names(agent)
    agent = _with_mode(agent, makers)
    _check_urls(agent, makers)
    _check_successors(agent, makers)
    _warn_of_ignored(agent, given)
    return agent


# -------------------------------------------------------------------------------------------- copies

_LISTS: Final = (
    "tools",
    "guardrails",
    "text_transforms",
    "barge_in_strategies",
    "skills",
    "mcp_servers",
)


def _copied_list(name: str, value: object) -> tuple[object, ...]:
    if value is None:
        return ()
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
        raise TypeError(f"{name} must be a list, not {type(value).__name__}")
    return tuple(value)


def _copied_dict(name: str, value: object) -> dict[str, object]:
    if value is None:
        return {}
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise TypeError(f"{name} must be a dict with names as keys, not {type(value).__name__}")
    return dict(value)


def _refuse_unknown(options: Mapping[str, object]) -> None:
    known = {each.name for each in dataclasses.fields(Agent)}
    for name in options:
        if name not in known:
            raise TypeError(f"agent() got an unexpected keyword argument {name!r}")


# -------------------------------------------------------------------------------------------- checks

_NUMBER: Final = (int, float)
_KINDS: Final[dict[str, tuple[type, ...]]] = {
    "system_prompt": (str,),
    "first_message": (str,),
    "voice": (str,),
    "model": (str,),
    "language": (str,),
    "hooks": (PipelineHooks,),
    "background_audio": (BackgroundAudioPlayer,),
    "barge_in_threshold_ms": _NUMBER,
    "aggressive_first_flush": (bool,),
    "provider": (str,),
    "max_semantic_hold_ms": _NUMBER,
    "barge_in_confirm_ms": _NUMBER,
    "llm_error_message": (str,),
    "long_turn_message": (str,),
    "long_turn_message_after_s": _NUMBER,
    "preemptive_generation": (bool,),
    "preemptive_min_stable_ms": _NUMBER,
    "prewarm": (bool,),
    "prewarm_first_message": (bool,),
    "max_history": (int,),
    "compaction": (CompactionConfig,),
    "context_token_budget": (int,),
    "disable_phone_preamble": (bool,),
    "tool_call_preambles": (bool,),
    "consult": (ConsultConfig,),
    "echo_cancellation": (bool,),
    "high_pass_hz": _NUMBER,
    "agc": (bool, AgcConfig),
    "openai_realtime_noise_reduction": (str,),
    "realtime_turn_detection": (RealtimeTurnDetection,),
    "realtime_gate_response_on_transcript": (bool,),
}
_METHODS: Final = {
    "engine": ("kind",),
    "stt": ("connect", "send_audio", "receive_transcripts", "close"),
    "tts": ("synthesize", "close"),
    "llm": ("stream",),
    "vad": ("process_frame",),
    "audio_filter": ("process",),
    "turn_detector": ("predict",),
}
_LEAST: Final = {
    "barge_in_threshold_ms": 0,
    "max_semantic_hold_ms": 0,
    "barge_in_confirm_ms": 0,
    "long_turn_message_after_s": 0,
    "preemptive_min_stable_ms": 0,
    "max_history": 1,
    "context_token_budget": 1,
    "high_pass_hz": 1,
}
_LANGUAGE: Final = re.compile(r"[A-Za-z]{2,8}(?:[-_][A-Za-z0-9]{1,8})*")
_NAME_LETTERS: Final = 64
_NYQUIST_HZ: Final = 4000
_NOISE_REDUCTIONS: Final = ("near_field", "far_field")


def _check_types(agent: Agent) -> None:
    for name, kinds in _KINDS.items():
        value = getattr(agent, name)
        if value is None and name != "system_prompt":
            continue
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            wanted = " or ".join(kind.__name__ for kind in kinds)
            raise TypeError(f"{name} must be {wanted}, not {type(value).__name__}")
    for name, methods in _METHODS.items():
        _check_methods(name, getattr(agent, name), methods)
    _check_members(agent)


def _check_members(agent: Agent) -> None:
    for strategy in agent.barge_in_strategies:
        _check_methods("barge_in_strategies", strategy, ("evaluate",))
    for each in agent.text_transforms:
        if not callable(each):
            raise TypeError(f"text_transforms must be functions, not {type(each).__name__}")
    for name, members, kind in (
        ("skills", agent.skills, Skill),
        ("handoffs", agent.handoffs.values(), Agent),
    ):
        for member in members:
            if not isinstance(member, kind):
                raise TypeError(
                    f"{name} must be {kind.__name__} objects, not {type(member).__name__}"
                )


def _check_methods(name: str, value: object, methods: tuple[str, ...]) -> None:
    config = {"stt": STTConfig, "tts": TTSConfig}.get(name)
    if value is None or (config is not None and isinstance(value, config)):
        return
    if isinstance(value, type):
        raise TypeError(
            f"{name} must be an object: write {value.__name__}(...) instead of {value.__name__}"
        )
    missing = [each for each in methods if not hasattr(value, each)]
    if missing:
        raise TypeError(
            f"{name} cannot be a {type(value).__name__}: it has no {', '.join(missing)}"
        )


def _check_values(agent: Agent) -> None:
    for name, least in _LEAST.items():
        value = getattr(agent, name)
        if value is not None and not value >= least:
            raise ValueError(f"{name} is {value}; it must be {least} or more")
    if agent.high_pass_hz is not None and agent.high_pass_hz >= _NYQUIST_HZ:
        raise ValueError(f"high_pass_hz is {agent.high_pass_hz}; it must be below {_NYQUIST_HZ}")
    if not _LANGUAGE.fullmatch(agent.language):
        raise ValueError(
            f"language {agent.language!r} is no language tag; write one like 'en' or 'it-IT'"
        )
    if agent.barge_in_mode not in {"cancel", "pause_resume"}:
        raise ValueError(
            f"barge_in_mode {agent.barge_in_mode!r} is neither 'cancel' nor 'pause_resume'"
        )
    reduction = agent.openai_realtime_noise_reduction
    if reduction is not None and reduction not in _NOISE_REDUCTIONS:
        raise ValueError(
            f"openai_realtime_noise_reduction {reduction!r} is none of {_NOISE_REDUCTIONS}"
        )
    for entry in agent.transfer_allow or ():
        check_transfer_entry(entry)


def _check_names(agent: Agent) -> None:
    reserved = SYSTEM_TOOLS | ({agent.consult.tool_name} if agent.consult else set())
    if agent.consult is not None and agent.consult.tool_name in SYSTEM_TOOLS:
        raise ValueError(f"consult: the tool name {agent.consult.tool_name!r} is reserved")
    skills = [skill.name for skill in agent.skills]
    if twice := next((name for name in skills if skills.count(name) > 1), None):
        raise ValueError(f"two skills are named {twice!r}; rename one of them")
    seen: set[str] = set()
    for tool in (*agent.tools, *(each for skill in agent.skills for each in skill.tools)):
        if tool.name in reserved:
            raise ValueError(
                f"the tool name {tool.name!r} is reserved for a built-in tool; choose another"
            )
        if tool.name in seen:
            raise ValueError(f"two tools are named {tool.name!r}; rename one of them")
        seen.add(tool.name)


def _check_successors(agent: Agent, makers: Makers) -> None:
    """Those who may take over may have been built without `agent()`."""
    _check_lending(agent)
    for name, taker in agent.handoffs.items():
        if not name.strip() or len(name) > _NAME_LETTERS:
            raise ValueError(f"handoffs: {name!r} is no name for an agent")
        _check_types(taker)
        _check_values(taker)
        _check_names(taker)
        _check_urls(taker, makers)
        _check_successors(taker, makers)
        _warn_of_deaf_ears(agent, name, taker)


def _check_lending(agent: Agent) -> None:
    if agent.mcp_servers and importlib.util.find_spec("mcp") is None:
        raise ImportError("mcp_servers need the mcp package: pip install 'getpatter[mcp]'")


def _warn_of_deaf_ears(agent: Agent, name: str, taker: Agent) -> None:
    """One line for what of `taker` cannot be honoured in the calls of `agent`."""
    unused = ["stt"] if taker.stt is not None and taker.stt is not agent.stt else []
    if agent.engine is not None:
        unused += [each for each in ("tts", "llm") if getattr(taker, each) is not None]
    if taker.engine is not None and getattr(agent.engine, "kind", "") != taker.engine.kind:
        unused.append("engine")
    if unused:
        logger.warning(
            "agent.handoff_ignores name=%s mode=%s parameters=%s",
            name,
            agent.mode,
            ",".join(unused),
        )


def _check_urls(agent: Agent, makers: Makers) -> None:
    if makers.judge_url is None:
        return
    for tool in (*agent.tools, *(each for skill in agent.skills for each in skill.tools)):
        if tool.webhook_url:
            makers.judge_url(tool.webhook_url)
    if agent.consult is not None and agent.consult.allow_loopback:
        logger.warning("agent.consult_unchecked tool=%s", agent.consult.tool_name)
    elif agent.consult is not None:
        makers.judge_url(agent.consult.target)


# ---------------------------------------------------------------------------------------------- mode


def _with_mode(agent: Agent, makers: Makers) -> Agent:
    parts = [name for name in ("stt", "tts") if getattr(agent, name) is not None]
    if agent.engine is not None:
        if parts:
            raise ValueError(
                f"engine excludes {' and '.join(parts)}: an engine hears and speaks itself"
            )
        if agent.provider is not None:
            raise ValueError(f"engine excludes provider={agent.provider!r}: leave one of them out")
        return _without_model(agent)
    wanted = agent.provider
    if wanted is None:
        wanted = (
            PIPELINE if parts or agent.llm is not None else next(iter(makers.engines), PIPELINE)
        )
    if wanted == PIPELINE:
        return _with_pipeline(agent, makers)
    if wanted not in makers.engines:
        raise ValueError(f"provider {wanted!r} is none of {sorted((*makers.engines, PIPELINE))}")
    if parts:
        raise ValueError(
            f"provider={wanted!r} excludes {' and '.join(parts)}: an engine hears and speaks itself"
        )
    return _without_model(dataclasses.replace(agent, engine=makers.engines[wanted](agent)))


def _without_model(agent: Agent) -> Agent:
    if agent.llm is None:
        return agent
    logger.warning("agent.llm_ignored reason=the engine is the model")
    return dataclasses.replace(agent, llm=None)


def _with_pipeline(agent: Agent, makers: Makers) -> Agent:
    missing = [name for name in ("stt", "tts") if getattr(agent, name) is None]
    if missing:
        raise ValueError(
            f"a pipeline needs stt and tts: {' and '.join(missing)} missing. "
            "Pass a provider object, or an engine instead of both"
        )
    stt, tts = agent.stt, agent.tts
    if isinstance(stt, STTConfig):
        stt = _made("stt", makers.stt, stt)
    if isinstance(tts, TTSConfig):
        tts = _made("tts", makers.tts, tts)
    return dataclasses.replace(agent, stt=stt, tts=tts)


_Config: TypeAlias = STTConfig | TTSConfig


def _made(name: str, maker: Callable[..., object] | None, config: _Config) -> object:
    if maker is None:
        raise ValueError(
            f"{name}: no provider {config.provider!r} is known here; pass a provider object"
        )
    return maker(config)


_ENGINE_ONLY: Final = (
    "openai_realtime_noise_reduction",
    "realtime_turn_detection",
    "realtime_gate_response_on_transcript",
)
_PIPELINE_ONLY: Final = (
    "hooks",
    "text_transforms",
    "vad",
    "aggressive_first_flush",
    "turn_detector",
    "max_semantic_hold_ms",
    "barge_in_mode",
    "barge_in_confirm_ms",
    "barge_in_strategies",
    "preemptive_generation",
    "preemptive_min_stable_ms",
    "compaction",
    "context_token_budget",
    "max_history",
    "disable_phone_preamble",
    "tool_call_preambles",
)


def _warn_of_ignored(agent: Agent, given: Mapping[str, object]) -> None:
    """One line for all that this mode cannot honour."""
    untouched = {each.name: each.default for each in dataclasses.fields(Agent)}
    names = _PIPELINE_ONLY if agent.mode == "engine" else _ENGINE_ONLY
    ignored = [
        name for name in names if given.get(name) is not None and given[name] != untouched[name]
    ]
    if ignored:
        logger.warning(
            "agent.parameters_ignored mode=%s parameters=%s", agent.mode, ",".join(ignored)
        )

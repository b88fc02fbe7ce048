"""Who rings whom, and how the call shall be held."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, Literal
from zlib import crc32

from getpatter.core.manners import APOLOGY, DEAD_AIR_AFTER, ONE_MOMENT, Background, Manners
from getpatter.types import PhoneNumber

if TYPE_CHECKING:
    from getpatter.agent import Agent
    from getpatter.background_audio import BackgroundAudioPlayer

logger = logging.getLogger(__name__)

Direction = Literal["inbound", "outbound", "test"]


@dataclass(frozen=True, slots=True)
class Identity:
    """Who rang whom, by which carrier. Never taken from a media socket."""

    call_id: str
    caller: str = field(repr=False)
    callee: str = field(repr=False)
    direction: Direction
    carrier: str
    custom_params: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def our_number(self) -> str:
        """The number on our side."""
        return self.callee if self.direction == "inbound" else self.caller

    def __str__(self) -> str:
        caller, callee = PhoneNumber(self.caller), PhoneNumber(self.callee)
        return f"{self.call_id} {self.direction} {caller}->{callee}"


@dataclass(frozen=True, slots=True)
class Orders:
    """How one call shall be held: the agent, and what belongs to this call alone."""

    agent: Agent
    first_message: str
    variables: Mapping[str, object] = field(default_factory=dict)
    max_call_duration: int = 3600
    is_recorded: bool = False
    idle_timeout: float | None = None


def manners_of(orders: Orders, call_id: str = "") -> Manners:
    """The settings of the conversation that follow from the agent and the call."""
    agent = orders.agent
    manners = Manners(
        barge_in_threshold_ms=float(agent.barge_in_threshold_ms),
        barge_in_pauses=agent.barge_in_mode == "pause_resume",
        barge_in_confirm_within=agent.barge_in_confirm_ms / 1000,
        barge_in_asks=bool(agent.barge_in_strategies),
        turn_held_within=(
            None if agent.turn_detector is None else agent.max_semantic_hold_ms / 1000
        ),
        draft_after=(
            agent.preemptive_min_stable_ms / 1000 if agent.preemptive_generation else None
        ),
        apology=APOLOGY if agent.llm_error_message is None else agent.llm_error_message,
        long_turn_message=(
            ONE_MOMENT if agent.long_turn_message is None else agent.long_turn_message
        ),
        long_turn_after=(
            float(agent.long_turn_message_after_s) if agent.long_turn_message else DEAD_AIR_AFTER
        ),
        max_duration=float(orders.max_call_duration),
        idle_timeout=orders.idle_timeout,
        language=str(agent.language),
        first_clause_early=agent.aggressive_first_flush,
        background=_background(agent.background_audio, call_id),
    )
    if agent.vad is None or not hears_with_built_in(agent):
        return manners
    options = agent.vad.options  # type: ignore[attr-defined]  # the built-in detector has them
    return replace(
        manners,
        speech_threshold=options.activation_threshold,
        min_speech_ms=options.min_speech_duration * 1000,
        min_silence_ms=options.min_silence_duration * 1000,
    )


def _background(player: BackgroundAudioPlayer | None, call_id: str) -> Background | None:
    if player is None:
        return None
    return Background(player.sounds, player.volume, player.loop, seed=crc32(call_id.encode()))


def hears_with_built_in(agent: Agent) -> bool:
    """Whether the call's voice detector is the one that all calls share."""
    return agent.vad is None or getattr(agent.vad, "is_built_in", False) is True


_AGENT_FIELDS: Final[Mapping[str, tuple[type, ...]]] = {
    "system_prompt": (str,),
    "voice": (str,),
    "model": (str,),
    "language": (str,),
    "tools": (list, tuple),
    "stt": (object,),
    "llm": (object,),
    "tts": (object,),
    "transfer_allow": (list, tuple),
}
_OWN: Final = {"variables", "agent", "first_message", "max_call_duration"}


def changed(orders: Orders, changes: Mapping[str, object]) -> Orders:
    """The orders with what `on_call_start` returned applied (CB-8). Unknown keys and wrong types: a warning."""
    for key in changes:
        if key not in _AGENT_FIELDS and key not in _OWN:
            logger.warning("on_call_start.ignored key=%s reason=unknown", key[:40])
    agent = orders.agent
    wanted = changes.get("agent")
    if wanted is not None:
        if isinstance(wanted, type(agent)):
            agent = wanted
            orders = replace(orders, agent=agent, first_message=agent.first_message)
        else:
            _refuse("agent")
    fields = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in changes.items()
        if key in _AGENT_FIELDS and _fits(key, value, _AGENT_FIELDS[key])
    }
    orders = replace(orders, agent=replace(agent, **fields))  # type: ignore[arg-type]  # checked above
    first = changes.get("first_message")
    if first is not None and _fits("first_message", first, (str,)):
        orders = replace(orders, first_message=str(first))
    limit = changes.get("max_call_duration")
    if isinstance(limit, int) and not isinstance(limit, bool) and limit > 0:
        orders = replace(orders, max_call_duration=limit)
    elif limit is not None:
        _refuse("max_call_duration")
    return orders


def changes_variables(changes: Mapping[str, object]) -> Mapping[str, object]:
    """The `variables` that `on_call_start` returned, if they are a mapping."""
    variables = changes.get("variables")
    if isinstance(variables, Mapping):
        return variables
    if variables is not None:
        _refuse("variables")
    return {}


def _fits(key: str, value: object, types: tuple[type, ...]) -> bool:
    if isinstance(value, types):
        return True
    _refuse(key)
    return False


def _refuse(key: str) -> None:
    logger.warning("on_call_start.ignored key=%s reason=type", key)


def name_of_provider(provider: object | None) -> str:
    """The price table's key of a provider; for an object of the user's, its class."""
    if provider is None:
        return ""
    key = getattr(provider, "provider_key", None)
    return key if isinstance(key, str) else type(provider).__name__


Callback = Callable[..., object]

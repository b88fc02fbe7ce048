"""The services of one call, made from an agent: its own recogniser, voice, model and detector."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, TypeVar, cast

from getpatter.llm.base import LLMProvider
from getpatter.runtime.ears import AudioStage, VoiceDetector
from getpatter.runtime.identity import hears_with_built_in
from getpatter.runtime.wording import guarded, settle
from getpatter.stt.base import STTProvider
from getpatter.tts.base import TTSProvider
from getpatter.types import AudioFormat

if TYPE_CHECKING:
    from getpatter.agent import Agent, HookContext

logger = logging.getLogger(__name__)

CLOSE_WITHIN: Final = 2.0
NOTHING: Final[Mapping[str, str]] = MappingProxyType({})
WARM_WITHIN: Final = 5.0
_T = TypeVar("_T")


def settings_of(agent: Agent) -> Mapping[str, str]:
    """What providers are given that the program built without a language, voice or model of their own."""
    named = {"language": agent.language, "voice": agent.voice, "model": agent.model}
    return {name: value for name, value in named.items() if value}


def of_its_own(provider: _T, named: Mapping[str, str] = NOTHING) -> tuple[_T, bool]:
    """A provider for one call, and whether it belongs to that call alone (it has `clone()`).

    `named`: what the agent says of language, voice and model.
    """
    clone = getattr(provider, "clone", None)
    fitted = getattr(provider, "with_agent", None)
    if callable(clone) and callable(fitted):
        return cast("_T", fitted(named)), True
    return (cast("_T", clone()), True) if callable(clone) else (provider, False)


class Originals:
    """The provider objects that a program has handed over, for all calls of a server.

    One with `clone()` is configuration: each call gets a clone. One without is used by all calls as it is, and a
    warning says so when two of them overlap on it. No call closes either; the server does, at its end.
    """

    def __init__(self) -> None:
        """Begin with none."""
        self._known: dict[int, object] = {}
        self._users: Counter[int] = Counter()

    def lend(self, provider: _T, named: Mapping[str, str] = NOTHING) -> tuple[_T, bool]:
        """A provider for one call, and whether it belongs to that call alone. Give it back when that ends."""
        self.add(provider)
        lent, is_own = of_its_own(provider, named)
        if not is_own:
            self._users[id(provider)] += 1
            if self._users[id(provider)] == 2:  # noqa: PLR2004 - from here on they overlap
                logger.warning("provider.shared_by_calls kind=%s", type(provider).__name__)
        return lent, is_own

    def give_back(self, provider: object) -> None:
        """A call needs a shared object no more."""
        self._users[id(provider)] -= 1

    def add(self, *providers: object) -> None:
        """Have `close` close these too."""
        self._known |= {id(each): each for each in providers if each is not None}

    async def close(self) -> None:
        """Close what was handed over, each within 2 s. Idempotent; they may be used again afterwards."""
        known, self._known = [*self._known.values()], {}
        await asyncio.gather(*(closed(each, "provider") for each in known))


@dataclass(slots=True)
class Services:
    """What one call speaks and hears with. Closing them leaves the agent's own objects alone."""

    stt: STTProvider
    tts: TTSProvider
    llm: LLMProvider | None
    vad: VoiceDetector | None
    owns_stt: bool
    originals: Originals
    own: list[object] = field(default_factory=list)
    """Clones, which are closed with the call; the recogniser's is closed by those who listen to it."""
    shared: list[object] = field(default_factory=list)

    def borrow(self, provider: _T, agent: Agent) -> _T:
        """One more provider for `agent`, until the call is over."""
        found, is_own = self.originals.lend(provider, settings_of(agent))
        (self.own if is_own else self.shared).append(found)
        return found

    async def close(self) -> None:
        """Close what belongs to this call. A shared object of the user's is closed at `disconnect()`."""
        own, self.own = self.own, []
        shared, self.shared = self.shared, []
        for each in shared:
            self.originals.give_back(each)
        await asyncio.gather(*(closed(each, "clone") for each in own))

    async def warm_up(self, expected: AudioFormat) -> None:
        """Have voice and model open their connections, the voice for the format that the carrier will want."""
        choose = getattr(self.tts, "with_output", None)
        voice = choose((expected,)) if callable(choose) else None
        await asyncio.gather(_warmed(self.tts if voice is None else voice), _warmed(self.llm))


async def closed(provider: object, what: str) -> None:
    """Close `provider`, within 2 s. Never raises."""
    close = getattr(provider, "close", None)
    if not callable(close):
        return
    try:
        async with asyncio.timeout(CLOSE_WITHIN):
            await settle(close())
    except Exception as error:  # noqa: BLE001 - closing must not keep a finished call or server alive
        logger.warning(
            "provider.close_failed what=%s kind=%s error=%s",
            what,
            type(provider).__name__,
            type(error).__name__,
        )


async def _warmed(provider: object | None) -> None:
    warm = getattr(provider, "warmup", None)
    if not callable(warm):
        return
    try:
        async with asyncio.timeout(WARM_WITHIN):
            await settle(warm())
    except Exception as error:  # noqa: BLE001 - the first use connects anew, and reports what is wrong
        logger.info(
            "provider.warmup_failed kind=%s error=%s", type(provider).__name__, type(error).__name__
        )


def providers_of(agent: Agent) -> tuple[object | None, ...]:
    """What an agent holds and a server closes."""
    return agent.stt, agent.tts, agent.llm, agent.vad, agent.audio_filter


def open_services(agent: Agent, originals: Originals) -> Services:
    """Services for one call. Nothing is connected yet."""
    assert agent.stt is not None, "agent() has checked that a pipeline has ears"
    assert agent.tts is not None, "agent() has checked that a pipeline has a voice"
    own: list[object] = []
    shared: list[object] = []
    named = settings_of(agent)

    def lent(provider: _T) -> _T:
        found, is_own = originals.lend(provider, named)
        (own if is_own else shared).append(found)
        return found

    stt, owns_stt = originals.lend(cast("STTProvider", agent.stt), named)
    if not owns_stt:
        shared.append(stt)
    return Services(
        stt=stt,
        tts=lent(cast("TTSProvider", agent.tts)),
        llm=lent(cast("LLMProvider", agent.llm)) if agent.llm is not None else None,
        vad=None if hears_with_built_in(agent) else lent(cast("VoiceDetector", agent.vad)),
        owns_stt=owns_stt,
        originals=originals,
        own=own,
        shared=shared,
    )


def audio_stages(agent: Agent, context: Callable[[], HookContext]) -> tuple[AudioStage, ...]:
    """What is done to the caller's audio on its way to the recogniser alone: `before_send_to_stt`."""
    stages: list[AudioStage] = []
    hook = getattr(agent.hooks, "before_send_to_stt", None)
    if hook is not None:

        async def before(pcm: bytes) -> bytes | None:
            return _audio(await guarded("before_send_to_stt", hook, pcm, context(), unchanged=pcm))

        stages.append(before)
    return tuple(stages)


def _audio(value: object) -> bytes | None:
    return value if isinstance(value, bytes) else None

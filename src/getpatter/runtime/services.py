"""The services of one call, made from an agent: its own recogniser, voice, model and detector."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar, cast

from getpatter.llm.base import LLMProvider
from getpatter.runtime.ears import AudioStage, VoiceDetector
from getpatter.runtime.identity import hears_with_built_in
from getpatter.runtime.wording import guarded, settle
from getpatter.stt.base import STTProvider
from getpatter.tts.base import TTSProvider

if TYPE_CHECKING:
    from getpatter.agent import Agent, HookContext

logger = logging.getLogger(__name__)

CLOSE_WITHIN: Final = 2.0
_T = TypeVar("_T")


def of_its_own(provider: _T) -> tuple[_T, bool]:
    """A provider for one call, and whether it belongs to that call alone (it has `clone()`)."""
    clone = getattr(provider, "clone", None)
    return (cast("_T", clone()), True) if callable(clone) else (provider, False)


@dataclass(slots=True)
class Services:
    """What one call speaks and hears with. Closing them leaves the agent's own objects alone."""

    stt: STTProvider
    tts: TTSProvider
    llm: LLMProvider | None
    vad: VoiceDetector | None
    owns_stt: bool
    owns_tts: bool

    async def close(self) -> None:
        """Close what belongs to this call. A shared object of the user's is closed at `disconnect()`."""
        if self.owns_tts:
            try:
                async with asyncio.timeout(CLOSE_WITHIN):
                    await self.tts.close()
            except Exception as error:  # noqa: BLE001 - closing must not keep a finished call alive
                logger.warning("tts.close_failed error=%s", type(error).__name__)


async def close_model(agent: Agent) -> None:
    """Give back the connections of the agent's own model, which all calls have shared."""
    close = getattr(agent.llm, "close", None)
    if not callable(close):
        return
    try:
        async with asyncio.timeout(CLOSE_WITHIN):
            await settle(close())
    except Exception as error:  # noqa: BLE001 - closing must not keep a finished server alive
        logger.info("llm.close_failed error=%s", type(error).__name__)


def open_services(agent: Agent) -> Services:
    """Services for one call. Nothing is connected yet."""
    assert agent.stt is not None, "agent() has checked that a pipeline has ears"
    assert agent.tts is not None, "agent() has checked that a pipeline has a voice"
    stt, owns_stt = of_its_own(cast("STTProvider", agent.stt))
    tts, owns_tts = of_its_own(cast("TTSProvider", agent.tts))
    vad = None if hears_with_built_in(agent) else of_its_own(agent.vad)[0]
    return Services(
        stt=stt,
        tts=tts,
        llm=of_its_own(cast("LLMProvider", agent.llm))[0] if agent.llm is not None else None,
        vad=cast("VoiceDetector | None", vad),
        owns_stt=owns_stt,
        owns_tts=owns_tts,
    )


def audio_stages(agent: Agent, context: Callable[[], HookContext]) -> tuple[AudioStage, ...]:
    """Filters on the caller's audio: `audio_filter`, then `before_send_to_stt`."""
    stages: list[AudioStage] = []
    if agent.audio_filter is not None:
        chosen = of_its_own(agent.audio_filter)[0]

        async def clean(pcm: bytes) -> bytes | None:
            process: Callable[[bytes, int], object] = chosen.process
            return _audio(await guarded("audio_filter", process, pcm, 16000, unchanged=pcm))

        stages.append(clean)
    hook = getattr(agent.hooks, "before_send_to_stt", None)
    if hook is not None:

        async def before(pcm: bytes) -> bytes | None:
            return _audio(await guarded("before_send_to_stt", hook, pcm, context(), unchanged=pcm))

        stages.append(before)
    return tuple(stages)


def _audio(value: object) -> bytes | None:
    return value if isinstance(value, bytes) else None

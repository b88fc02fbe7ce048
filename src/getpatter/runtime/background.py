"""The sounds behind the agents of a program: read or computed once, in a thread, and shared by all calls."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from getpatter.background_audio import BackgroundSound
from getpatter.core.manners import Background
from getpatter.core.playout import Bed
from getpatter.runtime.threads import in_thread
from getpatter.types import AudioFormat

if TYPE_CHECKING:
    from getpatter.agent import Agent
    from getpatter.audio.pcm import Float32

logger = logging.getLogger(__name__)


async def prepare_background(
    agent: Agent, stream: AudioFormat, changes: Mapping[str, object] | None = None
) -> None:
    """Have the sounds of `agent`, or of the one among `changes`, at hand for a call on `stream`. Never raises."""
    wanted = (changes or {}).get("agent")
    player = (wanted if isinstance(wanted, type(agent)) else agent).background_audio
    if player is None:
        return
    sounds, rate = player.sounds, stream.sample_rate
    try:
        await in_thread(lambda: [_samples(each, rate) for each in sounds])
    except (OSError, ValueError) as error:
        logger.warning("background.unreadable error=%s", type(error).__name__)


def bed_for(background: Background | None, stream: AudioFormat) -> Bed | None:
    """The background of a call, from its beginning. `None`: none is wanted, or it cannot be read."""
    if background is None:
        return None
    from getpatter.audio.bed import BackgroundBed  # noqa: PLC0415 - loads numpy

    wanted = background.sounds

    def sounds(rate: int) -> list[Float32]:
        return [_samples(each, rate) for each in wanted]

    try:
        return BackgroundBed(
            sounds,
            stream,
            weights=[each.weight for each in wanted],
            volume=background.volume,
            is_looped=background.is_looped,
            seed=background.seed,
        )
    except (OSError, ValueError):
        return None  # it was logged when it was prepared


@lru_cache(maxsize=32)
def _samples(sound: BackgroundSound, rate: int) -> Float32:
    import numpy as np  # noqa: PLC0415 - only calls with a background need what follows

    from getpatter.audio import ambience  # noqa: PLC0415
    from getpatter.audio.pcm import saturated, whole_samples  # noqa: PLC0415
    from getpatter.audio.resample import resampled  # noqa: PLC0415
    from getpatter.audio.wav import read_wav  # noqa: PLC0415

    if not sound.clip:
        wav = read_wav(Path(sound.path).read_bytes())
        return whole_samples(resampled(wav.pcm, wav.sample_rate, rate)).astype(np.float32)
    # A clip is a ring: what goes before its beginning is its end.
    ring = ambience.clip(sound.clip)
    pad = ambience.RATE // 10
    pcm = saturated(np.concatenate((ring[-pad:], ring, ring[:pad]))).tobytes()
    samples = whole_samples(resampled(pcm, ambience.RATE, rate)).astype(np.float32)
    return samples[rate // 10 : rate // 10 + round(ring.size * rate / ambience.RATE)]

"""One sound under another: background music and office noise behind the agent's voice."""

from __future__ import annotations

import numpy as np

from getpatter.audio.pcm import saturated, whole_samples


def mix_pcm(agent: bytes, bg: bytes, ratio: float) -> bytes:
    """The agent's PCM16 with `ratio` times the background added; too loud saturates.

    Both must have the same rate. The result is as long as `agent`: more background is left out, less is
    followed by the voice alone. Half a sample at the end of either is left out.
    """
    voice = whole_samples(agent).astype(np.float32)
    under = whole_samples(bg)[: voice.size]
    voice[: under.size] += under * np.float32(ratio)
    return saturated(voice).tobytes()

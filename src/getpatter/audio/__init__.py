"""G.711, resampling, mixing, DTMF tones and WAV files; pure, and in numpy where samples are touched.

The names below load on first use, so that importing this package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from getpatter.audio.convert import Converter, cheapest, converter, cost
    from getpatter.audio.g711 import (
        alaw_to_mulaw,
        alaw_to_pcm16,
        mulaw_to_alaw,
        mulaw_to_pcm16,
        pcm16_to_alaw,
        pcm16_to_mulaw,
    )
    from getpatter.audio.mix import mix_pcm
    from getpatter.audio.pcm import PcmCarry
    from getpatter.audio.resample import (
        StatefulResampler,
        resample_8k_to_16k,
        resample_16k_to_8k,
        resample_24k_to_16k,
        resampled,
    )

_HOME = {
    "Converter": "convert",
    "PcmCarry": "pcm",
    "StatefulResampler": "resample",
    "alaw_to_mulaw": "g711",
    "alaw_to_pcm16": "g711",
    "cheapest": "convert",
    "converter": "convert",
    "cost": "convert",
    "mix_pcm": "mix",
    "mulaw_to_alaw": "g711",
    "mulaw_to_pcm16": "g711",
    "pcm16_to_alaw": "g711",
    "pcm16_to_mulaw": "g711",
    "resample_8k_to_16k": "resample",
    "resample_16k_to_8k": "resample",
    "resample_24k_to_16k": "resample",
    "resampled": "resample",
}

__all__ = [
    "Converter",
    "PcmCarry",
    "StatefulResampler",
    "alaw_to_mulaw",
    "alaw_to_pcm16",
    "cheapest",
    "converter",
    "cost",
    "mix_pcm",
    "mulaw_to_alaw",
    "mulaw_to_pcm16",
    "pcm16_to_alaw",
    "pcm16_to_mulaw",
    "resample_8k_to_16k",
    "resample_16k_to_8k",
    "resample_24k_to_16k",
    "resampled",
]


def __getattr__(name: str) -> object:
    """Load a public name on first use (PEP 562)."""
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found: object = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    """The public names, loaded or not."""
    return __all__

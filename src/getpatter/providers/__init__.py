"""Speech vendors by name: short builders of `STTConfig` and `TTSConfig`, and what makes objects of them.

```python
from getpatter.providers import deepgram, elevenlabs

stt = deepgram(api_key="...", language="en")
tts = elevenlabs(api_key="...", voice="rachel")
```

The modules below hold the deeper import paths of earlier examples; the classes live in `getpatter.stt` and
`getpatter.tts`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Final

from getpatter.models import STTConfig, TTSConfig
from getpatter.stt.base import STTProvider
from getpatter.tts.base import TTSProvider

__all__ = [
    "cartesia",
    "deepgram",
    "elevenlabs",
    "lmnt",
    "made_stt",
    "made_tts",
    "rime",
    "soniox",
    "speechmatics",
    "whisper",
]

_ANY_VOICE: Final = TTSConfig("", "").voice
"""What a configuration has that names no voice."""


@dataclass(frozen=True, slots=True)
class _Place:
    module: str
    key: str = ""
    """What the older `Patter(openai_key=..., ...)` form calls its key; empty where that knows none."""
    keyword: str = ""
    """What the class calls the language or the voice; empty where it has none of its own."""
    knows_any_voice: bool = False
    """Whether the voice of a configuration that names none is one of its voices."""


_STT: Final = {
    "assemblyai": _Place("stt.assemblyai", "assemblyai_key", "language"),
    "cartesia": _Place("stt.cartesia", "cartesia_key", "language"),
    "deepgram": _Place("stt.deepgram", "deepgram_key", "language"),
    "deepgram_flux": _Place("stt.deepgram_flux", "deepgram_key"),
    "elevenlabs": _Place("stt.elevenlabs", "elevenlabs_key", "language"),
    "openai": _Place("stt.openai_transcribe", "openai_key", "language"),
    "openai_transcribe": _Place("stt.openai_transcribe", "openai_key", "language"),
    "soniox": _Place("stt.soniox", "soniox_key", "language_hints"),
    "speechmatics": _Place("stt.speechmatics", "speechmatics_key", "language"),
    "telnyx": _Place("stt.telnyx", "telnyx_key", "language"),
    "whisper": _Place("stt.whisper", "openai_key", "language"),
}
_TTS: Final = {
    "cartesia": _Place("tts.cartesia", "cartesia_key", "voice"),
    "deepgram": _Place("tts.deepgram", "deepgram_key", "model"),
    "elevenlabs": _Place("tts.elevenlabs", "elevenlabs_key", "voice_id", knows_any_voice=True),
    "elevenlabs_ws": _Place(
        "tts.elevenlabs_ws", "elevenlabs_key", "voice_id", knows_any_voice=True
    ),
    "inworld": _Place("tts.inworld", "", "voice"),
    "lmnt": _Place("tts.lmnt", "lmnt_key", "voice"),
    "openai": _Place("tts.openai", "openai_key", "voice", knows_any_voice=True),
    "rime": _Place("tts.rime", "rime_key", "speaker"),
    "telnyx": _Place("tts.telnyx", "telnyx_key", "voice"),
}


def deepgram(api_key: str, language: str = "en", **options: object) -> STTConfig:
    """A recogniser of Deepgram."""
    return STTConfig("deepgram", api_key, language, options or None)


def whisper(api_key: str, language: str = "en", **options: object) -> STTConfig:
    """OpenAI's Whisper."""
    return STTConfig("whisper", api_key, language, options or None)


def soniox(api_key: str, language: str = "en", **options: object) -> STTConfig:
    """A recogniser of Soniox."""
    return STTConfig("soniox", api_key, language, options or None)


def speechmatics(api_key: str, language: str = "en", **options: object) -> STTConfig:
    """A recogniser of Speechmatics."""
    return STTConfig("speechmatics", api_key, language, options or None)


def elevenlabs(api_key: str, voice: str = "rachel", **options: object) -> TTSConfig:
    """A voice of ElevenLabs."""
    return TTSConfig("elevenlabs", api_key, voice, options or None)


def cartesia(api_key: str, voice: str = _ANY_VOICE, **options: object) -> TTSConfig:
    """A voice of Cartesia; its usual one unless another is named."""
    return TTSConfig("cartesia", api_key, voice, options or None)


def rime(api_key: str, voice: str = _ANY_VOICE, **options: object) -> TTSConfig:
    """A voice of Rime; its usual one unless another is named."""
    return TTSConfig("rime", api_key, voice, options or None)


def lmnt(api_key: str, voice: str = _ANY_VOICE, **options: object) -> TTSConfig:
    """A voice of LMNT; its usual one unless another is named."""
    return TTSConfig("lmnt", api_key, voice, options or None)


def made_stt(config: STTConfig, keys: Mapping[str, str] | None = None) -> STTProvider:
    """The recogniser that `config` names.

    Args:
        config: What to make.
        keys: Where the key is looked for that `config` lacks, before the environment: by the names of the older
            `Patter(deepgram_key=..., ...)` form.

    Raises:
        ValueError: no such vendor, no key, or a value that the vendor does not take.
        TypeError: an option that its class does not have.
    """
    place = _known("stt", config.provider, _STT)
    options = dict(config.options or {})
    match place.keyword:
        case "":
            pass
        case "language_hints":
            options.setdefault("language_hints", [config.language])
        case keyword:
            options.setdefault(keyword, config.language)
    made: object = getattr(import_module(f"getpatter.{place.module}"), "STT")(  # noqa: B009
        config.api_key or (keys or {}).get(place.key), **options
    )
    assert isinstance(made, STTProvider), "every class of the table is one"
    return made


def made_tts(config: TTSConfig, keys: Mapping[str, str] | None = None) -> TTSProvider:
    """The voice that `config` names; `keys` as for `made_stt`.

    Raises:
        ValueError: no such vendor, no key, or a value that the vendor does not take.
        TypeError: an option that its class does not have.
    """
    place = _known("tts", config.provider, _TTS)
    options = dict(config.options or {})
    if config.voice != _ANY_VOICE or place.knows_any_voice:
        options.setdefault(place.keyword, config.voice)
    made: object = getattr(import_module(f"getpatter.{place.module}"), "TTS")(  # noqa: B009
        config.api_key or (keys or {}).get(place.key), **options
    )
    assert isinstance(made, TTSProvider), "every class of the table is one"
    return made


def _known(what: str, name: str, table: dict[str, _Place]) -> _Place:
    place = table.get(name.strip().lower())
    if place is None:
        raise ValueError(f"{what} provider {name!r} is none of {', '.join(sorted(table))}")
    return place

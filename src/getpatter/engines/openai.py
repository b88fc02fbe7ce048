"""OpenAI's Realtime API: one model that hears and speaks, over one socket.

Protocol: https://platform.openai.com/docs/guides/realtime. The frames are in `_openai_dialect.py`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import ClassVar, Final

from getpatter import config
from getpatter.agent_parts import RealtimeTurnDetection
from getpatter.core.engine_manners import EngineManners
from getpatter.engines._openai_dialect import RealtimeDialect, Settings
from getpatter.engines.base import Briefing
from getpatter.types import DefaultStr, shown_url

logger = logging.getLogger(__name__)

VOICES: Final = frozenset(
    {"alloy", "ash", "ballad", "coral", "echo", "sage", "shimmer", "verse", "marin", "cedar"}
)
_NEAREST_VOICE: Final = {"fable": "ballad", "nova": "shimmer", "onyx": "ash"}
"""Voices of the vendor's other service, which documented examples name."""
_RETIRED_MODELS: Final = {
    "gpt-4o-mini-realtime-preview": "gpt-realtime-mini",
    "gpt-4o-mini-realtime-preview-2024-12-17": "gpt-realtime-mini",
    "gpt-4o-realtime-preview": "gpt-realtime",
    "gpt-4o-realtime-preview-2024-10-01": "gpt-realtime",
    "gpt-4o-realtime-preview-2024-12-17": "gpt-realtime",
    "gpt-4o-realtime-preview-2025-06-03": "gpt-realtime",
}
_NOISE_REDUCTIONS: Final = (None, "near_field", "far_field")
_EFFORTS: Final = (None, "minimal", "low", "medium", "high", "xhigh")
TRANSCRIPTION_MODEL: Final = "gpt-4o-mini-transcribe"
BASE_URL: Final = "https://api.openai.com/v1"


@dataclass(frozen=True, slots=True)
class OpenAIRealtime:
    """A speech-to-speech model of OpenAI.

    Raises:
        ValueError: there is no key here and none in `OPENAI_API_KEY`, or an option is out of range.
        TypeError: an option has the wrong type.
    """

    kind: ClassVar[str] = "openai_realtime"
    provider_key: ClassVar[str] = "openai"

    api_key: str = field(default="", repr=False)
    """Else `OPENAI_API_KEY`."""
    voice: str = DefaultStr("alloy")
    """A name the service offers, or the id of a voice of your own (`voice_…`)."""
    model: str = DefaultStr("gpt-realtime-mini")
    reasoning_effort: str | None = None
    """For models that reason: `minimal`, `low`, `medium`, `high`, `xhigh`."""
    input_audio_transcription_model: str | None = None
    """Writes down what the caller says; `gpt-4o-mini-transcribe` unless named."""
    transcription_language: str | None = None
    """ISO 639-1; the agent's `language` unless named."""
    noise_reduction: str | None = None
    """`near_field` for a handset, `far_field` for a room."""
    turn_detection: RealtimeTurnDetection | None = None
    """When the caller has finished; unless given, 300 ms of silence."""
    gate_response_on_transcript: bool | None = None
    """True: answer only what was understood as words."""
    base_url: str = field(default="", kw_only=True)
    """Another server that speaks this protocol; else `OPENAI_BASE_URL`, else the vendor's."""

    def __post_init__(self) -> None:
        key = config.credential("OPENAI_API_KEY", self.api_key, owner=type(self).__name__)
        url = self.base_url or config.setting("OPENAI_BASE_URL", BASE_URL)
        if not url.startswith(("https://", "http://", "wss://", "ws://")):
            raise ValueError(
                f"base_url must begin with https:// or wss://, got {shown_url(url)[:40]!r}"
            )
        object.__setattr__(self, "api_key", key)
        object.__setattr__(self, "base_url", url)
        _check_choice("noise_reduction", self.noise_reduction, _NOISE_REDUCTIONS)
        _check_choice("reasoning_effort", self.reasoning_effort, _EFFORTS)
        detection: object = self.turn_detection
        if detection is not None and not isinstance(detection, RealtimeTurnDetection):
            raise TypeError(
                f"turn_detection must be a RealtimeTurnDetection, not {type(detection).__name__}"
            )
        object.__setattr__(self, "voice", _offered_voice(self.voice))
        object.__setattr__(self, "model", _present_model(self.model))

    def __reduce__(self) -> tuple[object, ...]:
        """Without the key: whoever unpickles it needs one in the environment."""
        kept = {each.name: getattr(self, each.name) for each in fields(self)}
        del kept["api_key"]
        return _made_again, (type(self), kept)

    # ----------------------------------------------------------------------------------- for the call

    def manners(self, briefing: Briefing) -> EngineManners:
        """It answers and stops by itself, unless a setting wants it otherwise."""
        return EngineManners(
            answers_itself=self._answers_itself(briefing), is_guarded=briefing.is_guarded
        )

    def dialect(self, briefing: Briefing) -> RealtimeDialect:
        """A translator for a new connection."""
        return RealtimeDialect(self._settings, briefing)

    def _answers_itself(self, briefing: Briefing) -> bool:
        return briefing.interrupts and not briefing.interrupts_late and not self._gates(briefing)

    def _gates(self, briefing: Briefing) -> bool:
        own = self.gate_response_on_transcript
        return bool(briefing.gate_on_transcript if own is None else own)

    def _settings(self, briefing: Briefing) -> Settings:
        detection = self.turn_detection or briefing.turn_detection or RealtimeTurnDetection()
        voice = self.voice
        if isinstance(voice, DefaultStr) and briefing.voice:
            voice = _offered_voice(briefing.voice)
        model = self.model
        if isinstance(model, DefaultStr) and briefing.model:
            model = _present_model(briefing.model)
        language = self.transcription_language or briefing.language.partition("-")[0]
        return Settings(
            url=self.base_url,
            key=self.api_key,
            model=str(model),
            voice=str(voice),
            briefing=briefing,
            transcription_model=self.input_audio_transcription_model or TRANSCRIPTION_MODEL,
            transcription_language=language.lower(),
            noise_reduction=self.noise_reduction or briefing.noise_reduction,
            turn_detection=_detection(detection, is_left_to_it=self._answers_itself(briefing)),
            prefix_ms=float(detection.prefix_padding_ms) if detection.type == "server_vad" else 0.0,
            silence_ms=(
                float(detection.silence_duration_ms) if detection.type == "server_vad" else 0.0
            ),
            reasoning_effort=self.reasoning_effort,
        )


Realtime = OpenAIRealtime
"""Its name in this module."""


def _made_again(kind: type[OpenAIRealtime], options: Mapping[str, object]) -> OpenAIRealtime:
    return kind(**options)  # type: ignore[arg-type]  # they come from an object of this kind


def _detection(detection: RealtimeTurnDetection, *, is_left_to_it: bool) -> dict[str, object]:
    wire: dict[str, object] = {
        "type": detection.type,
        "create_response": is_left_to_it,
        "interrupt_response": is_left_to_it,
    }
    if detection.type == "semantic_vad":
        wire["eagerness"] = detection.eagerness or "auto"
    else:
        wire |= {
            "threshold": detection.threshold,
            "prefix_padding_ms": detection.prefix_padding_ms,
            "silence_duration_ms": detection.silence_duration_ms,
        }
    return wire


def _check_choice(name: str, value: object, choices: tuple[object, ...]) -> None:
    if value not in choices:
        known = ", ".join(repr(each) for each in choices)
        raise ValueError(f"{name} {value!r} is none of {known}")


def _offered_voice(voice: str) -> str:
    """The voice itself, or the nearest that the service offers (PR-14)."""
    nearest = _NEAREST_VOICE.get(voice.lower())
    if nearest is None:
        return voice
    logger.warning("engine.voice_replaced wanted=%s used=%s", voice, nearest)
    return nearest


def _present_model(model: str) -> str:
    """The model itself, or what has taken its place (PR-15)."""
    present = _RETIRED_MODELS.get(model)
    if present is None:
        return model
    logger.warning("engine.model_replaced wanted=%s used=%s", model, present)
    return present

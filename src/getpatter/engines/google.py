"""Google's Gemini Live: one model that hears and speaks, over one socket.

Protocol: https://ai.google.dev/api/live and https://ai.google.dev/gemini-api/docs/live-api. Its forms were read from
the vendor's own client (`google-genai` 3.4.0, `types.py` and `live.py`), which also talks to the fake of the test kit.
The frames are in `_google_dialect.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import ClassVar, Final

from getpatter import config
from getpatter.core.engine_manners import EngineManners
from getpatter.engines._google_dialect import LiveDialect, Settings
from getpatter.engines._google_events import VENDOR
from getpatter.engines.base import Briefing
from getpatter.types import DefaultStr, shown_url

BASE_URL: Final = "https://generativelanguage.googleapis.com"
MODEL: Final = "gemini-3.8-live"
HOTTEST: Final = 2.0
_ENGLISH: Final = "en"
"""What an agent speaks that was told nothing."""


@dataclass(frozen=True, slots=True)
class GeminiLive:
    """A speech-to-speech model of Google.

    Raises:
        ValueError: there is no key here and none in `GEMINI_API_KEY` or `GOOGLE_API_KEY`, or an option is out of range.
    """

    kind: ClassVar[str] = "gemini_live"
    provider_key: ClassVar[str] = VENDOR

    api_key: str = field(default="", repr=False)
    """Else `GEMINI_API_KEY`, else `GOOGLE_API_KEY`."""
    model: str = DefaultStr(MODEL)
    voice: str = DefaultStr("Puck")
    """Name of one of the vendor's prebuilt voices."""
    language: str = DefaultStr("en-US")
    """BCP-47; the agent's `language` unless named."""
    temperature: float = 0.8
    """0 to 2."""
    base_url: str = field(default="", kw_only=True)
    """Another server that speaks this protocol."""

    def __post_init__(self) -> None:
        owner = type(self).__name__
        key = config.credential(("GEMINI_API_KEY", "GOOGLE_API_KEY"), self.api_key, owner=owner)
        url = (self.base_url or BASE_URL).rstrip("/")
        if not url.startswith(("https://", "http://", "wss://", "ws://")):
            raise ValueError(
                f"base_url must begin with https:// or wss://, got {shown_url(url)[:40]!r}"
            )
        if not 0 <= self.temperature <= HOTTEST:
            raise ValueError(f"temperature must be from 0 to {HOTTEST:g}, got {self.temperature!r}")
        object.__setattr__(self, "api_key", key)
        object.__setattr__(self, "base_url", url)

    def __reduce__(self) -> tuple[object, ...]:
        """Without the key: whoever unpickles it needs one in the environment."""
        kept = {each.name: getattr(self, each.name) for each in fields(self)}
        del kept["api_key"]
        return _made_again, (type(self), kept)

    def manners(self, briefing: Briefing) -> EngineManners:
        """It answers and stops by itself, and says of the caller's voice only that it was interrupted."""
        return EngineManners(
            acknowledges=False, announces_voices=False, is_guarded=briefing.is_guarded
        )

    def dialect(self, briefing: Briefing) -> LiveDialect:
        """A translator for a new connection."""
        return LiveDialect(self._settings, briefing)

    def _settings(self, briefing: Briefing) -> Settings:
        return Settings(
            url=self.base_url,
            key=self.api_key,
            model=_chosen(self.model, briefing.model),
            voice=_chosen(self.voice, briefing.voice),
            language=_chosen(
                self.language, "" if briefing.language == _ENGLISH else briefing.language
            ),
            temperature=self.temperature,
            briefing=briefing,
        )


Live = GeminiLive
"""Its name in this module."""


def _made_again(kind: type[GeminiLive], options: Mapping[str, object]) -> GeminiLive:
    return kind(**options)  # type: ignore[arg-type]  # they come from an object of this kind


def _chosen(own: str, agents: str | None) -> str:
    """What the engine names, else what its agent does."""
    return agents if agents and isinstance(own, DefaultStr) else str(own)

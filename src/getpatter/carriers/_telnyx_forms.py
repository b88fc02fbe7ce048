"""What Telnyx takes in its commands: numbers, streams, languages, keys. Pure.

Protocol: https://developers.telnyx.com/api-reference/call-commands
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote, urlencode

from getpatter.carriers._telnyx_state import NAME, Codec
from getpatter.carriers.base import Stream
from getpatter.errors import ErrorCode, PatterConfigError
from getpatter.types import is_e164, masked

_SIP: Final = re.compile(r"sips?:[^\s<>\"']{1,250}", re.ASCII | re.IGNORECASE)
# `speak` takes these locales; each language by the one most people mean who say only the language.
_LOCALES: Final = {
    "ar": "arb",
    "cy": "cy-GB",
    "da": "da-DK",
    "de": "de-DE",
    "en": "en-US",
    "es": "es-ES",
    "fr": "fr-FR",
    "hi": "hi-IN",
    "is": "is-IS",
    "it": "it-IT",
    "ja": "ja-JP",
    "ko": "ko-KR",
    "nb": "nb-NO",
    "nl": "nl-NL",
    "no": "nb-NO",
    "pl": "pl-PL",
    "pt": "pt-BR",
    "ro": "ro-RO",
    "ru": "ru-RU",
    "sv": "sv-SE",
    "tr": "tr-TR",
    "zh": "cmn-CN",
}
_MORE_LOCALES: Final = frozenset(
    {"en-AU", "en-GB", "en-IN", "es-MX", "es-US", "fr-CA", "pt-PT", *_LOCALES.values()}
)


def invalid(text: str) -> PatterConfigError:
    """The error for an argument that Telnyx would not take."""
    return PatterConfigError(text, code=ErrorCode.INPUT_VALIDATION, vendor=NAME)


def check_number(number: str) -> None:
    """Refuse what is not a full international number."""
    if not is_e164(number):
        raise invalid(f"{masked(number)} is not a number such as +15550001234")


def check_target(target: str) -> None:
    """Refuse what can be neither dialled nor transferred to."""
    if not is_e164(target) and not _SIP.fullmatch(target):
        raise invalid(f"{masked(target)} is neither a number such as +15550001234 nor a sip: URI")


def locale(language: str) -> str:
    """The locale of `"en"` or `"en-GB"`; American English for languages that Telnyx does not speak."""
    if language in _MORE_LOCALES:
        return language
    return _LOCALES.get(language[:2].lower(), "en-US")


def streaming_fields(stream: Stream, codec: Codec) -> dict[str, object]:
    """What asks for the audio of a call, both ways, at our socket."""
    reference, token = quote(stream.reference, safe=""), urlencode({"token": stream.token})
    return stream_to(f"wss://{stream.host}/ws/stream/{reference}?{token}", codec)


def stream_to(url: str, codec: Codec) -> dict[str, object]:
    """What asks for the audio of a call, both ways, at somebody's socket."""
    return {
        "stream_url": url,
        "stream_track": "inbound_track",
        "stream_codec": codec,
        "stream_bidirectional_mode": "rtp",
        "stream_bidirectional_target_legs": "self",
        "stream_bidirectional_codec": codec,
        "stream_bidirectional_sampling_rate": 16000 if codec == "L16" else 8000,
    }


def spaced(digits: str, delay_ms: int) -> str:
    """The keys with as many half seconds between them as `delay_ms` asks for beyond Telnyx's own spacing."""
    pauses = "w" * (max(0, delay_ms - _CARRIERS_SPACING_MS) // _HALF_SECOND)
    return pauses.join(digits)


_CARRIERS_SPACING_MS: Final = 300
_HALF_SECOND: Final = 500

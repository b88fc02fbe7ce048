"""How loud a stretch of audio is: a guess that costs a microsecond, where a voice detector would be too much."""

from __future__ import annotations

from typing import Final

from getpatter.types import AudioFormat, Encoding

# Quieter than about 1.6 % of full scale (-36 dB) is line noise, breath, a hum in the room. Both G.711 laws sort
# their codes by loudness once sign and inversion are taken off.
_LEAST_MULAW: Final = 0x25
_LEAST_ALAW: Final = 0x20
_QUIET_MULAW: Final = bytes(code for code in range(256) if (~code & 0x7F) < _LEAST_MULAW)
_QUIET_ALAW: Final = bytes(code for code in range(256) if ((code ^ 0x55) & 0x7F) < _LEAST_ALAW)
_QUIET_HIGH_BYTES: Final = b"\x00\x01\xfe\xff"


def loud_share(data: bytes, audio_format: AudioFormat) -> float:
    """The share of samples, 0 to 1, that are louder than a quiet line. Takes whole samples."""
    if audio_format.encoding is Encoding.PCM16:
        samples, quiet = data[1::2], _QUIET_HIGH_BYTES
    else:
        samples = data
        quiet = _QUIET_MULAW if audio_format.encoding is Encoding.MULAW else _QUIET_ALAW
    return len(samples.translate(None, quiet)) / len(samples) if samples else 0.0

"""ElevenLabs' streaming recogniser (Scribe realtime).

Protocol: https://elevenlabs.io/docs/api-reference/speech-to-text/v-1-speech-to-text-realtime

```
<- session_started
-> {"message_type": "input_audio_chunk", "audio_base_64", "commit": false}   <- partial_transcript ...
   ... silence, or "commit": true                                            <- committed_transcript
```

There is no message that ends a session: what is left is committed, and the socket closed.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import ClassVar, Final, Self, TypedDict, Unpack
from urllib.parse import urlencode

import msgspec

from getpatter.errors import AuthenticationError, PatterConnectionError, PatterError, RateLimitError
from getpatter.models import Transcript
from getpatter.net.refusals import clean_text
from getpatter.net.service import decoded, encoded
from getpatter.net.sockets import Message, SocketRequest
from getpatter.stt._socket import Dialect, Ended, Heard, Ready, SocketSTT
from getpatter.types import MULAW_8K, AudioFormat, DefaultInt, DefaultStr, Encoding

__all__ = ["STT", "ElevenLabsSTT"]

VENDOR: Final = "elevenlabs"
BASE_URL: Final = "wss://api.elevenlabs.io"
_RATES: Final = (8000, 16000, 22050, 24000, 44100, 48000)
_SHORTEST_S, _LONGEST_S = 0.3, 3.0
_MOST_KEYTERMS: Final = 50
# What there was to commit was too short, or has been committed just now: no reason to end the stream.
_HARMLESS: Final = frozenset({"commit_throttled", "insufficient_audio_activity"})
_TOO_MUCH: Final = frozenset({"rate_limited", "resource_exhausted", "queue_overflow"})
_PASSING: Final = frozenset({"error", "transcriber_error", "session_time_limit_exceeded"})
_ERRORS: Final = (
    _HARMLESS
    | _TOO_MUCH
    | _PASSING
    | {"auth_error", "quota_exceeded", "unaccepted_terms", "input_error", "invalid_request"}
    | {"chunk_size_exceeded", "unaccepted_terms_error"}
)


class _Keywords(TypedDict, total=False):
    language: str | None
    model: str
    vad_silence_threshold_secs: float
    keyterms: Sequence[str]
    base_url: str


class ElevenLabsSTT(SocketSTT):
    """ElevenLabs Scribe over a socket."""

    provider_key = "elevenlabs_stt"
    agent_settings = MappingProxyType({"language": "language"})
    vendor = VENDOR
    key_variable = "ELEVENLABS_API_KEY"

    def __init__(  # noqa: PLR0913 - the options of the service
        self,
        api_key: str | None = None,
        *,
        language: str | None = DefaultStr("en"),
        model: str = "scribe_v2_realtime",
        sample_rate: int = DefaultInt(16000),
        vad_silence_threshold_secs: float = 0.5,
        keyterms: Sequence[str] = (),
        base_url: str = BASE_URL,
    ) -> None:
        """Configure; nothing is opened.

        Args:
            api_key: Else `ELEVENLABS_API_KEY`.
            language: ISO 639-1 or 639-3; `None` lets the vendor find out.
            model: Such as `"scribe_v2_realtime"`.
            sample_rate: Hertz, of PCM16. Unless it is given, a call chooses.
            vad_silence_threshold_secs: Seconds of silence, 0.3 to 3, that end an utterance.
            keyterms: Words to expect, 50 at most.
            base_url: Another address of the service, such as that of the EU.

        Raises:
            ValueError: no key, or a value that the vendor does not take.
        """
        if sample_rate not in _RATES:
            raise ValueError(f"ElevenLabsSTT sample_rate is one of {_RATES}, not {sample_rate}")
        if not _SHORTEST_S <= vad_silence_threshold_secs <= _LONGEST_S:
            raise ValueError(
                f"vad_silence_threshold_secs is 0.3 to 3, not {vad_silence_threshold_secs}"
            )
        if isinstance(keyterms, str) or len(keyterms) > _MOST_KEYTERMS:
            raise ValueError("keyterms is a list of at most 50 words")
        self.language = str(language or "")
        self.model = str(model)
        self.input_format = AudioFormat(Encoding.PCM16, int(sample_rate))
        self._is_format_named = not isinstance(sample_rate, DefaultInt)
        self._silence_s = vad_silence_threshold_secs
        self._keyterms = tuple(keyterms)
        self._base_url = base_url
        super().__init__(
            api_key,
            {
                "language": language,
                "model": self.model,
                "sample_rate": sample_rate,
                "vad_silence_threshold_secs": vad_silence_threshold_secs,
                "keyterms": self._keyterms,
                "base_url": base_url,
            },
        )

    @classmethod
    def for_twilio(cls, api_key: str | None = None, **options: Unpack[_Keywords]) -> Self:
        """As the constructor, fed with mu-law at 8 kHz."""
        made = cls(api_key, **options)
        made.input_format = MULAW_8K
        made._is_format_named = True
        return made

    def adopt(self, audio_format: AudioFormat) -> bool:
        """Take `audio_format` from now on, if it may; see `with_input`."""
        if audio_format == self.input_format:
            return True
        is_pcm = audio_format.encoding is Encoding.PCM16 and audio_format.sample_rate in _RATES
        if self._is_format_named or not (is_pcm or audio_format == MULAW_8K):
            return False
        self.input_format = audio_format
        return True

    def _dialect(self) -> ScribeDialect:
        query: list[tuple[str, str]] = [
            ("model_id", self.model),
            ("commit_strategy", "vad"),
            ("vad_silence_threshold_secs", f"{self._silence_s:g}"),
            *(("keyterms", each) for each in self._keyterms),
        ]
        if self.language:
            query.append(("language_code", self.language))
        return ScribeDialect(self._base_url, self._key, tuple(query), self.input_format)


STT = ElevenLabsSTT


class _Frame(msgspec.Struct):
    message_type: str
    text: str = ""
    error: str = ""


_FRAME: Final = msgspec.json.Decoder(_Frame)


@dataclass(slots=True)
class ScribeDialect(Dialect):
    """`/v1/speech-to-text/realtime`."""

    base_url: str
    key: str = field(repr=False)
    query: tuple[tuple[str, str], ...]
    audio_format: AudioFormat
    is_ending: bool = False

    waits_for_ready: ClassVar[bool] = True

    def request(self) -> SocketRequest:
        """The key is in a header."""
        kind = "ulaw" if self.audio_format.encoding is Encoding.MULAW else "pcm"
        query = urlencode(
            [*self.query, ("audio_format", f"{kind}_{self.audio_format.sample_rate}")]
        )
        return SocketRequest(
            f"{self.base_url}/v1/speech-to-text/realtime?{query}",
            headers={"xi-api-key": self.key},
            vendor=VENDOR,
        )

    def audio(self, data: bytes) -> Message:
        """A message of audio."""
        return self._chunk(base64.b64encode(data).decode(), commit=False)

    def finalize(self) -> tuple[Message, ...]:
        """Final words of the audio sent so far, please."""
        return (self._chunk("", commit=True),)

    def ending(self) -> tuple[Message, ...]:
        """The same: the socket is closed once they have come."""
        self.is_ending = True
        return self.finalize()

    def _chunk(self, audio: str, *, commit: bool) -> str:
        return encoded(
            {
                "message_type": "input_audio_chunk",
                "audio_base_64": audio,
                "commit": commit,
                "sample_rate": self.audio_format.sample_rate,
            }
        )

    def read(self, message: Message) -> Sequence[Heard]:
        """What a message means; unknown types mean nothing."""
        frame = decoded(_FRAME, message, VENDOR)
        text = frame.text.strip()
        match frame.message_type:
            case "session_started":
                return (Ready(),)
            case "partial_transcript" if text:
                return (Transcript(text, is_final=False),)
            case "committed_transcript":
                said = Transcript(text, is_final=True, speech_final=True)
                return (said, Ended()) if self.is_ending else (said,)
            case kind if kind in _HARMLESS:
                return (Ended(),) if self.is_ending else ()
            case kind if kind in _ERRORS:
                return (self._failure(kind, frame.error),)
            case _:
                return ()

    def _failure(self, kind: str, said: str) -> PatterError:
        text = f"{VENDOR} answered {kind}: {clean_text(said, (self.key,))}"
        if kind == "auth_error":
            return AuthenticationError(text, vendor=VENDOR, retryable=False)
        if kind in _TOO_MUCH:
            return RateLimitError(text, vendor=VENDOR)
        return PatterConnectionError(text, vendor=VENDOR, retryable=kind in _PASSING)

"""ElevenLabs' voices.

Protocol: https://elevenlabs.io/docs/api-reference/text-to-speech

Over one socket a call, with a context for each text (`/multi-stream-input`), which an interruption leaves alone;
over HTTP for models that have no socket.

```
-> {"text": " ", context_id, voice_settings}     opens a context
-> {"text": "Hello. ", context_id, flush}        <- {"audio": base64, contextId} ...
-> {context_id, close_context}                   <- {"isFinal": true, contextId}
-> {"text": "", context_id}                      keeps a context, and so the socket, open
-> {close_socket}
```
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import ClassVar, Final, Self, TypedDict, Unpack
from urllib.parse import quote, urlencode

import msgspec

from getpatter.errors import (
    AuthenticationError,
    PatterConnectionError,
    PatterError,
    RateLimitError,
    WireError,
)
from getpatter.net.messages import HttpRequest
from getpatter.net.refusals import clean_text
from getpatter.net.service import decoded, encoded
from getpatter.net.sockets import Message, SocketRequest
from getpatter.tts._http import HttpTTS
from getpatter.tts._socket import (
    FRAME_LIMIT_S,
    Failed,
    SocketTTS,
    Sound,
    Spoken,
    VoiceDialect,
    VoiceNews,
)
from getpatter.types import (
    ALAW_8K,
    MULAW_8K,
    PCM16_16K,
    AudioFormat,
    Encoding,
)

__all__ = [
    "TTS",
    "VOICES",
    "ElevenLabsRestTTS",
    "ElevenLabsTTS",
    "ElevenLabsTTSError",
]

VENDOR: Final = "elevenlabs"
BASE_URL: Final = "https://api.elevenlabs.io"
DEFAULT_VOICE: Final = "EXAVITQu4vr4xnSDxMaL"
VOICES: Final[Mapping[str, str]] = {
    "adam": "pNInz6obpgDQGcFmaJgB",
    "alloy": DEFAULT_VOICE,
    "antoni": "ErXwobaYiN019PkySvjV",
    "bella": DEFAULT_VOICE,
    "josh": "TxGEqnHWrfWFTfGW9XjX",
    "rachel": "21m00Tcm4TlvDq8ikWAM",
    "sarah": DEFAULT_VOICE,
}
"""Voices by name, in small letters. Other texts are taken as ids."""

OPEN_LIMIT_S: Final = 5.0
_LONGEST_FRAME: Final = 512 * 1024
_LONGEST_INACTIVITY: Final = 180
_IDLE: Final = "idle"
_PCM_RATES: Final = (8000, 16000, 22050, 24000, 32000, 44100, 48000)
_FORMATS: Final[Mapping[str, AudioFormat]] = {
    "ulaw_8000": MULAW_8K,
    "alaw_8000": ALAW_8K,
    **{f"pcm_{rate}": AudioFormat(Encoding.PCM16, rate) for rate in _PCM_RATES},
}
_NAMES: Final = {audio_format: name for name, audio_format in _FORMATS.items()}
_SHORTEST_PIECE, _LONGEST_PIECE = 5, 500
_PLAN_WORDS: Final = (
    "paid_plan",
    "payment_required",
    "subscription",
    "upgrade",
    "your plan",
    "free users",
)


class ElevenLabsTTSError(PatterConnectionError):
    """The service could not speak a text; the message says why, and which plan is needed where that is it."""


class Options(TypedDict, total=False):
    """Keywords that all of the classes take beside the format."""

    voice_id: str
    model_id: str
    language_code: str | None
    voice_settings: Mapping[str, object] | None
    voice: str | None
    auto_mode: bool
    inactivity_timeout: int
    chunk_length_schedule: Sequence[int] | None
    chunk_size: int | None
    base_url: str


class ElevenLabsTTS(SocketTTS, HttpTTS):
    """ElevenLabs over the transport that its model has: a socket, or HTTP for `eleven_v3` models.

    ```python
    tts = ElevenLabsTTS(voice="rachel")  # the key is ELEVENLABS_API_KEY
    ```
    """

    provider_key = VENDOR
    vendor = VENDOR
    key_variable = "ELEVENLABS_API_KEY"
    most_characters = 2500

    def __init__(  # noqa: PLR0913 - the documented options
        self,
        api_key: str | None = None,
        *,
        voice_id: str = DEFAULT_VOICE,
        model_id: str = "eleven_flash_v2_5",
        output_format: str | AudioFormat | None = None,
        language_code: str | None = None,
        voice_settings: Mapping[str, object] | None = None,
        voice: str | None = None,
        auto_mode: bool = True,
        inactivity_timeout: int = 60,
        chunk_length_schedule: Sequence[int] | None = None,
        chunk_size: int | None = None,
        base_url: str = BASE_URL,
    ) -> None:
        """Configure; nothing is opened.

        Args:
            api_key: Else `ELEVENLABS_API_KEY`.
            voice_id: An id, or one of the names in `VOICES` in any case.
            model_id: Such as `"eleven_flash_v2_5"`.
            output_format: `"ulaw_8000"`, `"alaw_8000"` or `"pcm_<rate>"`. `None` lets a call choose, and is
                `"pcm_16000"` outside one.
            language_code: ISO 639-1, for models that speak several.
            voice_settings: `stability`, `similarity_boost`, `style`, `use_speaker_boost`, `speed`.
            voice: Another name for `voice_id`.
            auto_mode: Speak at once what is sent, which is whole sentences here.
            inactivity_timeout: Seconds, at most 180, after which the vendor closes an idle socket.
            chunk_length_schedule: Characters, 5 to 500 each, to wait for; only with `auto_mode=False`.
            chunk_size: Bytes of the largest piece that is yielded.
            base_url: Another address of the service; its socket is below the same.

        Raises:
            ValueError: no key, or a value that the vendor does not take.
        """
        self.voice_id = _voice(voice if voice is not None else voice_id)
        self.model = self.model_id = str(model_id)
        self.output_format = _format(output_format) or PCM16_16K
        self._is_format_named = output_format is not None
        if not 1 <= inactivity_timeout <= _LONGEST_INACTIVITY:
            raise ValueError(f"inactivity_timeout is 1 to 180 seconds, not {inactivity_timeout}")
        if chunk_size is not None and chunk_size < 1:
            raise ValueError(f"chunk_size must be at least 1, not {chunk_size}")
        _check_schedule(chunk_length_schedule, auto_mode=auto_mode)
        super().__init__(
            api_key,
            {
                "voice_id": self.voice_id,
                "model_id": self.model_id,
                "output_format": output_format,
                "language_code": language_code,
                "voice_settings": dict(voice_settings) if voice_settings else None,
                "auto_mode": auto_mode,
                "inactivity_timeout": inactivity_timeout,
                "chunk_length_schedule": chunk_length_schedule and list(chunk_length_schedule),
                "chunk_size": chunk_size,
                "base_url": base_url,
            },
        )
        self._wire = _Wire(
            base_url=base_url.rstrip("/"),
            voice_id=self.voice_id,
            model_id=self.model_id,
            language_code=language_code,
            voice_settings=dict(voice_settings or {}),
            auto_mode=auto_mode,
            inactivity_timeout=inactivity_timeout,
            schedule=tuple(chunk_length_schedule or ()),
        )
        self._chunk_size = chunk_size
        self._open_limit_s = OPEN_LIMIT_S
        self._frame_limit_s = FRAME_LIMIT_S
        self._is_http = not has_socket(self.model_id)

    @classmethod
    def for_twilio(cls, api_key: str | None = None, **options: Unpack[Options]) -> Self:
        """As the constructor, speaking mu-law at 8 kHz."""
        return cls(api_key, output_format="ulaw_8000", **options)

    @classmethod
    def for_telnyx(cls, api_key: str | None = None, **options: Unpack[Options]) -> Self:
        """As the constructor, speaking PCM16 at 16 kHz."""
        return cls(api_key, output_format="pcm_16000", **options)

    def adopt(self, audio_format: AudioFormat) -> bool:
        """Speak `audio_format` from now on, if it may; see `with_output`."""
        if audio_format == self.output_format:
            return True
        if self._is_format_named or audio_format not in _NAMES:
            return False
        self.output_format = audio_format
        return True

    async def warmup(self) -> None:
        """Begin to open a socket that the next text of this object or a clone will use."""
        if not self._is_http:
            await SocketTTS.warmup(self)

    async def synthesize(self, text: str) -> AsyncGenerator[bytes]:
        """Speak `text`; yields sound in `output_format` as it arrives.

        Closing or cancelling the iterator ends this text and disturbs no other.

        Raises:
            AuthenticationError: the vendor refuses the key.
            RateLimitError: it wants no more sockets or texts.
            ElevenLabsTTSError: it refused the text, fell silent or went away.
        """
        kind = HttpTTS if self._is_http else SocketTTS
        try:
            async with aclosing(kind.synthesize(self, text)) as sounds:
                async for sound in sounds:
                    size = self._chunk_size or len(sound)
                    for start in range(0, len(sound), size):
                        yield sound[start : start + size]
        except PatterError as error:
            raise self._explained(error) from error.__cause__

    def _explained(self, error: PatterError) -> PatterError:
        return explained(error)

    def _request(self, text: str) -> HttpRequest:
        return self._wire.request(text, self._key, _NAMES[self.output_format])

    def _dialect(self) -> ElevenLabsDialect:
        return ElevenLabsDialect(
            self._wire, self._key, _NAMES[self.output_format], open_timeout=self._open_limit_s
        )


TTS = ElevenLabsTTS


class ElevenLabsRestTTS(ElevenLabsTTS):
    """ElevenLabs over HTTP only: a request for each text, nothing kept open but the connection."""

    def __init__(
        self,
        api_key: str | None = None,
        *,
        output_format: str | AudioFormat | None = None,
        **options: Unpack[Options],
    ) -> None:
        """As `ElevenLabsTTS`, with a `chunk_size` of 4096 bytes unless another is given."""
        options.setdefault("chunk_size", 4096)
        super().__init__(api_key, output_format=output_format, **options)
        self._is_http = True


def has_socket(model_id: str) -> bool:
    """Whether the model speaks over a socket."""
    return not model_id.startswith("eleven_v3")


@dataclass(frozen=True, slots=True)
class _Wire:
    """The options as requests carry them."""

    base_url: str
    voice_id: str
    model_id: str
    language_code: str | None
    voice_settings: Mapping[str, object]
    auto_mode: bool
    inactivity_timeout: int
    schedule: tuple[int, ...]

    def request(self, text: str, key: str, output_format: str) -> HttpRequest:
        """`POST …/stream`."""
        body: dict[str, object] = {"text": text, "model_id": self.model_id}
        if self.voice_settings:
            body["voice_settings"] = self.voice_settings
        if self.language_code:
            body["language_code"] = self.language_code
        query = urlencode({"output_format": output_format})
        return HttpRequest(
            "POST",
            f"{self.base_url}/v1/text-to-speech/{quote(self.voice_id, safe='')}/stream?{query}",
            {"xi-api-key": key, "content-type": "application/json"},
            encoded(body).encode(),
        )

    def socket_url(self, output_format: str) -> str:
        """`wss://…/multi-stream-input?…`."""
        query: dict[str, str] = {
            "model_id": self.model_id,
            "output_format": output_format,
            "inactivity_timeout": str(self.inactivity_timeout),
            "auto_mode": "true" if self.auto_mode else "false",
        }
        if self.language_code:
            query["language_code"] = self.language_code
        base = "ws" + self.base_url.removeprefix("http")
        voice = quote(self.voice_id, safe="")
        return f"{base}/v1/text-to-speech/{voice}/multi-stream-input?{urlencode(query)}"


class _Frame(msgspec.Struct):
    audio: str | None = None
    is_final_camel: bool | None = msgspec.field(name="isFinal", default=None)
    is_final: bool | None = None
    context_camel: str | None = msgspec.field(name="contextId", default=None)
    context_id: str | None = None
    error: str | None = None
    message: str | None = None
    code: int | str | None = None


_FRAME: Final = msgspec.json.Decoder(_Frame)


@dataclass(slots=True)
class ElevenLabsDialect(VoiceDialect):
    """The socket of many contexts."""

    wire: _Wire
    key: str = field(repr=False)
    output_format: str
    open_timeout: float = OPEN_LIMIT_S
    keeps_idle: bool = False
    """A context is open only to keep the socket open."""

    rate_codes: ClassVar[frozenset[int]] = frozenset({1013})

    def __post_init__(self) -> None:
        """Say something three times as often as silence would end the socket."""
        self.keep_alive_every = min(20.0, self.wire.inactivity_timeout / 3)

    def request(self) -> SocketRequest:
        """The key is in a header."""
        return SocketRequest(
            self.wire.socket_url(self.output_format),
            headers={"xi-api-key": self.key},
            vendor=VENDOR,
            open_timeout=self.open_timeout,
            max_frame=_LONGEST_FRAME,
        )

    def begin(self, context: str, text: str) -> tuple[Message, ...]:
        """A context that is closed as soon as all of `text` is spoken."""
        opening: dict[str, object] = {"text": " ", "context_id": context}
        if self.wire.voice_settings:
            opening["voice_settings"] = self.wire.voice_settings
        if self.wire.schedule:
            opening["generation_config"] = {"chunk_length_schedule": self.wire.schedule}
        return (
            encoded(opening),
            encoded({"text": f"{text} ", "context_id": context, "flush": True}),
            encoded({"context_id": context, "close_context": True}),
        )

    def keep_alive(self) -> tuple[Message, ...]:
        """A context lives for `inactivity_timeout` seconds, and the socket while a context does."""
        text = "" if self.keeps_idle else " "
        self.keeps_idle = True
        return (encoded({"text": text, "context_id": _IDLE}),)

    def ending(self) -> tuple[Message, ...]:
        """The vendor then closes."""
        return (encoded({"close_socket": True}),)

    def read(self, message: Message) -> Sequence[VoiceNews]:
        """Sound, the end of a context, or why not."""
        frame = decoded(_FRAME, message, VENDOR)
        context = frame.context_camel or frame.context_id or ""
        if frame.error or (frame.message and frame.code):
            return self._refused(frame, context)
        news: list[VoiceNews] = []
        if frame.audio:
            news.append(Sound(context, _bytes(frame.audio)))
        if frame.is_final_camel or frame.is_final:
            if context == _IDLE:
                self.keeps_idle = False
            news.append(Spoken(context))
        return news

    def _refused(self, frame: _Frame, context: str) -> Sequence[VoiceNews]:
        kind, said = frame.error or "", frame.message or ""
        text = clean_text(": ".join(part for part in (kind, said) if part), (self.key,))
        error: PatterError
        if kind in {"auth_error", "authentication_error", "invalid_api_key", "needs_authorization"}:
            error = AuthenticationError(f"{VENDOR}: {text}", vendor=VENDOR, retryable=False)
        elif kind in {"rate_limited", "rate_limit_exceeded", "too_many_concurrent_requests"}:
            error = RateLimitError(f"{VENDOR}: {text}", vendor=VENDOR)
        else:
            status = frame.code if isinstance(frame.code, int) else None
            error = ElevenLabsTTSError(f"{VENDOR}: {text}", vendor=VENDOR, status=status)
        return (Failed(error, "" if context == _IDLE else context),)


def explained(error: PatterError) -> PatterError:
    """`error` as `ElevenLabsTTSError` where it is about speaking, with the plan that would help."""
    if type(error) is not PatterConnectionError and type(error) is not ElevenLabsTTSError:
        return error
    said = str(error)
    lower = said.lower()
    needs_plan = error.status == 402 or any(word in lower for word in _PLAN_WORDS)  # noqa: PLR2004
    if needs_plan and "plan that is needed" not in said:
        said += (
            " (plan that is needed: Starter or above for voices of the library, Pro for pcm_44100 and above; "
            "the default voice works on the free plan)"
        )
    return ElevenLabsTTSError(
        said,
        code=error.code,
        vendor=VENDOR,
        retryable=error.retryable and not needs_plan,
        request_id=error.request_id,
        status=error.status,
    )


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise WireError(f"{VENDOR} sent audio that is not base64", vendor=VENDOR) from error


def _voice(name: str) -> str:
    if not name or not name.strip():
        raise ValueError("ElevenLabs needs a voice: an id, or one of " + ", ".join(sorted(VOICES)))
    return VOICES.get(name.strip().lower(), name.strip())


def _format(given: str | AudioFormat | None) -> AudioFormat | None:
    if given is None:
        return None
    if isinstance(given, AudioFormat):
        if given in _NAMES:
            return given
    elif (known := _FORMATS.get(str(given))) is not None:
        return known
    raise ValueError(
        f"output_format {given!r} cannot be played on a call: use one of {', '.join(_FORMATS)}"
    )


def _check_schedule(schedule: Sequence[int] | None, *, auto_mode: bool) -> None:
    if schedule is None:
        return
    if auto_mode:
        raise ValueError("chunk_length_schedule works only with auto_mode=False")
    if not schedule or not all(_SHORTEST_PIECE <= each <= _LONGEST_PIECE for each in schedule):
        raise ValueError(f"chunk_length_schedule values are 5 to 500, not {list(schedule)}")

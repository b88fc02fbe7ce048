"""Inworld's voices, over HTTP.

Protocol: https://docs.inworld.ai/api-reference/ttsAPI/texttospeech/synthesize-speech-stream

`POST /tts/v1/voice:stream`; the answer is a line of JSON for each piece of sound. What LINEAR16 brings has a WAV
header on each piece, therefore PCM is asked for.
"""

from __future__ import annotations

import base64
import binascii
from types import MappingProxyType
from typing import Final

import msgspec

from getpatter.errors import WireError
from getpatter.net.messages import HttpRequest
from getpatter.net.refusals import refusal
from getpatter.net.service import decoded, encoded
from getpatter.tts._http import HttpTTS
from getpatter.tts._pieces import Bare
from getpatter.types import AudioFormat, DefaultInt, DefaultStr, Encoding

__all__ = ["TTS", "InworldTTS"]

VENDOR: Final = "inworld"
BASE_URL: Final = "https://api.inworld.ai"
_ENCODINGS: Final = {
    "PCM": Encoding.PCM16,
    "LINEAR16": Encoding.PCM16,
    "MULAW": Encoding.MULAW,
    "ALAW": Encoding.ALAW,
}
_NAMES: Final = {Encoding.PCM16: "PCM", Encoding.MULAW: "MULAW", Encoding.ALAW: "ALAW"}
_RATES: Final = (8000, 16000, 22050, 24000, 32000, 44100, 48000)
_STATUS: Final = {3: 400, 5: 404, 7: 403, 8: 429, 14: 503, 16: 401}
"""HTTP statuses of the gRPC codes that stand in errors."""
_LONGEST_LINE: Final = 4 * 1024 * 1024
_SLOWEST, _FASTEST = 0.5, 1.5


class InworldTTS(HttpTTS):
    """Inworld's voices, a request for each text."""

    provider_key = VENDOR
    agent_settings = MappingProxyType({"language": "language", "voice": "voice"})
    languages = "tag"
    vendor = VENDOR
    key_variable = "INWORLD_API_KEY"
    most_characters = 2000

    def __init__(  # noqa: PLR0913 - the documented options
        self,
        api_key: str | None = None,
        *,
        model: str = "inworld-tts-2",
        voice: str = DefaultStr("Ashley"),
        language: str | None = None,
        audio_encoding: str = DefaultStr("PCM"),
        sample_rate: int = DefaultInt(16000),
        bitrate: int = 64000,
        temperature: float | None = None,
        speaking_rate: float = 1.0,
        delivery_mode: str | None = None,
        base_url: str = BASE_URL,
    ) -> None:
        """Configure; nothing is opened.

        Args:
            api_key: Else `INWORLD_API_KEY`; the vendor's base64 form.
            model: Such as `"inworld-tts-2"`.
            voice: Name or id of a voice.
            language: BCP-47; `None` lets the model find out.
            audio_encoding: `"PCM"`, `"LINEAR16"`, `"MULAW"` or `"ALAW"`. Unless it or the rate is given, a
                call chooses. What is compressed cannot be played on a call.
            sample_rate: Hertz.
            bitrate: Of compressed sound; without effect on these encodings.
            temperature: How freely it speaks.
            speaking_rate: 0.5 to 1.5.
            delivery_mode: A manner that the model offers.
            base_url: Another address of the service.

        Raises:
            ValueError: no key, or a value that the vendor does not take.
        """
        if audio_encoding not in _ENCODINGS:
            raise ValueError(
                f"InworldTTS audio_encoding is one of {[*_ENCODINGS]}, not {audio_encoding!r}"
            )
        if sample_rate not in _RATES:
            raise ValueError(f"InworldTTS sample_rate is one of {_RATES}, not {sample_rate}")
        if not _SLOWEST <= speaking_rate <= _FASTEST:
            raise ValueError(f"speaking_rate is 0.5 to 1.5, not {speaking_rate}")
        self.model = str(model)
        self.voice = str(voice)
        self.language = language or ""
        self.output_format = AudioFormat(_ENCODINGS[audio_encoding], int(sample_rate))
        self._is_format_named = not (
            isinstance(audio_encoding, DefaultStr) and isinstance(sample_rate, DefaultInt)
        )
        self._encoding = str(audio_encoding)
        self._audio: dict[str, object] = {"speaking_rate": speaking_rate, "bit_rate": bitrate}
        self._body: dict[str, object] = {"voice_id": str(voice), "model_id": self.model}
        optional = {
            "language": language,
            "temperature": temperature,
            "delivery_mode": delivery_mode,
        }
        self._body |= {name: value for name, value in optional.items() if value is not None}
        self._base_url = base_url.rstrip("/")
        super().__init__(
            api_key,
            {
                "model": self.model,
                "voice": voice,
                **optional,
                "audio_encoding": audio_encoding,
                "sample_rate": sample_rate,
                "bitrate": bitrate,
                "speaking_rate": speaking_rate,
                "base_url": base_url,
            },
        )

    def adopt(self, audio_format: AudioFormat) -> bool:
        """Speak `audio_format` from now on, if it may; see `with_output`."""
        if audio_format == self.output_format:
            return True
        if self._is_format_named or audio_format.sample_rate not in _RATES:
            return False
        self.output_format = audio_format
        self._encoding = _NAMES[audio_format.encoding]
        return True

    def _request(self, text: str) -> HttpRequest:
        audio = {
            **self._audio,
            "audio_encoding": self._encoding,
            "sample_rate_hertz": self.output_format.sample_rate,
        }
        return HttpRequest(
            "POST",
            f"{self._base_url}/tts/v1/voice:stream",
            {"authorization": f"Basic {self._key}", "content-type": "application/json"},
            encoded({**self._body, "text": text, "audio_config": audio}).encode(),
        )

    def _reader(self) -> LineReader:
        return LineReader(self.output_format, self._key)


TTS = InworldTTS


class _Result(msgspec.Struct):
    audio: str = msgspec.field(name="audioContent", default="")


class _Error(msgspec.Struct):
    code: int = 0
    message: str = ""


class _Line(msgspec.Struct):
    result: _Result | None = None
    error: _Error | None = None


_LINE: Final = msgspec.json.Decoder(_Line)


class LineReader:
    """Finds the sound in lines of JSON, wherever the body is cut. Pure."""

    def __init__(self, audio_format: AudioFormat, key: str = "") -> None:
        """For sound in `audio_format`; `key` is kept out of errors."""
        self._format = audio_format
        self._key = key
        self._rest = b""
        self._carry = b""

    def push(self, data: bytes) -> bytes:
        """The sound in the next bytes. Raises `WireError`, or what the vendor reports."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > _LONGEST_LINE:
            raise WireError(f"{VENDOR} sent a line without an end", vendor=VENDOR)
        return self._whole(b"".join(self._sound(line) for line in lines if line.strip()))

    def flush(self) -> bytes:
        """The sound of a last line without an end."""
        rest, self._rest = self._rest, b""
        return self._whole(self._sound(rest)) if rest.strip() else b""

    def _whole(self, sound: bytes) -> bytes:
        sound = self._carry + sound
        left = len(sound) % self._format.bytes_per_sample
        self._carry = sound[len(sound) - left :]
        return sound[: len(sound) - left]

    def _sound(self, line: bytes) -> bytes:
        said = decoded(_LINE, line, VENDOR)
        if said.error is not None:
            status = _STATUS.get(said.error.code, 500)
            raise refusal(VENDOR, status, said.error.message, secrets=(self._key,))
        if said.result is None or not said.result.audio:
            return b""
        try:
            piece = base64.b64decode(said.result.audio, validate=True)
        except (binascii.Error, ValueError) as error:
            raise WireError(f"{VENDOR} sent audio that is not base64", vendor=VENDOR) from error
        bare = Bare(
            AudioFormat(Encoding.MULAW, 8000)
        )  # headers only; samples are put together here
        return bare.push(piece) + bare.flush()

"""Speechmatics' streaming recogniser.

Protocol: https://docs.speechmatics.com/api-ref/realtime-transcription-websocket

```
-> StartRecognition                  <- RecognitionStarted   only then may audio follow
-> binary audio                      <- AudioAdded, AddPartialTranscript, AddTranscript (a few words at a time)
-> ForceEndOfUtterance               <- EndOfUtterance       also after a pause
-> EndOfStream {last_seq_no}         <- EndOfTranscript
```

Final words come in pieces, punctuation as pieces of its own, so a final result here is all of an utterance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import ClassVar, Final

import msgspec

from getpatter.errors import (
    AuthenticationError,
    PatterConnectionError,
    RateLimitError,
)
from getpatter.models import Transcript, Word
from getpatter.net.refusals import clean_text
from getpatter.net.service import decoded, encoded
from getpatter.net.sockets import Message, SocketRequest
from getpatter.stt._socket import Dialect, Ended, Heard, Ready, SocketSTT
from getpatter.types import AudioFormat, DefaultInt, DefaultStr, Encoding

__all__ = ["STT", "SpeechmaticsSTT", "TurnDetectionMode"]

VENDOR: Final = "speechmatics"
BASE_URL: Final = "wss://eu.rt.speechmatics.com"
_RATES: Final = (8000, 16000, 24000, 32000, 44100, 48000)
_NAMES: Final = {Encoding.PCM16: "pcm_s16le", Encoding.MULAW: "mulaw"}
_MAX_DELAY_S: Final = 1.0
_SENTENCE_ENDS: Final = ".?!…。！？।؟"
_FINAL_ERRORS: Final = frozenset(
    {"invalid_message", "invalid_model", "invalid_language", "invalid_config", "invalid_audio_type"}
    | {"invalid_output_format", "protocol_error", "timelimit_exceeded"}
)


class TurnDetectionMode(StrEnum):
    """Who decides that the caller has finished."""

    EXTERNAL = "external"
    """The call alone: pauses end nothing."""
    FIXED = "fixed"
    """Half a second of silence."""
    ADAPTIVE = "adaptive"
    """0.4 s of silence after a finished sentence; after an unfinished one the call decides."""
    SMART_TURN = "smart_turn"
    """As `ADAPTIVE` after 0.3 s: the vendor's own model for this is not part of its socket."""


_SILENCES_S: Final[Mapping[TurnDetectionMode, float]] = {
    TurnDetectionMode.EXTERNAL: 0.0,
    TurnDetectionMode.FIXED: 0.5,
    TurnDetectionMode.ADAPTIVE: 0.4,
    TurnDetectionMode.SMART_TURN: 0.3,
}


class SpeechmaticsSTT(SocketSTT):
    """Speechmatics over a socket."""

    provider_key = VENDOR
    agent_settings = MappingProxyType({"language": "language"})
    vendor = VENDOR
    key_variable = "SPEECHMATICS_API_KEY"
    model = "enhanced"

    def __init__(  # noqa: PLR0913 - the documented options
        self,
        api_key: str | None = None,
        *,
        language: str = DefaultStr("en"),
        turn_detection_mode: TurnDetectionMode | str = TurnDetectionMode.ADAPTIVE,
        sample_rate: int = DefaultInt(16000),
        enable_diarization: bool = False,
        include_partials: bool = True,
        base_url: str = BASE_URL,
    ) -> None:
        """Configure; nothing is opened.

        Args:
            api_key: Else `SPEECHMATICS_API_KEY`.
            language: ISO 639-1.
            turn_detection_mode: Who decides that the caller has finished.
            sample_rate: Hertz, of PCM16. Unless it is given, a call chooses.
            enable_diarization: Tell speakers apart.
            include_partials: Also deliver guesses.
            base_url: Another address of the service, such as that of the US.

        Raises:
            ValueError: no key, or a value that the vendor does not take.
        """
        if sample_rate not in _RATES:
            raise ValueError(f"SpeechmaticsSTT sample_rate is one of {_RATES}, not {sample_rate}")
        try:
            mode = TurnDetectionMode(turn_detection_mode)
        except ValueError:
            known = [each.value for each in TurnDetectionMode]
            said = f"turn_detection_mode is one of {known}, not {turn_detection_mode!r}"
            raise ValueError(said) from None
        self.language = str(language)
        self.input_format = AudioFormat(Encoding.PCM16, int(sample_rate))
        self._is_format_named = not isinstance(sample_rate, DefaultInt)
        self._mode = mode
        self._config: Mapping[str, object] = {
            "language": str(language),
            "operating_point": self.model,
            "max_delay": _MAX_DELAY_S,
            "max_delay_mode": "flexible",
            "enable_partials": include_partials,
            "conversation_config": {"end_of_utterance_silence_trigger": _SILENCES_S[mode]},
            "diarization": "speaker" if enable_diarization else "none",
        }
        self._base_url = base_url
        super().__init__(
            api_key,
            {
                "language": language,
                "turn_detection_mode": mode.value,
                "sample_rate": sample_rate,
                "enable_diarization": enable_diarization,
                "include_partials": include_partials,
                "base_url": base_url,
            },
        )

    def adopt(self, audio_format: AudioFormat) -> bool:
        """Take `audio_format` from now on, if it may; see `with_input`."""
        if audio_format == self.input_format:
            return True
        is_known = audio_format.encoding in _NAMES and audio_format.sample_rate in _RATES
        if self._is_format_named or not is_known:
            return False
        self.input_format = audio_format
        return True

    def _dialect(self) -> SpeechmaticsDialect:
        waits = self._mode in {TurnDetectionMode.ADAPTIVE, TurnDetectionMode.SMART_TURN}
        return SpeechmaticsDialect(
            self._base_url, self._key, self._config, self.input_format, wants_sentences=waits
        )


STT = SpeechmaticsSTT


class _Alternative(msgspec.Struct):
    content: str
    confidence: float = 0.0


class _Result(msgspec.Struct):
    type: str = "word"
    start_time: float = 0.0
    end_time: float = 0.0
    alternatives: list[_Alternative] = []


class _About(msgspec.Struct, frozen=True):
    transcript: str = ""


class _Frame(msgspec.Struct):
    message: str
    metadata: _About = _About()
    results: list[_Result] = []
    type: str = ""
    reason: str = ""
    forced: bool = False


_FRAME: Final = msgspec.json.Decoder(_Frame)


@dataclass(slots=True)
class SpeechmaticsDialect(Dialect):
    """`/v2`."""

    base_url: str
    key: str = field(repr=False)
    config: Mapping[str, object]
    audio_format: AudioFormat
    wants_sentences: bool = False
    """A pause ends the turn only behind a finished sentence."""
    text: str = ""
    """Final words of the utterance so far."""
    words: list[Word] = field(default_factory=list)
    sent: int = 0
    """Messages of audio."""

    waits_for_ready: ClassVar[bool] = True
    authentication_codes: ClassVar[frozenset[int]] = frozenset({4001, 4003})
    rate_codes: ClassVar[frozenset[int]] = frozenset({4005})
    final_codes: ClassVar[frozenset[int]] = frozenset({1003, 1008, 4004, 4006})

    def request(self) -> SocketRequest:
        """The key is in a header."""
        return SocketRequest(
            f"{self.base_url}/v2/",
            headers={"Authorization": f"Bearer {self.key}"},
            vendor=VENDOR,
        )

    def opening(self) -> tuple[Message, ...]:
        """Format and wishes."""
        return (
            encoded(
                {
                    "message": "StartRecognition",
                    "audio_format": {
                        "type": "raw",
                        "encoding": _NAMES[self.audio_format.encoding],
                        "sample_rate": self.audio_format.sample_rate,
                    },
                    "transcription_config": self.config,
                }
            ),
        )

    def audio(self, data: bytes) -> Message:
        """The end must say how many of these there were."""
        self.sent += 1
        return data

    def finalize(self) -> tuple[Message, ...]:
        """End the utterance now, please."""
        return ('{"message":"ForceEndOfUtterance"}',)

    def ending(self) -> tuple[Message, ...]:
        """No audio follows."""
        return (encoded({"message": "EndOfStream", "last_seq_no": self.sent}),)

    def read(self, message: Message) -> Sequence[Heard]:
        """What a message means; unknown kinds mean nothing."""
        frame = decoded(_FRAME, message, VENDOR)
        match frame.message:
            case "RecognitionStarted":
                return (Ready(),)
            case "AddPartialTranscript":
                return self._so_far(frame.metadata.transcript, _words(frame.results))
            case "AddTranscript":
                self.text += frame.metadata.transcript
                self.words += _words(frame.results)
                return self._so_far("", [])
            case "EndOfUtterance":
                is_end = frame.forced or not self.wants_sentences or self._is_sentence()
                return self._utterance(speech_final=is_end)
            case "EndOfTranscript":
                return (*self._utterance(speech_final=True), Ended())
            case "Error":
                return (self._failure(frame),)
            case _:
                return ()

    def _is_sentence(self) -> bool:
        return self.text.rstrip()[-1:] in _SENTENCE_ENDS

    def _so_far(self, guess: str, words: Sequence[Word]) -> Sequence[Heard]:
        text = (self.text + guess).strip()
        if not text:
            return ()
        return (_transcript(text, [*self.words, *words], is_final=False),)

    def _utterance(self, *, speech_final: bool) -> Sequence[Heard]:
        text, self.text = self.text.strip(), ""
        words, self.words = self.words, []
        if not text:
            return ()
        return (_transcript(text, words, is_final=True, speech_final=speech_final),)

    def _failure(self, frame: _Frame) -> Heard:
        said = f"{VENDOR}: {frame.type}: {clean_text(frame.reason, (self.key,))}"
        match frame.type:
            case "not_authorised" | "not_allowed" | "insufficient_funds":
                return AuthenticationError(said, vendor=VENDOR, retryable=False)
            case "quota_exceeded":
                return RateLimitError(said, vendor=VENDOR)
            case kind:
                return PatterConnectionError(
                    said, vendor=VENDOR, retryable=kind not in _FINAL_ERRORS
                )


def _words(results: Sequence[_Result]) -> list[Word]:
    return [
        Word(
            each.alternatives[0].content,
            each.start_time * 1000,
            each.end_time * 1000,
            each.alternatives[0].confidence,
        )
        for each in results
        if each.alternatives and each.type != "punctuation"
    ]


def _transcript(
    text: str, words: Sequence[Word], *, is_final: bool, speech_final: bool = False
) -> Transcript:
    return Transcript(
        text,
        is_final=is_final,
        confidence=min((word.confidence for word in words), default=0.0),
        speech_final=speech_final,
        words=tuple(words),
        start_ms=words[0].start_ms if words else None,
        end_ms=words[-1].end_ms if words else None,
    )

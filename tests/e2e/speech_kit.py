"""Every speech vendor beside its fake service, as rows of a table; and a caller's audio."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Self

from getpatter.audio.convert import converter
from getpatter.errors import PatterError
from getpatter.models import Transcript
from getpatter.stt._buffered import BufferedSTT
from getpatter.stt._socket import SocketSTT
from getpatter.stt.assemblyai import AssemblyAISTT
from getpatter.stt.cartesia import CartesiaSTT
from getpatter.stt.deepgram import DeepgramSTT
from getpatter.stt.deepgram_flux import DeepgramFluxSTT
from getpatter.stt.elevenlabs import ElevenLabsSTT
from getpatter.stt.openai_transcribe import OpenAITranscribeSTT
from getpatter.stt.soniox import SonioxSTT
from getpatter.stt.speechmatics import SpeechmaticsSTT
from getpatter.stt.telnyx import TelnyxSTT
from getpatter.stt.whisper import WhisperSTT
from getpatter.testing.fake_speech import FakeService
from getpatter.testing.fake_speech_assemblyai import FakeAssemblyAI
from getpatter.testing.fake_speech_cartesia import FakeCartesia
from getpatter.testing.fake_speech_deepgram import FakeDeepgram
from getpatter.testing.fake_speech_elevenlabs import FakeElevenLabs
from getpatter.testing.fake_speech_openai import FakeOpenAISpeech
from getpatter.testing.fake_speech_scribe import FakeScribe
from getpatter.testing.fake_speech_soniox import FakeSoniox
from getpatter.testing.fake_speech_speechmatics import FakeSpeechmatics
from getpatter.testing.fake_speech_telnyx import FakeTelnyxSpeech
from getpatter.testing.fake_speech_voices import FakeInworld, FakeLMNT, FakeRime
from getpatter.testing.providers import buzz
from getpatter.tts._http import HttpTTS
from getpatter.tts._socket import SocketTTS
from getpatter.tts.cartesia import CartesiaTTS
from getpatter.tts.deepgram import DeepgramTTS
from getpatter.tts.elevenlabs import ElevenLabsRestTTS, ElevenLabsTTS
from getpatter.tts.elevenlabs_ws import ElevenLabsWebSocketTTS
from getpatter.tts.inworld import InworldTTS
from getpatter.tts.lmnt import LMNTTTS
from getpatter.tts.openai import OpenAITTS
from getpatter.tts.rime import RimeTTS
from getpatter.tts.telnyx import TelnyxTTS
from getpatter.types import MULAW_8K, AudioFormat

LINES = ("I would like an appointment, please.", "Yes.", "Yes.")

Recogniser = SocketSTT | BufferedSTT
Voice = SocketTTS | HttpTTS


@dataclass(frozen=True)
class Ear:
    """A recogniser and its service."""

    name: str
    service: Callable[[Sequence[str]], FakeService]
    make: Callable[[FakeService, str], Recogniser]
    """Of a service and a key."""
    is_buffered: bool = False
    finalizes: bool = True
    """Whether it can be asked for its final words."""
    has_times: bool = True
    """Whether it says when something was said."""


@dataclass(frozen=True)
class Mouth:
    """A voice and its service."""

    name: str
    service: Callable[[], FakeService]
    make: Callable[[FakeService, str], Voice]
    is_http: bool = False
    keeps_socket: bool = True
    """Whether its socket outlives an interruption, and a pause of minutes."""


EARS = (
    Ear("deepgram", FakeDeepgram, lambda s, key: DeepgramSTT(key, base_url=s.ws_url)),
    Ear("deepgram_flux", FakeDeepgram, lambda s, key: DeepgramFluxSTT(key, base_url=s.ws_url)),
    Ear("cartesia", FakeCartesia, lambda s, key: CartesiaSTT(key, base_url=s.ws_url)),
    Ear(
        "cartesia_turns",
        FakeCartesia,
        lambda s, key: CartesiaSTT(key, model="ink-2", base_url=s.ws_url),
        finalizes=False,
        has_times=False,
    ),
    Ear("assemblyai", FakeAssemblyAI, lambda s, key: AssemblyAISTT(key, base_url=s.ws_url)),
    Ear("soniox", FakeSoniox, lambda s, key: SonioxSTT(key, base_url=s.ws_url)),
    Ear(
        "elevenlabs",
        FakeScribe,
        lambda s, key: ElevenLabsSTT(key, base_url=s.ws_url),
        has_times=False,
    ),
    Ear(
        "telnyx",
        FakeTelnyxSpeech,
        lambda s, key: TelnyxSTT(key, base_url=s.ws_url),
        has_times=False,
    ),
    Ear("speechmatics", FakeSpeechmatics, lambda s, key: SpeechmaticsSTT(key, base_url=s.ws_url)),
    Ear(
        "whisper",
        FakeOpenAISpeech,
        lambda s, key: WhisperSTT(key, base_url=f"{s.url}/v1"),
        is_buffered=True,
    ),
    Ear(
        "openai_transcribe",
        FakeOpenAISpeech,
        lambda s, key: OpenAITranscribeSTT(key, base_url=f"{s.url}/v1"),
        is_buffered=True,
    ),
)
STREAMING = tuple(ear for ear in EARS if not ear.is_buffered)

MOUTHS = (
    Mouth("rime", FakeRime, lambda s, key: RimeTTS(key, base_url=s.url), is_http=True),
    Mouth("lmnt", FakeLMNT, lambda s, key: LMNTTTS(key, base_url=s.url), is_http=True),
    Mouth("inworld", FakeInworld, lambda s, key: InworldTTS(key, base_url=s.url), is_http=True),
    Mouth("deepgram", FakeDeepgram, lambda s, key: DeepgramTTS(key, base_url=s.ws_url)),
    Mouth(
        "telnyx",
        FakeTelnyxSpeech,
        lambda s, key: TelnyxTTS(key, base_url=s.ws_url),
        keeps_socket=False,
    ),
    Mouth("cartesia", FakeCartesia, lambda s, key: CartesiaTTS(key, base_url=s.ws_url)),
    Mouth("elevenlabs", FakeElevenLabs, lambda s, key: ElevenLabsTTS(key, base_url=s.url)),
    Mouth(
        "elevenlabs_ws",
        FakeElevenLabs,
        lambda s, key: ElevenLabsWebSocketTTS(key, base_url=s.url),
    ),
    Mouth(
        "elevenlabs_rest",
        FakeElevenLabs,
        lambda s, key: ElevenLabsRestTTS(key, base_url=s.url),
        is_http=True,
    ),
    Mouth(
        "openai",
        FakeOpenAISpeech,
        lambda s, key: OpenAITTS(key, base_url=f"{s.url}/v1"),
        is_http=True,
    ),
)
SOCKETS = tuple(mouth for mouth in MOUTHS if not mouth.is_http)


def speech(lasts_ms: float, audio_format: AudioFormat = MULAW_8K) -> list[bytes]:
    """Frames of 20 ms of somebody speaking."""
    return _frames(buzz(lasts_ms), audio_format)


def silence(lasts_ms: float, audio_format: AudioFormat = MULAW_8K) -> list[bytes]:
    """Frames of 20 ms of nobody speaking."""
    return _frames(MULAW_8K.silence * MULAW_8K.size(lasts_ms), audio_format)


def _frames(mulaw: bytes, audio_format: AudioFormat) -> list[bytes]:
    change = converter(MULAW_8K, audio_format)
    audio = change.convert(mulaw) + change.flush()
    size = audio_format.size(20)
    return [audio[start : start + size] for start in range(0, len(audio), size)]


class Listening:
    """A recogniser that is listened to, as a call does it."""

    def __init__(self, stt: Recogniser) -> None:
        self.stt = stt
        self.said: list[Transcript] = []
        self.error: PatterError | None = None
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self.stt.connect()
        self._task = asyncio.get_running_loop().create_task(self._listen())
        return self

    async def _listen(self) -> None:
        try:
            async for said in self.stt.receive_transcripts():
                self.said.append(said)
                self._news.set()
        except PatterError as error:
            self.error = error
        self._news.set()

    def feed(self, frames: Sequence[bytes]) -> None:
        """Have it hear."""
        for frame in frames:
            self.stt.feed(frame)

    def utter(self, lasts_ms: float = 600) -> None:
        """Somebody speaks and falls silent."""
        audio_format = self.stt.input_format
        self.feed(speech(lasts_ms, audio_format))
        self.feed(silence(900, audio_format))

    @property
    def finals(self) -> list[str]:
        """What was said, without ends of turns that carry no words."""
        return [said.text for said in self.said if said.is_final and said.text]

    async def until(self, is_so: Callable[[], bool]) -> None:
        """Wait until the results make it so; at once when the stream has ended."""
        async with asyncio.timeout(10):
            while not is_so():
                assert self._task is not None
                assert not self._task.done(), f"the stream ended: {self.error!r}, {self.said}"
                self._news.clear()
                await self._news.wait()

    async def end(self) -> PatterError | None:
        """Wait for the end of the stream; returns its error."""
        assert self._task is not None
        async with asyncio.timeout(10):
            await self._task
        return self.error

    async def __aexit__(self, *_: object) -> None:
        await self.stt.close()
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task


async def sound_of(voice: Voice, text: str) -> bytes:
    """All that a voice makes of a text."""
    return b"".join([sound async for sound in voice.synthesize(text)])

"""The built-in voice detector: Silero VAD 6.2, the network for telephone sound, in numpy.

Model: <https://github.com/snakers4/silero-vad> (MIT). `SileroVAD` is what a program configures and what
one call can run by itself; a server with many calls takes its settings and computes all calls together
(`silero_batch.py`). Sound of any rate is brought to 8 kHz first, which is all that a phone line carries;
the larger network for 16 kHz was not better on it.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Protocol, Self, TypedDict, Unpack

from getpatter.audio.convert import Converter, converter
from getpatter.core.speech_gate import SpeechGate, SpeechStarted, SpeechStopped
from getpatter.types import AudioFormat, Encoding
from getpatter.vad.base import VADEvent
from getpatter.vad.silero_network import OneCall
from getpatter.vad.silero_onnx import OnnxCall

_RATES: Final = (8000, 16000)
_PHONE_ACTIVATION: Final = 0.8
_PHONE_DEACTIVATION: Final = 0.65


@dataclass(frozen=True, slots=True, kw_only=True)
class SileroOptions:
    """Settings of a `SileroVAD`. Durations are in seconds.

    Raises:
        ValueError: a setting out of range.
    """

    min_speech_duration: float = 0.25
    """Speech shorter than this is a noise."""
    min_silence_duration: float = 0.4
    """A pause shorter than this belongs to the speech around it."""
    prefix_padding_duration: float = 0.03
    """Speech is reported to have begun this much before the first frame of it."""
    activation_threshold: float = 0.5
    """Probability from which a frame begins speech."""
    deactivation_threshold: float | None = None
    """Probability below which a frame is silence; `None`: 0.15 less than `activation_threshold`."""
    sample_rate: int = 16000
    """Rate of the sound a custom model takes, 8000 or 16000. The built-in one hears any at 8000."""
    force_cpu: bool = True
    """The built-in network needs nothing else; a custom model may use an accelerator when this is false."""
    onnx_file_path: str | None = None
    """Another Silero model; needs the package `onnxruntime`. `None`: the built-in one."""

    def __post_init__(self) -> None:
        if self.sample_rate not in _RATES:
            raise ValueError(f"sample_rate must be 8000 or 16000, not {self.sample_rate}")
        if self.onnx_file_path is not None and not Path(self.onnx_file_path).is_file():
            raise ValueError(f"there is no model at {self.onnx_file_path}")
        self.gate()

    def gate(self) -> SpeechGate:
        """A new gate that turns probabilities into speech by these settings."""
        return SpeechGate(
            min_speech_ms=1000 * self.min_speech_duration,
            min_silence_ms=1000 * self.min_silence_duration,
            threshold=self.activation_threshold,
            deactivation=self.deactivation_threshold,
            padding_ms=1000 * self.prefix_padding_duration,
        )


class SileroOverrides(TypedDict, total=False):
    """The settings as keywords; see `SileroOptions`."""

    min_speech_duration: float
    min_silence_duration: float
    prefix_padding_duration: float
    activation_threshold: float
    deactivation_threshold: float | None
    sample_rate: int
    force_cpu: bool
    onnx_file_path: str | None


class _Network(Protocol):
    """A network with the state of one call."""

    sample_rate: int
    frame: int
    """Samples of one step."""

    def hear(self, pcm: bytes) -> float:
        """The probability of speech in the next `frame` samples of PCM16."""
        ...

    def reset(self) -> None:
        """Forget what was heard."""
        ...


class SileroVAD:
    """Silero's voice detector for one call: a `VADProvider`.

    Nothing is loaded before the first frame, and then once per process. As a setting of an agent it serves
    every call; each call uses a `clone()`. A frame takes about 60 us of one core.
    """

    __slots__ = ("_converter", "_events", "_gate", "_network", "_rate", "_waiting", "options")

    def __init__(self, options: SileroOptions | None = None) -> None:
        """Make a detector; `load` and `for_phone_call` take the settings as keywords."""
        self.options = options or SileroOptions()
        self._gate = self.options.gate()
        self._network: _Network | None = None
        self._converter: Converter | None = None
        self._rate = 0
        self._waiting = bytearray()
        self._events: deque[VADEvent] = deque()

    @classmethod
    def load(  # noqa: PLR0913, PLR0917 - each is a documented setting
        cls,
        min_speech_duration: float = 0.25,
        min_silence_duration: float = 0.4,
        prefix_padding_duration: float = 0.03,
        activation_threshold: float = 0.5,
        deactivation_threshold: float | None = None,
        sample_rate: int = 16000,
        force_cpu: bool = True,  # noqa: FBT001, FBT002
        onnx_file_path: str | None = None,
    ) -> Self:
        """Make a detector. Durations are in seconds; see `SileroOptions` for each setting.

        Raises:
            ValueError: a setting out of range.
        """
        return cls(
            SileroOptions(
                min_speech_duration=min_speech_duration,
                min_silence_duration=min_silence_duration,
                prefix_padding_duration=prefix_padding_duration,
                activation_threshold=activation_threshold,
                deactivation_threshold=deactivation_threshold,
                sample_rate=sample_rate,
                force_cpu=force_cpu,
                onnx_file_path=onnx_file_path,
            )
        )

    @classmethod
    def for_phone_call(cls, **overrides: Unpack[SileroOverrides]) -> Self:
        """Make a detector that is harder to convince (0.8, and 0.65 to go on), for noisy lines.

        Raises:
            ValueError: a setting out of range.
        """
        phone = SileroOptions(
            activation_threshold=_PHONE_ACTIVATION, deactivation_threshold=_PHONE_DEACTIVATION
        )
        if "activation_threshold" in overrides and "deactivation_threshold" not in overrides:
            phone = replace(phone, deactivation_threshold=None)
        return cls(replace(phone, **overrides))

    @property
    def is_built_in(self) -> bool:
        """True when it runs the network that ships with the SDK, which can hear all calls in one pass."""
        return self.options.onnx_file_path is None

    def clone(self) -> Self:
        """A detector with the same settings that has heard nothing."""
        return type(self)(self.options)

    def warm_up(self) -> None:
        """Load the network now, so that the first frame does not wait for it. Blocks, about 20 ms."""
        network = self._loaded()
        network.hear(bytes(2 * network.frame))
        network.reset()

    async def process_frame(self, pcm: bytes, sample_rate: int) -> VADEvent | None:
        """Hear the next PCM16, of any length and rate. Never waits.

        Returns the beginning or end of speech that became certain; `silence` while there is none; `None`
        while speech goes on, or when the piece completes no frame of 32 ms. A long piece can hold several
        events: the later ones are returned by the next calls.
        """
        network = self._loaded()
        self._waiting += self._at_rate(sample_rate, network.sample_rate).convert(pcm)
        size = 2 * network.frame
        probability: float | None = None
        while len(self._waiting) >= size:
            probability = network.hear(bytes(self._waiting[:size]))
            del self._waiting[:size]
            self._notice(probability, 1000 * network.frame / network.sample_rate)
        if self._events:
            return self._events.popleft()
        if probability is None or self._gate.is_speech or self._gate.silence_ms == 0:
            return None
        return VADEvent("silence", probability, self._gate.silence_ms)

    def reset(self) -> None:
        """Forget what was heard; the next piece begins a new stream."""
        self._gate = self.options.gate()
        self._converter = None
        self._rate = 0
        self._waiting.clear()
        self._events.clear()
        if self._network is not None:
            self._network.reset()

    async def close(self) -> None:
        """Let go of the call's state. A later frame begins a new stream."""
        self.reset()
        self._network = None

    def _loaded(self) -> _Network:
        if self._network is None:
            self._network = _network(self.options)
        return self._network

    def _at_rate(self, rate: int, wanted: int) -> Converter:
        if self._converter is None or rate != self._rate:
            self._rate = rate
            self._converter = converter(
                AudioFormat(Encoding.PCM16, rate), AudioFormat(Encoding.PCM16, wanted)
            )
        return self._converter

    def _notice(self, probability: float, frame_ms: float) -> None:
        match self._gate.feed(probability, frame_ms):
            case SpeechStarted(ago_ms=ago, probability=peak):
                self._events.append(VADEvent("speech_start", peak, ago))
            case SpeechStopped(lasted_ms=lasted):
                self._events.append(VADEvent("speech_end", probability, lasted))
            case None:
                pass


def _network(options: SileroOptions) -> _Network:
    if options.onnx_file_path is None:
        return OneCall()
    return OnnxCall(options.onnx_file_path, options.sample_rate, force_cpu=options.force_cpu)

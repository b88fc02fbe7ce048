"""The caller's sound on its way in: rumble and echo taken out, filtered, brought to one level (CV-4).

```
carrier -> high_pass_hz -> echo_cancellation -> audio_filter -> agc -> voice detector, recogniser or engine
```

What comes out is in the format that went in, so nobody behind it knows. A call whose agent asks for none of these has
no such path, and its bytes pass untouched.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from getpatter.agent_parts import AgcConfig
from getpatter.audio.convert import Converter, converter
from getpatter.core import messages as m
from getpatter.runtime.services import Originals, closed
from getpatter.runtime.tasks import TaskNest
from getpatter.runtime.wording import guarded
from getpatter.types import PCM16_16K, AudioFormat, Encoding, Instant

if TYPE_CHECKING:
    from getpatter.agent import Agent, AudioFilter
    from getpatter.audio.cleanup import EchoCanceller, Gain, HighPass
    from getpatter.audio.pcm import Float32

Deliver = Callable[[bytes], None]
KEPT_SECONDS: Final = 5.0


def caller_path(
    agent: Agent, stream: AudioFormat, began_at: Instant, originals: Originals, nest: TaskNest
) -> CallerPath | None:
    """What `agent` wants done to its callers' sound; `None`: nothing."""
    if not (agent.high_pass_hz or agent.echo_cancellation or agent.agc or agent.audio_filter):
        return None
    return CallerPath(agent, stream, began_at, originals, nest)


class CallerPath:
    """One caller's sound, stage by stage. Only `audio_filter`, which is the program's, is waited for."""

    def __init__(
        self,
        agent: Agent,
        stream: AudioFormat,
        began_at: Instant,
        originals: Originals,
        nest: TaskNest,
    ) -> None:
        """Begin with a stream whose first sample came at `began_at`. `deliver` must be set before `hear`."""
        self.deliver: Deliver = lambda _: None
        self.dropped_bytes = 0
        self._agent = agent
        self._originals = originals
        self._filter: AudioFilter | None = None
        self._owns_filter = False
        self._waiting: deque[Float32] = deque()
        self._wake = asyncio.Event()
        self.tune(stream, began_at)
        if agent.audio_filter is not None:
            self._filter, self._owns_filter = originals.lend(agent.audio_filter)
            nest.spawn(self._run(), name="audio-filter")

    def tune(self, stream: AudioFormat, now: Instant) -> None:
        """Another stream begins: nothing is known of its echo, and of how loud it is."""
        from getpatter.audio import cleanup, samples  # noqa: PLC0415 - loads numpy

        agent, rate = self._agent, stream.sample_rate
        self._samples: Any = samples
        self._format = stream
        self._waiting.clear()
        self._high_pass: HighPass | None = None
        if agent.high_pass_hz:
            self._high_pass = cleanup.HighPass(agent.high_pass_hz, rate)
        self._echo: EchoCanceller | None = None
        if agent.echo_cancellation:
            self._echo = cleanup.EchoCanceller(rate)
        self._ours = cleanup.Played(rate, now)
        self._gain: Gain | None = None
        if agent.agc:
            wanted = agent.agc if isinstance(agent.agc, AgcConfig) else AgcConfig()
            self._gain = cleanup.Gain(
                rate,
                target_dbfs=wanted.target_dbfs,
                max_gain_db=wanted.max_gain_db,
                attack_ms=wanted.attack_ms,
                release_ms=wanted.release_ms,
            )
        pcm = AudioFormat(Encoding.PCM16, rate)
        self._to_filter: Converter = converter(pcm, PCM16_16K)
        self._from_filter: Converter = converter(PCM16_16K, pcm)

    # ------------------------------------------------------------------------------ what we play

    def played(self, command: m.AnyCommand, now: Instant) -> None:
        """What the carrier is told to play to the caller, or not to play after all."""
        if self._echo is None:
            return
        match command:
            case m.SendAudio(data=data):
                self._ours.add(self._samples.floats_of(data, self._format.encoding), now)
            case m.SendClear():
                self._ours.clear(now)
            case _:
                pass

    # ----------------------------------------------------------------------------- what they say

    def hear(self, data: bytes, now: Instant) -> None:
        """The next sound of the caller. Never waits."""
        sound: Float32 = self._samples.floats_of(data, self._format.encoding)
        if self._high_pass is not None:
            sound = self._high_pass.process(sound)
        if self._echo is not None:
            sound = self._echo.process(sound, self._ours.heard_with(sound.size, now))
        if self._filter is None:
            self._levelled(sound)
            return
        self._waiting.append(sound)
        while len(self._waiting) > 1 and self._kept() > KEPT_SECONDS * self._format.sample_rate:
            self.dropped_bytes += self._waiting.popleft().size * self._format.bytes_per_sample
        self._wake.set()

    def _kept(self) -> int:
        return sum(each.size for each in self._waiting)

    def _levelled(self, sound: Float32) -> None:
        if self._gain is not None:
            sound = self._gain.process(sound)
        if sound.size:
            self.deliver(self._samples.bytes_of(sound, self._format.encoding))

    async def _run(self) -> None:
        assert self._filter is not None, "begun for a filter"
        process: Callable[[bytes, int], object] = self._filter.process
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                sound, back = self._waiting.popleft(), self._from_filter
                pcm = self._to_filter.convert(self._samples.bytes_of(sound, Encoding.PCM16))
                cleaned = await guarded("audio_filter", process, pcm, 16000, unchanged=pcm)
                if isinstance(cleaned, bytes) and back is self._from_filter:
                    self._levelled(self._samples.floats_of(back.convert(cleaned), Encoding.PCM16))

    async def close(self) -> None:
        """The call is over: the filter is given back."""
        lent, self._filter = self._filter, None
        if lent is None:
            return
        if self._owns_filter:
            await closed(lent, "clone")
        else:
            self._originals.give_back(lent)

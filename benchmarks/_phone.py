"""A phone server in a process of its own, for benchmarks: ours to the last byte, with scripted services.

    python -m benchmarks._phone '{"reply": "...", ...}'        started by `running()`

It prints its port, then one line of figures for each line that it reads. Nothing of the load runs in it, so
its CPU and memory are those of the server. What the scripted services cost is in the figures too: about 5 us for each
audible frame. What a vendor's socket would cost is not.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import TypeVar, cast

from getpatter.agent import Agent, build_agent
from getpatter.audio.convert import converter
from getpatter.net.messages import Exchange, HttpResponse
from getpatter.runtime.detector import SharedDetector
from getpatter.server.listener import loop_factory
from getpatter.server.phone import PhoneServer, Serving
from getpatter.testing.providers import ScriptedLLM, ScriptedSTT, ScriptedTTS, buzz
from getpatter.testing.twilio import SimulatedTwilio
from getpatter.types import MULAW_8K, PCM16_16K, AudioFormat, Encoding
from getpatter.vad.silero_batch import Verdict

_T = TypeVar("_T")
HOST = "agent.example"


@dataclass(frozen=True, slots=True)
class Setup:
    """What the server is to do. Delays in seconds."""

    has_detector: bool = True
    core: int | None = None
    """Hold the process to this core, where the system can."""
    final_delay: float = 0.25
    first_token_delay: float = 0.2
    first_audio_delay: float = 0.1
    reply: str = "This is what the agent says."
    ms_per_letter: float = 60.0
    converts: bool = False
    """Whether recogniser and voice speak PCM16 at 16 kHz, so that both ways are converted."""

    @property
    def services_ms(self) -> float:
        """What the scripted services take of an answer."""
        return 1000 * (self.final_delay + self.first_token_delay + self.first_audio_delay)

    @property
    def reply_ms(self) -> float:
        """Length of the agent's answer."""
        return self.ms_per_letter * len(self.reply)


@dataclass(frozen=True, slots=True)
class Figures:
    """What the server used and how late it was, since the figures before."""

    at: float
    """Monotonic seconds, the same clock in every process of this machine."""
    cpu_s: float
    """Since the process began."""
    rss_bytes: int
    calls: int
    late_p50_ms: float
    late_p99_ms: float
    late_max_ms: float
    wakes: int


class NoDetector:
    """Stands where the voice detector would, and hears nothing."""

    def add(self, encoding: Encoding, heard: Callable[[Verdict], None]) -> int:
        return 0

    def push(self, slot: int, data: bytes) -> None:
        pass

    def remove(self, slot: int) -> None:
        pass


class _NoApi:
    """The carrier's REST API: every call is over already."""

    async def run(self, exchange: Exchange[_T]) -> _T:
        try:
            next(exchange)
            while True:
                exchange.send(HttpResponse(404, {}, b'{"code":20404,"message":"not found"}'))
        except StopIteration as stop:
            return cast("_T", stop.value)

    async def aclose(self) -> None:
        pass


def agent_of(setup: Setup) -> Agent:
    """An agent that answers everything with the same words."""
    ear, voice = (_WideSTT, _WideTTS) if setup.converts else (ScriptedSTT, ScriptedTTS)
    return build_agent(
        "You are a benchmark.",
        None,
        stt=ear(["hello"] * 200, final_delay=setup.final_delay),
        llm=ScriptedLLM([setup.reply], first_token_delay=setup.first_token_delay),
        tts=voice(setup.first_audio_delay, ms_per_letter=setup.ms_per_letter),
    )


class _WideSTT(ScriptedSTT):
    """Takes PCM16 at 16 kHz, and listens to one sample in a hundred: converting it costs, hearing it must not."""

    input_formats: tuple[AudioFormat, ...] = (PCM16_16K,)

    def __init__(self, lines: Sequence[str], final_delay: float, *_: object) -> None:
        super().__init__(lines, final_delay, input_formats=(PCM16_16K,))

    def feed(self, data: bytes) -> None:
        loudest = max(memoryview(data).cast("h")[::100], default=0)
        super().feed(_LOUD if loudest > 500 else _QUIET)


_LOUD, _QUIET = b"\x9f", b"\xff"


class _WideTTS(ScriptedTTS):
    """Speaks PCM16 at 16 kHz, made once."""

    def __init__(self, first_audio_delay: float, ms_per_letter: float, *_: object) -> None:
        super().__init__(first_audio_delay, ms_per_letter, output_format=PCM16_16K)

    async def synthesize(self, text: str) -> AsyncIterator[bytes]:
        await asyncio.sleep(self.first_audio_delay)
        audio = _wide(self.ms_per_letter * len(text))
        size = self.output_format.size(self.chunk_ms)
        for start in range(0, len(audio), size):
            yield audio[start : start + size]


@cache
def _wide(lasts_ms: float) -> bytes:
    return converter(MULAW_8K, PCM16_16K).convert(buzz(lasts_ms))


def _rss_bytes() -> int:
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _figures(server: PhoneServer) -> Figures:
    house, exchange = server._house, server.exchange  # noqa: SLF001 - what is measured is inside
    assert house is not None
    assert exchange is not None
    used = resource.getrusage(resource.RUSAGE_SELF)
    late = house.wheel.lateness
    figures = Figures(
        time.monotonic(),
        used.ru_utime + used.ru_stime,
        _rss_bytes(),
        len(exchange.active),
        late.percentile_ms(50),
        late.percentile_ms(99),
        late.max_ms,
        late.count,
    )
    late.reset()
    return figures


async def _serve(setup: Setup) -> None:
    server = PhoneServer(
        Serving(agent_of(setup), HOST), SimulatedTwilio(listens=False).carrier(), http=_NoApi()
    )
    server.open()
    port = await server.listen(0, bind_host="127.0.0.1")
    if not setup.has_detector:
        assert server._house is not None  # noqa: SLF001
        server._house.detector = cast("SharedDetector", NoDetector())  # noqa: SLF001
    loop = asyncio.get_running_loop()
    print(port, flush=True)
    while await loop.run_in_executor(None, sys.stdin.readline):
        print(json.dumps(asdict(_figures(server))), flush=True)
    os._exit(0)


class Phone:
    """The running server, seen from outside."""

    def __init__(self, process: subprocess.Popen[str], setup: Setup) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._asked, self._answers = process.stdin, process.stdout
        self.setup = setup
        self.pid = process.pid
        self.port = int(self._answers.readline())

    def figures(self) -> Figures:
        """Ask for the figures; waits for the answer."""
        self._asked.write("\n")
        self._asked.flush()
        return Figures(**json.loads(self._answers.readline()))


@contextmanager
def running(setup: Setup) -> Iterator[Phone]:
    """A server process, ended with the block."""
    command = [sys.executable, "-m", "benchmarks._phone", json.dumps(asdict(setup))]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield Phone(process, setup)
        finally:
            process.kill()


def main() -> None:
    setup = Setup(**json.loads(sys.argv[1]))
    if setup.core is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {setup.core})
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(_serve(setup))


if __name__ == "__main__":
    main()

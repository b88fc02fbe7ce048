"""What our side of a provider costs in time: an answer's way in and out, and the gap when one breaks or is replaced.

    python -m benchmarks.providers              about two minutes
    python -m benchmarks.providers --quick

Real sockets to the fake service of each provider, on this machine; the tables are those of the parity matrix, so a new
provider is measured as soon as it is in one. The fakes answer at once, and where one has to wait (an engine's
`first_delay`, a stall that a chain has to notice) that time is subtracted. What is left is ours, the fake's own work
and the loopback's; so each figure is an upper bound of ours.

    added       recogniser: asked for its final words -> they are here       voice: text -> first sound
                model: conversation -> first word                            engine: asked to speak -> first sound
    reconnect   the connection is dropped in mid-call -> a recogniser's service hears the caller again (the first
                attempt waits 100 ms on purpose); a voice's next text -> first sound; an engine is asked to speak, after
                it was told all that was said -> first sound
    failover    the first of a chain refuses, stalls or is lost -> first word or sound of the second
    conversion  CPU of a call whose recogniser and voice take the phone's own mu-law, and of one where both ways are
                converted to PCM16 at 16 kHz, in one run: the ratio
"""

from __future__ import annotations

import asyncio
import logging
import statistics
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from time import perf_counter
from typing import Any, Final

from benchmarks._figures import options, spread, verdict
from benchmarks._phone import running
from benchmarks.capacity import load, setup
from getpatter import FallbackLLMProvider, FallbackSTTProvider, FallbackTTSProvider
from getpatter.core import messages as m
from getpatter.engines.base import Briefing
from getpatter.errors import PatterError
from getpatter.net.http import HttpClient
from getpatter.net.tasks import TaskNest
from getpatter.runtime.duplex import Duplex
from getpatter.runtime.ears import Ears
from getpatter.server.listener import loop_factory
from getpatter.testing.fake_llm import Says
from getpatter.testing.fake_speech import KEY, Refusal
from getpatter.testing.providers import buzz
from getpatter.types import MULAW_8K
from tests.e2e.speech_kit import EARS, MOUTHS, STREAMING, Ear, Listening, Mouth, silence, speech
from tests.support.llm_vendors import Vendor
from tests.support.parity import ENGINES, MODELS, Engine

ASKED: Final = [{"role": "user", "content": "Weather in Oslo?"}]
TEXT: Final = "Hello there, how may I help you?"
FIRST_DELAY: Final = 0.02
STALL: Final = 0.3
ADDED_AIM_MS, RECONNECT_AIM_MS, FAILOVER_AIM_MS, RATIO_AIM = 10.0, 500.0, 250.0, 3.0

logging.getLogger("getpatter").setLevel(logging.CRITICAL)  # what breaks is broken on purpose


def line(kind: str, name: str, found: Sequence[float]) -> None:
    print(f"  {kind:11} {name:24} {spread(found, 2):>26}   {len(found):4}", flush=True)


def head(title: str) -> None:
    print(f"\n{title:38} {'ms: median (least to most)':>26}   {'n':>4}")


def total(kind: str, medians: Sequence[float]) -> float:
    """The middle provider of a kind, the best and the worst; returns the worst."""
    print(f"  {kind:11} {f'all {len(medians)}, by their medians':24} {spread(medians, 2):>26}")
    return max(medians)


async def timed(first: Awaitable[object]) -> float:
    """Milliseconds until it is there."""
    began = perf_counter()
    await first
    return (perf_counter() - began) * 1000


async def first_of(stream: Any, *, is_it: Callable[[Any], bool] = bool) -> None:
    """Read a stream to the first item that counts, and hang up."""
    async with aclosing(stream) as items:
        async for item in items:
            if is_it(item):
                return
    raise AssertionError("nothing came")


# ---------------------------------------------------------------------------------------------- added


async def ear_added(ear: Ear, runs: int) -> list[float]:
    if not ear.finalizes:
        return []
    lines = [f"Sentence {number}." for number in range(runs + 1)]
    found: list[float] = []
    async with ear.service(lines) as service:
        stt = ear.make(service, KEY)
        async with Listening(stt.with_input((MULAW_8K,)) or stt.clone()) as call:
            for number in range(runs + 1):
                call.feed(speech(400, call.stt.input_format))
                await asyncio.sleep(0.03)  # the fake has heard it
                call.stt.finalize()
                waited = await timed(call.until(lambda: len(call.finals) > number))  # noqa: B023
                found.append(waited)
                call.feed(silence(1200, call.stt.input_format))
                await asyncio.sleep(0.02)
        await stt.close()
    return found[1:]


async def voice_added(mouth: Mouth, runs: int) -> list[float]:
    async with mouth.service() as service:
        plain = mouth.make(service, KEY)
        voice = plain.with_output((MULAW_8K,)) or plain.clone()
        found = [await timed(first_of(voice.synthesize(TEXT))) for _ in range(runs + 1)]
        await voice.close()
        await plain.close()
    return found[1:]


async def model_added(vendor: Vendor, runs: int) -> list[float]:
    async with vendor.service([Says("It is cold.")] * (runs + 1)) as service:
        llm = vendor.llm(service.key, service.base_url, 15.0)
        found: list[float] = []
        for _ in range(runs + 1):
            began = perf_counter()
            async for chunk in llm.stream(ASKED):
                if chunk.type == "text" and len(found) < runs + 1:
                    found.append((perf_counter() - began) * 1000)
                    break
        await llm.close()
    return found[1:]


class _Silence:
    """A conversation without words."""

    def so_far(self) -> list[tuple[str, str]]:
        return [("user", "Hello."), ("assistant", "Hello, how may I help you?")]


class Talking:
    """An engine of a call, and when it last spoke."""

    def __init__(self) -> None:
        self.duplex: Duplex
        self.service: Any
        self._sounded = asyncio.Event()
        self._is_ready = asyncio.Event()
        self._asked = 0

    def report(self, event: m.AnyInput) -> None:
        match event:
            case m.EngineAudio():
                self._sounded.set()
            case m.EngineReady():
                self._is_ready.set()
            case _:
                pass

    async def ask(self) -> float:
        """Milliseconds to the first sound, without the fake's own delay."""
        self._asked += 1
        self._sounded.clear()
        began = perf_counter()
        self.duplex.order(m.AskReply(self._asked, words="Yes."))
        await asyncio.wait_for(self._sounded.wait(), 10)
        return (perf_counter() - began - FIRST_DELAY) * 1000

    async def lose(self) -> float:
        """Milliseconds from the break to the next sound, without the fake's own delay."""
        self._is_ready.clear()
        began = perf_counter()
        self.service.drop_all()
        await asyncio.wait_for(self._is_ready.wait(), 10)
        ready = (perf_counter() - began) * 1000
        return ready + await self.ask()

    async def ready(self) -> None:
        await asyncio.wait_for(self._is_ready.wait(), 10)


@asynccontextmanager
async def talking(engine: Engine) -> AsyncIterator[Talking]:
    talk = Talking()
    options: dict[str, Any] = {"first_delay": FIRST_DELAY, "speed": 200.0}
    async with engine.service(**options) as service, TaskNest("engine") as nest:
        talk.service = service
        http = HttpClient("benchmark")
        briefing = Briefing("Be brief.")
        talk.duplex = Duplex(
            engine.make(service, service.key),  # type: ignore[arg-type]
            briefing,
            http=http,
            report=talk.report,
            lost=lambda error: print(f"lost: {error!r}"),
            spawn=nest.spawn,
        )
        connected = nest.spawn(talk.duplex.run(), "engine")
        talk.duplex.attach(briefing, _Silence())
        await talk.ready()
        await asyncio.sleep(0.3)  # a greeting of its own
        yield talk
        await talk.duplex.close()
        await connected
        await http.aclose()


async def engine_added(engine: Engine, runs: int) -> list[float]:
    found: list[float] = []
    async with talking(engine) as talk:
        for _ in range(runs + 1):
            found.append(await talk.ask())
            await asyncio.sleep(0.1)  # it has said all of it
    return found[1:]


# ------------------------------------------------------------------------------------------ reconnect


async def ear_again(ear: Ear, runs: int) -> list[float]:
    return [await _ear_lost(ear) for _ in range(runs)]


async def _ear_lost(ear: Ear) -> float:
    """On a line that was good so far: later breaks within seconds wait longer."""
    async with ear.service(["Yes."] * 9) as service, TaskNest("ears") as nest:
        stt = ear.make(service, KEY)
        ears = Ears(
            stt.clone(),
            expected=MULAW_8K,
            report=lambda _: None,
            lost=lambda error: print(f"lost: {error!r}"),
        )
        ears.tune(MULAW_8K)
        hearing = nest.spawn(ears.run(), "ears")
        talks = nest.spawn(_talk(ears), "caller")
        await _until(lambda: service.seconds_heard > 0.1)
        service.drop_after_bytes = 1
        await _until(lambda: bool(service.close_codes))
        began, heard = perf_counter(), service.seconds_heard
        await _until(lambda: service.seconds_heard > heard and service.sockets_open > 0)
        waited = (perf_counter() - began) * 1000
        talks.cancel()
        hearing.cancel()
        await ears.close()
        await stt.close()
    return waited


async def _talk(ears: Ears) -> None:
    frame = buzz(20)
    while True:
        ears.hear(frame)
        await asyncio.sleep(0.02)


async def _until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not is_so():  # noqa: ASYNC110 - a fake has no event for everything
            await asyncio.sleep(0.0005)


async def voice_again(mouth: Mouth, runs: int) -> list[float]:
    found: list[float] = []
    async with mouth.service() as service:
        plain = mouth.make(service, KEY)
        voice = plain.with_output((MULAW_8K,)) or plain.clone()
        for _ in range(runs):
            service.drop_after_bytes = 1
            try:
                async for _sound in voice.synthesize(TEXT):
                    pass
            except PatterError:
                pass
            found.append(await timed(first_of(voice.synthesize(TEXT))))
        await voice.close()
        await plain.close()
    return found


async def engine_again(engine: Engine, runs: int) -> list[float]:
    found: list[float] = []
    for _ in range(runs):
        async with talking(engine) as talk:
            await talk.ask()
            await asyncio.sleep(0.1)
            found.append(await talk.lose())
    return found


# ------------------------------------------------------------------------------------------- failover


def named(table: Sequence[Any], name: str) -> Any:
    return next(each for each in table if each.name == name)


async def model_over(runs: int, *, stalls: bool) -> list[float]:
    first, second = named(MODELS, "openai"), named(MODELS, "anthropic")
    found: list[float] = []
    for _ in range(runs):
        async with first.service([Says("x", stalls_after=0)]) as one, second.service(()) as two:
            if not stalls:
                one.refusals = [one.refused(503, "Sorry")]
            spare = second.llm(two.key, two.base_url, 15.0)
            await spare.warmup()
            chain = FallbackLLMProvider(
                [first.llm(one.key, one.base_url, 15.0), spare],
                max_retry_per_provider=0,
                first_token_timeout_s=STALL,
            )
            is_word = lambda chunk: chunk.type == "text"  # noqa: E731
            waited = await timed(first_of(chain.stream(ASKED), is_it=is_word))
            found.append(waited - (1000 * STALL if stalls else 0))
            await chain.close()
    return found


async def voice_over(runs: int, *, stalls: bool) -> list[float]:
    first, second = named(MOUTHS, "cartesia"), named(MOUTHS, "rime")
    found: list[float] = []
    for _ in range(runs):
        async with first.service() as one, second.service() as two:
            chain = FallbackTTSProvider(
                [first.make(one, KEY), second.make(two, KEY)],
                max_retry_per_provider=0,
                first_audio_timeout_s=STALL,
            )
            if stalls:
                one.hold.clear()
            else:
                one.refusals = [Refusal(503)]
            waited = await timed(first_of(chain.synthesize(TEXT)))
            found.append(waited - (1000 * STALL if stalls else 0))
            await chain.close()
            one.hold.set()
    return found


async def ear_over(runs: int) -> list[float]:
    first, second = named(EARS, "deepgram"), named(EARS, "soniox")
    found: list[float] = []
    for _ in range(runs):
        async with first.service(["Yes."]) as one, second.service(["Yes."]) as two:
            chain: Any = FallbackSTTProvider(
                [first.make(one, KEY), second.make(two, KEY)], max_retry_per_provider=0
            )
            async with Listening(chain.with_input((MULAW_8K,))) as call:
                call.feed(speech(600))
                await asyncio.sleep(0.05)
                one.drop_after_bytes = 1
                one.refusals = [Refusal(503)] * 9
                began = perf_counter()
                call.feed(silence(1500))
                await call.until(lambda: call.finals == ["Yes."])
                found.append((perf_counter() - began) * 1000)
            await chain.close()
    return found


# ------------------------------------------------------------------------------------------ conversion


def cpu_ms(seconds: float, n_calls: int, *, converts: bool) -> float:
    """Milliseconds of CPU a second, of one call."""
    with (
        running(replace(setup(has_detector=False), converts=converts)) as phone,
        asyncio.Runner(loop_factory=loop_factory()) as runner,
    ):
        return 1000 * runner.run(load(phone, n_calls, seconds)).cpu / n_calls


def conversion(repeats: int, seconds: float) -> float:
    plain: list[float] = []
    wide: list[float] = []
    for _ in range(repeats):  # in turns: what else the machine does falls on both
        plain.append(cpu_ms(seconds, 20, converts=False))
        wide.append(cpu_ms(seconds, 20, converts=True))
    ratios = [b / a for a, b in zip(plain, wide, strict=True)]
    print(f"\n{'conversion: CPU of a call of twenty':38} {'ms a second':>26}   {'n':>4}")
    line("mu-law", "as it comes", plain)
    line("PCM16 16k", "converted both ways", wide)
    print(f"  {'ratio':36} {spread(ratios, 2):>26}")
    return statistics.median(ratios)


# ------------------------------------------------------------------------------------------------ all


async def measure(runs: int, breaks: int) -> tuple[float, float, float]:
    """The worst median of each group, of the kinds that have one."""
    head("added to an answer")
    worst: list[float] = []
    added: list[tuple[str, Sequence[Any], Callable[[Any, int], Awaitable[list[float]]]]] = [
        ("recogniser", EARS, ear_added),
        ("voice", MOUTHS, voice_added),
        ("model", MODELS, model_added),
        ("engine", ENGINES, engine_added),
    ]
    for kind, table, measured in added:
        worst.append(total(kind, await _all(kind, table, measured, runs)))
    head("reconnect: from the break")
    again: list[float] = []
    for kind, table, measured in (
        ("recogniser", STREAMING, ear_again),
        ("voice", MOUTHS, voice_again),
        ("engine", ENGINES, engine_again),
    ):
        again.append(total(kind, await _all(kind, table, measured, breaks)))
    head("failover: to the second of a chain")
    over = [
        ("model", "refused", await model_over(breaks, stalls=False)),
        ("model", f"stalled {STALL:g} s", await model_over(breaks, stalls=True)),
        ("voice", "refused", await voice_over(breaks, stalls=False)),
        ("voice", f"stalled {STALL:g} s", await voice_over(breaks, stalls=True)),
        ("recogniser", "lost in mid-word", await ear_over(breaks)),
    ]
    for kind, name, found in over:
        line(kind, name, found)
    return max(worst), max(again), max(statistics.median(found) for _, _, found in over)


async def _all(
    kind: str,
    table: Sequence[Any],
    measured: Callable[[Any, int], Awaitable[list[float]]],
    runs: int,
) -> list[float]:
    medians: list[float] = []
    for each in table:
        found = await measured(each, runs)
        if found:
            line(kind, each.name, found)
            medians.append(statistics.median(found))
    return medians


def main() -> None:
    quick = options(__doc__ or "").quick
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        added, again, over = runner.run(measure(*((5, 1) if quick else (30, 5))))
    ratio = conversion(*((1, 3.0) if quick else (3, 6.0)))
    verdict(f"added <= {ADDED_AIM_MS:g} ms, each provider's median", is_met=added <= ADDED_AIM_MS)
    verdict(
        f"connected again within {RECONNECT_AIM_MS:g} ms, each provider's median",
        is_met=again <= RECONNECT_AIM_MS,
    )
    verdict(f"the second of a chain within {FAILOVER_AIM_MS:g} ms", is_met=over <= FAILOVER_AIM_MS)
    verdict(f"conversion costs at most {RATIO_AIM:g} times the CPU", is_met=ratio <= RATIO_AIM)


if __name__ == "__main__":
    main()

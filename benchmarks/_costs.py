"""Simulated calls whose services count what they did, and the arithmetic of somebody with the price page and a pencil.

Nothing here reads the package's price table or its arithmetic: prices come from the page in the documentation,
units from the fake services, which count the audio, characters and tokens of their own side.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

from benchmarks._stage import CARRIERS, Ways, playing
from getpatter.agent import build_agent
from getpatter.engines.openai import Realtime
from getpatter.models import CallMetrics
from getpatter.testing import time as virtual_time
from getpatter.testing.callees import Callee
from getpatter.testing.callers import Polite, babble
from getpatter.testing.fake_llm import FakeLLM
from getpatter.testing.fake_llm import Says as Writes
from getpatter.testing.fake_realtime import FakeRealtime, Says
from getpatter.testing.fake_speech import KEY
from getpatter.testing.memory import in_memory
from getpatter.testing.providers import ScriptedLLM, ScriptedSTT, ScriptedTTS
from getpatter.testing.simulation import Simulation
from tests.e2e.speech_kit import EARS, MOUTHS, Ear, Mouth
from tests.support.llm_vendors import VENDORS, Vendor

PAGE: Final = Path(__file__).parents[1] / "docs" / "reference" / "prices.md"

GREETING: Final = "Hello, how may I help you?"
ASKED: Final = "A haircut, please."
ANSWER: Final = "Which day would you like to come?"

Prices: TypeAlias = dict[tuple[str, str, str], dict[str, float]]
"""By kind, provider and model (`""`: all that are not named): dollars by what is counted, and `rounded`, seconds."""


@dataclass(frozen=True)
class Bill:
    """One service in one call."""

    kind: str
    service: str
    model: str
    units: str
    by_hand: float
    ours: float
    is_priced: bool = True

    @property
    def is_right(self) -> bool:
        """Whether both say the same, to a hundred-millionth of a dollar."""
        return math.isclose(self.by_hand, self.ours, rel_tol=1e-9, abs_tol=1e-8)


Call: TypeAlias = Callable[[Prices], Awaitable[Bill]]


def prices_on(page: str) -> Prices:
    """The price page as a person reads it: rows of kind, provider, model, what, unit, dollars, rounding."""
    prices: Prices = {}
    for line in page.splitlines():
        cells = [cell.strip().strip("`") for cell in line.strip().strip("|").split("|")]
        if len(cells) < 6 or not line.startswith("| `"):
            continue
        provider, model, kind, what, unit, dollars, *_ = cells
        entry = prices.setdefault((kind, provider, "" if model == "any" else model), {})
        entry[what] = float(dollars)
        if "rounded up to" in unit:
            entry["rounded"] = float(unit.split("rounded up to")[1].split()[0])
    return prices


def _price(prices: Prices, kind: str, vendor: str, model: str) -> dict[str, float] | None:
    """The row of this model: its own, that of the longest name that it begins with, or the provider's."""
    names = [
        name
        for of_kind, provider, name in prices
        if (of_kind, provider) == (kind, vendor) and name and model.startswith(name)
    ]
    return prices.get((kind, vendor, max(names, key=len, default="")))


# ------------------------------------------------------------------------------------------- calls


async def _metrics(phone: Simulation, said: str = ASKED) -> tuple[CallMetrics, float]:
    call = await phone.talk(Polite(said, voice=babble))
    metrics: CallMetrics = phone.calls[call.sid].end["metrics"]
    return metrics, call.duration_s


def _bill(  # noqa: PLR0913 - a row
    prices: Prices,
    kind: str,
    vendor: str,
    model: str,
    counted: Mapping[str, float],
    ours: float,
    *,
    shown: str,
    name: str = "",
) -> Bill:
    price = _price(prices, kind, vendor, model)
    by_hand = sum(amount * price[what] for what, amount in counted.items()) if price else 0.0
    return Bill(kind, name or vendor, model, shown, by_hand, ours, price is not None)


def _hearing(ear: Ear) -> Call:
    async def call(prices: Prices) -> Bill:
        async with ear.service([ASKED]) as service:
            stt = ear.make(service, KEY)
            agent = build_agent(
                "x",
                None,
                stt=stt,
                tts=ScriptedTTS(),
                llm=ScriptedLLM([ANSWER]),
                first_message=GREETING,
            )
            async with Simulation(agent) as phone:
                metrics, _ = await _metrics(phone)
            await stt.close()
            minutes = service.seconds_heard / 60
            return _bill(
                prices,
                "stt",
                metrics.stt_provider,
                metrics.stt_model,
                {"audio": minutes},
                metrics.cost.stt,
                shown=f"{service.seconds_heard:.2f} s of audio",
                name=ear.name,
            )

    return call


def _speaking(mouth: Mouth) -> Call:
    async def call(prices: Prices) -> Bill:
        async with mouth.service() as service:
            tts = mouth.make(service, KEY)
            agent = build_agent(
                "x",
                None,
                stt=ScriptedSTT([ASKED]),
                tts=tts,
                llm=ScriptedLLM([ANSWER]),
                first_message=GREETING,
            )
            async with Simulation(agent) as phone:
                metrics, _ = await _metrics(phone)
            await tts.close()
            return _bill(
                prices,
                "tts",
                metrics.tts_provider,
                metrics.tts_model,
                {"characters": service.characters / 1000},
                metrics.cost.tts,
                shown=f"{service.characters} characters",
                name=mouth.name,
            )

    return call


def _writing(vendor: Vendor) -> Call:
    answer = Writes(ANSWER, input_tokens=1234, cached_tokens=512, output_tokens=77)

    async def call(prices: Prices) -> Bill:
        service: FakeLLM = vendor.service([answer])
        async with service:
            llm = vendor.llm(service.key, service.base_url, 5.0)
            agent = build_agent(
                "x",
                None,
                stt=ScriptedSTT([ASKED]),
                tts=ScriptedTTS(),
                llm=llm,
                first_message=GREETING,
            )
            async with Simulation(agent) as phone:
                metrics, _ = await _metrics(phone)
            await llm.close()
        price = _price(prices, "llm", vendor.name, metrics.llm_model) or {}
        cached = "cache_read" if "cache_read" in price else "input"
        counted = {"input": answer.input_tokens / 1e6, "output": answer.output_tokens / 1e6}
        counted[cached] = counted.get(cached, 0.0) + answer.cached_tokens / 1e6
        return _bill(
            prices,
            "llm",
            vendor.name,
            metrics.llm_model,
            counted,
            metrics.cost.llm,
            shown=f"{answer.input_tokens} + {answer.cached_tokens} cached in, {answer.output_tokens} out",
        )

    return call


async def _realtime(prices: Prices) -> Bill:
    service = FakeRealtime(heard=[ASKED], says=[Says(ANSWER)])
    engine = in_memory(Realtime(service.key), service)
    agent = build_agent("x", None, engine=engine, first_message=GREETING)
    async with Simulation(agent) as phone:
        metrics, _ = await _metrics(phone)
    counted: dict[str, float] = {}
    for usage in (each for talk in service.conversations for each in talk.billed):
        given, made = usage["input_token_details"], usage["output_token_details"]
        cached = given["cached_tokens_details"]
        for what, tokens in (
            ("text_in", given["text_tokens"] - cached["text_tokens"]),
            ("audio_in", given["audio_tokens"] - cached["audio_tokens"]),
            ("cached_text", cached["text_tokens"]),
            ("cached_audio", cached["audio_tokens"]),
            ("text_out", made["text_tokens"]),
            ("audio_out", made["audio_tokens"]),
        ):
            counted[what] = counted.get(what, 0.0) + tokens / 1e6
    return _bill(
        prices,
        "engine",
        "openai_realtime",
        metrics.llm_model,
        counted,
        metrics.cost.llm,
        shown=f"{sum(counted.values()) * 1e6:.0f} tokens of six kinds",
    )


def _line(ways: Ways, direction: str) -> Call:
    async def call(prices: Prices) -> Bill:
        async with playing(ways) as stage:
            person = Polite(ASKED, voice=babble)
            if direction == "inbound":
                stage.ring(person)
            else:
                stage.somebody(Callee(person))
                await stage.call()
            await stage.settle()
            (theirs,) = stage.carrier.calls
            ended = await stage.farewell(theirs)
        metrics: CallMetrics = ended["metrics"]
        seconds: float = theirs.duration_s
        step = (_price(prices, "telephony", ways.name, "") or {}).get("rounded", 1)
        billed = math.ceil(seconds / step) * step
        return _bill(
            prices,
            "telephony",
            ways.name,
            "",
            {direction: billed / 60},
            metrics.cost.telephony,
            shown=f"{seconds:.1f} s {direction}, {billed:.0f} billed",
        )

    return call


CALLS: Final[Mapping[str, Call]] = {
    **{f"stt {ear.name}": _hearing(ear) for ear in EARS},
    **{f"tts {mouth.name}": _speaking(mouth) for mouth in MOUTHS},
    **{f"llm {vendor.name}": _writing(vendor) for vendor in VENDORS},
    "engine openai_realtime": _realtime,
    **{
        f"telephony {ways.name} {direction}": _line(ways, direction)
        for ways in CARRIERS.values()
        for direction in ("inbound", "outbound")
    },
}
"""Each makes one call and returns its bill."""


def measured(name: str) -> Bill:
    """Hold that call, in virtual time."""
    prices = prices_on(PAGE.read_text())

    async def run() -> Any:
        return await CALLS[name](prices)

    bill: Bill = virtual_time.run(run())
    return bill

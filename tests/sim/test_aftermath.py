"""What is known of a call after its end, what it cost and where its recording is, for each carrier, in virtual time."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest

from getpatter.agent import build_agent
from getpatter.dashboard.store import MetricsStore
from getpatter.models import CallMetrics, CostBreakdown
from getpatter.net.messages import Exchange
from getpatter.pricing import calculate_telephony_cost
from getpatter.server.phone import PhoneServer, Serving
from getpatter.testing.callers import Caller, babble, hang_up, wait
from getpatter.testing.network import InMemory
from getpatter.testing.plivo import SimulatedPlivo
from getpatter.testing.providers import ScriptedLLM, ScriptedSTT, ScriptedTTS
from getpatter.testing.telnyx import SimulatedTelnyx
from getpatter.testing.time import in_virtual_time
from getpatter.testing.twilio import SimulatedTwilio

_T = TypeVar("_T")
KEYS = {"recording_id", "url", "duration_seconds", "channels", "format"}


class Phone:
    """A server without a port behind a simulated carrier without one; it keeps what the bus carried."""

    def __init__(self, simulated: Any, *, persist: Path | None = None, **serving: Any) -> None:
        self.simulated = simulated
        self.store = MetricsStore()
        self.end: Mapping[str, Any] = {}
        self.told: defaultdict[str, list[Mapping[str, Any]]] = defaultdict(list)
        self._ended = asyncio.Event()
        self.persist = persist
        self._serving: dict[str, Any] = {
            "on_call_end": self.on_call_end,
            "store": self.store,
        } | serving
        self.server: PhoneServer

    async def run(self, exchange: Exchange[_T]) -> _T:
        result: _T = await self.simulated.run(exchange)
        return result

    async def aclose(self) -> None:
        """Nothing to give back."""

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        await self.server(scope, receive, send)

    def on_call_end(self, event: Mapping[str, Any]) -> None:
        self.end = event
        self._ended.set()

    def open(self) -> None:
        agent = build_agent(
            "x",
            None,
            stt=ScriptedSTT([]),
            tts=ScriptedTTS(),
            llm=ScriptedLLM([]),
            first_message="Hello.",
        )
        serving = Serving(
            agent=agent,
            host="agent.example",
            phone_number=self.simulated.number,
            persist_root=self.persist,
            **self._serving,
        )
        self.server = PhoneServer(serving, self.simulated.carrier(), http=self)
        self.server.open()
        for name in ("call_cost_updated", "recording_ready", "error"):
            self.server.bus.on(name, self.told[name].append)

    def heard(self, name: str) -> list[Mapping[str, Any]]:
        """What the bus carried under this name."""
        return list(self.told[name])

    async def talk(self, seconds: float = 70.0) -> str:
        """One incoming call, over for both sides; returns our id of it."""
        self.simulated.ring(Caller(wait(int(seconds * 1000)), hang_up(), voice=babble))
        async with asyncio.timeout(seconds + 60):
            await self._ended.wait()
        call_id: str = self.end["call_id"]
        return call_id

    def metadata(self) -> dict[str, Any]:
        self.server.log.flush()
        assert self.persist is not None
        (folder,) = self.persist.glob("calls/*/*/*/*")
        found: dict[str, Any] = json.loads((folder / "metadata.json").read_text())
        return found


@asynccontextmanager
async def phone(name: str, **options: Any) -> AsyncIterator[Phone]:
    """A phone of one of the carriers."""
    one: list[Phone] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await one[0].app(scope, receive, send)

    kind: Any = {"twilio": SimulatedTwilio, "telnyx": SimulatedTelnyx, "plivo": SimulatedPlivo}[
        name
    ]
    async with kind(listens=False, network=InMemory(app)) as simulated:
        if name == "telnyx":
            simulated.costs_reported_after_s = 45.0
        one.append(Phone(simulated, **options))
        one[0].open()
        await one[0].server.point_number()
        try:
            yield one[0]
        finally:
            await one[0].server.stop()
        assert not simulated.problems


all_carriers = pytest.mark.parametrize("name", ["twilio", "telnyx", "plivo"])
ASKED = pytest.mark.parametrize("name", ["twilio", "plivo"])


def questions(one: Phone) -> int:
    """How often the price was asked for: what is asked of a call after its end."""
    operation = (
        "GET /Calls/{Sid}.json" if isinstance(one.simulated, SimulatedTwilio) else "GET /Call/{id}/"
    )
    return len(one.simulated.asked(operation))


@all_carriers
@in_virtual_time
async def test_the_carriers_price_replaces_the_estimate_everywhere(
    name: str, tmp_path: Path
) -> None:
    async with phone(name, persist=tmp_path) as one:
        call_id = await one.talk()
        assert one.heard("call_cost_updated") == []  # nobody waits for it
        metrics = one.end["metrics"]
        assert isinstance(metrics, CallMetrics)
        estimate = calculate_telephony_cost(name, metrics.duration_seconds, "inbound")
        assert metrics.cost.telephony == pytest.approx(estimate)
        await asyncio.sleep(700)
        (event,) = one.heard("call_cost_updated")
        price = {"twilio": 2 * 0.0095, "plivo": 2 * 0.0085, "telnyx": 72 / 60 * 0.0055}[name]
        cost = event["cost"]
        assert isinstance(cost, CostBreakdown)
        assert (event["call_id"], event["estimate"]) == (call_id, metrics.cost.telephony)
        assert cost.telephony == event["telephony"] == pytest.approx(price, abs=1e-4)
        assert cost.tts == metrics.cost.tts
        assert cost.total == pytest.approx(cost.stt + cost.tts + cost.llm + cost.telephony)
        assert event["timestamp"] > one.end["ended_at"]
        record: Any = one.store.get_call(call_id)
        assert record is not None
        assert record["metrics"]["cost"] == cost.to_dict()
        assert record["metrics"]["duration_seconds"] == metrics.duration_seconds
        kept = one.metadata()
        assert kept["cost"] == {
            key: getattr(cost, key) for key in ("total", "stt", "tts", "llm", "telephony")
        }
        assert kept["status"] == "completed"
        assert one.store.get_aggregates()["total_cost"] == pytest.approx(cost.total)


@ASKED
@in_virtual_time
async def test_a_carrier_is_asked_thrice_at_most(name: str) -> None:
    async with phone(name) as one:
        one.simulated.priced_after_s = 1000.0
        await one.talk()
        before = questions(one)
        counts = []
        for until in (25, 10, 80, 10, 470, 10, 600):
            await asyncio.sleep(until)
            counts.append(questions(one) - before)
        assert counts == [0, 1, 1, 2, 2, 3, 3]
        assert one.heard("call_cost_updated") == []


@ASKED
@in_virtual_time
async def test_once_known_the_price_is_not_asked_for_again(name: str) -> None:
    async with phone(name) as one:
        one.simulated.priced_after_s = 0.0
        await one.talk()
        before = questions(one)
        await asyncio.sleep(1000)
        assert questions(one) - before == 1
        assert len(one.heard("call_cost_updated")) == 1


@ASKED
@in_virtual_time
async def test_a_refusal_is_followed_by_the_next_question(name: str) -> None:
    async with phone(name) as one:
        one.simulated.priced_after_s = 0.0
        await one.talk()
        one.simulated.refuse_next(500)
        await asyncio.sleep(40)
        assert one.heard("call_cost_updated") == []
        await asyncio.sleep(100)
        assert len(one.heard("call_cost_updated")) == 1


@ASKED
@in_virtual_time
async def test_a_server_that_stops_asks_once_more_and_does_not_wait(name: str) -> None:
    async with phone(name) as one:
        one.simulated.priced_after_s = 50.0
        await one.talk()
        await asyncio.sleep(60)
        assert one.heard("call_cost_updated") == []
        began = asyncio.get_running_loop().time()
        await one.server.stop()
        assert asyncio.get_running_loop().time() - began < 5
        assert len(one.heard("call_cost_updated")) == 1


@ASKED
@in_virtual_time
async def test_a_server_that_stops_at_once_asks_nobody(name: str) -> None:
    async with phone(name) as one:
        await one.talk()
        before = questions(one)
        await one.server.stop()
        assert questions(one) == before


@in_virtual_time
async def test_a_carrier_that_does_not_answer_holds_a_shutdown_up_for_seconds_only() -> None:
    async with phone("twilio") as one:
        await one.talk()
        await asyncio.sleep(40)
        one.simulated.delay_s = 3600.0
        began = asyncio.get_running_loop().time()
        await one.server.stop()
        assert asyncio.get_running_loop().time() - began == pytest.approx(5.0, abs=1.0)


@in_virtual_time
async def test_only_the_first_price_counts() -> None:
    async with phone("telnyx") as one:
        one.simulated.delivers_twice = True
        await one.talk()
        await asyncio.sleep(100)
        call = one.simulated.calls[0]
        told = call.delivered("call.cost")[0]
        await one.simulated.deliver(call, "call.cost", {**told, "total_cost": "9.0"})
        await asyncio.sleep(5)
        (event,) = one.heard("call_cost_updated")
        assert event["telephony"] < 1


@all_carriers
@in_virtual_time
async def test_a_recording_is_announced_and_kept_with_its_call(name: str, tmp_path: Path) -> None:
    async with phone(name, persist=tmp_path, recording=True) as one:
        call_id = await one.talk(seconds=10)
        await asyncio.sleep(120)
        (event,) = one.heard("recording_ready")
        assert set(event) == KEYS | {"call_id", "timestamp"}
        assert event["call_id"] == call_id
        assert event["url"].startswith(("http://", "https://", "/"))
        assert event["channels"] == 2
        assert event["format"] == ("wav" if name == "twilio" else "mp3")
        kept = {key: event[key] for key in KEYS}
        record: Any = one.store.get_call(call_id)
        assert record is not None
        assert record["recording"] == kept
        assert one.metadata()["recording"] == kept
        again = MetricsStore()
        assert again.hydrate(tmp_path) == 1
        restored = again.get_call(call_id)
        assert restored is not None
        assert restored["recording"] == kept


@in_virtual_time
async def test_a_recording_that_comes_late_finds_its_call() -> None:
    async with phone("telnyx", recording=True) as one:
        call_id = await one.talk(seconds=10)
        await asyncio.sleep(300)
        call = one.simulated.calls[0]
        (told,) = call.delivered("call.recording.saved")
        await one.simulated.deliver(
            call, "call.recording.saved", {**told, "recording_id": "second"}
        )
        await asyncio.sleep(1)
        assert [event["recording_id"] for event in one.heard("recording_ready")][-1] == "second"
        record: Any = one.store.get_call(call_id)
        assert record is not None
        assert record["recording"]["recording_id"] == "second"


@in_virtual_time
async def test_a_recording_that_failed_is_an_error_and_nothing_to_fetch(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with phone("telnyx", recording=True) as one:
        await one.talk(seconds=10)
        await asyncio.sleep(5)
        call = one.simulated.calls[0]
        (told,) = call.delivered("call.recording.saved")
        lost = {key: value for key, value in told.items() if key != "recording_urls"}
        await one.simulated.deliver(call, "call.recording.error", lost)
        await asyncio.sleep(1)
        assert len(one.heard("recording_ready")) == 1
        assert [event["stage"] for event in one.heard("error")] == ["recording"]
        assert "call.recording_lost" in caplog.text


@in_virtual_time
async def test_news_of_calls_of_others_are_nobodys() -> None:
    async with phone("telnyx") as one:
        await one.talk(seconds=5)
        call = one.simulated.calls[0]
        await asyncio.sleep(100)
        (told,) = call.delivered("call.cost")
        await one.simulated.deliver(call, "call.cost", {**told, "call_control_id": "v3:other"})
        await asyncio.sleep(1)
        assert len(one.heard("call_cost_updated")) == 1
        assert one.server.exchange is not None
        assert one.server.exchange.unknown_events >= 1


@in_virtual_time
async def test_a_store_that_knows_nothing_of_bills_is_left_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Old:
        """A store of a program that is older than bills."""

        def __getattr__(self, name: str) -> Any:
            if name in {"record_call_cost", "record_recording"}:
                raise AttributeError(name)
            return lambda *_: None

    async with phone("twilio", store=Old()) as one:
        await one.talk(seconds=5)
        await asyncio.sleep(200)
        assert len(one.heard("call_cost_updated")) == 1
    assert "store.failed" not in caplog.text

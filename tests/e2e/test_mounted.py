"""The phone inside somebody else's web application: `EmbeddedServer.app` under a path, served by plain uvicorn."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from getpatter import Patter
from getpatter.agent import build_agent
from getpatter.config import LocalConfig
from getpatter.dashboard.store import MetricsStore
from getpatter.runtime.recorder import FlightRecorder
from getpatter.server.embedded import EmbeddedServer
from getpatter.testing.callers import Caller, Polite, babble, wait
from getpatter.testing.providers import ScriptedLLM, ScriptedSTT, ScriptedTTS
from getpatter.testing.twilio import SimulatedTwilio

if TYPE_CHECKING:
    from starlette.requests import Request

    from getpatter.agent import Agent

PLACE = "/phone"
HOST = f"example.com{PLACE}"
VOICE = f"https://{HOST}/webhooks/twilio/voice"


@dataclass
class Site:
    """A web application with a phone in it, and who rings there."""

    twilio: SimulatedTwilio
    phone: EmbeddedServer

    @property
    def address(self) -> str:
        return f"http://{self.twilio.server}"


class Uvicorn(uvicorn.Server):
    """A server whose `startup` can be waited for."""

    async def until_started(self) -> int:
        while not self.started:
            await asyncio.sleep(0.01)
        port: int = self.servers[0].sockets[0].getsockname()[1]
        return port


def an_agent(**options: Any) -> Agent:
    given: dict[str, Any] = {
        "stt": ScriptedSTT(["a haircut"], final_delay=0.1),
        "tts": ScriptedTTS(0.02, ms_per_letter=20),
        "llm": ScriptedLLM(["Certainly."], first_token_delay=0.05),
        "first_message": "Welcome.",
    } | options
    return build_agent("You are the desk of a clinic.", None, **given)


def flights(folder: Path) -> list[Path]:
    FlightRecorder.written()
    return list(folder.glob("*.flight.jsonl"))


@asynccontextmanager
async def a_site(
    monkeypatch: pytest.MonkeyPatch, agent: Agent | None = None, **options: Any
) -> AsyncIterator[Site]:
    """The application of the how-to page, running; in the end it stops as uvicorn stops."""
    async with SimulatedTwilio() as twilio:
        monkeypatch.setenv("TWILIO_BASE_URL", twilio.base_url)
        config = LocalConfig(
            twilio_sid=twilio.account_sid,
            twilio_token=twilio.auth_token,
            phone_number=twilio.number,
            webhook_url=HOST,
        )
        phone = EmbeddedServer(config, agent or an_agent(), **options)

        @asynccontextmanager
        async def lifespan(_app: Starlette) -> AsyncIterator[None]:
            yield
            await phone.stop()

        async def home(_request: Request) -> PlainTextResponse:
            return PlainTextResponse("our own page")

        app = Starlette(routes=[Route("/", home), Mount(PLACE, phone.app)], lifespan=lifespan)
        settings = uvicorn.Config(
            app, host="127.0.0.1", port=0, log_config=None, ws="websockets-sansio"
        )
        server = Uvicorn(settings)
        serving = asyncio.create_task(server.serve())
        try:
            twilio.server = f"127.0.0.1:{await server.until_started()}"
            yield Site(twilio, phone)
        finally:
            server.should_exit = True
            await asyncio.wait_for(serving, 20)


async def test_a_call_is_answered_below_the_mount_point(monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[tuple[str, str]] = []
    ended = asyncio.Event()
    async with a_site(
        monkeypatch,
        on_transcript=lambda event: lines.append((event["role"], event["text"])),
        on_call_end=lambda _event: ended.set(),
    ) as site:
        caller = Polite("a haircut please", voice=babble, gap_ms=300)
        call = site.twilio.ring(caller, voice_url=VOICE)
        await call.ended()
        await asyncio.wait_for(ended.wait(), 5)
        assert not site.twilio.problems
    assert lines == [("assistant", "Welcome."), ("user", "a haircut"), ("assistant", "Certainly.")]
    assert len(call.tape().heard_spans()) == 2


async def test_our_own_pages_and_the_phones_live_side_by_side(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with a_site(monkeypatch) as site, httpx.AsyncClient(base_url=site.address) as client:
        assert (await client.get("/")).text == "our own page"
        assert (await client.get(f"{PLACE}/health")).json() == {"status": "ok", "mode": "local"}
        assert (await client.get("/health")).status_code == 404
        assert (await client.get(f"{PLACE}/nothing")).status_code == 404


async def test_a_webhook_that_was_signed_for_another_path_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    started: list[object] = []
    async with a_site(monkeypatch, on_call_start=started.append) as site:
        elsewhere = "https://example.com/elsewhere/webhooks/twilio/voice"
        call = site.twilio.ring(Polite(voice=babble), voice_url=elsewhere)
        await call.ended()
        assert call.status == "failed"
        assert not started


async def test_stopping_the_site_hangs_up_and_tells_the_program(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reasons: list[str] = []
    async with a_site(
        monkeypatch, on_call_end=lambda event: reasons.append(event["reason"])
    ) as site:
        call = site.twilio.ring(Caller(wait(60_000), voice=babble), voice_url=VOICE)
        await call.until("in-progress")
        await asyncio.sleep(0.3)
        await site.phone.stop()
        assert call.hung_up_by == "api"
    assert reasons == ["shutdown"]


def test_every_option_of_serve_is_one_here() -> None:
    wanted = inspect.signature(Patter.serve).parameters
    taken = inspect.signature(EmbeddedServer.__init__).parameters
    # The port is told to `start()`; what leads to it is the program's own business here.
    elsewhere = {"port", "tunnel"}
    assert set(wanted) - elsewhere <= set(taken)
    for name in set(wanted) - elsewhere - {"self", "agent"}:
        assert taken[name].default == wanted[name].default, name


async def test_the_options_of_serve_do_here_what_they_do_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    told: list[str] = []
    ends: list[Any] = []
    store = MetricsStore()
    async with a_site(
        monkeypatch,
        an_agent(llm=None),
        on_message=lambda _event: "From the program.",
        on_transcript=lambda event: told.append(event["text"]),
        on_call_end=ends.append,
        pricing={"twilio": {"price": 6.0}},
        store=store,
        flight_recorder=tmp_path,
        max_concurrent_calls=1,
    ) as site:
        heard: list[Any] = []
        site.phone.events.on("call_ended", heard.append)
        site.phone.speech["on_agent_speech_started"] = lambda _event: told.append("speech")
        call = site.twilio.ring(
            Polite("a haircut please", voice=babble, gap_ms=300), voice_url=VOICE
        )
        await call.ended()
        for _ in range(250):
            if ends and heard:
                break
            await asyncio.sleep(0.02)
        assert store.call_count == 1
    assert [each for each in told if each != "speech"] == [
        "Welcome.", "a haircut", "From the program.",
    ]  # fmt: skip
    assert told.count("speech") == 2
    [end] = ends
    assert end["metrics"].cost.telephony == 6.0  # a minute that has begun
    assert flights(tmp_path)


@pytest.mark.parametrize(
    ("options", "error", "names"),
    [
        ({"on_message": "http://127.0.0.1:9/answer"}, ValueError, "private|loopback|public"),
        ({"on_message": "ftp://example.com/answer"}, ValueError, "http"),
        ({"on_message": 7}, TypeError, "on_message"),
        ({"max_call_duration": 0}, ValueError, "max_call_duration"),
        ({"idle_timeout": -1}, ValueError, "idle_timeout"),
        ({"pricing": {"twilio": {"price": -1}}, "on_message": print}, ValueError, "price"),
        ({"webhook_secret": 7}, TypeError, "webhook_secret"),
        ({}, ValueError, "OPENAI_API_KEY"),
    ],
)
def test_what_serve_refuses_is_refused_here(
    monkeypatch: pytest.MonkeyPatch, options: Any, error: type[Exception], names: str
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    config = LocalConfig(twilio_sid="AC" + "0" * 32, twilio_token="t", webhook_url=HOST)
    with pytest.raises(error, match=names):
        EmbeddedServer(config, an_agent(llm=None), **options)


def test_the_default_model_has_the_key_of_the_config(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    config = LocalConfig(
        twilio_sid="AC" + "0" * 32,
        twilio_token="t",
        webhook_url=HOST,
        openai_key="sk-of-the-config",
    )
    assert EmbeddedServer(config, an_agent(llm=None)).agent.llm is None

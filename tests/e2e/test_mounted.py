"""The phone inside somebody else's web application: `EmbeddedServer.app` under a path, served by plain uvicorn."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from getpatter.agent import build_agent
from getpatter.config import LocalConfig
from getpatter.server.embedded import EmbeddedServer
from getpatter.testing.callers import Caller, Polite, babble, wait
from getpatter.testing.providers import ScriptedLLM, ScriptedSTT, ScriptedTTS
from getpatter.testing.twilio import SimulatedTwilio

if TYPE_CHECKING:
    import pytest
    from starlette.requests import Request

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


@asynccontextmanager
async def a_site(monkeypatch: pytest.MonkeyPatch, **options: Any) -> AsyncIterator[Site]:
    """The application of the how-to page, running; in the end it stops as uvicorn stops."""
    async with SimulatedTwilio() as twilio:
        monkeypatch.setenv("TWILIO_BASE_URL", twilio.base_url)
        agent = build_agent(
            "You are the desk of a clinic.",
            None,
            stt=ScriptedSTT(["a haircut"], final_delay=0.1),
            tts=ScriptedTTS(0.02, ms_per_letter=20),
            llm=ScriptedLLM(["Certainly."], first_token_delay=0.05),
            first_message="Welcome.",
        )
        config = LocalConfig(
            twilio_sid=twilio.account_sid,
            twilio_token=twilio.auth_token,
            phone_number=twilio.number,
            webhook_url=HOST,
        )
        phone = EmbeddedServer(config, agent, **options)

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

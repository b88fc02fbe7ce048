"""The simulated Twilio over real sockets: against our own server, and against Twilio's own client library.

The program under test is a parrot: it greets, and answers every utterance after a fixed pause. Everything
between it and the caller is real: HTTP, signatures, TwiML, tokens, WebSockets, mu-law.
"""

from __future__ import annotations

import asyncio
import base64
import io
import wave
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import pytest
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route
from twilio.base.exceptions import TwilioRestException
from twilio.http.http_client import TwilioHttpClient
from twilio.request_validator import RequestValidator
from twilio.rest import Client

from getpatter.carriers.base import CallProgressed, Dial, RecordingFinished, Stream
from getpatter.errors import AuthenticationError, PatterConnectionError
from getpatter.net.http import HttpClient
from getpatter.net.messages import HttpRequest
from getpatter.server.app import create_app
from getpatter.server.gate import Clocks, ServerSettings
from getpatter.server.listener import HttpServer
from getpatter.testing.callers import Caller, Polite, SilentOne, babble, listen, press, wait
from getpatter.testing.network import LocalServer
from getpatter.testing.twilio import Callee, SimulatedTwilio
from tests.unit.parrot import HOST, Board

if TYPE_CHECKING:
    from starlette.requests import Request


@asynccontextmanager
async def agent(board: Board) -> AsyncIterator[tuple[SimulatedTwilio, HttpClient]]:
    """A simulated Twilio, and our server behind the public name that its number leads to."""
    async with SimulatedTwilio() as twilio, asyncio.TaskGroup() as tasks:
        carrier = twilio.carrier()
        app = create_app(
            board, {"twilio": carrier}, settings=ServerSettings(host=HOST), clocks=Clocks()
        )
        server = HttpServer(app, port=0, drain_seconds=1)
        tasks.create_task(server.run())
        twilio.server = f"127.0.0.1:{await server.started()}"
        http = HttpClient("twilio")
        try:
            await http.run(carrier.point_number(twilio.number, host=HOST))
            yield twilio, http
        finally:
            await http.aclose()
            await server.stop()


async def test_a_caller_is_greeted_and_answered_over_real_sockets() -> None:
    board = Board()
    async with agent(board) as (twilio, _):
        call = twilio.ring(Polite("good morning", gap_ms=300, voice=babble))
        await call.ended()
        assert not twilio.problems
    assert (call.status, call.hung_up_by) == ("completed", "caller")
    [parrot] = board.parrots
    assert parrot.marks == ["greeting", "answer"]
    assert (parrot.has_stopped, parrot.closed_with) == (1, 1000)
    tape = call.tape()
    assert len(tape.heard_spans()) == 2
    assert len(tape.answer_times()) == 1
    with wave.open(io.BytesIO(tape.wav())) as file:
        assert (file.getnchannels(), file.getframerate()) == (2, 8000)


async def test_the_agent_hangs_up_by_closing_the_socket() -> None:
    board = Board(hangs_up_on="9")
    async with agent(board) as (twilio, _):
        call = twilio.ring(Caller(listen(gap_ms=200), press("19"), wait(60_000), voice=babble))
        await call.ended()
        assert not twilio.problems
    assert (call.status, call.hung_up_by) == ("completed", "document")
    assert board.parrots[0].keys == ["1", "9"]


async def test_a_placed_call_is_answered_recorded_and_hung_up() -> None:
    board = Board()
    async with agent(board) as (twilio, http):
        carrier = twilio.carrier()
        twilio.callees["+15550007777"] = Callee(SilentOne(), rings_s=0.1)
        stream = Stream(HOST, "ref-1", "the-token", twilio.number, "+15550007777")
        sid = await http.run(carrier.dial(Dial("+15550007777", twilio.number, stream)))
        call = await twilio.dialled()
        await call.until("in-progress")
        await http.run(carrier.record(sid, host=HOST))
        while not board.parrots:
            await asyncio.sleep(0.01)
        await http.run(carrier.hang_up(sid))
        await call.ended()
        assert not await http.run(carrier.is_alive(sid))
        assert not twilio.problems
        [finished] = [each for each in board.noted if isinstance(each, RecordingFinished)]
        wav = await http.send(_with_login(twilio, finished.url + ".wav"))
        assert wav.body == call.tape().wav()
    statuses = [each.status for each in board.noted if isinstance(each, CallProgressed)]
    assert statuses == ["initiated", "ringing", "in-progress", "completed"]


def _with_login(twilio: SimulatedTwilio, url: str) -> HttpRequest:
    login = base64.b64encode(f"{twilio.account_sid}:{twilio.auth_token}".encode()).decode()
    return HttpRequest("GET", url, {"authorization": f"Basic {login}"})


async def test_a_refused_request_is_repeated_only_when_that_does_no_harm() -> None:
    async with agent(Board()) as (twilio, http):
        carrier = twilio.carrier()
        stream = Stream(HOST, "ref-1", "the-token")
        twilio.refuse_next(503, operation="POST /Calls.json")
        with pytest.raises(PatterConnectionError):
            await http.run(carrier.dial(Dial("+15550007777", twilio.number, stream)))
        assert len(twilio.asked("POST /Calls.json")) == 1
        twilio.refuse_next(503, operation="GET /Calls/{Sid}.json")
        assert not await http.run(carrier.is_alive("CA" + "0" * 32))
        assert len(twilio.asked("GET /Calls/{Sid}.json")) == 2
        twilio.auth_token = "changed"
        with pytest.raises(AuthenticationError):
            await http.run(carrier.dial(Dial("+15550007777", twilio.number, stream)))


# ------------------------------------------------------------------------ against Twilio's own library


class ToTheFake(TwilioHttpClient):  # type: ignore[misc] # it ships no types
    """Sends what the official client would send to Twilio to the simulated one."""

    def __init__(self, base_url: str) -> None:
        super().__init__()
        self._base_url = base_url

    def request(self, method: str, url: str, *args: Any, **options: Any) -> Any:
        return super().request(
            method, url.replace("https://api.twilio.com", self._base_url), *args, **options
        )


async def test_the_official_client_gets_along_with_the_fake() -> None:
    async with SimulatedTwilio() as twilio:
        http = ToTheFake(twilio.base_url)
        client = Client(twilio.account_sid, twilio.auth_token, http_client=http)
        stranger = Client(twilio.account_sid, "wrong", http_client=http)

        def use_it() -> list[str]:
            [number] = client.incoming_phone_numbers.list(phone_number=twilio.number)
            assert len(client.incoming_phone_numbers.list(page_size=1)) == len(twilio.numbers)
            number.update(
                voice_url="https://agent.example/webhooks/twilio/voice", voice_method="POST"
            )
            call = client.calls.create(
                to="+15550007777",
                from_=twilio.number,
                twiml="<Response><Pause length='60'/></Response>",
                timeout=20,
                time_limit=600,
                machine_detection="DetectMessageEnd",
                async_amd="true",
                status_callback_event=["initiated", "answered"],
            )
            fetched = client.calls(call.sid).fetch()
            [listed] = client.calls.list(to="+15550007777", limit=5)
            ended = client.calls(call.sid).update(status="canceled")
            with pytest.raises(TwilioRestException) as over:
                client.calls(call.sid).update(status="completed")
            with pytest.raises(TwilioRestException) as unknown:
                client.calls("CA" + "0" * 32).fetch()
            with pytest.raises(TwilioRestException) as forbidden:
                stranger.calls(call.sid).fetch()
            codes = [str(each.value.code) for each in (over, unknown, forbidden)]
            return [call.status, fetched.direction, listed.sid, ended.status, *codes]

        seen = await asyncio.to_thread(use_it)
        http.session.close()
        assert twilio.numbers[0].voice_url == "https://agent.example/webhooks/twilio/voice"
        assert seen == [
            "queued",
            "outbound-api",
            twilio.calls[0].sid,
            "canceled",
            "21220",
            "20404",
            "20003",
        ]
        assert not twilio.problems


async def test_the_official_validator_accepts_the_webhooks_of_the_fake() -> None:
    received: list[tuple[str, dict[str, str], str]] = []

    async def keep(request: Request) -> Response:
        form = dict(parse_qsl((await request.body()).decode(), keep_blank_values=True))
        url = f"https://{request.headers['host']}{request.url.path}?{request.url.query}".rstrip("?")
        received.append((url, form, request.headers["x-twilio-signature"]))
        document = "<Response><Hangup/></Response>" if "voice" in url else ""
        return Response(document, media_type="text/xml")

    server = LocalServer(Starlette(routes=[Route("/{path:path}", keep, methods=["POST"])]))
    async with SimulatedTwilio() as twilio:
        twilio.server = f"127.0.0.1:{await server.start()}"
        twilio.numbers[0].status_callback = "https://agent.example/status?a=b%20c"
        call = twilio.ring(SilentOne(), voice_url="https://agent.example/voice#rc=2")
        await call.ended()
        await server.stop()
    validator = RequestValidator(twilio.auth_token)
    assert [url for url, _, _ in received] == [
        "https://agent.example/voice",
        "https://agent.example/status?a=b%20c",
    ]
    for url, form, signature in received:
        assert validator.validate(url, form, signature)
        assert not validator.validate(url + "x", form, signature)

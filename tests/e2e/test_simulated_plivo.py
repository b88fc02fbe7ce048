"""The simulated Plivo over real sockets: against our own server, and against Plivo's own client library."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import parse_qsl

import plivo as official
import pytest
from plivo.utils.signature_v3 import validate_v3_signature
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

from getpatter.carriers.base import (
    CallArrived,
    CallProgressed,
    Carrier,
    Dial,
    DocumentAsked,
    MachineJudged,
    RecordingFinished,
    Stream,
    Verdict,
    WebhookEvent,
)
from getpatter.errors import AuthenticationError, PatterConnectionError, ProvisionError
from getpatter.net.http import HttpClient
from getpatter.net.messages import WebhookReply, WebhookRequest
from getpatter.runtime import clock
from getpatter.server.app import create_app
from getpatter.server.gate import Clocks, ServerSettings
from getpatter.server.listener import HttpServer
from getpatter.testing.callers import Caller, Polite, SilentOne, babble, listen, press, wait
from getpatter.testing.network import LocalServer
from getpatter.testing.plivo import Callee, SimulatedPlivo, SimulatedPlivoCall
from tests.unit.parrot import HOST, Board

if TYPE_CHECKING:
    from starlette.requests import Request

_T = TypeVar("_T")


def heard(board: Board, kind: type[_T]) -> list[_T]:
    return [each for each in board.noted if isinstance(each, kind)]


@asynccontextmanager
async def agent(**options: Any) -> AsyncIterator[tuple[SimulatedPlivo, Board, Carrier, HttpClient]]:
    """A simulated Plivo, and our server behind the public name that its application leads to."""
    async with SimulatedPlivo() as plivo, asyncio.TaskGroup() as tasks:
        carrier: Carrier = plivo.carrier()
        board = Board(**options)
        app = create_app(
            board, {"plivo": carrier}, settings=ServerSettings(host=HOST), clocks=Clocks()
        )
        server = HttpServer(app, port=0, drain_seconds=1)
        tasks.create_task(server.run())
        plivo.server = f"127.0.0.1:{await server.started()}"
        http = HttpClient("plivo")
        try:
            await http.run(carrier.point_number(plivo.number, host=HOST))
            yield plivo, board, carrier, http
        finally:
            await http.aclose()
            await server.stop()


async def test_a_caller_is_greeted_and_answered_over_real_sockets() -> None:
    async with agent() as (plivo, board, _, _http):
        call = plivo.ring(Polite("good morning", gap_ms=300, voice=babble))
        await call.ended()
        assert not plivo.problems
    assert (call.status, call.hung_up_by) == ("completed", "caller")
    [parrot] = board.parrots
    assert parrot.marks == ["greeting", "answer"]
    assert (parrot.has_stopped, parrot.closed_with) == (0, 1000)
    tape = call.tape()
    assert len(tape.heard_spans()) == 2
    assert len(tape.answer_times()) == 1
    [arrived] = board.arrived
    assert (arrived.caller, arrived.callee) == ("+15550009876", "+15550001234")
    [ended] = heard(board, CallProgressed)
    assert (ended.status, ended.duration_seconds) == ("completed", round(call.duration_s))


async def test_the_agent_hangs_up_by_closing_the_socket() -> None:
    async with agent(hangs_up_on="9") as (plivo, board, _, _http):
        call = plivo.ring(Caller(listen(gap_ms=200), press("19"), wait(60_000), voice=babble))
        await call.ended()
        assert not plivo.problems
    assert (call.status, call.hung_up_by) == ("completed", "document")
    assert board.parrots[0].keys == ["1", "9"]


async def test_a_full_line_is_busy() -> None:
    async with agent(is_full=True) as (plivo, _, _carrier, _http):
        call = plivo.ring(SilentOne())
        await call.ended()
        assert (call.status, call.verbs) == ("busy", ["Hangup"])
        assert not plivo.problems


async def test_an_application_is_made_once_and_used_again() -> None:
    async with agent() as (plivo, _, carrier, http):
        await http.run(carrier.point_number(plivo.number, host="other.example"))
        [application] = plivo.applications.values()
        assert application["app_name"] == "getpatter-15550001234"
        assert application["answer_url"] == "https://other.example/webhooks/plivo/voice"
        with pytest.raises(ProvisionError, match="has no number"):
            await http.run(carrier.point_number("+15550009999", host=HOST))
        assert not plivo.problems


async def placed(
    plivo: SimulatedPlivo, carrier: Carrier, http: HttpClient, callee: Callee, **options: Any
) -> SimulatedPlivoCall:
    plivo.callees["15550007777"] = callee
    stream = Stream(HOST, "ref-1", "the-token", plivo.number, "+15550007777")
    request_id = await http.run(carrier.dial(Dial("+15550007777", plivo.number, stream, **options)))
    call = await plivo.dialled()
    assert request_id == call.request_id != call.id
    return call


async def test_a_placed_call_is_answered_recorded_and_hung_up() -> None:
    async with agent() as (plivo, board, carrier, http):
        call = await placed(plivo, carrier, http, Callee(SilentOne(), rings_s=0.1))
        await call.until(lambda each: each.rides)
        await http.run(carrier.record(call.id, host=HOST))
        keys = carrier.send_keys(call.id, "12#", delay_ms=300)
        assert keys is not None
        await http.run(keys)
        assert await http.run(carrier.is_alive(call.id))
        await http.run(carrier.hang_up(call.id))
        await call.ended()
        assert not await http.run(carrier.is_alive(call.id))
        await http.run(carrier.hang_up(call.id))
        assert await http.run(plivo.carrier().price(call.id)) is None, "it takes its time"
        plivo.priced_after_s = 0.0
        assert await http.run(plivo.carrier().price(call.id)) == pytest.approx(0.0085)
        assert not plivo.problems
    assert call.digits == ["12#"]
    [arrived] = board.arrived
    assert (arrived.call_id, arrived.reference) == (call.id, "ref-1")
    [finished] = heard(board, RecordingFinished)
    assert (finished.call_id, finished.channels) == (call.id, 2)
    assert finished.url.endswith(f"{finished.recording_id}.mp3")
    events = heard(board, CallProgressed)
    assert [each.status for each in events] == ["ringing", "completed"]
    assert {each.reference for each in events} == {"ref-1"}


@pytest.mark.parametrize(
    ("callee", "ring_timeout", "status"),
    [
        (Callee(outcome="busy", rings_s=0.1), 25, "busy"),
        (Callee(outcome="no-answer", rings_s=0.1), 25, "no-answer"),
        (Callee(rings_s=5), 1, "no-answer"),
        (Callee(outcome="failed", rings_s=0.1), None, "failed"),
    ],
)
async def test_calls_that_are_not_answered_end_with_their_reason(
    callee: Callee, ring_timeout: int | None, status: str
) -> None:
    async with agent() as (plivo, board, carrier, http):
        call = await placed(plivo, carrier, http, callee, ring_timeout=ring_timeout)
        await call.ended()
        assert not plivo.problems
    assert [each.status for each in heard(board, CallProgressed)] == ["ringing", status]


async def test_a_machine_is_noticed() -> None:
    machine = Callee(SilentOne(), rings_s=0.1, answered_by="machine_start", verdict_after_s=0.1)
    async with agent() as (plivo, board, carrier, http):
        call = await placed(plivo, carrier, http, machine, detects_machines=True)
        await call.until(lambda each: each.delivered("machine"))
        await http.run(carrier.hang_up(call.id))
        await call.ended()
        assert not plivo.problems
    [judged] = heard(board, MachineJudged)
    assert (judged.classification, judged.call_id) == ("machine", call.id)


async def test_a_refused_request_is_repeated_only_when_that_does_no_harm() -> None:
    async with agent() as (plivo, _, carrier, http):
        stream = Stream(HOST, "ref-1", "the-token")
        dial = Dial("+15550007777", plivo.number, stream)
        plivo.refuse_next(503, operation="POST /Call/")
        with pytest.raises(PatterConnectionError):
            await http.run(carrier.dial(dial))
        assert len(plivo.asked("POST /Call/")) == 1
        plivo.refuse_next(503, operation="GET /Call/{id}/")
        assert not await http.run(carrier.is_alive("nobody"))
        assert len(plivo.asked("GET /Call/{id}/")) == 2
        plivo.auth_token = "changed"
        with pytest.raises(AuthenticationError):
            await http.run(carrier.dial(dial))


# ------------------------------------------------------------------- documents that Plivo fetches


class Documents:
    """A server that answers with what the carrier says, and keeps the documents that Plivo fetches."""

    def __init__(self, carrier: Carrier) -> None:
        self.carrier = carrier
        self.kept: dict[str, WebhookReply] = {}
        self.events: list[WebhookEvent] = []

    def keep(self, document: WebhookReply) -> str:
        reference = f"kept-{len(self.kept)}"
        self.kept[reference] = document
        return reference

    async def answer(self, request: Request) -> Response:
        received = WebhookRequest(
            request.method,
            request.url.path,
            request.url.query,
            dict(request.headers),
            await request.body(),
        )
        verdict = self.carrier.verify(received, host=HOST, now=clock.wall())
        assert verdict is Verdict.GENUINE
        kind = request.url.path.rpartition("/")[2]
        reply = self.carrier.acknowledge(kind)
        for event in self.carrier.read(kind, received):
            self.events.append(event)
            if isinstance(event, DocumentAsked):
                reply = self.kept.pop(event.reference)
            elif isinstance(event, CallArrived):
                reply = WebhookReply(200, WAITS, "text/xml")
        return Response(reply.body, reply.status, media_type=reply.content_type)


WAITS = b"<Response><Speak>%s</Speak></Response>" % (b"wait " * 100)


async def test_a_call_is_transferred_and_a_message_left_by_documents_that_plivo_fetches() -> None:
    async with SimulatedPlivo() as plivo:
        carrier: Carrier = plivo.carrier()
        documents = Documents(carrier)
        routes = [Route("/{path:path}", documents.answer, methods=["POST"])]
        server = LocalServer(Starlette(routes=routes))
        plivo.server = f"127.0.0.1:{await server.start()}"
        plivo.callees["15550007777"] = Callee(rings_s=0.05, talks_s=0.05)
        http = HttpClient("plivo")
        await http.run(carrier.point_number(plivo.number, host=HOST))

        call = plivo.ring(SilentOne())
        await call.until(lambda each: each.words)
        await http.run(
            carrier.transfer(
                call.id,
                "+15550007777",
                host=HOST,
                from_number=plivo.number,
                keep=documents.keep,
            )
        )
        await call.ended()
        assert (call.verbs, call.transfers) == (["Speak", "Dial"], ["15550007777"])

        call = plivo.ring(SilentOne())
        await call.until(lambda each: each.words)
        await http.run(
            carrier.leave_message(
                call.id, "<You> & me", language="de", host=HOST, keep=documents.keep
            )
        )
        await call.ended()
        assert call.verbs == ["Speak", "Speak", "Hangup"]
        assert call.words[1] == "<You> & me"
        assert not documents.kept
        assert not plivo.problems
        await http.aclose()
        await server.stop()


# ------------------------------------------------------------------------ against Plivo's own library


async def test_the_official_client_steers_calls_of_the_fake(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with agent() as (plivo, _, _carrier, _http):
        plivo.callees["15550007777"] = Callee(SilentOne(), rings_s=0.1)
        base = f"{plivo.base_url}/v1/Account"
        for name in ("API_VOICE_BASE_URI", "PLIVO_API_BASE_URI"):
            monkeypatch.setattr(f"plivo.rest.client.{name}", base)
        loop = asyncio.get_running_loop()
        seen: list[str] = []

        def use_it() -> None:
            with official.RestClient(plivo.auth_id, plivo.auth_token) as client:
                (number,) = client.numbers.list(limit=20)
                assert number.number == plivo.number.removeprefix("+")
                fired = client.calls.create(
                    from_="15550001234",
                    to_="15550007777",
                    answer_url=f"https://{HOST}/webhooks/plivo/voice?ref=ref-1",
                )
                seen.append(fired["request_uuid"])
                waiting = plivo.calls[0].until(lambda each: each.rides)
                asyncio.run_coroutine_threadsafe(waiting, loop).result(10)
                client.calls.send_digits(plivo.calls[0].id, digits="1", leg="aleg")
                client.calls.record(plivo.calls[0].id, time_limit=60)
                client.calls.hangup(plivo.calls[0].id)
                with pytest.raises(official.exceptions.ResourceNotFoundError):
                    client.calls.hangup(plivo.calls[0].id)

        await asyncio.to_thread(use_it)
        assert seen == [plivo.calls[0].request_id]
        assert plivo.calls[0].digits == ["1"]
        assert not plivo.problems


async def test_the_official_validator_accepts_the_webhooks_of_the_fake() -> None:
    received: list[tuple[str, dict[str, str], dict[str, str]]] = []

    async def keep(request: Request) -> Response:
        form = dict(parse_qsl((await request.body()).decode(), keep_blank_values=True))
        url = f"https://{request.headers['host']}{request.url.path}?{request.url.query}".rstrip("?")
        received.append((url, form, dict(request.headers)))
        return Response("<Response><Hangup/></Response>", media_type="text/xml")

    server = LocalServer(Starlette(routes=[Route("/{path:path}", keep, methods=["POST"])]))
    async with SimulatedPlivo() as plivo:
        plivo.server = f"127.0.0.1:{await server.start()}"
        plivo.applications["a"] = {
            "app_name": "a",
            "answer_url": "https://agent.example/answer",
            "hangup_url": "https://agent.example/over?z=1&a=b%20c",
        }
        plivo.linked_to = "a"
        await plivo.ring(SilentOne()).ended()
        await server.stop()
    assert [url for url, _, _ in received] == [
        "https://agent.example/answer",
        "https://agent.example/over?z=1&a=b%20c",
    ]
    for url, form, headers in received:
        signature = headers["x-plivo-signature-v3"]
        nonce = headers["x-plivo-signature-v3-nonce"]
        for token, is_genuine in ((plivo.auth_token, True), ("other", False)):
            found = validate_v3_signature("POST", url, nonce, token, signature, dict(form))
            assert found is is_genuine

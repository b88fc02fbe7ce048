"""The simulated Telnyx over real sockets: against our own server, and against Telnyx's own client library.

The program under test is a parrot: it greets, and answers every utterance after a fixed pause. Everything
between it and the caller is real: HTTP, signatures, commands, tokens, WebSockets, L16.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import pytest
import telnyx as official
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

from getpatter.audio.convert import converter
from getpatter.carriers.base import (
    AudioReceived,
    CallArrived,
    CallProgressed,
    Carrier,
    Dial,
    MachineJudged,
    MediaWire,
    MessageLeft,
    RecordingFinished,
    Stream,
    StreamAwaited,
    StreamFailed,
    StreamStarted,
    WebhookEvent,
    WireEvent,
)
from getpatter.errors import PatterConnectionError
from getpatter.net.http import HttpClient
from getpatter.net.messages import Exchange
from getpatter.runtime.media import MediaListener, MediaSocket
from getpatter.server.app import create_app
from getpatter.server.gate import Clocks, ServerSettings
from getpatter.server.listener import HttpServer
from getpatter.testing.callers import Caller, Polite, SilentOne, babble, listen, press, wait
from getpatter.testing.network import LocalServer
from getpatter.testing.telnyx import Callee, Habits, SimulatedTelnyx, SimulatedTelnyxCall
from getpatter.types import ALAW_8K, MULAW_8K, PCM16_16K, AudioFormat
from tests.unit.parrot import HOST, Board

if TYPE_CHECKING:
    from starlette.requests import Request

_T = TypeVar("_T")


class MulawEnd:
    """A wire of any format for a parrot, which knows mu-law only."""

    def __init__(self, wire: MediaWire) -> None:
        self._wire = wire
        self.format = MULAW_8K
        self._inwards = converter(wire.format, MULAW_8K)
        self._outwards = converter(MULAW_8K, wire.format)

    def receive(self, frame: bytes) -> WireEvent | None:
        match self._wire.receive(frame):
            case AudioReceived(data=data, chunk=chunk):
                return AudioReceived(self._inwards.convert(data), chunk)
            case event:
                return event

    def resume(self, started: StreamStarted) -> None:
        self._wire.resume(started)

    def audio(self, data: bytes) -> bytes:
        return self._wire.audio(self._outwards.convert(data))

    def mark(self, name: str) -> bytes:
        return self._wire.mark(name)

    def clear(self) -> bytes:
        return self._wire.clear()


class ObedientBoard(Board):
    """Runs what a carrier wants to be run after its webhooks, as the exchange does."""

    def __init__(self, tasks: asyncio.TaskGroup, **options: Any) -> None:
        super().__init__(**options)
        self._tasks = tasks
        self.http: HttpClient
        self.refused: list[Exception] = []

    def ring(self, carrier: Carrier, arrived: CallArrived) -> Stream | None:
        is_new = arrived.call_id not in {each.call_id for each in self.arrived}
        stream = super().ring(carrier, arrived)
        if is_new:
            self._run(carrier.follow_up(arrived.call_id, stream))
        return stream

    def note(self, carrier: Carrier, event: WebhookEvent) -> None:
        super().note(carrier, event)
        if isinstance(event, StreamAwaited):
            stream = Stream(HOST, event.reference, "the-token")
            self._run(carrier.open_stream(event.call_id, stream, attempt=event.attempt))

    def _run(self, exchange: Exchange[None] | None) -> None:
        if exchange is not None:
            self._tasks.create_task(self._run_it(exchange))

    async def _run_it(self, exchange: Exchange[None]) -> None:
        try:
            await self.http.run(exchange)
        except PatterConnectionError as error:
            self.refused.append(error)

    async def admit(
        self,
        carrier: Carrier,
        wire: MediaWire,
        started: StreamStarted,
        *,
        reference: str,
        token: str,
        socket: MediaSocket,
    ) -> MediaListener | None:
        assert started.format == wire.format
        return await super().admit(
            carrier,
            MulawEnd(wire),
            started,
            reference=reference,
            token=token,
            socket=socket,
        )

    def heard(self, kind: type[_T]) -> list[_T]:
        return [each for each in self.noted if isinstance(each, kind)]


@asynccontextmanager
async def agent(
    habits: Habits | None = None, *, board: dict[str, Any] | None = None, **options: Any
) -> AsyncIterator[tuple[SimulatedTelnyx, ObedientBoard, Carrier]]:
    """A simulated Telnyx, and our server behind the public name that its application leads to."""
    async with SimulatedTelnyx(habits=habits) as telnyx, asyncio.TaskGroup() as tasks:
        carrier: Carrier = telnyx.carrier(**options)
        ours = ObedientBoard(tasks, **(board or {}))
        app = create_app(
            ours, {"telnyx": carrier}, settings=ServerSettings(host=HOST), clocks=Clocks()
        )
        server = HttpServer(app, port=0, drain_seconds=1)
        tasks.create_task(server.run())
        telnyx.server = f"127.0.0.1:{await server.started()}"
        ours.http = HttpClient("telnyx")
        try:
            await ours.http.run(carrier.point_number(telnyx.number, host=HOST))
            yield telnyx, ours, carrier
        finally:
            for call in telnyx.calls:
                call.end("test")
            await server.stop()
            await ours.http.aclose()


POLITE = Polite("good morning", gap_ms=300, voice=babble)


@pytest.mark.parametrize(
    ("habits", "options", "announced"),
    [
        (Habits(), {}, PCM16_16K),
        (Habits(byte_order="big"), {}, PCM16_16K),
        (Habits(byte_order="big"), {"l16_byte_order": "big"}, PCM16_16K),
        (Habits(reorders=True), {}, PCM16_16K),
        (Habits(announces=ALAW_8K), {}, ALAW_8K),
        (Habits(), {"media_codec": "PCMU"}, MULAW_8K),
    ],
    ids=["L16", "big-endian", "told big-endian", "reordered", "announces A-law", "PCMU"],
)
async def test_a_caller_is_greeted_and_answered_over_real_sockets(
    habits: Habits, options: dict[str, Any], announced: AudioFormat
) -> None:
    async with agent(habits, **options) as (telnyx, board, _):
        call = telnyx.ring(POLITE)
        await call.ended()
        assert not telnyx.problems
        assert not board.refused
    assert (call.cause, call.hung_up_by) == ("normal_clearing", "caller")
    assert call.leg.facts.heard == announced
    [parrot] = board.parrots
    assert parrot.marks == ["greeting", "answer"]
    assert (parrot.has_stopped, parrot.closed_with) == (1, 1000)
    tape = call.tape()
    assert len(tape.heard_spans()) == 2
    assert len(tape.answer_times()) == 1
    statuses = [each.status for each in board.heard(CallProgressed)]
    assert statuses == ["in-progress", "completed"]


async def test_l16_is_asked_for_when_the_call_is_answered_and_mulaw_with_the_answer() -> None:
    async with agent() as (telnyx, _, _carrier):
        await telnyx.ring(Polite(voice=babble)).ended()
        [answer] = telnyx.asked("answer")
        [start] = telnyx.asked("streaming_start")
    assert "stream_url" not in answer.body
    assert start["stream_bidirectional_sampling_rate"] == 16000
    async with agent(media_codec="PCMU") as (telnyx, _, _carrier):
        await telnyx.ring(Polite(voice=babble)).ended()
        [answer] = telnyx.asked("answer")
        assert answer["stream_bidirectional_codec"] == "PCMU"
        assert not telnyx.asked("streaming_start")


async def test_a_repeated_webhook_has_no_second_effect() -> None:
    async with agent() as (telnyx, board, _):
        telnyx.delivers_twice = True
        call = telnyx.ring(POLITE)
        await call.ended()
        assert not telnyx.problems
        assert len(telnyx.asked("answer")) == len(telnyx.asked("streaming_start")) == 1
    assert len(board.parrots) == 1
    assert [each.status for each in board.heard(CallProgressed)] == ["in-progress", "completed"]


@pytest.mark.parametrize("fails", ["request", "stream"])
async def test_a_carrier_without_l16_is_asked_for_mulaw_once(fails: str) -> None:
    async with agent(Habits(fails_l16=fails == "stream")) as (telnyx, board, _):
        if fails == "request":
            telnyx.refuse_next(
                422, "10015", operation="streaming_start", pointer="/stream_bidirectional_codec"
            )
        call = telnyx.ring(POLITE)
        await call.ended()
        assert not telnyx.problems
        codecs = [each["stream_codec"] for each in telnyx.asked("streaming_start")]
    assert codecs == ["L16", "PCMU"]
    assert call.leg.facts.said == MULAW_8K
    assert board.parrots[0].marks == ["greeting", "answer"]


async def test_an_answer_that_refuses_the_stream_is_followed_by_streaming_start() -> None:
    async with agent(media_codec="PCMU") as (telnyx, board, _):
        telnyx.refuse_next(422, "10015", operation="answer", pointer="/stream_url")
        call = telnyx.ring(POLITE)
        await call.ended()
        assert call.commands == ["answer", "streaming_start"]
        assert not telnyx.problems
    assert board.parrots[0].marks == ["greeting", "answer"]


async def test_a_full_line_is_busy() -> None:
    async with agent(board={"is_full": True}) as (telnyx, _, _carrier):
        call = telnyx.ring(SilentOne())
        await call.ended()
        assert call.cause == "user_busy"
        assert not telnyx.problems


async def test_a_closed_socket_leaves_the_call_to_be_hung_up_by_rest() -> None:
    async with agent(board={"hangs_up_on": "9"}) as (telnyx, board, carrier):
        call = telnyx.ring(Caller(listen(gap_ms=200), press("19"), wait(60_000), voice=babble))
        await call.until(lambda each: each.rides and not each.rides[0].is_open)
        assert await board.http.run(carrier.is_alive(call.id))
        await board.http.run(carrier.hang_up(call.id))
        await call.ended()
        assert not await board.http.run(carrier.is_alive(call.id))
        await board.http.run(carrier.hang_up(call.id))
        assert not telnyx.problems
    assert board.parrots[0].keys == ["1", "9"]
    assert call.hung_up_by == "api"


async def placed(
    telnyx: SimulatedTelnyx, board: ObedientBoard, carrier: Carrier, callee: Callee, **options: Any
) -> SimulatedTelnyxCall:
    telnyx.callees["+15550007777"] = callee
    stream = Stream(HOST, "ref-1", "the-token", telnyx.number, "+15550007777")
    call_id = await board.http.run(
        carrier.dial(Dial("+15550007777", telnyx.number, stream, **options))
    )
    call = await telnyx.dialled()
    assert call.id == call_id
    return call


@pytest.mark.parametrize("is_refused", [False, True])
async def test_a_placed_call_is_answered_recorded_and_hung_up(*, is_refused: bool) -> None:
    async with agent() as (telnyx, board, carrier):
        if is_refused:
            telnyx.refuse_next(422, "10015", operation="POST /calls", pointer="/stream_codec")
        call = await placed(telnyx, board, carrier, Callee(SilentOne(), rings_s=0.1))
        await call.until(lambda each: each.rides)
        await board.http.run(carrier.record(call.id, host=HOST))
        await board.http.run(carrier.send_keys(call.id, "12#", delay_ms=300) or _nothing())
        await board.http.run(carrier.hang_up(call.id))
        await call.ended()
        assert not telnyx.problems
    assert call.digits == ["12#"]
    [finished] = board.heard(RecordingFinished)
    assert (finished.call_id, finished.channels, finished.duration_seconds) == (call.id, 2, 12.0)
    assert finished.url.endswith(f"{finished.recording_id}.mp3")
    events = board.heard(CallProgressed)
    assert [each.status for each in events] == ["ringing", "in-progress", "completed"]
    assert events[0].reference == "ref-1"


def _nothing() -> Exchange[None]:
    yield from ()


@pytest.mark.parametrize(
    ("callee", "ring_timeout", "status"),
    [
        (Callee(outcome="busy", rings_s=0.1), 25, "busy"),
        (Callee(outcome="no-answer", rings_s=0.1), 25, "no-answer"),
        (Callee(outcome="failed", rings_s=0.1), None, "failed"),
    ],
)
async def test_calls_that_are_not_answered_end_with_their_reason(
    callee: Callee, ring_timeout: int | None, status: str
) -> None:
    async with agent() as (telnyx, board, carrier):
        call = await placed(telnyx, board, carrier, callee, ring_timeout=ring_timeout)
        await call.ended()
        assert not telnyx.problems
    assert [each.status for each in board.heard(CallProgressed)] == ["ringing", status]


async def test_a_machine_is_left_a_message() -> None:
    machine = Callee(SilentOne(), rings_s=0.1, answered_by="machine_end_beep", verdict_after_s=0.1)
    async with agent() as (telnyx, board, carrier):
        call = await placed(telnyx, board, carrier, machine, detects_machines=True)
        while not any(each.greeting_ended for each in board.heard(MachineJudged)):
            await asyncio.sleep(0.01)
        await board.http.run(carrier.leave_message(call.id, "Call me.", language="de"))
        while not board.heard(MessageLeft):
            await asyncio.sleep(0.01)
        await board.http.run(carrier.hang_up(call.id))
        await call.ended()
        assert not telnyx.problems
        assert telnyx.asked("speak")[0]["language"] == "de-DE"
    assert call.words == ["Call me."]
    assert [each.classification for each in board.heard(MachineJudged)] == ["machine", "machine"]


async def test_a_second_transfer_to_the_same_number_is_another_one() -> None:
    async with agent() as (telnyx, board, carrier):
        telnyx.callees["+15550007777"] = Callee(outcome="busy", rings_s=0.05)
        call = telnyx.ring(SilentOne())
        await call.until(lambda each: each.rides)
        for serial in (0, 0, 1):
            await board.http.run(
                carrier.transfer(
                    call.id,
                    "+15550007777",
                    host=HOST,
                    from_number=telnyx.number,
                    serial=serial,
                )
            )
        assert call.transfers == ["+15550007777"] * 2
        assert len(telnyx.api.repeated) == 1
        assert not telnyx.problems


async def test_a_stream_that_cannot_be_opened_is_reported_once_both_codecs_failed() -> None:
    async with agent() as (telnyx, board, carrier):
        stream = Stream("agent.example", "../nowhere", "wrong", telnyx.number, "+15550007777")
        telnyx.callees["+15550007777"] = Callee(SilentOne(), rings_s=0.1)
        await board.http.run(carrier.dial(Dial("+15550007777", telnyx.number, stream)))
        call = await telnyx.dialled()
        await call.until(lambda each: len(each.delivered("streaming.failed")) == 2)
    assert board.heard(StreamFailed)[0].text == "connection_failed"


# ----------------------------------------------------------------------- against Telnyx's own library


async def test_the_official_client_steers_calls_of_the_fake() -> None:
    async with agent() as (telnyx, _, _carrier):
        telnyx.callees["+15550007777"] = Callee(SilentOne(), rings_s=0.1)
        client = official.AsyncTelnyx(
            api_key=telnyx.api_key, base_url=telnyx.base_url, max_retries=0
        )
        async with client:
            page = await client.phone_numbers.list(page_size=250)
            assert [each.phone_number for each in page.data] == [telnyx.number]
            assert page.meta is not None
            assert page.meta.total_pages == 1
            assert [each async for each in client.phone_numbers.list()] == page.data
            answer = await client.calls.dial(
                connection_id=telnyx.connection_id,
                to="+15550007777",
                from_=telnyx.number,
                timeout_secs=20,
                command_id="one",
            )
            assert answer.data is not None
            call_id = answer.data.call_control_id
            call = await telnyx.dialled()
            assert call_id == call.id
            await call.until(lambda each: each.status == "answered")
            shown = await client.calls.retrieve_status(call_id)
            assert shown.data is not None
            assert shown.data.is_alive
            await client.calls.actions.send_dtmf(call_id, digits="1", command_id="two")
            await client.calls.actions.hangup(call_id, command_id="three")
            await call.ended()
            with pytest.raises(official.UnprocessableEntityError, match="already ended"):
                await client.calls.actions.hangup(call_id, command_id="four")
            with pytest.raises(official.NotFoundError):
                await client.calls.retrieve_status("v3:nobody")
        assert not telnyx.problems
        assert call.digits == ["1"]


async def test_the_official_library_accepts_the_webhooks_of_the_fake() -> None:
    received: list[tuple[str, dict[str, str]]] = []

    async def keep(request: Request) -> Response:
        received.append(((await request.body()).decode(), dict(request.headers)))
        return Response("")

    server = LocalServer(Starlette(routes=[Route("/{path:path}", keep, methods=["POST"])]))
    async with SimulatedTelnyx() as telnyx:
        telnyx.server = f"127.0.0.1:{await server.start()}"
        telnyx.webhook_url = "https://agent.example/voice"
        call = telnyx.ring(SilentOne(), custom_headers={"X-Account": "7"})
        while not received:
            await asyncio.sleep(0.01)
        call.end("caller")
        await call.ended()
        await server.stop()
        client = official.Telnyx(api_key="k", public_key=telnyx.public_key)
    kinds: list[str] = []
    for body, headers in received:
        event = client.webhooks.unwrap(body, headers=headers)
        kinds.append(str(event.data.event_type))  # type: ignore[union-attr]
        with pytest.raises(Exception, match=r"(?i)signature|verif"):
            client.webhooks.unwrap(body + " ", headers=headers)
    client.close()
    assert kinds == ["call.initiated", "call.hangup"]

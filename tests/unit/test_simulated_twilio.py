"""The simulated Twilio: its ends of a stream, its REST API, and whole calls in virtual time without a socket."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import wave
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest

from getpatter import testing
from getpatter.audio.g711 import pcm16_to_mulaw
from getpatter.audio.resample import resampled
from getpatter.audio.wav import wav_bytes
from getpatter.carriers.base import (
    CallProgressed,
    Dial,
    MachineJudged,
    RecordingFinished,
    Stream,
    StreamFailed,
)
from getpatter.errors import (
    AuthenticationError,
    PatterConnectionError,
    ProvisionError,
    RateLimitError,
)
from getpatter.net.messages import HttpRequest
from getpatter.server.app import create_app
from getpatter.server.gate import Clocks, ServerSettings
from getpatter.testing.callers import (
    Caller,
    Handset,
    HungUpError,
    Interrupter,
    Mumbler,
    NobodySpokeError,
    Polite,
    SilentOne,
    babble,
    hang_up,
    interrupt_after,
    listen,
    press,
    say,
    syllables,
    wait,
    wait_until,
    wav,
)
from getpatter.testing.line import (
    Conditions,
)
from getpatter.testing.network import Answer, InMemory, UpgradeRefusedError
from getpatter.testing.ride import MemorySocket, Ride
from getpatter.testing.time import in_virtual_time
from getpatter.testing.twilio import Callee, SimulatedTwilio
from getpatter.testing.twilio_leg import TwilioLeg
from tests.unit.parrot import GREETING, HOST, THINKS_MS, Board, Parrot

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

VOICE = syllables(6, seed=1)

# --------------------------------------------------------------------------------------- a bare call


@in_virtual_time
async def test_a_call_can_be_driven_without_any_server() -> None:
    twilio = SimulatedTwilio(listens=False)
    wire = twilio.carrier().wire()
    ride = Ride(
        lambda now: TwilioLeg(now, stream_sid="MZ1", call_sid="CA" + "1" * 32, account_sid="AC1")
    )
    socket = MemorySocket(ride)

    class Bare(Parrot):
        def __init__(self) -> None:
            self._is_started = False

        def received(self, frame: bytes) -> None:
            if self._is_started:
                super().received(frame)
            elif wire.receive(frame) is not None:
                self._is_started = True
                super().__init__(wire, socket, hangs_up_on="9")

    parrot = Bare()
    socket.connect(parrot)
    handset = Handset(voice=babble, hang_up=ride.end, wake=ride.wake_soon)
    handset.connect(ride.leg)
    ride.leg.press("9", ride.leg.play.instant(16000))
    assert await ride.closed == 1000
    assert parrot.keys == ["9"]
    assert parrot.marks == ["greeting"]
    assert not ride.leg.complaints


# ------------------------------------------------------------------------------- whole calls, in memory


class Stage:
    """The simulated Twilio, our server in memory, and a parrot behind it."""

    def __init__(
        self,
        board: Board | None = None,
        *,
        kind: type[SimulatedTwilio] = SimulatedTwilio,
        **options: Any,
    ) -> None:
        self.board = board or Board()
        self.twilio = kind(listens=False, **options)
        self.carrier = self.twilio.carrier()

    async def __aenter__(self) -> SimulatedTwilio:
        app = create_app(
            self.board,
            {"twilio": self.carrier},
            settings=ServerSettings(host=HOST),
            clocks=Clocks(),
        )
        self.twilio.network = InMemory(app)
        await self.twilio.__aenter__()
        await self.twilio.run(self.carrier.point_number(self.twilio.number, host=HOST))
        return self.twilio

    async def __aexit__(self, *exc: object) -> None:
        await self.twilio.__aexit__(*exc)

    def dial(self, to: str = "+15550007777", **options: Any) -> Dial:
        stream = Stream(HOST, "ref-1", "the-token", self.twilio.number, to)
        return Dial(to, self.twilio.number, stream, **options)


@in_virtual_time
async def test_a_polite_caller_is_greeted_and_answered() -> None:
    stage = Stage()
    async with stage as twilio:
        call = twilio.ring(Polite("good morning", voice=babble))
        await call.ended()
        assert not twilio.problems
    [parrot] = stage.board.parrots
    assert parrot.marks == ["greeting", "answer"]
    assert parrot.has_stopped == 1
    assert stage.board.started[0].params == {
        "token": "the-token",
        "caller": call.caller,
        "callee": call.callee,
    }
    assert (call.status, call.hung_up_by) == ("completed", "caller")
    [answered_in] = call.tape().answer_times()
    # The ear of the parrot works in blocks of 10 ms, the carrier in frames of 20 ms.
    assert THINKS_MS <= answered_in <= THINKS_MS + 40


@in_virtual_time
async def test_what_was_heard_and_said_can_be_listened_to() -> None:
    async with Stage() as twilio:
        call = twilio.ring(Polite("good morning", voice=babble))
        await call.ended()
        tape = call.tape()
    with wave.open(io.BytesIO(tape.wav())) as file:
        assert (file.getnchannels(), file.getframerate()) == (2, 8000)
    first = tape.heard_spans()[0]
    assert pcm16_to_mulaw(tape.heard)[first.start : first.start + 4000] in GREETING
    [said] = tape.said_spans()
    assert first.end < said.start


@in_virtual_time
async def test_an_interrupter_cuts_the_agent_short() -> None:
    async with Stage() as twilio:
        call = twilio.ring(Interrupter("no no", after_ms=300, voice=babble))
        await call.ended()
        assert not twilio.problems
        greeted = call.tape().heard_spans()[0]
    assert (greeted.end - greeted.start) / 8 < len(GREETING) / 8 - 100
    assert call.leg.clears


@in_virtual_time
async def test_a_mumbler_says_the_line_all_the_same() -> None:
    async with Stage() as twilio:
        call = twilio.ring(Mumbler("my order please", voice=babble))
        await call.ended()
    assert len(call.tape().said_spans(gap_ms=600)) == 2


@in_virtual_time
async def test_keys_reach_the_agent_and_the_agent_may_hang_up() -> None:
    stage = Stage(Board(hangs_up_on="9"))
    async with stage as twilio:
        call = twilio.ring(Caller(listen(), press("12"), wait(800), press("9")))
        await call.ended()
        assert not twilio.problems
    assert stage.board.parrots[0].keys == ["1", "2", "9"]
    assert (call.status, call.hung_up_by) == ("completed", "document")


@in_virtual_time
async def test_a_caller_who_hears_nothing_says_so() -> None:
    async with Stage() as twilio:
        call = twilio.ring(Caller(listen(), listen(patience_s=5)))
        with pytest.raises(NobodySpokeError, match="5 s in vain"):
            await call.ended()
    assert call.is_over


@in_virtual_time
async def test_a_caller_may_go_by_anything_else() -> None:
    stage = Stage()
    async with stage as twilio:
        script = Caller(
            listen(on=lambda _: any(each.marks for each in stage.board.parrots)),
            wait_until(lambda handset: handset.silent_ms > 2000),
            interrupt_after(0, patience_s=1),
            voice=babble,
        )
        call = twilio.ring(script)
        with pytest.raises(NobodySpokeError):
            await call.ended()
        assert call.tape().heard_spans()


@in_virtual_time
async def test_a_busy_agent_is_busy() -> None:
    async with Stage(Board(is_full=True)) as twilio:
        call = twilio.ring(SilentOne())
        await call.ended()
    assert call.status == "busy"
    assert call.verbs == ["Reject"]


@in_virtual_time
async def test_an_answer_that_is_no_document_is_an_error() -> None:
    async with Stage() as twilio:
        call = twilio.ring(SilentOne(), voice_url=f"https://{HOST}/nowhere")
        await call.ended()
    assert call.status == "failed"
    assert call.errors[0] == (11200, "voice: 404 of /nowhere")


@in_virtual_time
async def test_a_wrong_token_is_noticed() -> None:
    class Suspicious(Board):
        def ring(self, carrier: Any, arrived: Any) -> Stream:
            return Stream(HOST, arrived.call_id, "another-token")

    async with Stage(Suspicious()) as twilio:
        call = twilio.ring(SilentOne())
        await call.ended()
    assert not call.tape().heard_spans()


@pytest.mark.parametrize("twice", [False, True])
def test_a_dialled_call_reports_every_step(twice: bool) -> None:
    @in_virtual_time
    async def scenario() -> None:
        stage = Stage()
        async with stage as twilio:
            twilio.delivers_twice = twice
            twilio.callees["+15550007777"] = Callee(Polite("hello", voice=babble), rings_s=3)
            sid = await twilio.run(stage.carrier.dial(stage.dial(ring_timeout=20)))
            call = await twilio.dialled()
            assert call.sid == sid
            await call.ended()
            assert not twilio.problems
        noted = [each for each in stage.board.noted if isinstance(each, CallProgressed)]
        assert [each.status for each in noted] == [
            "initiated",
            "ringing",
            "in-progress",
            "completed",
        ]
        assert noted[-1].duration_seconds == round(call.duration_s)
        assert [status for _, status in call.history] == [
            "queued",
            "ringing",
            "in-progress",
            "completed",
        ]
        answered, began = call.history[2][0], call.history[0][0]
        assert answered - began == pytest.approx(3)

    scenario()


@pytest.mark.parametrize(
    ("callee", "status"),
    [
        (Callee(outcome="busy"), "busy"),
        (Callee(outcome="failed"), "failed"),
        (Callee(outcome="no-answer"), "no-answer"),
        (Callee(rings_s=60), "no-answer"),
    ],
)
def test_calls_that_nobody_answers_say_why(callee: Callee, status: str) -> None:
    @in_virtual_time
    async def scenario() -> None:
        stage = Stage()
        async with stage as twilio:
            twilio.callees["+15550007777"] = callee
            await twilio.run(stage.carrier.dial(stage.dial(ring_timeout=25)))
            call = await twilio.dialled()
            await call.ended()
        assert call.status == status
        assert not call.rides
        last = stage.board.noted[-1]
        assert isinstance(last, CallProgressed)
        assert last.status == status

    scenario()


@in_virtual_time
async def test_the_verdict_on_a_machine_arrives_while_the_agent_speaks() -> None:
    stage = Stage()
    async with stage as twilio:
        machine = Callee(
            Caller(
                say(
                    "leave a message",
                ),
                wait(60_000),
                voice=babble,
            ),
            answered_by="machine_end_beep",
        )
        twilio.callees["+15550007777"] = machine
        sid = await twilio.run(stage.carrier.dial(stage.dial(detects_machines=True)))
        call = await twilio.dialled()
        while not any(isinstance(each, MachineJudged) for each in stage.board.noted):
            await asyncio.sleep(0.1)
        await twilio.run(stage.carrier.leave_message(sid, "Please call back.", language="en"))
        await call.ended()
        assert not twilio.problems
    [judged] = [each for each in stage.board.noted if isinstance(each, MachineJudged)]
    assert (judged.classification, judged.greeting_ended) == ("machine", True)
    assert call.words == ["Please call back."]
    assert call.verbs == ["Connect", "Say", "Hangup"]
    assert stage.board.parrots[0].has_stopped == 1


@in_virtual_time
async def test_a_call_is_hung_up_while_it_rings_and_while_it_runs() -> None:
    stage = Stage()
    async with stage as twilio:
        for rings_s, status in ((5.0, "canceled"), (0.5, "completed")):
            twilio.callees["+15550007777"] = Callee(rings_s=rings_s)
            sid = await twilio.run(stage.carrier.dial(stage.dial()))
            call = twilio.calls[-1]
            await asyncio.sleep(1)
            assert await twilio.run(stage.carrier.is_alive(sid))
            await twilio.run(stage.carrier.hang_up(sid))
            await call.ended()
            assert (call.status, call.hung_up_by) == (status, "api")
            assert not await twilio.run(stage.carrier.is_alive(sid))
            await twilio.run(stage.carrier.hang_up(sid))
        assert not twilio.problems


@in_virtual_time
async def test_a_time_limit_ends_the_call() -> None:
    stage = Stage()
    async with stage as twilio:
        await twilio.run(stage.carrier.dial(stage.dial(max_call_duration=30)))
        call = twilio.calls[-1]
        await call.ended()
        assert call.hung_up_by == "limit"
        assert call.duration_s == pytest.approx(30)
        call = twilio.ring(SilentOne())
        await call.until("in-progress")
        await twilio.run(stage.carrier.limit(call.sid, seconds=10))
        await call.ended()
        assert call.duration_s == pytest.approx(10)


@in_virtual_time
async def test_a_call_is_recorded() -> None:
    stage = Stage()
    async with stage as twilio:
        call = twilio.ring(Polite("hi", voice=babble))
        await call.until("in-progress")
        await twilio.run(stage.carrier.record(call.sid, host=HOST))
        await call.ended()
        assert not twilio.problems
        [finished] = [each for each in stage.board.noted if isinstance(each, RecordingFinished)]
        assert (finished.call_id, finished.channels) == (call.sid, 2)
        wav = twilio.recording_wav(finished.recording_id)
    assert wav == call.tape().wav()


@in_virtual_time
async def test_a_transfer_leaves_the_stream_and_dials() -> None:
    stage = Stage()
    async with stage as twilio:
        twilio.callees["+15550003333"] = Callee(talks_s=20, rings_s=2)
        call = twilio.ring(SilentOne())
        await call.until("in-progress")
        await asyncio.sleep(1)
        await twilio.run(
            stage.carrier.transfer(call.sid, "+15550003333", host=HOST, from_number=twilio.number)
        )
        await call.ended()
        assert not twilio.problems
    assert call.transfers == ["+15550003333"]
    assert call.delivered("dial")[0]["DialCallStatus"] == "completed"
    assert call.duration_s == pytest.approx(23, abs=0.2)
    assert stage.board.parrots[0].closed_with is not None


@in_virtual_time
async def test_digits_by_redirect_restart_the_stream() -> None:
    stage = Stage()
    async with stage as twilio:
        call = twilio.ring(SilentOne())
        await call.until("in-progress")
        await asyncio.sleep(1)
        stream = Stream(HOST, call.sid, "the-token")
        await twilio.run(stage.carrier.send_digits(call.sid, "123", stream=stream))
        await asyncio.sleep(3)
        call.end("caller")
        await call.ended()
        assert not twilio.problems
    assert call.digits == ["123"]
    assert [ride.leg.play.pieces != [] for ride in call.rides] == [True, True]


class Forger(SimulatedTwilio):
    """Signs webhooks rightly and upgrades wrongly."""

    def sign(self, url: str, form: Mapping[str, str]) -> str:
        return "forged" if url.startswith("wss:") else super().sign(url, form)


@in_virtual_time
async def test_a_refused_upgrade_is_told_by_the_stream_callback() -> None:
    stage = Stage(kind=Forger)
    async with stage as twilio:
        call = twilio.ring(SilentOne())
        await call.ended()
        await asyncio.sleep(1)
    assert (31920, "the upgrade was answered 403") in call.errors
    assert any(isinstance(each, StreamFailed) for each in stage.board.noted)


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("wss://h.example/ws/stream/x?token=1", 31920),
        ("ws://h.example/ws/stream/x", 31922),
        ("https://h.example/x", 31922),
    ],
)
def test_a_stream_with_a_bad_url_is_an_error(url: str, code: int) -> None:
    @in_virtual_time
    async def scenario() -> None:
        stage = Stage()
        async with stage as twilio:
            call = twilio.ring(SilentOne())
            await call.until("in-progress")
            await asyncio.sleep(0.5)
            call.redirect(f'<Response><Connect><Stream url="{url}"/></Connect></Response>')
            await call.ended()
        assert [each[0] for each in call.errors] == [code]

    scenario()


@pytest.mark.parametrize(
    ("document", "code"),
    [("<Response>", 12100), ("<Other/>", 12100), ("<Response><Fax/></Response>", 12200)],
)
def test_a_document_that_twilio_would_not_take_is_an_error(document: str, code: int) -> None:
    @in_virtual_time
    async def scenario() -> None:
        async with Stage() as twilio:
            call = twilio.ring(SilentOne())
            await call.until("in-progress")
            call.redirect(document)
            await call.ended()
        assert [each[0] for each in call.errors] == [code]

    scenario()


@in_virtual_time
async def test_a_bad_line_is_survived_and_stop_may_come_twice() -> None:
    conditions = Conditions(jitter_ms=120, loss=0.05, late_marks_ms=200, stops_twice=True, seed=5)
    stage = Stage(conditions=conditions)
    async with stage as twilio:
        call = twilio.ring(Polite("good morning", voice=babble))
        await call.ended()
        assert not twilio.problems
    assert stage.board.parrots[0].marks == ["greeting", "answer"]
    assert stage.board.parrots[0].has_stopped == 2


@in_virtual_time
async def test_a_broken_network_ends_the_media_part_without_a_word() -> None:
    stage = Stage()
    async with stage as twilio:
        call = twilio.ring(SilentOne())
        await call.until("in-progress")
        await asyncio.sleep(1)
        call.rides[0].cut()
        await call.ended()
    assert stage.board.parrots[0].has_stopped == 0
    assert stage.board.parrots[0].closed_with == 1006


# ---------------------------------------------------------------------------------------------- REST


def account() -> tuple[SimulatedTwilio, str]:
    twilio = SimulatedTwilio(listens=False)
    return twilio, f"https://api.twilio.com/2010-04-01/Accounts/{twilio.account_sid}"


def ask(
    twilio: SimulatedTwilio, method: str, url: str, body: bytes = b""
) -> tuple[int, dict[str, Any]]:
    login = base64.b64encode(f"{twilio.account_sid}:{twilio.auth_token}".encode()).decode()
    answer = twilio.answer(HttpRequest(method, url, {"Authorization": f"Basic {login}"}, body))
    return answer.status, json.loads(answer.body)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"From=%2B15550001234&Twiml=x", 21201),
        (b"To=%2B15550007777&Twiml=x", 21213),
        (b"To=%2B15550007777&From=%2B15550001234", 21205),
        (b"To=5550007777&From=%2B15550001234&Twiml=x", 21211),
        (b"To=%2B15550007777&From=%2B15550009999&Twiml=x", 21210),
        (b"To=%2B15550007777&From=%2B15550001234&Twiml=x&Twim=y", 20001),
        (b"To=%2B15550007777&From=%2B15550001234&Twiml=x&Timeout=601", 20001),
        (b"To=%2B15550007777&From=%2B15550001234&Twiml=x&Timeout=soon", 20001),
        (b"To=%2B15550007777&From=%2B15550001234&Twiml=x&Timeout=5&Timeout=6", 20001),
        (b"To=%2B15550007777&From=%2B15550001234&Twiml=x&AsyncAmd=yes", 20001),
        (b"To=%2B15550007777&From=%2B15550001234&Twiml=x&StatusCallback=host/path", 20001),
        (
            b"To=%2B15550007777&From=%2B15550001234&Twiml=x&StatusCallbackEvent=answered&StatusCallbackEvent=done",
            20001,
        ),
        (b"To=%2B15550007777&From=%2B15550001234&Twiml=x&StatusCallbackMethod=PUT", 20001),
        (b"To=%2B15550007777&From=%2B15550001234&Twiml=" + b"x" * 4001, 21601),
    ],
)
def test_a_wrong_request_is_refused_as_by_twilio(body: bytes, code: int) -> None:
    twilio, url = account()
    status, answer = ask(twilio, "POST", f"{url}/Calls.json", body)
    assert (status, answer["code"], answer["status"]) == (400, code, 400)
    assert answer["more_info"].endswith(str(code))
    assert twilio.calls == []


def test_wrong_credentials_and_unknown_resources_are_refused() -> None:
    twilio, url = account()
    for headers in ({}, {"authorization": "Basic !"}, {"authorization": "Bearer x"}):
        answer = twilio.answer(HttpRequest("GET", f"{url}/Calls.json", headers))
        assert (answer.status, json.loads(answer.body)["code"]) == (401, 20003)
    other = url.replace(twilio.account_sid, "AC" + "0" * 32)
    for path in (f"{url}/Calls/CA1.json", f"{url}/Queues.json", f"{other}/Calls.json", f"{url}"):
        assert ask(twilio, "GET", path)[1]["code"] == 20404


def test_requests_are_kept_for_assertions() -> None:
    twilio, url = account()
    ask(twilio, "GET", f"{url}/IncomingPhoneNumbers.json?PhoneNumber=%2B15550001234")
    [request] = twilio.asked("GET /IncomingPhoneNumbers.json")
    assert (request["PhoneNumber"], request["Beta"], request.status) == ("+15550001234", "", 200)
    assert "+1555" not in repr(request)


@in_virtual_time
async def test_refusals_can_be_ordered() -> None:
    stage = Stage()
    async with stage as twilio:
        twilio.refuse_next(429, 20429, headers={"retry-after": "1"})
        with pytest.raises(RateLimitError):
            await twilio.run(stage.carrier.dial(stage.dial()))
        twilio.refuse_next(500, operation="POST /Calls.json")
        assert not await twilio.run(stage.carrier.is_alive("CA" + "0" * 32))
        with pytest.raises(PatterConnectionError):
            await twilio.run(stage.carrier.dial(stage.dial()))
        with pytest.raises(ProvisionError):
            await twilio.run(stage.carrier.point_number("+15550005555", host=HOST))
        twilio.auth_token = "changed"
        with pytest.raises(AuthenticationError):
            await twilio.run(stage.carrier.dial(stage.dial()))
        assert not twilio.problems


def test_a_number_that_leads_nowhere_cannot_be_rung() -> None:
    twilio, _ = account()
    with pytest.raises(ValueError, match="no webhook is set"):
        twilio.ring()
    twilio.numbers[0].trunk_sid = "TK" + "0" * 32
    with pytest.raises(ValueError, match="trunk"):
        twilio.ring(voice_url="https://x.example/")


@pytest.mark.parametrize("name", testing.__all__)
def test_public_names_load(name: str) -> None:
    assert getattr(testing, name).__name__ == name


# ------------------------------------------------------------------- documents fetched, other verbs


class Documents:
    """A server that has a document for each path, and keeps the forms that it was sent."""

    def __init__(self, **documents: str) -> None:
        self._documents = documents
        self.forms: list[tuple[str, dict[str, str]]] = []

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        path = urlsplit(url).path.strip("/")
        self.forms.append((path, dict(parse_qsl(body.decode(), keep_blank_values=True))))
        if path not in self._documents:
            return Answer(500)
        return Answer(200, "text/xml", f"<Response>{self._documents[path]}</Response>".encode())

    async def open(self, url: str, headers: Any, on_frame: Any, on_close: Any) -> Any:
        raise UpgradeRefusedError(0)

    async def close(self) -> None:
        pass


def place(twilio: SimulatedTwilio, **fields: str) -> tuple[int, dict[str, Any]]:
    url = f"https://api.twilio.com/2010-04-01/Accounts/{twilio.account_sid}/Calls.json"
    form = {"To": "+15550007777", "From": twilio.number} | fields
    return ask(twilio, "POST", url, urlencode(form).encode())


@in_virtual_time
async def test_a_document_is_fetched_when_the_callee_answers_and_detection_may_come_first() -> None:
    server = Documents(hello='<Pause length="3"/><Redirect>/more?x=1</Redirect>', more="<Hangup/>")
    async with SimulatedTwilio(listens=False, network=server) as twilio:
        twilio.callees["+15550007777"] = Callee(answered_by="fax", verdict_after_s=4)
        place(twilio, Url="https://h.example/hello", MachineDetection="Enable")
        call = twilio.calls[0]
        await call.ended()
    assert [path for path, _ in server.forms] == ["hello", "more"]
    assert all(form["AnsweredBy"] == "fax" for _, form in server.forms)
    assert call.duration_s == pytest.approx(7)


@in_virtual_time
async def test_digits_after_the_answer_switch_detection_off() -> None:
    server = Documents(hello="<Hangup/>")
    async with SimulatedTwilio(listens=False, network=server) as twilio:
        place(twilio, Url="https://h.example/hello", MachineDetection="Enable", SendDigits="1")
        await twilio.calls[0].ended()
    assert "AnsweredBy" not in server.forms[0][1]


@in_virtual_time
async def test_a_call_whose_document_cannot_be_fetched_fails() -> None:
    async with SimulatedTwilio(listens=False, network=Documents()) as twilio:
        place(twilio, Url="https://h.example/nothing")
        await twilio.calls[0].ended()
        assert twilio.calls[0].status == "failed"
        assert twilio.problems


@in_virtual_time
async def test_what_follows_a_stream_or_a_dial_is_asked_for() -> None:
    server = Documents(
        start='<Connect action="/after"><Stream url="wss://h.example/ws/stream/x"/></Connect>',
        after='<Dial timeout="5"><Number>+15550003333</Number></Dial><Dial>+15550004444</Dial>'
        '<Dial action="/last"><Sip>sip:bob@h.example</Sip></Dial><Say>never</Say>',
        last="<Say>bye</Say>",
    )
    async with SimulatedTwilio(listens=False, network=server) as twilio:
        twilio.callees["+15550003333"] = Callee(rings_s=9)
        twilio.callees["sip:bob@h.example"] = Callee(outcome="busy")
        place(twilio, Url="https://h.example/start")
        call = twilio.calls[0]
        await call.ended()
    assert call.errors == [(31920, "the upgrade was answered 0")]
    assert call.transfers == ["+15550003333", "+15550004444", "sip:bob@h.example"]
    assert [form.get("DialCallStatus") for path, form in server.forms if path == "last"] == ["busy"]
    assert call.words == ["bye"]


@in_virtual_time
async def test_a_running_call_may_be_sent_to_a_url_and_wait_in_a_conference() -> None:
    server = Documents(room="<Dial><Conference>R1</Conference></Dial>", other="<Pause/>")
    async with SimulatedTwilio(listens=False, network=server) as twilio:
        place(twilio, Url="https://h.example/room")
        call = twilio.calls[0]
        await call.until("in-progress")
        await asyncio.sleep(100)
        url = (
            f"https://api.twilio.com/2010-04-01/Accounts/{twilio.account_sid}/Calls/{call.sid}.json"
        )
        both = urlencode({"Url": "https://h.example/other", "Twiml": "<Response/>"}).encode()
        assert ask(twilio, "POST", url, both)[0] == 400
        assert ask(twilio, "POST", url, b"Url=https%3A%2F%2Fh.example%2Fother")[0] == 200
        await call.ended()
    assert call.transfers == ["R1"]
    assert [path for path, _ in server.forms] == ["room", "other"]


@in_virtual_time
async def test_a_recording_of_a_call_without_a_stream_is_absent() -> None:
    server = Documents(start='<Pause length="5"/>', done="")
    async with SimulatedTwilio(listens=False, network=server) as twilio:
        place(twilio, Url="https://h.example/start")
        call = twilio.calls[0]
        root = f"https://api.twilio.com/2010-04-01/Accounts/{twilio.account_sid}"
        url = f"{root}/Calls/{call.sid}/Recordings"
        body = urlencode(
            {
                "RecordingStatusCallback": "https://h.example/done",
                "RecordingStatusCallbackEvent": "completed absent",
            }
        ).encode()
        assert ask(twilio, "POST", f"{url}.json", body)[1]["code"] == 21220  # it still rings
        await call.until("in-progress")
        status, recording = ask(twilio, "POST", f"{url}.json", body)
        assert (status, recording["status"]) == (201, "in-progress")
        one = f"{url}/{recording['sid']}.json"
        assert ask(twilio, "POST", one, b"Status=paused")[1]["status"] == "paused"
        assert ask(twilio, "GET", one)[1]["status"] == "paused"
        await call.ended()
        assert ask(twilio, "POST", one, b"Status=stopped")[1]["code"] == 21220
        assert ask(twilio, "GET", f"{root}/Recordings/{recording['sid']}.wav")[1]["code"] == 20404
    assert server.forms[-1][1]["RecordingStatus"] == "absent"


@in_virtual_time
async def test_callers_speak_from_files_and_stop_when_the_line_is_gone(tmp_path: Path) -> None:
    sound = tmp_path / "hello.wav"
    sound.write_bytes(wav_bytes(resampled(VOICE, 8000, 16000), 16000))
    after: list[str] = []

    async def too_late(handset: Handset) -> None:
        try:
            await handset.say("anybody?")
        except HungUpError:
            after.append("hung up")
            raise

    stage = Stage()
    async with stage as twilio:
        call = twilio.ring(
            Caller(listen(), say(wav(sound)), listen(), hang_up(), too_late, voice=babble)
        )
        await call.ended()
        await asyncio.sleep(1)
        assert not twilio.problems
    [said] = call.tape().said_spans()
    assert abs((said.end - said.start) - len(VOICE) // 2) < 400
    assert after == ["hung up"]

"""What carriers are asked in a transfer, request by request and document by document, and what their news means."""

from __future__ import annotations

import io
import json
import wave
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlencode
from xml.etree import ElementTree as ET

import pytest

from getpatter.carriers.base import (
    CallProgressed,
    MachineJudged,
    RoomChanged,
    Stream,
    TargetProgressed,
    TransferOver,
    Warm,
)
from getpatter.carriers.plivo import Plivo
from getpatter.carriers.telnyx import Telnyx
from getpatter.carriers.twilio import Twilio
from getpatter.errors import PatterConfigError
from getpatter.net.messages import Exchange, HttpRequest, HttpResponse, WebhookReply, WebhookRequest

_T = TypeVar("_T")
HOST = "agent.example"
US, OFFICE = "+15550001234", "+15550007777"
SID, OTHER = "CA" + "1a" * 16, "CA" + "2b" * 16
SUMMARY = "Ms <Jones> & \"co\"\nsay ]]> 'hello'</Say><Hangup/>"
TWILIO = Twilio("AC" + "2" * 32, "token")
TELNYX = Telnyx("KEY1", "200000")
PLIVO = Plivo("MASIMULATEDSIMULATED", "token")


def warm(call_id: str = SID, **changes: Any) -> Warm:
    order = Warm(call_id, OFFICE, US, HOST, room="room-1", reference="ref-1", summary=SUMMARY)
    return replace(order, **{"time_limit": 900, **changes})


class Shelf:
    """Keeps documents."""

    def __init__(self) -> None:
        self.kept: list[bytes] = []

    def __call__(self, document: WebhookReply) -> str:
        self.kept.append(document.body)
        return f"kept-{len(self.kept)}"


def run(exchange: Exchange[_T] | None, **answer: Any) -> tuple[_T, list[HttpRequest]]:
    assert exchange is not None
    requests: list[HttpRequest] = []
    try:
        request = next(exchange)
        while True:
            requests.append(request)
            request = exchange.send(HttpResponse(200, {}, json.dumps(answer).encode()))
    except StopIteration as stop:
        return stop.value, requests


def form_of(request: HttpRequest) -> list[tuple[str, str]]:
    return parse_qsl(request.body.decode(), keep_blank_values=True)


def parsed(document: str | bytes) -> ET.Element:
    return ET.fromstring(document if isinstance(document, bytes) else document.encode())


def shape(element: ET.Element) -> Any:
    return (element.tag, dict(element.attrib), element.text, [shape(each) for each in element])


# --------------------------------------------------------------------------------------------- Twilio


def test_twilio_lets_the_caller_wait_in_a_conference() -> None:
    _, [request] = run(TWILIO.warm(warm(), keep=Shelf()).hold())
    [dial] = parsed(dict(form_of(request))["Twiml"])
    after = f"https://{HOST}/webhooks/twilio/transfer?call={SID}"
    room = {
        "startConferenceOnEnter": "false",
        "endConferenceOnExit": "true",
        "statusCallback": f"https://{HOST}/webhooks/twilio/conference",
        "statusCallbackEvent": "start join leave end",
    }
    assert shape(dial) == (
        "Dial",
        {"action": after},
        None,
        [("Conference", room, "room-1", [])],
    )
    assert request.url.endswith(f"/Calls/{SID}.json")


def test_twilio_calls_the_target_and_tells_it() -> None:
    target, [request] = run(TWILIO.warm(warm(), keep=Shelf()).call_target(), sid=OTHER)
    assert target == OTHER
    form = form_of(request)
    say, dial = parsed(dict(form)["Twiml"])
    assert (say.tag, say.text, len(say)) == ("Say", SUMMARY, 0)
    room = {"startConferenceOnEnter": "true", "endConferenceOnExit": "true"}
    assert shape(dial) == ("Dial", {}, None, [("Conference", room, "room-1", [])])
    assert sorted(pair for pair in form if pair[0] != "Twiml") == sorted(
        [
            ("To", OFFICE),
            ("From", US),
            ("Timeout", "30"),
            ("TimeLimit", "900"),
            ("StatusCallback", f"https://{HOST}/webhooks/twilio/status"),
            ("StatusCallbackMethod", "POST"),
            ("StatusCallbackEvent", "answered"),
            ("StatusCallbackEvent", "completed"),
            ("MachineDetection", "Enable"),
            ("AsyncAmd", "true"),
            ("AsyncAmdStatusCallback", f"https://{HOST}/webhooks/twilio/amd"),
            ("AsyncAmdStatusCallbackMethod", "POST"),
        ]
    )
    assert not request.is_repeatable


def test_twilio_brings_a_caller_back_by_a_redirect() -> None:
    stream = Stream(HOST, SID, "token-2", "+15550009876", US)
    _, [request] = run(TWILIO.reconnect(SID, stream, keep=Shelf()))
    document = parsed(dict(form_of(request))["Twiml"])
    token = document.find("Connect/Stream/Parameter[@name='token']")
    assert token is not None
    assert token.get("value") == "token-2"


def twilio_event(kind: str, query: str = "", **form: str) -> Any:
    request = WebhookRequest("POST", "/", query, {}, urlencode({"CallSid": SID, **form}).encode())
    return list(TWILIO.read(kind, request))


@pytest.mark.parametrize(
    ("word", "state"),
    [
        ("completed", "connected"), ("answered", "connected"), ("busy", "busy"),
        ("no-answer", "no-answer"), ("failed", "failed"), ("canceled", "failed"), ("", "failed"),
    ],
)  # fmt: skip
def test_twilio_says_how_a_dial_ended(word: str, state: Any) -> None:
    asked = twilio_event("transfer", f"call={SID}", DialCallStatus=word, CallStatus="in-progress")
    assert asked == [TransferOver(SID, state)]
    gone = twilio_event("transfer", DialCallStatus=word, CallStatus="completed")
    assert gone == [TransferOver(SID, state, is_caller_gone=True)]


def test_twilio_says_that_the_target_has_answered() -> None:
    [event] = twilio_event("status", CallSid=OTHER, ParentCallSid=SID, CallStatus="in-progress")
    assert (event.call_id, event.state, event.target_id) == (SID, "connected", OTHER)
    assert twilio_event("status", CallSid=OTHER, ParentCallSid=SID, CallStatus="completed") == []


def test_twilio_says_who_is_in_a_conference() -> None:
    told = {"FriendlyName": "room-1", "ConferenceSid": "CF1"}
    [joined] = twilio_event("conference", StatusCallbackEvent="participant-join", **told)
    [left] = twilio_event("conference", StatusCallbackEvent="participant-leave", **told)
    assert isinstance(joined, RoomChanged)
    assert (joined.call_id, joined.room, joined.is_in, left.is_in) == (SID, "room-1", True, False)
    assert joined.delivery != left.delivery
    assert twilio_event("conference", StatusCallbackEvent="conference-start", **told) == []
    assert (
        twilio_event("conference", CallSid="", StatusCallbackEvent="conference-end", **told) == []
    )


# --------------------------------------------------------------------------------------------- Telnyx


def body_of(request: HttpRequest) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(request.body)
    body.pop("command_id")
    return body


def test_telnyx_plays_music_calls_speaks_and_bridges() -> None:
    steps = TELNYX.warm(warm("v3:AAA"), keep=Shelf())
    _, [hold] = run(steps.hold())
    music = body_of(hold)
    assert hold.url.endswith("/calls/v3%3AAAA/actions/playback_start")
    assert {name: music[name] for name in music if name != "playback_content"} == {
        "audio_type": "wav",
        "loop": "infinity",
    }
    with wave.open(io.BytesIO(b64decode(music["playback_content"]))) as sound:
        assert (sound.getframerate(), sound.getnframes()) == (8000, 32000)
    target, [dial] = run(steps.call_target(), data={"call_control_id": "v3:BBB"})
    assert target == "v3:BBB"
    dialled = body_of(dial)
    state = dialled.pop("client_state")
    assert dialled == {
        "connection_id": "200000",
        "to": OFFICE,
        "from": US,
        "timeout_secs": 30,
        "time_limit_secs": 900,
        "link_to": "v3:AAA",
        "answering_machine_detection": "detect",
    }
    assert b64decode(state) == b"T;v3:AAA"
    _, [speak] = run(steps.brief("v3:BBB"))
    assert speak.url.endswith("/calls/v3%3ABBB/actions/speak")
    assert body_of(speak) == {"payload": SUMMARY, "voice": "female", "language": "en-US"}
    _, [stop, bridge] = run(steps.join("v3:BBB"))
    assert stop.url.endswith("/calls/v3%3AAAA/actions/playback_stop")
    assert bridge.url.endswith("/calls/v3%3AAAA/actions/bridge")
    assert body_of(bridge) == {"call_control_id": "v3:BBB"}


def test_telnyx_bridges_at_once_when_there_is_nothing_to_say() -> None:
    _, requests = run(TELNYX.warm(warm("v3:AAA", summary=""), keep=Shelf()).brief("v3:BBB"))
    assert [each.url.rsplit("/", 1)[1] for each in requests] == ["playback_stop", "bridge"]


def test_telnyx_does_not_take_the_next_transfer_for_a_repetition() -> None:
    ids = []
    for serial in (0, 1):
        order = warm("v3:AAA", serial=serial)
        _, [request] = run(TELNYX.warm(order, keep=Shelf()).hold())
        ids.append(json.loads(request.body)["command_id"])
    assert ids[0] != ids[1]


def telnyx_event(event: str, *, is_target: bool = True, **payload: Any) -> Any:
    told = {"call_control_id": "v3:BBB" if is_target else "v3:AAA", **payload}
    if is_target:
        told["client_state"] = body_state()
    data = {"event_type": event, "id": "evt-1", "payload": told}
    request = WebhookRequest("POST", "/", "", {}, json.dumps({"data": data}).encode())
    return list(TELNYX.read("voice", request))


def body_state() -> str:
    _, [request] = run(TELNYX.transfer("v3:AAA", OFFICE, host=HOST, from_number=US))
    return str(body_of(request)["target_leg_client_state"])


@pytest.mark.parametrize(
    ("event", "payload", "state"),
    [
        ("call.answered", {}, "answered"),
        ("call.speak.ended", {"status": "completed"}, "briefed"),
        ("call.bridged", {}, "connected"),
        ("call.hangup", {"hangup_cause": "user_busy"}, "busy"),
        ("call.hangup", {"hangup_cause": "timeout"}, "no-answer"),
        ("call.hangup", {"hangup_cause": "no_answer"}, "no-answer"),
        ("call.hangup", {"hangup_cause": "call_rejected"}, "failed"),
        ("call.hangup", {"hangup_cause": "normal_clearing"}, "gone"),
        ("call.machine.detection.ended", {"result": "machine"}, "machine"),
    ],
)
def test_telnyx_names_the_callers_call_in_news_of_the_target(
    event: str, payload: Mapping[str, Any], state: Any
) -> None:
    assert telnyx_event(event, **payload) == [TargetProgressed("v3:AAA", state, "v3:BBB", "evt-1")]


@pytest.mark.parametrize(
    ("event", "payload"),
    [
        ("call.initiated", {"direction": "outgoing"}),
        ("call.machine.detection.ended", {"result": "human"}),
        ("call.machine.greeting.ended", {"result": "ended"}),
    ],
)
def test_telnyx_tells_nothing_else_of_a_target(event: str, payload: Mapping[str, Any]) -> None:
    assert telnyx_event(event, **payload) == []


def test_telnyx_says_that_the_caller_was_bridged() -> None:
    [event] = telnyx_event("call.bridged", is_target=False)
    assert (event.call_id, event.state) == ("v3:AAA", "connected")


# ---------------------------------------------------------------------------------------------- Plivo


def test_plivo_fetches_the_documents_of_a_conference() -> None:
    shelf = Shelf()
    steps = PLIVO.warm(warm("uuid-1"), keep=shelf)
    _, [hold] = run(steps.hold())
    told = f"https://{HOST}/webhooks/plivo/transfer"
    assert json.loads(hold.body) == {
        "legs": "aleg",
        "aleg_url": f"{told}?ref=kept-1",
        "aleg_method": "POST",
    }
    target, [dial] = run(steps.call_target(), request_uuid="request-1")
    assert target == "request-1"
    status = f"https://{HOST}/webhooks/plivo/status?ref=ref-1"
    assert json.loads(dial.body) == {
        "from": US[1:],
        "to": OFFICE[1:],
        "answer_url": f"{told}?ref=kept-2",
        "answer_method": "POST",
        "hangup_url": status,
        "hangup_method": "POST",
        "ring_url": status,
        "ring_method": "POST",
        "ring_timeout": 30,
        "time_limit": 900,
        "machine_detection": "true",
        "machine_detection_time": 5000,
        "machine_detection_url": f"https://{HOST}/webhooks/plivo/amd?ref=ref-1",
        "machine_detection_method": "POST",
    }
    [waiting], [speak, joining] = map(parsed, shelf.kept)
    told_of = {"callbackUrl": told, "callbackMethod": "POST", "endConferenceOnExit": "true"}
    after = {"startConferenceOnEnter": "false", "action": told, "method": "POST", **told_of}
    assert shape(waiting) == ("Conference", after, "room-1", [])
    assert (speak.tag, speak.text, len(speak)) == ("Speak", SUMMARY, 0)
    assert shape(joining) == (
        "Conference",
        {"startConferenceOnEnter": "true", **told_of},
        "room-1",
        [],
    )


def plivo_event(kind: str, query: str = "", **form: str) -> Any:
    told = urlencode({"CallUUID": "uuid-1", **form}).encode()
    return list(PLIVO.read(kind, WebhookRequest("POST", "/", query, {}, told)))


@pytest.mark.parametrize(
    ("word", "state"),
    [
        ("completed", "connected"), ("busy", "busy"), ("no-answer", "no-answer"),
        ("timeout", "no-answer"), ("failed", "failed"), ("cancel", "failed"),
    ],
)  # fmt: skip
def test_plivo_says_how_a_dial_ended(word: str, state: Any) -> None:
    over = plivo_event("transfer", DialStatus=word, CallStatus="in-progress")
    assert over == [TransferOver("uuid-1", state)]


def test_plivo_says_what_happens_in_dial_and_conference() -> None:
    assert plivo_event("transfer", DialAction="answer") == []
    [event] = plivo_event("transfer", DialAction="connected", DialBLegUUID="uuid-2")
    assert (event.call_id, event.state, event.target_id) == ("uuid-1", "connected", "uuid-2")
    [event] = plivo_event("transfer", ConferenceAction="enter", ConferenceName="room-1")
    assert event == RoomChanged("uuid-1", "room-1", is_in=True)
    [event] = plivo_event("transfer", ConferenceAction="exit", ConferenceName="room-1")
    assert event == RoomChanged("uuid-1", "room-1", is_in=False)
    over = plivo_event("transfer", ConferenceName="room-1", CallStatus="in-progress")
    assert over == [TransferOver("uuid-1", "connected")]
    [judged] = plivo_event("amd", "ref=ref-1", Machine="true")
    assert isinstance(judged, MachineJudged)
    assert judged.reference == "ref-1"
    [progressed] = plivo_event("status", "ref=ref-1", CallStatus="busy")
    assert isinstance(progressed, CallProgressed)
    assert progressed.reference == "ref-1"


# ----------------------------------------------------------------------------------------- all of them


@pytest.mark.parametrize(
    "steps",
    [
        pytest.param(lambda order: TWILIO.warm(order, keep=Shelf()), id="twilio"),
        pytest.param(lambda order: TELNYX.warm(order, keep=Shelf()), id="telnyx"),
        pytest.param(lambda order: PLIVO.warm(order, keep=Shelf()), id="plivo"),
    ],
)
@pytest.mark.parametrize("change", [{"to": "555"}, {"from_number": "x"}, {"summary": "x" * 4000}])
def test_what_cannot_be_done_is_refused_before_the_caller_is_put_on_hold(
    steps: Any, change: dict[str, str]
) -> None:
    with pytest.raises(PatterConfigError):
        next(steps(warm(**change)).hold())

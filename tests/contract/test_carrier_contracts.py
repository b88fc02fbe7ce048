"""The contracts of the test kit, kept by every carrier of ours, on what the simulated carriers send."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Callable, Sequence
from typing import Any, Final
from urllib.parse import urlencode

import pytest

from getpatter.carriers.base import CallArrived, Carrier, MediaWire, StreamStarted
from getpatter.carriers.plivo import Plivo
from getpatter.carriers.telnyx import Telnyx
from getpatter.net.messages import WebhookRequest
from getpatter.testing import SimulatedPlivo, SimulatedTelnyx, contracts
from getpatter.testing.contracts import Check
from getpatter.testing.json_leg import JsonLeg
from getpatter.testing.plivo_leg import PlivoLeg
from getpatter.testing.telnyx_leg import StreamFacts, TelnyxLeg
from getpatter.types import MULAW_8K, PCM16_16K, AudioFormat, Instant

HOST: Final = "agent.example"
NOW: Final = 1_767_225_600.0
CALLER: Final = "+15550009876"
OURS: Final = "+15550001234"
CALL: Final = "v3:0123456789abcdefghijklmn"
UUID: Final = "6f0c2d1e-7b7a-11ee-b962-0242ac120002"
BEGAN: Final = Instant(100.0)


# --------------------------------------------------------------------------------------------- wires


def sample(
    new_leg: Callable[[], JsonLeg], started: StreamStarted, *, stop: bytes, **more: Any
) -> contracts.WireSample:
    """What a leg of the kit sends, and what it means."""
    leg = new_leg()
    opening = [frame.encode() for frame in leg.tick(BEGAN)]
    sound = bytes(range(256)) * 3
    sound = sound[: started.format.size(20)]
    leg.microphone.say(sound)
    leg.press("5", Instant(BEGAN + 0.021))
    leg.play.mark("p7", BEGAN)
    sent = [frame.encode() for frame in leg.tick(Instant(BEGAN + 0.03))]
    by_event = {json.loads(frame)["event"]: frame for frame in sent}
    return contracts.WireSample(
        start=opening,
        started=started,
        audio=by_event["media"],
        sound=sound,
        stop=stop,
        mark=by_event.get("mark") or by_event["playedStream"],
        mark_name="p7",
        key=by_event["dtmf"],
        digit="5",
        ignored=(b'{"event":"novelty"}', *opening[:-1]),
        played=lambda frame: b64decode(json.loads(frame)["media"]["payload"]),
        **more,
    )


def telnyx_sample(heard: AudioFormat, said: AudioFormat) -> contracts.WireSample:
    facts = StreamFacts("32DE0DEA", CALL, CALLER, OURS, None, heard, said)
    stop = b'{"event":"stop","stream_id":"32DE0DEA","stop":{"call_control_id":"%s"}}'
    return sample(
        lambda: TelnyxLeg(BEGAN, facts),
        StreamStarted("32DE0DEA", CALL, heard),
        stop=stop % CALL.encode(),
        shortest_ms=20.0,
    )


def plivo_sample() -> contracts.WireSample:
    return sample(
        lambda: PlivoLeg(BEGAN, stream_id="s-1", call_id=UUID, account_id="MA"),
        StreamStarted("s-1", UUID, MULAW_8K),
        stop=b'{"event":"stop"}',
    )


def telnyx(**options: Any) -> Telnyx:
    simulated = SimulatedTelnyx(listens=False)
    return simulated.carrier(**options)


def plivo() -> Plivo:
    return SimulatedPlivo(listens=False).carrier()


WIRES: Final[dict[str, tuple[Callable[[], MediaWire], contracts.WireSample]]] = {
    "telnyx L16": (
        lambda: telnyx(l16_byte_order="little").wire(),
        telnyx_sample(PCM16_16K, PCM16_16K),
    ),
    "telnyx PCMU": (
        lambda: telnyx(media_codec="PCMU").wire(),
        telnyx_sample(MULAW_8K, MULAW_8K),
    ),
    "plivo": (lambda: plivo().wire(), plivo_sample()),
}

# --------------------------------------------------------------------------------------------- desks


def telnyx_ring() -> WebhookRequest:
    payload = {
        "call_control_id": CALL,
        "call_leg_id": "leg",
        "connection_id": "1",
        "client_state": None,
        "direction": "incoming",
        "from": CALLER,
        "to": OURS,
        "state": "parked",
    }
    data = {"record_type": "event", "event_type": "call.initiated", "id": "e-1", "payload": payload}
    body = json.dumps({"data": data, "meta": {"attempt": 1}}).encode()
    headers = SimulatedTelnyx(listens=False).sign(body, int(NOW))
    return WebhookRequest("POST", "/webhooks/telnyx/voice", "", headers, body)


def plivo_ring() -> WebhookRequest:
    form = {
        "CallUUID": UUID,
        "From": CALLER.removeprefix("+"),
        "To": OURS.removeprefix("+"),
        "CallStatus": "ringing",
        "Direction": "inbound",
        "Event": "StartApp",
        "ForwardedFrom": "",
    }
    path = "/webhooks/plivo/voice"
    signature = SimulatedPlivo(listens=False).sign(f"https://{HOST}{path}", form, "nonce-1")
    headers = {
        "content-type": "application/x-www-form-urlencoded",
        "x-plivo-signature-v3": signature,
        "x-plivo-signature-v3-nonce": "nonce-1",
    }
    return WebhookRequest("POST", path, "", headers, urlencode(form).encode())


def desk(carrier: Carrier, ring: WebhookRequest, secret: str, **more: Any) -> Sequence[Check]:
    (arrived,) = carrier.read("voice", ring)
    assert isinstance(arrived, CallArrived)
    assert (arrived.caller, arrived.callee) == (CALLER, OURS)
    desk_sample = contracts.DeskSample(
        ring=ring, arrived=arrived, host=HOST, now=NOW, secrets=(secret,), **more
    )
    return contracts.desk_checks(carrier, desk_sample)


def all_checks() -> list[Any]:
    kept: dict[str, Sequence[Check]] = {
        f"{name} wire": contracts.wire_checks(new_wire, its_sample)
        for name, (new_wire, its_sample) in WIRES.items()
    }
    kept["telnyx desk"] = desk(telnyx(), telnyx_ring(), telnyx().api_key, signatures_expire=True)
    kept["plivo desk"] = desk(plivo(), plivo_ring(), plivo().auth_token)
    return [
        pytest.param(check, id=f"{who}-{check}") for who, checks in kept.items() for check in checks
    ]


@pytest.mark.parametrize("check", all_checks())
def test_ours_keep_what_they_promise(check: Check) -> None:
    check()

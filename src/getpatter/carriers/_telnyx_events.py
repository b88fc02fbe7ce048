"""What Telnyx reports: signatures and webhooks. One URL gets everything, as JSON.

Protocols: https://developers.telnyx.com/docs/voice/programmable-voice/receiving-webhooks,
https://developers.telnyx.com/development/api-fundamentals/webhooks/receiving-webhooks
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Final

import msgspec
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from getpatter.carriers._telnyx_state import CALL_ID, NAME, State
from getpatter.carriers.base import (
    CallArrived,
    CallCosted,
    CallProgressed,
    CallStatus,
    MachineClass,
    MachineJudged,
    MessageLeft,
    RecordingFinished,
    StreamAwaited,
    StreamFailed,
    TargetProgressed,
    TargetState,
    Verdict,
    WebhookEvent,
)
from getpatter.errors import WireError
from getpatter.net.messages import WebhookRequest
from getpatter.types import masked

_KEY_BYTES: Final = 32
_OLDEST: Final = 300.0
_FUTURE: Final = 30.0
_TIMESTAMP: Final = re.compile(r"[0-9]{1,12}", re.ASCII)
_LONG_NUMBER: Final = re.compile(r"\+?\d{7,}")
_LONGEST_LINE: Final = 200

_HANGUP_CAUSES: Final[Mapping[str, CallStatus]] = {
    "normal_clearing": "completed",
    "time_limit": "completed",
    "user_busy": "busy",
    "no_answer": "no-answer",
    "timeout": "no-answer",
    "originator_cancel": "no-answer",
}
_MACHINES: Final[Mapping[str, MachineClass]] = {
    "human": "human",
    "human_residence": "human",
    "human_business": "human",
    "machine": "machine",
    "fax_detected": "fax",
}


class _Header(msgspec.Struct):
    name: str = ""
    value: str = ""


class _CostPart(msgspec.Struct):
    currency: str | None = None


class _Payload(msgspec.Struct):
    """What we read of all events; each is optional in each."""

    call_control_id: str | None = None
    client_state: str | None = None
    caller: str | None = msgspec.field(default=None, name="from")
    to: str | None = None
    direction: str | None = None
    custom_headers: list[_Header] | None = None
    hangup_cause: str | None = None
    result: str | None = None
    failure_reason: str | None = None
    recording_id: str | None = None
    recording_urls: dict[str, str | None] | None = None
    recording_started_at: str | None = None
    recording_ended_at: str | None = None
    channels: str | None = None
    total_cost: str | float | None = None
    cost_parts: list[_CostPart] | None = None


class _Data(msgspec.Struct):
    event_type: str
    id: str = ""
    payload: _Payload = msgspec.field(default_factory=_Payload)


class _Envelope(msgspec.Struct):
    data: _Data


_envelopes: Final = msgspec.json.Decoder(_Envelope)


# ---------------------------------------------------------------------------------------- signatures


def raw_key(text: str) -> bytes:
    """The 32 bytes of a public key: base64 of them, or of a DER document.

    Raises:
        ValueError: it is neither.
    """
    try:
        decoded = b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("not base64") from None
    if len(decoded) == _KEY_BYTES:
        return decoded
    try:
        key = load_der_public_key(decoded)
    except (ValueError, UnsupportedAlgorithm) as exc:
        raise ValueError("neither 32 bytes nor a DER document") from exc
    if not isinstance(key, Ed25519PublicKey):
        raise ValueError("not an Ed25519 key")  # noqa: TRY004 - the text is wrong, not its type
    return key.public_bytes(Encoding.Raw, PublicFormat.Raw)


def verdict(request: WebhookRequest, *, key: bytes, now: float) -> Verdict:
    """Whether Telnyx signed this request with the private half of `key`, and lately."""
    timestamp = request.headers.get("telnyx-timestamp", "")
    try:
        signature = b64decode(request.headers.get("telnyx-signature-ed25519", ""), validate=True)
    except (binascii.Error, ValueError):
        return Verdict.FORGED
    if not _TIMESTAMP.fullmatch(timestamp):
        return Verdict.FORGED
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(
            signature, timestamp.encode() + b"|" + request.body
        )
    except (InvalidSignature, ValueError):
        return Verdict.FORGED
    age = now - int(timestamp)
    return Verdict.GENUINE if -_FUTURE <= age <= _OLDEST else Verdict.STALE


# ------------------------------------------------------------------------------------------ webhooks


def events(request: WebhookRequest) -> Sequence[WebhookEvent]:
    """What a webhook reports; empty for events that mean nothing to us.

    Raises:
        WireError: it is no JSON, or not of the documented shape.
    """
    data = _data(request.body)
    reader = _READERS.get(data.event_type)
    if reader is None:
        return ()
    state = State.read(data.payload.client_state)
    # Recordings are reported without the call's id, so our own reference stands in.
    call_id = data.payload.call_control_id or state.reference
    if not CALL_ID.fullmatch(call_id):
        raise _malformed("Invalid webhook payload")
    return reader(call_id, state, data)


def _data(body: bytes) -> _Data:
    try:
        return _envelopes.decode(body).data
    except msgspec.ValidationError as exc:
        raise _malformed("Invalid webhook structure") from exc
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise _malformed("Invalid JSON body") from exc


def _malformed(text: str) -> WireError:
    return WireError(text, vendor=NAME)


def _initiated(call_id: str, state: State, data: _Data) -> Sequence[WebhookEvent]:
    payload = data.payload
    if state.is_target:
        return ()
    if payload.direction == "outgoing":
        return (
            CallProgressed(call_id, "ringing", data.event_type, state.reference, delivery=data.id),
        )
    if payload.caller is None or payload.to is None:
        raise _malformed("Invalid webhook payload")
    params = {
        each.name: each.value
        for each in payload.custom_headers or ()
        if each.name.upper().startswith("X-")
    }
    return (CallArrived(call_id, payload.caller, payload.to, params, data.id),)


def _target(call_id: str, state: State, data: _Data, where: TargetState) -> Sequence[WebhookEvent]:
    """News of the one to whom the caller of another call is transferred."""
    return (TargetProgressed(state.reference, where, call_id, data.id),)


_FAILED: Final[Mapping[str, TargetState]] = {
    "normal_clearing": "gone",
    "user_busy": "busy",
    "no_answer": "no-answer",
    "timeout": "no-answer",
    "originator_cancel": "no-answer",
}


def _bridged(call_id: str, state: State, data: _Data) -> Sequence[WebhookEvent]:
    if state.is_target:
        return _target(call_id, state, data, "connected")
    return (TargetProgressed(call_id, "connected", delivery=data.id),)


def _answered(call_id: str, state: State, data: _Data) -> Sequence[WebhookEvent]:
    if state.is_target:
        return _target(call_id, state, data, "answered")
    delivery = data.id
    up = CallProgressed(call_id, "in-progress", data.event_type, state.reference, delivery=delivery)
    if state.asked is not None or not state.reference:
        return (up,)
    return (up, StreamAwaited(call_id, state.reference, delivery=delivery and f"{delivery}:stream"))


def _hung_up(call_id: str, state: State, data: _Data) -> Sequence[WebhookEvent]:
    cause = data.payload.hangup_cause or ""
    if state.is_target:
        return _target(call_id, state, data, _FAILED.get(cause, "failed"))
    status: CallStatus = _HANGUP_CAUSES.get(cause, "failed")
    return (CallProgressed(call_id, status, clean(cause), state.reference, delivery=data.id),)


def _judged(call_id: str, state: State, data: _Data) -> Sequence[WebhookEvent]:
    raw = data.payload.result or ""
    if state.is_target:
        is_machine = _MACHINES.get(raw) in {"machine", "fax"}
        return _target(call_id, state, data, "machine") if is_machine else ()
    return (MachineJudged(call_id, _MACHINES.get(raw, "unknown"), clean(raw), delivery=data.id),)


def _greeting_over(call_id: str, state: State, data: _Data) -> Sequence[WebhookEvent]:
    if state.is_target:
        return ()
    raw = clean(data.payload.result or "")
    return (MachineJudged(call_id, "machine", raw, greeting_ended=True, delivery=data.id),)


def _spoken(call_id: str, state: State, data: _Data) -> Sequence[WebhookEvent]:
    if state.is_target:
        return _target(call_id, state, data, "briefed")
    return (MessageLeft(call_id, data.id),)


def _recorded(call_id: str, _: State, data: _Data) -> Sequence[WebhookEvent]:
    payload = data.payload
    urls = {name: url for name, url in (payload.recording_urls or {}).items() if url}
    kind = "mp3" if "mp3" in urls else next(iter(sorted(urls)), "")
    return (
        RecordingFinished(
            call_id,
            payload.recording_id or "",
            urls.get(kind, ""),
            _seconds(payload.recording_started_at, payload.recording_ended_at),
            2 if payload.channels == "dual" else 1,
            kind,
            data.id,
        ),
    )


def _not_streaming(call_id: str, state: State, data: _Data) -> Sequence[WebhookEvent]:
    if (
        state.asked == "L16"
    ):  # perhaps it cannot do that: ask once more, for the codec everybody has
        return (StreamAwaited(call_id, state.reference, attempt=1, delivery=data.id),)
    text = clean(data.payload.failure_reason or "") or "no reason given"
    return (StreamFailed(call_id, text, data.id),)


def _costed(call_id: str, _: State, data: _Data) -> Sequence[WebhookEvent]:
    payload = data.payload
    if any((part.currency or "USD").upper() != "USD" for part in payload.cost_parts or ()):
        return ()
    try:
        dollars = float(payload.total_cost or "")
    except ValueError:
        return ()
    return (CallCosted(call_id, dollars, data.id),) if 0 <= dollars < float("inf") else ()


_Reader = Callable[[str, State, _Data], Sequence[WebhookEvent]]
_READERS: Final[Mapping[str, _Reader]] = {
    "call.initiated": _initiated,
    "call.answered": _answered,
    "call.bridged": _bridged,
    "call.hangup": _hung_up,
    "call.machine.detection.ended": _judged,
    "call.machine.premium.detection.ended": _judged,
    "call.machine.greeting.ended": _greeting_over,
    "call.machine.premium.greeting.ended": _greeting_over,
    "call.speak.ended": _spoken,
    "call.recording.saved": _recorded,
    "call.recording.error": _recorded,
    "streaming.failed": _not_streaming,
    "call.cost": _costed,
}
"""Keys are not among them: `call.dtmf.received` repeats what the media socket has said already."""


def _seconds(start: str | None, end: str | None) -> float:
    try:
        began = datetime.fromisoformat(start or "")
        ended = datetime.fromisoformat(end or "")
        return max(0.0, (ended - began).total_seconds())
    except (ValueError, TypeError):  # TypeError: one has a time zone, the other has none
        return 0.0


def clean(text: str) -> str:
    """Somebody else's text, fit for a log: one line, short, numbers masked."""
    line = "".join(letter if letter.isprintable() else " " for letter in text).strip()
    return _LONG_NUMBER.sub(lambda number: masked(number.group()), line)[:_LONGEST_LINE]

"""What Plivo says in forms and hears in XML: signatures, webhooks, documents.

Protocols: https://www.plivo.com/docs/voice/concepts/signature-validation, https://www.plivo.com/docs/voice/xml
"""

from __future__ import annotations

import hashlib
import hmac
import re
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final
from urllib.parse import parse_qs, parse_qsl, quote, urlencode
from xml.etree import ElementTree as ET

from getpatter.carriers.base import (
    FINAL_STATUSES,
    CallArrived,
    CallProgressed,
    CallStatus,
    DocumentAsked,
    MachineJudged,
    RecordingFinished,
    RoomChanged,
    Stream,
    TargetProgressed,
    TargetState,
    TransferOver,
    WebhookEvent,
)
from getpatter.errors import ErrorCode, PatterConfigError, WireError
from getpatter.net.messages import WebhookReply, WebhookRequest
from getpatter.types import is_e164, masked

NAME: Final = "plivo"
CALL_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}", re.ASCII)
_REFERENCE: Final = re.compile(r"[A-Za-z0-9_-]{1,256}", re.ASCII)
_SIP: Final = re.compile(r"sips?:[^\s<>\"']{1,250}", re.ASCII | re.IGNORECASE)
_BARE_NUMBER: Final = re.compile(r"[1-9]\d{6,14}", re.ASCII)
_LONG_NUMBER: Final = re.compile(r"\+?\d{7,}")
_NOT_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_MOST_FIELDS: Final = 1000
_LONGEST_LINE: Final = 200
_RINGS_S: Final = "30"

_STATUSES: Final[Mapping[str, CallStatus]] = {
    "queued": "initiated",
    "ringing": "ringing",
    "in-progress": "in-progress",
    "completed": "completed",
    "busy": "busy",
    "no-answer": "no-answer",
    "timeout": "no-answer",
    "failed": "failed",
    "cancel": "canceled",
    "canceled": "canceled",
    "cancelled": "canceled",
}
# `<Speak>` wants a locale; this is the one most people mean who say only the language.
_LOCALES: Final = {
    "da": "da-DK",
    "de": "de-DE",
    "en": "en-US",
    "es": "es-ES",
    "fr": "fr-FR",
    "it": "it-IT",
    "ja": "ja-JP",
    "nl": "nl-NL",
    "pl": "pl-PL",
    "pt": "pt-BR",
    "ru": "ru-RU",
    "sv": "sv-SE",
    "zh": "zh-CN",
}
_LOCALE: Final = re.compile(r"[a-z]{2,3}-[A-Z]{2}", re.ASCII)


def invalid(text: str) -> PatterConfigError:
    """The error for an argument that Plivo would not take."""
    return PatterConfigError(text, code=ErrorCode.INPUT_VALIDATION, vendor=NAME)


def bare(target: str) -> str:
    """A number as Plivo writes it, without `+`; a `sip:` URI as it is.

    Raises:
        PatterConfigError: it is neither.
    """
    if is_e164(target):
        return target.removeprefix("+")
    if _SIP.fullmatch(target):
        return target
    raise invalid(f"{masked(target)} is neither a number such as +15550001234 nor a sip: URI")


def hook(host: str, kind: str, **query: str) -> str:
    """Where Plivo shall call us."""
    asked = f"?{urlencode(query)}" if query else ""
    return f"https://{host}/webhooks/{NAME}/{kind}{asked}"


# ---------------------------------------------------------------------------------------- signatures


def is_signed(request: WebhookRequest, *, host: str, auth_token: str) -> bool:
    """Whether one of the signatures is what this token makes of this request; in constant time."""
    nonce = request.headers.get("x-plivo-signature-v3-nonce", "")
    given = [
        value.strip().encode("utf-8", "replace")
        for name in ("x-plivo-signature-v3", "x-plivo-signature-ma-v3")
        for value in request.headers.get(name, "").split(",")
    ]
    if not nonce:
        return False
    try:
        bases = list(_signed_bases(request, host))
    except ValueError:
        return False
    is_any = False
    for base in bases:
        wanted = signature(base, nonce, auth_token)
        for value in given:
            is_any |= hmac.compare_digest(wanted, value)
    return is_any


def signature(base: str, nonce: str, auth_token: str) -> bytes:
    """The value of `X-Plivo-Signature-V3`."""
    message = f"{base}.{nonce}".encode("utf-8", "surrogatepass")
    return b64encode(hmac.new(auth_token.encode(), message, hashlib.sha256).digest())


def _signed_bases(request: WebhookRequest, host: str) -> Iterator[str]:
    """What Plivo may have signed: the URL, its query sorted and decoded, then the form."""
    query = _joined(_grouped(request.query), "=", "&")
    form = _grouped(request.body.decode()) if request.method == "POST" else {}
    rest = f"?{query}" if query or form else ""
    if form:
        rest += ("." if query else "") + _joined(form, "", "")
    for name in _spellings(host):
        yield f"https://{name}{request.path}{rest}"


def _grouped(text: str) -> Mapping[str, list[str]]:
    return parse_qs(
        text, keep_blank_values=True, max_num_fields=_MOST_FIELDS, errors="surrogateescape"
    )


def _joined(fields: Mapping[str, list[str]], between: str, after: str) -> str:
    """Names sorted, and the values of each."""
    return after.join(
        f"{name}{between}{value}" for name in sorted(fields) for value in sorted(fields[name])
    )


def _spellings(host: str) -> Iterable[str]:
    name, _, port = host.rpartition(":")
    if name and port.isdecimal():
        return (host, name)
    return (host, f"{host}:443")


# ------------------------------------------------------------------------------------------ webhooks


def events(kind: str, request: WebhookRequest) -> Sequence[WebhookEvent]:
    """What a webhook of `kind` reports.

    Raises:
        WireError: a field is missing or of the wrong shape.
    """
    form = _form(request)
    call_id = form.get("CallUUID") or form.get("call_uuid", "")
    if not CALL_ID.fullmatch(call_id):
        raise _malformed()
    reference = dict(parse_qsl(request.query, max_num_fields=_MOST_FIELDS)).get("ref", "")
    if not _REFERENCE.fullmatch(reference):
        reference = ""
    nonce = request.headers.get("x-plivo-signature-v3-nonce", "")
    delivery = f"{call_id}:{form.get('Event', kind)}:{nonce}" if nonce else ""
    match kind:
        case "voice" if form.get("CallStatus") not in FINAL_STATUSES:
            return (_arrived(call_id, reference, form, delivery),)
        case "voice" | "status":
            return (_progressed(call_id, reference, form, delivery),)
        case "amd":
            return (_judged(call_id, reference, form, delivery),)
        case "recording":
            return (_recorded(call_id, form, delivery),)
        case "transfer" | "voicemail" if reference:
            return (DocumentAsked(call_id, reference, delivery),)
        case "transfer":
            return _of_transfer(call_id, form, delivery)
        case _:
            return ()


def _malformed() -> WireError:
    return WireError("Invalid webhook payload", vendor=NAME)


def _form(request: WebhookRequest) -> dict[str, str]:
    text = request.body if request.method == "POST" else request.query.encode()
    try:
        return dict(
            parse_qsl(
                text.decode(), keep_blank_values=True, errors="strict", max_num_fields=_MOST_FIELDS
            )
        )
    except ValueError as exc:
        raise _malformed() from exc


def _arrived(call_id: str, reference: str, form: Mapping[str, str], delivery: str) -> CallArrived:
    if "From" not in form or "To" not in form:
        raise _malformed()
    params = {
        name: text for name, text in form.items() if name.upper().startswith(("X-PH-", "SIP-H-"))
    }
    return CallArrived(
        call_id,
        _with_plus(form["From"]),
        _with_plus(form["To"]),
        params,
        delivery,
        reference,
    )


def _progressed(
    call_id: str, reference: str, form: Mapping[str, str], delivery: str
) -> CallProgressed:
    raw = form.get("CallStatus", "")
    status = _STATUSES.get(raw)
    if status is None:
        raise _malformed()
    return CallProgressed(
        call_id,
        status,
        raw,
        reference,
        _seconds(form.get("Duration")) if status in FINAL_STATUSES else None,
        delivery,
    )


_DIALLED: Final[Mapping[str, TargetState]] = {
    "completed": "connected",
    "busy": "busy",
    "no-answer": "no-answer",
    "timeout": "no-answer",
}


def _of_transfer(
    call_id: str, form: Mapping[str, str], delivery: str
) -> Sequence[TargetProgressed | TransferOver | RoomChanged]:
    """What `<Dial>` and `<Conference>` report, by their callbacks and when they are over."""
    is_gone = form.get("CallStatus") in FINAL_STATUSES
    match form:
        case {"ConferenceAction": "enter" | "exit" as action}:
            room = form.get("ConferenceName", "")
            return (RoomChanged(call_id, room, action == "enter", delivery),)
        case {"DialAction": "connected"}:
            target = form.get("DialBLegUUID", "")
            return (TargetProgressed(call_id, "connected", target, delivery),)
        case {"DialAction": _}:
            return ()
        case {"DialStatus": status}:
            return (TransferOver(call_id, _DIALLED.get(status, "failed"), is_gone),)
        case {"ConferenceName": _}:
            return (TransferOver(call_id, "connected", is_gone),)
        case _:
            return ()


def _judged(call_id: str, reference: str, form: Mapping[str, str], delivery: str) -> MachineJudged:
    raw = form.get("Machine", "").lower()
    match raw:
        case "true":
            return MachineJudged(call_id, "machine", raw, delivery=delivery, reference=reference)
        case "false":
            return MachineJudged(call_id, "human", raw, delivery=delivery, reference=reference)
        case _:
            return MachineJudged(
                call_id, "unknown", clean(raw), delivery=delivery, reference=reference
            )


def _recorded(call_id: str, form: Mapping[str, str], delivery: str) -> RecordingFinished:
    url = form.get("record_url", "")
    return RecordingFinished(
        call_id,
        form.get("recording_id", ""),
        url,
        _seconds(form.get("recording_duration")) or 0.0,
        2,
        "wav" if url.endswith(".wav") else "mp3",
        delivery or f"{call_id}:recording:{form.get('recording_id', '')}",
    )


def _with_plus(number: str) -> str:
    return f"+{number}" if _BARE_NUMBER.fullmatch(number) else number


def _seconds(text: str | None) -> float | None:
    if text is None or not (text.isascii() and text.isdecimal()):
        return None
    return float(text)


def clean(text: str) -> str:
    """Somebody else's text, fit for a log: one line, short, numbers masked."""
    line = "".join(letter if letter.isprintable() else " " for letter in text).strip()
    return _LONG_NUMBER.sub(lambda number: masked(number.group()), line)[:_LONGEST_LINE]


# ----------------------------------------------------------------------------------------- documents


def element(tag: str, text: str = "", **attributes: str) -> ET.Element:
    """A verb. Characters that XML cannot hold are left out; the writer escapes the others."""
    verb = ET.Element(tag, attributes)
    if text:
        verb.text = _NOT_XML.sub("", text)
    return verb


def reply(*verbs: ET.Element) -> WebhookReply:
    """A document as the answer to a webhook."""
    response = ET.Element("Response")
    response.extend(verbs)
    text = '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(response, encoding="unicode")
    return WebhookReply(200, text.encode(), "text/xml; charset=utf-8")


def connect(stream: Stream) -> ET.Element:
    """The verb that brings both directions of a call's audio to our socket."""
    reference, token = quote(stream.reference, safe=""), urlencode({"token": stream.token})
    return connect_to(f"wss://{stream.host}/ws/stream/{reference}?{token}")


def connect_to(url: str) -> ET.Element:
    """The verb that brings both directions of a call's audio to somebody's socket."""
    return element(
        "Stream",
        url,
        bidirectional="true",
        keepCallAlive="true",
        contentType="audio/x-mulaw;rate=8000",
    )


def speak(text: str, language: str) -> ET.Element:
    """The verb that speaks `text` in `language`: `"en"`, `"en-GB"`; Plivo's own choice for others."""
    verb = element("Speak", text)
    locale = language if _LOCALE.fullmatch(language) else _LOCALES.get(language[:2].lower())
    if locale:
        verb.set("language", locale)
    return verb


def dial(target: str, from_number: str, *, told: str) -> ET.Element:
    """The verb that connects the caller to a number or a `sip:` URI; `told`: URL for what comes of it."""
    verb = element(
        "Dial",
        callerId=bare(from_number),
        timeout=_RINGS_S,
        action=told,
        method="POST",
        callbackUrl=told,
        callbackMethod="POST",
    )
    verb.append(element("Number" if is_e164(target) else "User", bare(target)))
    return verb

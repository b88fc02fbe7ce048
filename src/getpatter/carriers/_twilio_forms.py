"""What Twilio says in forms and hears in TwiML: signatures, webhooks, documents.

Protocols: https://www.twilio.com/docs/usage/security, https://www.twilio.com/docs/voice/twiml
"""

from __future__ import annotations

import hashlib
import hmac
import re
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final
from urllib.parse import parse_qsl, quote
from xml.etree import ElementTree as ET

from getpatter.carriers.base import (
    FINAL_STATUSES,
    CallArrived,
    CallProgressed,
    CallStatus,
    MachineClass,
    MachineJudged,
    RecordingFinished,
    RoomChanged,
    Stream,
    StreamFailed,
    TargetProgressed,
    TargetState,
    TransferOver,
    WebhookEvent,
)
from getpatter.errors import ErrorCode, PatterConfigError, WireError
from getpatter.net.messages import WebhookReply, WebhookRequest
from getpatter.types import is_e164, masked

NAME: Final = "twilio"
CALL_SID: Final = re.compile(r"CA[0-9a-fA-F]{32}", re.ASCII)
_RECORDING_SID: Final = re.compile(r"RE[0-9a-fA-F]{32}", re.ASCII)
_SIP: Final = re.compile(r"sips?:[^\s<>\"']{1,250}", re.ASCII | re.IGNORECASE)
_LONG_NUMBER: Final = re.compile(r"\+?\d{7,}")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]+")
_NOT_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

_MOST_FIELDS: Final = 1000
_LONGEST_DOCUMENT: Final = 3999
_LONGEST_PARAMETER: Final = 499  # name and value together
_LONGEST_LINE: Final = 200

_STATUSES: Final[Mapping[str, CallStatus]] = {
    "queued": "initiated",
    "initiated": "initiated",
    "ringing": "ringing",
    "in-progress": "in-progress",
    "completed": "completed",
    "busy": "busy",
    "no-answer": "no-answer",
    "failed": "failed",
    "canceled": "canceled",
}
_MACHINES: Final[Mapping[str, MachineClass]] = {
    "human": "human",
    "machine_start": "machine",
    "machine_end_beep": "machine",
    "machine_end_silence": "machine",
    "machine_end_other": "machine",
    "fax": "fax",
}
# `<Say>` wants a locale; this is the one most people mean who say only the language.
_LOCALES: Final = {
    "ca": "ca-ES",
    "da": "da-DK",
    "de": "de-DE",
    "en": "en-US",
    "es": "es-ES",
    "fi": "fi-FI",
    "fr": "fr-FR",
    "it": "it-IT",
    "ja": "ja-JP",
    "ko": "ko-KR",
    "nb": "nb-NO",
    "nl": "nl-NL",
    "pl": "pl-PL",
    "pt": "pt-BR",
    "ru": "ru-RU",
    "sv": "sv-SE",
    "zh": "zh-CN",
}
_LOCALE: Final = re.compile(r"[a-z]{2,3}-[A-Z]{2}", re.ASCII)


def invalid(text: str) -> PatterConfigError:
    """The error for an argument that Twilio would not take."""
    return PatterConfigError(text, code=ErrorCode.INPUT_VALIDATION, vendor=NAME)


def check_number(number: str) -> None:
    """Refuse what is not a full international number."""
    if not is_e164(number):
        raise invalid(f"{masked(number)} is not a number such as +15550001234")


def check_target(target: str) -> None:
    """Refuse what can be neither dialled nor transferred to."""
    if not is_e164(target) and not _SIP.fullmatch(target):
        raise invalid(f"{masked(target)} is neither a number such as +15550001234 nor a sip: URI")


def clean(text: str) -> str:
    """Somebody else's text, fit for a log: one line, short, numbers masked."""
    line = _CONTROL.sub(" ", text).strip()
    return _LONG_NUMBER.sub(lambda number: masked(number.group()), line)[:_LONGEST_LINE]


def hook(host: str, kind: str) -> str:
    """Where Twilio shall call us."""
    return f"https://{host}/webhooks/{NAME}/{kind}"


# ---------------------------------------------------------------------------------------- signatures


def is_signed(request: WebhookRequest, *, host: str, auth_token: str) -> bool:
    """Whether the signature is what Twilio makes of this request with this token; in constant time."""
    given = request.headers.get("x-twilio-signature", "").encode("utf-8", "replace")
    return any(
        hmac.compare_digest(signature(message, auth_token), given)
        for message in _signed_messages(request, host)
    )


def signature(message: str, auth_token: str) -> bytes:
    """The value of `X-Twilio-Signature` for a URL followed by the signed form."""
    digest = hmac.new(auth_token.encode(), message.encode("utf-8", "surrogatepass"), hashlib.sha1)
    return b64encode(digest.digest())


def _signed_messages(request: WebhookRequest, host: str) -> Iterator[str]:
    """Everything Twilio may have signed for this request: the URL in its spellings, then the form."""
    target = request.path + (f"?{request.query}" if request.query else "")
    if request.headers.get("upgrade", "").lower() == "websocket":
        for name in _spellings(host):
            yield f"wss://{name}{target}"
            yield f"wss://{name}{target}/"
        return
    told = dict(parse_qsl(request.query)).get("bodySHA256", "")
    if told:  # a JSON body is not signed itself: its hash stands in the signed URL
        if not hmac.compare_digest(
            hashlib.sha256(request.body).hexdigest(),
            told.lower().encode("ascii", "replace").decode(),
        ):
            return
        suffix = ""
    else:
        try:
            suffix = _signed_form(_fields(request)) if request.method == "POST" else ""
        except ValueError:
            return
    for name in _spellings(host):
        yield f"https://{name}{target}{suffix}"


def _spellings(host: str) -> Iterable[str]:
    bare, _, port = host.rpartition(":")
    if bare and port.isdecimal():
        return (host, bare)
    return (host, f"{host}:443")


def _signed_form(fields: Iterable[tuple[str, str]]) -> str:
    """Names sorted; of a repeated name each distinct value once, sorted; all joined with nothing."""
    return "".join(name + value for name, value in sorted(set(fields)))


# ---------------------------------------------------------------------------------------- webhooks


def events(kind: str, request: WebhookRequest) -> Sequence[WebhookEvent]:
    """What a webhook of `kind` reports.

    Raises:
        WireError: a field is missing or of the wrong shape.
    """
    form = _form(request)
    call_id = form.get("CallSid", "")
    if (
        kind == "conference" and not call_id and form.get("ConferenceSid")
    ):  # it began or ended, which its participants tell too
        return ()
    if not CALL_SID.fullmatch(call_id):
        raise _malformed()
    delivery = request.headers.get("i-twilio-idempotency-token", "")
    match kind:
        case "voice":
            return (_arrived(call_id, form, request.query, delivery),)
        case "status":
            return _status(call_id, form, delivery)
        case "amd":
            return (_judged(call_id, form, delivery),)
        case "recording":
            return _recorded(call_id, form, delivery)
        case "transfer" | "conference":
            return _of_transfer(kind, call_id, form, delivery)
        case "stream" if form.get("StreamEvent") == "stream-error":
            text = clean(form.get("StreamError", "")) or "no reason given"
            return (StreamFailed(call_id, text, delivery or f"{call_id}:stream-error:{text}"),)
        case _:
            return ()


def _malformed() -> WireError:
    return WireError("Invalid webhook payload", vendor=NAME)


def _fields(request: WebhookRequest) -> list[tuple[str, str]]:
    """The form fields as they were sent, in order. Raises ValueError when the body is no form."""
    return parse_qsl(
        request.body.decode(),
        keep_blank_values=True,
        errors="strict",
        max_num_fields=_MOST_FIELDS,
    )


def _form(request: WebhookRequest) -> dict[str, str]:
    try:
        return dict(_fields(request))
    except ValueError as exc:
        raise _malformed() from exc


def _arrived(
    call_id: str, form: Mapping[str, str], query: str, delivery: str
) -> CallArrived | CallProgressed:
    if form.get("CallStatus") in FINAL_STATUSES:  # a number whose status callback is its voice URL
        return _progressed(call_id, form, delivery)
    if "From" not in form or "To" not in form:
        raise _malformed()
    params = dict(parse_qsl(query, max_num_fields=_MOST_FIELDS))
    params |= {name: text for name, text in form.items() if name.startswith("SipHeader_X-")}
    return CallArrived(call_id, form["From"], form["To"], params, delivery or f"{call_id}:voice")


def _progressed(call_id: str, form: Mapping[str, str], delivery: str) -> CallProgressed:
    raw = form.get("CallStatus", "")
    if raw not in _STATUSES:
        raise _malformed()
    return CallProgressed(
        call_id,
        _STATUSES[raw],
        raw,
        duration_seconds=_seconds(form.get("CallDuration")),
        delivery=delivery or f"{call_id}:{raw}:{form.get('SequenceNumber', '')}",
    )


_DIALLED: Final[Mapping[str, TargetState]] = {
    "completed": "connected",
    "answered": "connected",
    "busy": "busy",
    "no-answer": "no-answer",
}


def _status(call_id: str, form: Mapping[str, str], delivery: str) -> Sequence[WebhookEvent]:
    parent = form.get("ParentCallSid", "")
    if not CALL_SID.fullmatch(parent):
        return (_progressed(call_id, form, delivery),)
    if form.get("CallStatus") != "in-progress":
        return ()
    # The leg that a `<Dial>` of ours has called: only its answer is asked for.
    delivery = delivery or f"{parent}:{call_id}:answered"
    return (TargetProgressed(parent, "connected", call_id, delivery),)


def _of_transfer(
    kind: str, call_id: str, form: Mapping[str, str], delivery: str
) -> Sequence[WebhookEvent]:
    if kind == "transfer":
        state: TargetState = _DIALLED.get(form.get("DialCallStatus", ""), "failed")
        return (TransferOver(call_id, state, form.get("CallStatus") in FINAL_STATUSES),)
    event = form.get("StatusCallbackEvent", "")
    if event not in {"participant-join", "participant-leave"}:
        return ()
    delivery = delivery or f"{call_id}:{event}:{form.get('SequenceNumber', '')}"
    room = form.get("FriendlyName", "")
    return (RoomChanged(call_id, room, event == "participant-join", delivery),)


def _judged(call_id: str, form: Mapping[str, str], delivery: str) -> MachineJudged:
    raw = form.get("AnsweredBy", "")
    if not raw:
        raise _malformed()
    return MachineJudged(
        call_id,
        _MACHINES.get(raw, "unknown"),
        clean(raw),
        greeting_ended=raw.startswith("machine_end_"),
        delivery=delivery or f"{call_id}:amd:{clean(raw)}",
    )


def _recorded(
    call_id: str, form: Mapping[str, str], delivery: str
) -> tuple[RecordingFinished, ...]:
    recording_id, status = form.get("RecordingSid", ""), form.get("RecordingStatus", "")
    if not _RECORDING_SID.fullmatch(recording_id):
        raise _malformed()
    if status not in {"completed", "absent"}:
        return ()
    return (
        RecordingFinished(
            call_id,
            recording_id,
            form.get("RecordingUrl", "") if status == "completed" else "",
            _seconds(form.get("RecordingDuration")) or 0.0,
            2 if form.get("RecordingChannels") == "2" else 1,
            "wav",
            delivery or f"{recording_id}:{status}",
        ),
    )


def _seconds(text: str | None) -> float | None:
    if text is None or not (text.isascii() and text.isdecimal()):
        return None
    return float(text)


# ---------------------------------------------------------------------------------------- documents


def element(tag: str, **attributes: str) -> ET.Element:
    """A verb. Characters that XML cannot hold are left out; the writer escapes the others."""
    return ET.Element(tag, {name: plain(text) for name, text in attributes.items()})


def plain(text: str) -> str:
    """`text` without the characters that XML cannot hold."""
    return _NOT_XML.sub("", text)


def inline(*verbs: ET.Element) -> str:
    """A document for a request parameter.

    Raises:
        PatterConfigError: it is longer than Twilio takes.
    """
    text = _document(verbs)
    if len(text) > _LONGEST_DOCUMENT:
        raise invalid(f"a document of {len(text)} characters; Twilio takes less than 4000")
    return text


def reply(*verbs: ET.Element) -> WebhookReply:
    """A document as the answer to a webhook."""
    return WebhookReply(200, _document(verbs).encode(), "text/xml; charset=utf-8")


def _document(verbs: Iterable[ET.Element]) -> str:
    response = ET.Element("Response")
    response.extend(verbs)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(response, encoding="unicode")


def connect(stream: Stream) -> ET.Element:
    """The verb that brings both directions of a call's audio to our socket."""
    verb = element("Connect")
    inner = element(
        "Stream",
        url=f"wss://{stream.host}/ws/stream/{quote(stream.reference, safe='')}",
        statusCallback=hook(stream.host, "stream"),
    )
    verb.append(inner)
    for name in ("token", "caller", "callee"):
        text: str = getattr(stream, name)
        value = plain(text)[: _LONGEST_PARAMETER - len(name)]
        inner.append(element("Parameter", name=name, value=value))
    return verb


def connect_to(url: str, parameters: Mapping[str, str]) -> ET.Element:
    """The verb that brings both directions of a call's audio to somebody's socket."""
    verb = element("Connect")
    inner = element("Stream", url=url)
    verb.append(inner)
    for name, text in parameters.items():
        if len(name) + len(text) > _LONGEST_PARAMETER:
            raise invalid(f"parameter {name!r}: name and value are 500 characters or more")
        inner.append(element("Parameter", name=name, value=text))
    return verb


def say(text: str, language: str) -> ET.Element:
    """The verb that speaks `text` in `language`: `"en"`, `"en-GB"`; Twilio's own choice for others."""
    verb = element("Say")
    locale = language if _LOCALE.fullmatch(language) else _LOCALES.get(language[:2].lower())
    if locale:
        verb.set("language", locale)
    verb.text = plain(text)
    return verb


def dial(target: str, **attributes: str) -> ET.Element:
    """The verb that connects the caller to a number or a `sip:` URI."""
    verb = element("Dial", **attributes)
    number = element("Number" if is_e164(target) else "Sip")
    number.text = plain(target)
    verb.append(number)
    return verb

"""Twilio: its signatures, webhooks, TwiML documents, REST requests and media frames.

Protocols: https://www.twilio.com/docs/voice/twiml/stream, .../voice/media-streams/websocket-messages,
.../voice/api/call-resource and .../usage/security. Everything here is pure: requests and frames are data.
"""

from __future__ import annotations

import base64
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from http import HTTPStatus
from typing import ClassVar, Final, Literal, Self
from urllib.parse import quote, urlencode

import msgspec

from getpatter.carriers import _twilio_forms as forms
from getpatter.carriers._twilio_adapter import TwilioAdapter
from getpatter.carriers._twilio_warm import WarmTransfer
from getpatter.carriers._twilio_wire import Wire
from getpatter.carriers.base import (
    FINAL_STATUSES,
    NOT_FOR_SALE,
    OFFERS,
    Dial,
    Keep,
    OwnedNumber,
    Stream,
    Verdict,
    Warm,
    WebhookEvent,
    checked_country,
)
from getpatter.config import LocalConfig, optional_credential, setting
from getpatter.errors import (
    AuthenticationError,
    PatterConfigError,
    PatterConnectionError,
    PatterError,
    ProvisionError,
)
from getpatter.net.messages import Exchange, HttpRequest, HttpResponse, WebhookReply, WebhookRequest
from getpatter.net.refusals import refusal
from getpatter.types import masked

__all__ = ["Carrier", "Twilio", "TwilioAdapter"]

logger = logging.getLogger(__name__)

_VERSION: Final = "2010-04-01"
_DIGITS: Final = re.compile(r"[0-9A-D*#wW]{1,32}", re.ASCII)
_NUMBERS: Final = "/IncomingPhoneNumbers.json"
_MOST_PAGES: Final = 20
_NOT_IN_PROGRESS: Final = 21220
_WAITING: Final = frozenset({"queued", "initiated", "ringing"})


class _Number(msgspec.Struct):
    sid: str
    phone_number: str = ""
    voice_url: str | None = None
    voice_application_sid: str | None = None
    trunk_sid: str | None = None


class _Offer(msgspec.Struct):
    phone_number: str


class _Answer(msgspec.Struct):
    """What we read of the answers to REST requests, refusals included."""

    sid: str | None = None
    phone_number: str | None = None
    status: str | int | None = None
    price: str | float | None = None
    price_unit: str | None = None
    code: int | None = None
    incoming_phone_numbers: list[_Number] = []
    next_page_uri: str | None = None
    available_phone_numbers: list[_Offer] = []


_answers: Final = msgspec.json.Decoder(_Answer)


@dataclass(frozen=True, slots=True)
class Carrier:
    """A Twilio account. Frozen; opens nothing when it is made.

    ```python
    phone = Patter(carrier=Twilio(), phone_number="+15550001234")  # TWILIO_ACCOUNT_SID, TWILIO_AUTH_TOKEN
    ```

    Raises:
        ValueError: a credential is neither given nor in the environment, or an option is wrong.
    """

    name: ClassVar[str] = "twilio"
    names_calls_late: ClassVar[bool] = False
    webhook_kinds: ClassVar[frozenset[str]] = frozenset(
        {"voice", "status", "amd", "recording", "stream", "transfer", "conference"}
    )

    account_sid: str = ""
    """`AC` and 32 hexadecimal digits. Empty: `TWILIO_ACCOUNT_SID`."""
    auth_token: str = field(default="", repr=False)
    """The primary auth token; it also signs webhooks. Empty: `TWILIO_AUTH_TOKEN`."""
    base_url: str = field(default="", kw_only=True)
    """Scheme and host of the REST API, where it is not Twilio's own. Empty: `TWILIO_BASE_URL`."""
    region: str = field(default="", kw_only=True)
    """Twilio region such as `"ie1"`."""
    edge: str = field(default="", kw_only=True)
    """Twilio edge such as `"dublin"`."""
    dtmf_via: Literal["audio", "redirect"] = field(default="audio", kw_only=True)
    """How keys are sent: as tones in the agent's audio, or by a redirect that restarts the stream."""

    def __post_init__(self) -> None:
        for name in ("account_sid", "auth_token"):
            variable = f"TWILIO_{name.upper()}"
            found = optional_credential(
                variable, getattr(self, name), argument=name, owner="Twilio"
            )
            object.__setattr__(self, name, found)
        object.__setattr__(self, "base_url", self.base_url or setting("TWILIO_BASE_URL"))
        if not self.account_sid or not self.auth_token:
            raise PatterConfigError(
                "Twilio needs an account SID and an auth token: pass Twilio(account_sid=..., "
                "auth_token=...) or set TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN",
                vendor=forms.NAME,
            )
        if self.dtmf_via not in {"audio", "redirect"}:
            raise PatterConfigError(
                f"dtmf_via is 'audio' or 'redirect', not {self.dtmf_via!r}", vendor=forms.NAME
            )

    @classmethod
    def from_config(cls, config: LocalConfig) -> Self:
        """The account of a `LocalConfig`; the address of the REST API is that of `TWILIO_BASE_URL`."""
        carrier = cls.without_credentials(config.twilio_sid, config.twilio_token)
        object.__setattr__(carrier, "base_url", setting("TWILIO_BASE_URL"))
        return carrier

    @classmethod
    def without_credentials(cls, account_sid: str = "", auth_token: str = "") -> Self:
        """For a server that only answers calls: takes what it is given and never reads the environment.

        Without `auth_token` no webhook can be verified, so each is refused (503) unless the server was
        told `require_signature=False`; requests to Twilio raise `AuthenticationError`.
        """
        carrier = object.__new__(cls)
        for each in fields(cls):
            object.__setattr__(carrier, each.name, each.default)
        object.__setattr__(carrier, "account_sid", account_sid)
        object.__setattr__(carrier, "auth_token", auth_token)
        return carrier

    # ------------------------------------------------------------------------------------ webhooks

    def verify(self, request: WebhookRequest, *, host: str, now: float) -> Verdict:
        """Check `X-Twilio-Signature` of a webhook, or of the upgrade request of a media socket.

        `host` may have a port: Twilio signs some URLs with it and some without. Signatures carry no time,
        so `now` decides nothing.
        """
        if not self.auth_token:
            return Verdict.UNSIGNABLE
        if "x-twilio-webhooks-signature-settings" in request.headers:
            logger.warning("twilio.shared_key_unsupported: let Twilio sign with the auth token")
            return Verdict.FORGED
        genuine = forms.is_signed(request, host=host, auth_token=self.auth_token)
        return Verdict.GENUINE if genuine else Verdict.FORGED

    def read(self, kind: str, request: WebhookRequest) -> Sequence[WebhookEvent]:
        """Parse a verified webhook.

        Raises:
            WireError: a field is missing or of the wrong shape.
        """
        return forms.events(kind, request)

    def connect(self, stream: Stream) -> WebhookReply:
        """`<Connect><Stream>`: both directions of the call's audio go to our socket."""
        return forms.reply(forms.connect(stream))

    def reject_busy(self) -> WebhookReply:
        """`<Reject reason="busy"/>`: the caller hears a busy tone and pays nothing."""
        return forms.reply(forms.element("Reject", reason="busy"))

    def acknowledge(self, kind: str) -> WebhookReply:
        """204; an empty document where Twilio waits for instructions, which ends the call."""
        return forms.reply() if kind in {"voice", "transfer"} else WebhookReply(204)

    def follow_up(self, call_id: str, stream: Stream | None) -> None:
        """Nothing: the document that answers the webhook says it all."""

    def open_stream(self, call_id: str, stream: Stream, *, attempt: int) -> None:
        """Nothing: a stream is opened by a document, never by a request."""

    def wire(self) -> Wire:
        """A fresh translator for one media socket."""
        return Wire()

    # ---------------------------------------------------------------------------------------- REST

    def point_number(self, number: str, *, host: str = "", url: str = "") -> Exchange[None]:
        """Let calls to `number` ring at `https://host/webhooks/twilio/voice`, or at `url`.

        Raises:
            ProvisionError: the account does not own the number.
        """
        forms.check_number(number)
        path = f"/IncomingPhoneNumbers.json?{urlencode({'PhoneNumber': number})}"
        found = self._body((yield self._request("GET", path))).incoming_phone_numbers
        if not found:
            raise ProvisionError(
                f"the Twilio account has no number {masked(number)}: buy it there, or check phone_number",
                vendor=forms.NAME,
            )
        owned = found[0]
        if owned.voice_application_sid or owned.trunk_sid:
            logger.warning(
                "twilio.number_overridden number=%s by=%s: Twilio ignores the webhook of a number that "
                "belongs to an application or a trunk",
                masked(number),
                "application" if owned.voice_application_sid else "trunk",
            )
        form = [("VoiceUrl", url or forms.hook(host, "voice")), ("VoiceMethod", "POST")]
        path = f"/IncomingPhoneNumbers/{quote(owned.sid, safe='')}.json"
        self._body((yield self._request("POST", path, form, is_repeatable=True)))

    def own_numbers(self) -> Exchange[list[OwnedNumber]]:
        """The account's numbers, and where they ring."""
        found: list[OwnedNumber] = []
        path = f"{_NUMBERS}?PageSize=1000"
        for _ in range(_MOST_PAGES):
            page = self._body((yield self._request("GET", path)))
            found += map(_owned, page.incoming_phone_numbers)
            below = (page.next_page_uri or "").partition(_NUMBERS)[2]
            if not below.startswith("?"):
                break
            path = f"{_NUMBERS}{below}"
        return found

    def buy_number(self, country: str) -> Exchange[str]:
        """Buy a number of `country` (`"US"`) that takes calls; returns it. Costs money at once. Never repeated.

        Raises:
            ProvisionError: none is for sale, or Twilio would not sell what it offered.
        """
        code = checked_country(country, vendor=forms.NAME)
        refused: PatterError | None = None
        for kind in ("Local", "National", "Mobile"):
            query = urlencode({"VoiceEnabled": "true", "PageSize": OFFERS})
            path = f"/AvailablePhoneNumbers/{code}/{kind}.json?{query}"
            found = yield self._request("GET", path)
            if found.status == HTTPStatus.NOT_FOUND:  # no numbers of this kind in that country
                continue
            for offer in self._body(found).available_phone_numbers:
                form = [("PhoneNumber", offer.phone_number)]
                bought = yield self._request("POST", "/IncomingPhoneNumbers.json", form)
                if bought.status not in NOT_FOR_SALE:
                    return self._body(bought).phone_number or offer.phone_number
                refused = self._refusal(bought)
        raise ProvisionError(
            f"Twilio has no number of {code} for this account"
            + (f": {refused}" if refused else ""),
            vendor=forms.NAME,
        )

    def dial(self, dial: Dial) -> Exchange[str]:
        """Place a call and connect it to `dial.stream` when it is answered. Never repeated.

        Raises:
            PatterConfigError: a number is not one, or the document is too long.
        """
        host = dial.stream.host
        forms.check_target(dial.to)
        forms.check_number(dial.from_number)
        form = [
            ("To", dial.to),
            ("From", dial.from_number),
            ("Twiml", forms.inline(forms.connect(dial.stream))),
            ("StatusCallback", forms.hook(host, "status")),
            ("StatusCallbackMethod", "POST"),
            *(
                ("StatusCallbackEvent", event)
                for event in ("initiated", "ringing", "answered", "completed")
            ),
            ("TimeLimit", str(dial.max_call_duration)),
        ]
        if dial.ring_timeout is not None:
            form.append(("Timeout", str(dial.ring_timeout)))
        if dial.detects_machines:
            form += [
                ("MachineDetection", "DetectMessageEnd"),
                ("AsyncAmd", "true"),
                ("AsyncAmdStatusCallback", forms.hook(host, "amd")),
                ("AsyncAmdStatusCallbackMethod", "POST"),
            ]
        return (yield from self._place(form))

    def dial_stream(  # noqa: PLR0913 - what a call is made of
        self,
        to: str,
        from_number: str,
        stream_url: str,
        *,
        ring_timeout: int | None = 25,
        max_call_duration: int = 3600,
        parameters: Mapping[str, str] | None = None,
        status_callback: str = "",
    ) -> Exchange[str]:
        """Place a call and connect it to a media socket that is not ours. Never repeated.

        Raises:
            PatterConfigError: a number or a URL is not one, or the document is too long.
        """
        forms.check_target(to)
        forms.check_number(from_number)
        document = forms.inline(forms.connect_to(stream_url, parameters or {}))
        form = [
            ("To", to),
            ("From", from_number),
            ("Twiml", document),
            ("TimeLimit", str(max_call_duration)),
        ]
        if ring_timeout is not None:
            form.append(("Timeout", str(ring_timeout)))
        if status_callback:
            form += [("StatusCallback", status_callback), ("StatusCallbackMethod", "POST")]
        return (yield from self._place(form))

    def _place(self, form: Sequence[tuple[str, str]]) -> Exchange[str]:
        sid = self._body((yield self._request("POST", "/Calls.json", form))).sid or ""
        if not forms.CALL_SID.fullmatch(sid):
            raise PatterConnectionError(
                "Twilio placed the call but named no id", vendor=forms.NAME, retryable=False
            )
        return sid

    def hang_up(self, call_id: str) -> Exchange[None]:
        """End a call: `completed` when it runs, `canceled` while it rings; over already is fine too."""
        for status in ("completed", "canceled", "completed"):  # it may be answered in between
            response = yield self._update(call_id, Status=status)
            if response.status == HTTPStatus.NOT_FOUND:
                return
            if _refusal_code(response) == _NOT_IN_PROGRESS:
                if not (yield from self.is_alive(call_id)):
                    return
            elif self._body(response).status not in _WAITING or status == "canceled":
                return
        raise PatterConnectionError("Twilio would not end the call", vendor=forms.NAME)

    def is_alive(self, call_id: str) -> Exchange[bool]:
        """Whether the call has no final status yet."""
        response = yield self._request("GET", _call_path(call_id))
        if response.status == HTTPStatus.NOT_FOUND:
            return False
        return self._body(response).status not in FINAL_STATUSES

    def record(self, call_id: str, *, host: str) -> Exchange[None]:
        """Record both sides on channels of their own, from now on."""
        form = [
            ("RecordingChannels", "dual"),
            ("RecordingStatusCallback", forms.hook(host, "recording")),
            ("RecordingStatusCallbackMethod", "POST"),
            ("RecordingStatusCallbackEvent", "completed absent"),
        ]
        self._body((yield self._request("POST", _call_path(call_id, "/Recordings"), form)))

    def limit(self, call_id: str, *, seconds: int) -> Exchange[None]:
        """Let Twilio end the call `seconds` after it began."""
        self._body((yield self._update(call_id, TimeLimit=str(seconds))))

    def transfer(
        self,
        call_id: str,
        to: str,
        *,
        host: str,
        from_number: str,
        serial: int = 0,
        keep: Keep | None = None,
    ) -> Exchange[None]:
        """Connect the caller to `to`, a number or a `sip:` URI, with the caller's own number shown.

        `from_number` is not needed: Twilio shows the callee the number that called. Nor are `serial`,
        for a repeated redirect is a new one, and `keep`, for the document goes with the request.

        Raises:
            PatterConfigError: `to` is neither.
        """
        del from_number, serial, keep
        forms.check_target(to)
        after = f"{forms.hook(host, 'transfer')}?{urlencode({'call': call_id})}"
        verb = forms.dial(to, answerOnBridge="true", timeout="30", action=after)
        # The action comes when they have talked; that they talk at all is told here.
        verb[0].set("statusCallback", forms.hook(host, "status"))
        verb[0].set("statusCallbackEvent", "answered")
        document = forms.inline(verb)
        yield from self._redirect(call_id, document)

    def warm(self, order: Warm, *, keep: Keep) -> WarmTransfer:
        """By a conference; the documents go with the requests."""
        del keep
        return WarmTransfer(order, self._redirect, self._place)

    def reconnect(self, call_id: str, stream: Stream, *, keep: Keep) -> Exchange[None]:
        """Redirect a running call to a new stream."""
        del keep
        yield from self._redirect(call_id, forms.inline(forms.connect(stream)))

    def leave_message(
        self, call_id: str, text: str, *, language: str, host: str = "", keep: Keep | None = None
    ) -> Exchange[None]:
        """Say `text` by Twilio's voice, then hang up. `language` is `"en"` or `"en-GB"`.

        Raises:
            PatterConfigError: the message makes the document longer than 4000 characters.
        """
        del host, keep
        document = forms.inline(forms.say(text, language), forms.element("Hangup"))
        self._body((yield self._update(call_id, is_repeatable=False, Twiml=document)))

    def send_keys(self, call_id: str, digits: str, *, delay_ms: int, serial: int = 0) -> None:
        """Nothing: Twilio presses keys only by a redirect (`send_digits`); otherwise tones are audio."""

    def send_digits(self, call_id: str, digits: str, *, stream: Stream) -> Exchange[None]:
        """Press keys by leaving the stream, playing them, and connecting to `stream`, a new one.

        Only for `dtmf_via="redirect"`. `w` waits half a second, `W` one.

        Raises:
            PatterConfigError: other characters, none, or more than 32.
        """
        if not _DIGITS.fullmatch(digits):
            raise forms.invalid("digits are 1 to 32 of 0-9 A-D # * w W")
        document = forms.inline(forms.element("Play", digits=digits), forms.connect(stream))
        self._body((yield self._update(call_id, is_repeatable=False, Twiml=document)))

    def price(self, call_id: str) -> Exchange[float | None]:
        """What the call cost in US dollars; `None` while Twilio does not know, or bills another currency."""
        call = self._body((yield self._request("GET", _call_path(call_id))))
        if call.price is None or (call.price_unit or "USD").upper() != "USD":
            return None
        try:
            return abs(float(call.price))
        except ValueError:
            return None

    # ------------------------------------------------------------------------- requests and answers

    def _redirect(self, call_id: str, document: str) -> Exchange[None]:
        self._body((yield self._update(call_id, is_repeatable=False, Twiml=document)))

    def _update(self, call_id: str, *, is_repeatable: bool = True, **form: str) -> HttpRequest:
        return self._request(
            "POST", _call_path(call_id), [*form.items()], is_repeatable=is_repeatable
        )

    def _request(
        self,
        method: str,
        path: str,
        form: Sequence[tuple[str, str]] = (),
        *,
        is_repeatable: bool = False,
    ) -> HttpRequest:
        if not self.account_sid or not self.auth_token:
            raise AuthenticationError(
                "requests to Twilio need an account SID and an auth token", vendor=forms.NAME
            )
        login = base64.b64encode(f"{self.account_sid}:{self.auth_token}".encode()).decode()
        headers = {"authorization": f"Basic {login}", "accept": "application/json"}
        if form:
            headers["content-type"] = "application/x-www-form-urlencoded"
        return HttpRequest(
            method,
            f"{self._origin()}/{_VERSION}/Accounts/{quote(self.account_sid, safe='')}{path}",
            headers,
            urlencode(form).encode(),
            is_repeatable=is_repeatable or method == "GET",
        )

    def _origin(self) -> str:
        if self.base_url:
            return self.base_url.rstrip("/")
        region = self.region or ("us1" if self.edge else "")
        return "https://" + ".".join(filter(None, ("api", self.edge, region, "twilio.com")))

    def _body(self, response: HttpResponse) -> _Answer:
        """What a success says; a refusal is raised in Twilio's own words."""
        if _is_success(response):
            return _answer(response.body)
        raise self._refusal(response)

    def _refusal(self, response: HttpResponse) -> PatterError:
        return refusal(
            forms.NAME,
            response.status,
            response.body.decode(errors="replace"),
            headers=response.headers,
            secrets=(self.auth_token, self.account_sid),
        )


Twilio = Carrier


def _call_path(call_id: str, below: str = "") -> str:
    if not forms.CALL_SID.fullmatch(call_id):
        raise forms.invalid("that is not the id of a Twilio call")
    return f"/Calls/{call_id}{below}.json"


def _owned(number: _Number) -> OwnedNumber:
    other = "application" if number.voice_application_sid else "trunk" if number.trunk_sid else ""
    return OwnedNumber(
        number.phone_number,
        "" if other else number.voice_url or "",
        f"decided by its {other}" if other else "",
    )


def _answer(body: bytes) -> _Answer:
    """What could be read; an empty answer when nothing could."""
    try:
        return _answers.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _Answer()


def _is_success(response: HttpResponse) -> bool:
    return response.status // 100 == 2  # noqa: PLR2004 - 2xx


def _refusal_code(response: HttpResponse) -> int:
    return 0 if _is_success(response) else _answer(response.body).code or 0

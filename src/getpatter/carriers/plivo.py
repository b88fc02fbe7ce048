"""Plivo: its signatures, webhooks, XML documents, REST requests and media frames.

Protocols: https://www.plivo.com/docs/voice/api/call, https://www.plivo.com/docs/voice/xml,
https://www.plivo.com/docs/voice-agents/audio-streaming. Everything here is pure: requests and frames are data.

Numbers are written without `+` on Plivo's side and with it on ours. The id that a dial request is answered with may
not be the call's own: what belongs to a placed call is known by the reference in the URLs it was given.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from http import HTTPStatus
from typing import ClassVar, Final, Literal, Self
from urllib.parse import quote, urlencode

import msgspec

from getpatter.carriers import _plivo_forms as forms
from getpatter.carriers._plivo_adapter import PlivoAdapter
from getpatter.carriers._plivo_warm import WarmTransfer
from getpatter.carriers._plivo_wire import Wire
from getpatter.carriers.base import (
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
from getpatter.types import is_e164, masked

__all__ = ["Carrier", "Plivo", "PlivoAdapter"]

_ORIGIN: Final = "https://api.plivo.com"
_DIGITS: Final = re.compile(r"[0-9A-D*#wW]{1,32}", re.ASCII)
_LONGEST_CALL: Final = 14400
_LONGEST_RING: Final = 600
_LONGEST_MESSAGE: Final = 3000
_DETECTION_MS: Final = 5000


class _Listed(msgspec.Struct):
    """An entry of a list: an application, or a number for sale."""

    app_id: str = ""
    app_name: str = ""
    number: str = ""
    application: str | None = None
    """Its path, of a number of the account."""


class _Answer(msgspec.Struct):
    """What we read of the answers to REST requests."""

    request_uuid: str | list[str] | None = None
    app_id: str | None = None
    objects: list[_Listed] = []
    answer_url: str | None = None
    total_amount: str | float | None = None


_PAGE: Final = 20
_MOST_PAGES: Final = 50
_answers: Final = msgspec.json.Decoder(_Answer)


@dataclass(frozen=True, slots=True)
class Carrier:
    """A Plivo account. Frozen; opens nothing when it is made.

    ```python
    phone = Patter(carrier=Plivo(), phone_number="+15550001234")  # PLIVO_AUTH_ID, PLIVO_AUTH_TOKEN
    ```

    Raises:
        ValueError: a credential is neither given nor in the environment.
    """

    name: ClassVar[str] = forms.NAME
    names_calls_late: ClassVar[bool] = True
    webhook_kinds: ClassVar[frozenset[str]] = frozenset(
        {"voice", "status", "amd", "recording", "transfer", "voicemail"}
    )

    auth_id: str = ""
    """`MA…` of the account, or `SA…` of a sub-account. Empty: `PLIVO_AUTH_ID`."""
    auth_token: str = field(default="", repr=False)
    """Its token, which also signs webhooks. Empty: `PLIVO_AUTH_TOKEN`."""
    base_url: str = field(default="", kw_only=True)
    """Scheme and host of the REST API, where it is not Plivo's own. Empty: `PLIVO_BASE_URL`."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "base_url", self.base_url or setting("PLIVO_BASE_URL"))
        for name in ("auth_id", "auth_token"):
            variable = f"PLIVO_{name.upper()}"
            found = optional_credential(variable, getattr(self, name), argument=name, owner="Plivo")
            object.__setattr__(self, name, found)
        if not self.auth_id or not self.auth_token:
            raise PatterConfigError(
                "Plivo needs an auth id and an auth token: pass Plivo(auth_id=..., auth_token=...) or "
                "set PLIVO_AUTH_ID and PLIVO_AUTH_TOKEN",
                vendor=forms.NAME,
            )

    @classmethod
    def from_config(cls, config: LocalConfig) -> Self:
        """The account of a `LocalConfig`; the address of the REST API is that of `PLIVO_BASE_URL`."""
        carrier = cls.without_credentials(config.plivo_auth_id, config.plivo_auth_token)
        object.__setattr__(carrier, "base_url", setting("PLIVO_BASE_URL"))
        return carrier

    @classmethod
    def without_credentials(cls, auth_id: str = "", auth_token: str = "") -> Self:
        """For a server that only answers calls: takes what it is given and never reads the environment.

        Without `auth_token` no webhook can be verified, so each is refused (503) unless the server was
        told `require_signature=False`; requests to Plivo raise `AuthenticationError`.
        """
        carrier = object.__new__(cls)
        for each in fields(cls):
            object.__setattr__(carrier, each.name, each.default)
        object.__setattr__(carrier, "auth_id", auth_id)
        object.__setattr__(carrier, "auth_token", auth_token)
        return carrier

    # ------------------------------------------------------------------------------------ webhooks

    def verify(self, request: WebhookRequest, *, host: str, now: float) -> Verdict:
        """Check `X-Plivo-Signature-V3` of a webhook. Signatures carry no time, so `now` decides nothing.

        What Plivo signs of an upgrade request is documented nowhere, so there the token alone decides.
        """
        del now
        if not self.auth_token or request.headers.get("upgrade", "").lower() == "websocket":
            return Verdict.UNSIGNABLE
        genuine = forms.is_signed(request, host=host, auth_token=self.auth_token)
        return Verdict.GENUINE if genuine else Verdict.FORGED

    def read(self, kind: str, request: WebhookRequest) -> Sequence[WebhookEvent]:
        """Parse a verified webhook.

        Raises:
            WireError: a field is missing or of the wrong shape.
        """
        return forms.events(kind, request)

    def connect(self, stream: Stream) -> WebhookReply:
        """`<Stream>`: both directions of the call's audio go to our socket."""
        return forms.reply(forms.connect(stream))

    def reject_busy(self) -> WebhookReply:
        """`<Hangup reason="busy"/>`."""
        return forms.reply(forms.element("Hangup", reason="busy"))

    def acknowledge(self, kind: str) -> WebhookReply:
        """200; an empty document where Plivo waits for instructions, which ends the call."""
        is_waiting = kind in {"voice", "transfer", "voicemail"}
        return forms.reply() if is_waiting else WebhookReply(200)

    def follow_up(self, call_id: str, stream: Stream | None) -> None:
        """Nothing: the document that answers the webhook says it all."""

    def open_stream(self, call_id: str, stream: Stream, *, attempt: int) -> None:
        """Nothing: a stream is opened by a document."""

    def wire(self) -> Wire:
        """A fresh translator for one media socket."""
        return Wire()

    # ---------------------------------------------------------------------------------------- REST

    def point_number(self, number: str, *, host: str = "", url: str = "") -> Exchange[None]:
        """Let calls to `number` ring at `https://host/webhooks/plivo/voice`, by an application of its own.

        Or at `url`, which is then told of the call's end too.

        The application is called `getpatter-<number>` and used again at every start.

        Raises:
            ProvisionError: the account does not own the number, or the application could not be made.
        """
        if not is_e164(number):
            raise forms.invalid(f"{masked(number)} is not a number such as +15550001234")
        digits = forms.bare(number)
        name = f"getpatter-{digits}"
        settings = {
            "answer_url": url or forms.hook(host, "voice"),
            "answer_method": "POST",
            "hangup_url": url or forms.hook(host, "status"),
            "hangup_method": "POST",
        }
        found = self._body(
            (yield self._request("GET", f"/Application/?{urlencode({'app_name': name})}"))
        )
        # The filter finds names that begin so.
        app_id = next((each.app_id for each in found.objects if each.app_name == name), "")
        if app_id:
            path = f"/Application/{quote(app_id, safe='')}/"
            self._body((yield self._request("POST", path, settings, is_repeatable=True)))
        else:
            made = yield self._request("POST", "/Application/", {"app_name": name, **settings})
            app_id = self._body(made).app_id or ""
        if not app_id:
            raise ProvisionError("Plivo made an application but named no id", vendor=forms.NAME)
        linked = yield self._request(
            "POST", f"/Number/{digits}/", {"app_id": app_id}, is_repeatable=True
        )
        if linked.status == HTTPStatus.NOT_FOUND:
            raise ProvisionError(
                f"the Plivo account has no number {masked(number)}: rent it there, or check phone_number",
                vendor=forms.NAME,
            )
        self._body(linked)

    def own_numbers(self) -> Exchange[list[OwnedNumber]]:
        """The account's numbers, and where their applications are told of calls."""
        listed: list[_Listed] = []
        for page in range(_MOST_PAGES):
            query = urlencode({"limit": _PAGE, "offset": page * _PAGE})
            some = self._body((yield self._request("GET", f"/Number/?{query}"))).objects
            listed += some
            if len(some) < _PAGE:
                break
        urls: dict[str, str] = {"": ""}
        for each in listed:
            path = each.application or ""
            if path not in urls:
                app_id = path.rstrip("/").rpartition("/")[2]
                found = yield self._request("GET", f"/Application/{quote(app_id, safe='')}/")
                is_gone = found.status == HTTPStatus.NOT_FOUND
                urls[path] = "" if is_gone else self._body(found).answer_url or ""
        return [
            OwnedNumber(f"+{each.number.removeprefix('+')}", urls[each.application or ""])
            for each in listed
        ]

    def buy_number(self, country: str) -> Exchange[str]:
        """Rent a number of `country` (`"US"`) that takes calls; returns it. Costs money at once. Never repeated.

        Raises:
            ProvisionError: none is to be had, or Plivo would not give what it offered.
        """
        code = checked_country(country, vendor=forms.NAME)
        query = urlencode({"country_iso": code, "services": "voice", "limit": OFFERS})
        found = yield self._request("GET", f"/PhoneNumber/?{query}")
        offers = [] if found.status in NOT_FOR_SALE else self._body(found).objects
        refused: PatterError | None = self._refusal(found) if found.status in NOT_FOR_SALE else None
        for offer in offers:
            bought = yield self._request(
                "POST", f"/PhoneNumber/{quote(offer.number, safe='')}/", {}
            )
            if bought.status not in NOT_FOR_SALE:
                self._body(bought)
                return f"+{offer.number.removeprefix('+')}"
            refused = self._refusal(bought)
        raise ProvisionError(
            f"Plivo has no number of {code} for this account" + (f": {refused}" if refused else ""),
            vendor=forms.NAME,
        )

    def dial(self, dial: Dial) -> Exchange[str]:
        """Place a call. Its document is fetched when it is answered (`CallArrived` with our reference).

        Returns the id of the request, which need not be that of the call. Never repeated.

        Raises:
            PatterConfigError: a number is not one.
        """
        stream = dial.stream
        host, reference = stream.host, stream.reference
        if not is_e164(dial.from_number):
            raise forms.invalid(f"{masked(dial.from_number)} is not a number such as +15550001234")
        told = forms.hook(host, "status", ref=reference)
        body: dict[str, object] = {
            "from": forms.bare(dial.from_number),
            "to": forms.bare(dial.to),
            "answer_url": forms.hook(host, "voice", ref=reference),
            "answer_method": "POST",
            "hangup_url": told,
            "hangup_method": "POST",
            "ring_url": told,
            "ring_method": "POST",
            "time_limit": min(dial.max_call_duration, _LONGEST_CALL),
        }
        if dial.ring_timeout is not None:
            body["ring_timeout"] = min(dial.ring_timeout, _LONGEST_RING)
        if dial.detects_machines:
            body |= {
                "machine_detection": "true",
                "machine_detection_time": _DETECTION_MS,
                "machine_detection_url": forms.hook(host, "amd", ref=reference),
                "machine_detection_method": "POST",
            }
        return (yield from self._place(body))

    def dial_document(
        self,
        to: str,
        from_number: str,
        answer_url: str,
        *,
        ring_timeout: int | None = 25,
        max_call_duration: int = 3600,
    ) -> Exchange[str]:
        """Place a call whose document is fetched from `answer_url` when it is answered. Never repeated.

        Raises:
            PatterConfigError: a number is not one.
        """
        if not is_e164(from_number):
            raise forms.invalid(f"{masked(from_number)} is not a number such as +15550001234")
        body: dict[str, object] = {
            "from": forms.bare(from_number),
            "to": forms.bare(to),
            "answer_url": answer_url,
            "answer_method": "POST",
            "time_limit": min(max_call_duration, _LONGEST_CALL),
        }
        if ring_timeout is not None:
            body["ring_timeout"] = min(ring_timeout, _LONGEST_RING)
        return (yield from self._place(body))

    def _place(self, body: Mapping[str, object]) -> Exchange[str]:
        found = self._body((yield self._request("POST", "/Call/", body))).request_uuid or ""
        request_id = found[0] if isinstance(found, list) else found
        if not forms.CALL_ID.fullmatch(request_id):
            raise PatterConnectionError(
                "Plivo placed the call but named no id", vendor=forms.NAME, retryable=False
            )
        return request_id

    def hang_up(self, call_id: str) -> Exchange[None]:
        """End a call, ringing or running; over already is fine too."""
        response = yield self._request("DELETE", _call_path(call_id), is_repeatable=True)
        if response.status != HTTPStatus.NOT_FOUND:
            self._body(response)

    def is_alive(self, call_id: str) -> Exchange[bool]:
        """Whether Plivo counts the call among the live ones."""
        response = yield self._request("GET", _call_path(call_id, "?status=live"))
        if response.status == HTTPStatus.NOT_FOUND:
            return False
        self._body(response)
        return True

    def record(self, call_id: str, *, host: str) -> Exchange[None]:
        """Record both sides on channels of their own, from now on; without a limit Plivo stops after a minute."""
        body = {
            "time_limit": _LONGEST_CALL,
            "file_format": "mp3",
            "record_channel_type": "stereo",
            "callback_url": forms.hook(host, "recording"),
            "callback_method": "POST",
        }
        self._body((yield self._request("POST", _call_path(call_id, "Record/"), body)))

    def limit(self, call_id: str, *, seconds: int) -> Exchange[None]:
        """Nothing: a call that has begun gets no time limit at Plivo."""
        del call_id, seconds
        yield from ()

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
        """Connect the caller to `to`, a number or a `sip:` URI, which sees `from_number`.

        Raises:
            PatterConfigError: `to` is neither, or there is no `keep`.
        """
        del serial
        document = forms.reply(forms.dial(to, from_number, told=forms.hook(host, "transfer")))
        yield from self._redirect(call_id, "transfer", document, host, keep)

    def warm(self, order: Warm, *, keep: Keep) -> WarmTransfer:
        """By a conference, in documents that are kept for Plivo."""
        return WarmTransfer(order, keep, self._to_transfer, self._place)

    def reconnect(self, call_id: str, stream: Stream, *, keep: Keep) -> Exchange[None]:
        """Redirect a running call to a new stream."""
        yield from self._to_transfer(call_id, self.connect(stream), stream.host, keep)

    def leave_message(
        self, call_id: str, text: str, *, language: str, host: str = "", keep: Keep | None = None
    ) -> Exchange[None]:
        """Speak `text` by Plivo's voice, then hang up. `language` is `"en"` or `"en-GB"`.

        Raises:
            PatterConfigError: the message is longer than 3000 characters, or empty, or there is no `keep`.
        """
        if not 0 < len(text) <= _LONGEST_MESSAGE:
            raise forms.invalid(f"a message of {len(text)} characters; Plivo speaks 1 to 3000")
        document = forms.reply(forms.speak(text, language), forms.element("Hangup"))
        yield from self._redirect(call_id, "voicemail", document, host, keep)

    def send_keys(
        self, call_id: str, digits: str, *, delay_ms: int, serial: int = 0
    ) -> Exchange[None]:
        """Press keys. Plivo spaces them itself; `w` waits half a second, `W` one.

        Raises:
            PatterConfigError: other characters, none, or more than 32.
        """
        del delay_ms, serial
        if not _DIGITS.fullmatch(digits):
            raise forms.invalid("digits are 1 to 32 of 0-9 A-D # * w W")
        body = {"digits": digits, "leg": "aleg"}
        self._body((yield self._request("POST", _call_path(call_id, "DTMF/"), body)))

    def price(self, call_id: str) -> Exchange[float | None]:
        """What the call cost in US dollars; `None` while Plivo does not know."""
        response = yield self._request("GET", _call_path(call_id))
        if response.status == HTTPStatus.NOT_FOUND:
            return None
        amount = self._body(response).total_amount
        if amount is None:
            return None
        try:
            return float(amount)
        except ValueError:
            return None

    def _to_transfer(
        self, call_id: str, document: WebhookReply, host: str, keep: Keep
    ) -> Exchange[None]:
        yield from self._redirect(call_id, "transfer", document, host, keep)

    def _redirect(
        self,
        call_id: str,
        kind: Literal["transfer", "voicemail"],
        document: WebhookReply,
        host: str,
        keep: Keep | None,
    ) -> Exchange[None]:
        path = _call_path(call_id)
        if keep is None or not host:
            raise forms.invalid("Plivo fetches documents: somebody has to keep this one for it")
        url = forms.hook(host, kind, ref=keep(document))
        body = {"legs": "aleg", "aleg_url": url, "aleg_method": "POST"}
        self._body((yield self._request("POST", path, body)))

    # ------------------------------------------------------------------------- requests and answers

    def _request(
        self,
        method: Literal["GET", "POST", "DELETE"],
        path: str,
        body: Mapping[str, object] | None = None,
        *,
        is_repeatable: bool = False,
    ) -> HttpRequest:
        if not self.auth_id or not self.auth_token:
            raise AuthenticationError(
                "requests to Plivo need an auth id and an auth token", vendor=forms.NAME
            )
        login = base64.b64encode(f"{self.auth_id}:{self.auth_token}".encode()).decode()
        headers = {"authorization": f"Basic {login}", "accept": "application/json"}
        if body is not None:
            headers["content-type"] = "application/json"
        origin = self.base_url.rstrip("/") or _ORIGIN
        return HttpRequest(
            method,
            f"{origin}/v1/Account/{quote(self.auth_id, safe='')}{path}",
            headers,
            b"" if body is None else json.dumps(dict(body)).encode(),
            is_repeatable=is_repeatable or method == "GET",
        )

    def _body(self, response: HttpResponse) -> _Answer:
        """What a success says; a refusal is raised in Plivo's own words."""
        if response.status // 100 == 2:  # noqa: PLR2004 - 2xx
            return _answer(response.body)
        raise self._refusal(response)

    def _refusal(self, response: HttpResponse) -> PatterError:
        return refusal(
            forms.NAME,
            response.status,
            response.body.decode(errors="replace"),
            headers=response.headers,
            secrets=(self.auth_token, self.auth_id),
        )


Plivo = Carrier


def _call_path(call_id: str, below: str = "") -> str:
    if not forms.CALL_ID.fullmatch(call_id):
        raise forms.invalid("that is not the id of a Plivo call")
    return f"/Call/{call_id}/{below}"


def _answer(body: bytes) -> _Answer:
    """What could be read; an empty answer when nothing could."""
    try:
        return _answers.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _Answer()

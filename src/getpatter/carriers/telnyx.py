"""Telnyx: Call Control v2, its signatures, webhooks, REST commands and media frames.

Protocols: https://developers.telnyx.com/docs/voice/programmable-voice,
https://developers.telnyx.com/api-reference/call-commands. Everything here is pure: requests and frames are data.

A webhook of Telnyx is answered with nothing; what shall happen is said by commands of our own:

```
call.initiated  -->  answer  -->  call.answered  -->  streaming_start  -->  media socket
```

With L16 the audio is asked for in the last step, because `answer` has no field for the sampling rate.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from http import HTTPStatus
from typing import ClassVar, Final, Literal, Self
from urllib.parse import quote
from uuid import NAMESPACE_URL, uuid5

import msgspec

from getpatter.carriers import _telnyx_events as incoming
from getpatter.carriers import _telnyx_forms as forms
from getpatter.carriers._telnyx_adapter import TelnyxAdapter
from getpatter.carriers._telnyx_state import CALL_ID, NAME, Codec, State
from getpatter.carriers._telnyx_warm import WarmTransfer
from getpatter.carriers._telnyx_wire import ByteOrder, Wire
from getpatter.carriers.base import (
    Dial,
    Keep,
    Stream,
    Verdict,
    Warm,
    WebhookEvent,
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
from getpatter.types import MULAW_8K, PCM16_16K

__all__ = ["Carrier", "Telnyx", "TelnyxAdapter"]

logger = logging.getLogger(__name__)

_BASE: Final = "https://api.telnyx.com/v2"
_PLACEHOLDERS: Final = frozenset({"...", "…"})
"""What stands in examples where a key would stand; a program may still hold it."""
_DIGITS: Final = re.compile(r"[0-9A-D*#wW]{1,64}", re.ASCII)
_LONGEST_CALL: Final = 14400
_RINGS: Final = (5, 600)
_LONGEST_MESSAGE: Final = 3000
_KEY_MS: Final = 250
_ALREADY_OVER: Final = "90018"


class _Result(msgspec.Struct):
    call_control_id: str | None = None
    is_alive: bool | None = None
    application_name: str | None = None


class _Problem(msgspec.Struct):
    code: str | int | None = None


class _Answer(msgspec.Struct):
    """What we read of the answers to REST requests, refusals included."""

    data: _Result = msgspec.field(default_factory=_Result)
    errors: list[_Problem] = []


_answers: Final = msgspec.json.Decoder(_Answer)


@dataclass(frozen=True, slots=True)
class Carrier:
    """A Telnyx account with one Call Control application. Frozen; opens nothing when it is made.

    ```python
    phone = Patter(carrier=Telnyx(), phone_number="+15550001234")  # TELNYX_API_KEY, TELNYX_CONNECTION_ID
    ```

    Raises:
        ValueError: a credential is neither given nor in the environment, `public_key` is no Ed25519 key, or an
            option is wrong.
    """

    name: ClassVar[str] = NAME
    names_calls_late: ClassVar[bool] = False
    webhook_kinds: ClassVar[frozenset[str]] = frozenset({"voice"})

    api_key: str = field(default="", repr=False)
    """An API v2 key, `KEY…`. Empty: `TELNYX_API_KEY`."""
    connection_id: str = ""
    """Id of the Call Control application. Empty: `TELNYX_CONNECTION_ID`."""
    public_key: str = ""
    """Public key of the account, base64: webhooks are checked with it. Empty: `TELNYX_PUBLIC_KEY`."""
    media_codec: Codec = field(default="L16", kw_only=True)
    """`"L16"` (16 kHz) or `"PCMU"` (mu-law, 8 kHz)."""
    l16_byte_order: ByteOrder = field(default="auto", kw_only=True)
    """Byte order of L16: found out by listening, or `"little"` or `"big"`."""
    base_url: str = field(default="", kw_only=True)
    """Address of the REST API with its version, where it is not Telnyx's own. Empty: `TELNYX_BASE_URL`."""
    _key: bytes = field(default=b"", init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "base_url", self.base_url or setting("TELNYX_BASE_URL"))
        for name in ("api_key", "connection_id", "public_key"):
            given = getattr(self, name)
            if name == "public_key":
                given = _without_placeholder(given)
            found = optional_credential(
                f"TELNYX_{name.upper()}", given, argument=name, owner="Telnyx"
            )
            object.__setattr__(self, name, found)
        if not self.api_key or not self.connection_id:
            raise PatterConfigError(
                "Telnyx needs an API key and a connection id: pass Telnyx(api_key=..., "
                "connection_id=...) or set TELNYX_API_KEY and TELNYX_CONNECTION_ID",
                vendor=NAME,
            )
        if self.media_codec not in {"L16", "PCMU"}:
            raise forms.invalid(f"media_codec is 'L16' or 'PCMU', not {self.media_codec!r}")
        if self.l16_byte_order not in {"auto", "little", "big"}:
            raise forms.invalid(
                f"l16_byte_order is 'auto', 'little' or 'big', not {self.l16_byte_order!r}"
            )
        object.__setattr__(self, "_key", _checked_key(self.public_key))

    @classmethod
    def from_config(cls, config: LocalConfig) -> Self:
        """The account of a `LocalConfig`; the address of the REST API is that of `TELNYX_BASE_URL`."""
        return cls.without_credentials(
            config.telnyx_key,
            config.telnyx_connection_id,
            config.telnyx_public_key,
            base_url=setting("TELNYX_BASE_URL"),
        )

    @classmethod
    def without_credentials(
        cls,
        api_key: str = "",
        connection_id: str = "",
        public_key: str = "",
        *,
        media_codec: Codec = "L16",
        base_url: str = "",
    ) -> Self:
        """For a server that only answers calls: takes what it is given and never reads the environment.

        Without `public_key` no webhook can be verified, so each is refused (503) unless the server was told
        `require_signature=False`; requests to Telnyx without `api_key` raise `AuthenticationError`.

        Raises:
            ValueError: `public_key` is no Ed25519 key.
        """
        carrier = object.__new__(cls)
        for each in fields(cls):
            object.__setattr__(carrier, each.name, each.default)
        object.__setattr__(carrier, "api_key", api_key)
        object.__setattr__(carrier, "connection_id", connection_id)
        object.__setattr__(carrier, "media_codec", media_codec)
        object.__setattr__(carrier, "base_url", base_url)
        public_key = _without_placeholder(public_key)
        object.__setattr__(carrier, "public_key", public_key)
        object.__setattr__(carrier, "_key", _checked_key(public_key))
        return carrier

    # ------------------------------------------------------------------------------------ webhooks

    def verify(self, request: WebhookRequest, *, host: str, now: float) -> Verdict:
        """Check the Ed25519 signature over timestamp and body, then the timestamp's age."""
        del host
        if not self._key:
            return Verdict.UNSIGNABLE
        return incoming.verdict(request, key=self._key, now=now)

    def read(self, kind: str, request: WebhookRequest) -> Sequence[WebhookEvent]:
        """Parse a verified webhook.

        Raises:
            WireError: it is no JSON, or not of the documented shape.
        """
        del kind
        return incoming.events(request)

    def connect(self, stream: Stream) -> WebhookReply:
        """200 and nothing else: see `follow_up`."""
        del stream
        return WebhookReply(200)

    def reject_busy(self) -> WebhookReply:
        """200 and nothing else: see `follow_up`."""
        return WebhookReply(200)

    def acknowledge(self, kind: str) -> WebhookReply:
        """200 and nothing else."""
        del kind
        return WebhookReply(200)

    def follow_up(self, call_id: str, stream: Stream | None) -> Exchange[None]:
        """Answer the call, with its stream where that can be asked for here; without one: the line is busy."""
        if stream is None:
            return self._order(call_id, "reject", {"cause": "USER_BUSY"})
        return self._answer(call_id, stream)

    def open_stream(self, call_id: str, stream: Stream, *, attempt: int) -> Exchange[None]:
        """Connect the audio of an answered call, in `media_codec`; where that is refused, in PCMU, once."""
        if self.media_codec == "PCMU" or attempt:
            if attempt:
                logger.warning("telnyx.codec_refused asked=L16 using=PCMU")
            yield from self._stream(call_id, stream, "PCMU")
            return
        response = yield self._streaming(call_id, stream, "L16")
        if _refuses_stream(response):
            yield from self.open_stream(call_id, stream, attempt=1)
        else:
            self._body(response)

    def wire(self) -> Wire:
        """A fresh translator for one media socket."""
        wanted = PCM16_16K if self.media_codec == "L16" else MULAW_8K
        return Wire(wanted, self.l16_byte_order)

    # ------------------------------------------------------------------------------------- commands

    def point_number(self, number: str, *, host: str = "", url: str = "") -> Exchange[None]:
        """Let the application send its webhooks to `https://host/webhooks/telnyx/voice`, or to `url`.

        The number must belong to the application already; Telnyx keeps webhooks with applications.

        Raises:
            ProvisionError: there is no such application.
        """
        del number
        if not re.fullmatch(r"[0-9A-Za-z-]{1,64}", self.connection_id):
            raise forms.invalid("connection_id is not the id of a Telnyx application")
        path = f"/call_control_applications/{quote(self.connection_id, safe='')}"
        found = yield self.request("GET", path)
        if found.status == HTTPStatus.NOT_FOUND:
            raise ProvisionError(
                "the Telnyx account has no Call Control application with this connection_id",
                vendor=NAME,
            )
        body: dict[str, object] = {
            "webhook_event_url": url or _hook(host),
            "webhook_api_version": "2",
        }
        if name := self._body(found).application_name:
            body["application_name"] = name
        self._body((yield self.request("PATCH", path, body, is_repeatable=True)))

    def dial(self, dial: Dial) -> Exchange[str]:
        """Place a call and connect it to `dial.stream` when it is answered. Never repeated as it is.

        Raises:
            PatterConfigError: a number is not one.
        """
        stream = dial.stream
        body = self._dialled(dial.to, dial.from_number, dial.ring_timeout, dial.max_call_duration)
        if dial.detects_machines:
            body["answering_machine_detection"] = "greeting_end"
        with_stream = {
            **body,
            **forms.streaming_fields(stream, self.media_codec),
            "client_state": State(stream.reference, self.media_codec).text(),
            "command_id": _command_id(stream.reference, "dial", stream.token),
        }
        response = yield self.request("POST", "/calls", with_stream)
        if _refuses_stream(response):  # the stream is asked for when the call is answered
            logger.warning("telnyx.stream_postponed command=dial")
            body["client_state"] = State(stream.reference).text()
            body["command_id"] = _command_id(stream.reference, "dial alone", stream.token)
            response = yield self.request("POST", "/calls", body)
        return self._placed(response)

    def dial_stream(
        self,
        to: str,
        from_number: str,
        stream_url: str,
        *,
        ring_timeout: int | None = 25,
        max_call_duration: int = 3600,
        webhook_url: str = "",
    ) -> Exchange[str]:
        """Place a call and connect it to a media socket that is not ours. Never repeated.

        Raises:
            PatterConfigError: a number is not one, or there is no `connection_id`.
        """
        body = {
            **self._dialled(to, from_number, ring_timeout, max_call_duration),
            **forms.stream_to(stream_url, self.media_codec),
        }
        if webhook_url:
            body["webhook_url"] = webhook_url
        return self._placed((yield self.request("POST", "/calls", body)))

    def _dialled(
        self, to: str, from_number: str, ring_timeout: int | None, max_call_duration: int
    ) -> dict[str, object]:
        forms.check_target(to)
        forms.check_number(from_number)
        if not self.connection_id:
            raise forms.invalid("a call needs connection_id, the Call Control application it is of")
        body: dict[str, object] = {
            "connection_id": self.connection_id,
            "to": to,
            "from": from_number,
            "time_limit_secs": min(max_call_duration, _LONGEST_CALL),
        }
        if ring_timeout is not None:
            shortest, longest = _RINGS
            body["timeout_secs"] = max(shortest, min(ring_timeout, longest))
        return body

    def _placed(self, response: HttpResponse) -> str:
        call_id = self._body(response).call_control_id or ""
        if not CALL_ID.fullmatch(call_id):
            raise PatterConnectionError(
                "Telnyx placed the call but named no id", vendor=NAME, retryable=False
            )
        return call_id

    def hang_up(self, call_id: str) -> Exchange[None]:
        """End a call, ringing or running; over already is fine too."""
        response = yield self._command(call_id, "hangup")
        if not _is_over(response):
            self._body(response)

    def is_alive(self, call_id: str) -> Exchange[bool]:
        """Whether Telnyx still has the call."""
        response = yield self.request("GET", f"/calls/{_path_part(call_id)}")
        if _is_over(response):
            return False
        return bool(self._body(response).is_alive)

    def record(self, call_id: str, *, host: str) -> Exchange[None]:
        """Record both sides on channels of their own, from now on."""
        del host
        # The report of a recording names the call by its client state alone.
        body = {
            "format": "mp3",
            "channels": "dual",
            "client_state": State(call_id, self.media_codec).text(),
        }
        yield from self._order(call_id, "record_start", body)

    def limit(self, call_id: str, *, seconds: int) -> Exchange[None]:
        """Nothing: a call that has begun has no time limit at Telnyx."""
        del call_id, seconds
        yield from ()

    def price(self, call_id: str) -> None:
        """Nothing: Telnyx reports it, in an application that has `call_cost_in_webhooks` on."""

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
            PatterConfigError: `to` is neither, or `from_number` is no number.
        """
        del keep
        forms.check_target(to)
        forms.check_number(from_number)
        body = {
            "to": to,
            "from": from_number,
            "timeout_secs": 30,
            "time_limit_secs": _LONGEST_CALL,
            "webhook_url": _hook(host),
            "target_leg_client_state": State.of_target(call_id),
        }
        yield from self._order(call_id, "transfer", body, serial)

    def warm(self, order: Warm, *, keep: Keep) -> WarmTransfer:
        """By commands: music for the caller, a call to the target, a bridge."""
        del keep
        return WarmTransfer(order, self._order, self._place_target)

    def _place_target(self, body: Mapping[str, object]) -> Exchange[str]:
        mark = json.dumps(body, sort_keys=True)
        body = {
            **body,
            "connection_id": self.connection_id,
            "command_id": _command_id(str(body["link_to"]), "dial target", mark),
        }
        return self._placed((yield self.request("POST", "/calls", body)))

    def reconnect(self, call_id: str, stream: Stream, *, keep: Keep) -> Exchange[None]:
        """Ask for the audio of a running call again."""
        del keep
        yield from self.open_stream(call_id, stream, attempt=0)

    def leave_message(
        self, call_id: str, text: str, *, language: str, host: str = "", keep: Keep | None = None
    ) -> Exchange[None]:
        """Speak `text` by Telnyx's voice. Its end is reported (`MessageLeft`); hang up then.

        `language` is `"en"` or `"en-GB"`.

        Raises:
            PatterConfigError: the message is longer than 3000 characters, or empty.
        """
        del host, keep
        if not 0 < len(text) <= _LONGEST_MESSAGE:
            raise forms.invalid(f"a message of {len(text)} characters; Telnyx speaks 1 to 3000")
        body = {"payload": text, "voice": "female", "language": forms.locale(language)}
        yield from self._order(call_id, "speak", body)

    def send_keys(
        self, call_id: str, digits: str, *, delay_ms: int, serial: int = 0
    ) -> Exchange[None]:
        """Press keys, 250 ms each. `w` waits half a second, `W` one. At least `delay_ms` lie between two keys.

        Raises:
            PatterConfigError: other characters, none, or more than 64.
        """
        if not _DIGITS.fullmatch(digits):
            raise forms.invalid("digits are 1 to 64 of 0-9 A-D # * w W")
        body = {"digits": forms.spaced(digits, delay_ms), "duration_millis": _KEY_MS}
        yield from self._order(call_id, "send_dtmf", body, serial)

    def _answer(self, call_id: str, stream: Stream) -> Exchange[None]:
        alone: dict[str, object] = {"client_state": State(stream.reference).text()}
        if self.media_codec == "PCMU":
            with_stream = {
                **forms.streaming_fields(stream, "PCMU"),
                "client_state": State(stream.reference, "PCMU").text(),
            }
            del with_stream["stream_bidirectional_sampling_rate"]
            response = yield self._command(call_id, "answer", with_stream)
            if not _refuses_stream(response):
                self._body(response)
                return
            logger.warning("telnyx.stream_postponed command=answer")
        yield from self._order(call_id, "answer", alone)

    def _stream(self, call_id: str, stream: Stream, codec: Codec) -> Exchange[None]:
        self._body((yield self._streaming(call_id, stream, codec)))

    def _streaming(self, call_id: str, stream: Stream, codec: Codec) -> HttpRequest:
        body = {
            **forms.streaming_fields(stream, codec),
            "client_state": State(stream.reference, codec).text(),
        }
        return self._command(call_id, "streaming_start", body)

    # ------------------------------------------------------------------------- requests and answers

    def _order(
        self, call_id: str, verb: str, body: Mapping[str, object] | None = None, serial: int = 0
    ) -> Exchange[None]:
        self._body((yield self._command(call_id, verb, body, serial)))

    def _command(
        self, call_id: str, verb: str, body: Mapping[str, object] | None = None, serial: int = 0
    ) -> HttpRequest:
        """A command that may be sent again: its id tells Telnyx that it is the same one."""
        fields = body or {}
        mark = json.dumps([serial, fields], sort_keys=True)
        fields = {**fields, "command_id": _command_id(call_id, verb, mark)}
        path = f"/calls/{_path_part(call_id)}/actions/{verb}"
        return self.request("POST", path, fields, is_repeatable=True)

    def request(
        self,
        method: Literal["GET", "POST", "PATCH"],
        path: str,
        body: dict[str, object] | None = None,
        *,
        is_repeatable: bool = False,
    ) -> HttpRequest:
        """A request of this account, to be sent."""
        if not self.api_key:
            raise AuthenticationError("requests to Telnyx need an API key", vendor=NAME)
        headers = {"authorization": f"Bearer {self.api_key}", "accept": "application/json"}
        if body is not None:
            headers["content-type"] = "application/json"
        return HttpRequest(
            method,
            f"{self.base_url.rstrip('/') or _BASE}{path}",
            headers,
            b"" if body is None else json.dumps(body).encode(),
            is_repeatable=is_repeatable or method == "GET",
        )

    def _body(self, response: HttpResponse) -> _Result:
        """What a success says; a refusal is raised in Telnyx's own words."""
        if _is_success(response):
            return _read(response).data
        raise self.refused(response)

    def refused(self, response: HttpResponse) -> PatterError:
        """A refusal in Telnyx's own words."""
        return refusal(
            NAME,
            response.status,
            response.body.decode(errors="replace"),
            headers=response.headers,
            secrets=(self.api_key,),
        )


Telnyx = Carrier


def _without_placeholder(key: str) -> str:
    """An example that was copied with its dots is as good as one without the line: nothing is verified."""
    if key not in _PLACEHOLDERS:
        return key
    logger.warning("telnyx.placeholder_key: public_key is '...', so no webhook can be verified")
    return ""


def _checked_key(text: str) -> bytes:
    if not text:
        return b""
    try:
        return incoming.raw_key(text)
    except ValueError as exc:
        raise PatterConfigError(
            f"public_key (TELNYX_PUBLIC_KEY) is no Ed25519 public key in base64: {exc}; copy it from the "
            "account's settings, under Keys & Credentials",
            vendor=NAME,
        ) from exc


def _path_part(call_id: str) -> str:
    if not CALL_ID.fullmatch(call_id):
        raise forms.invalid("that is not the id of a Telnyx call")
    return quote(call_id, safe="")


def _hook(host: str) -> str:
    return f"https://{host}/webhooks/{NAME}/voice"


def _command_id(call: str, verb: str, mark: str) -> str:
    """The same for the same command, another one for any other: Telnyx ignores what it has seen lately."""
    return str(uuid5(NAMESPACE_URL, f"{call}\n{verb}\n{mark}"))


def _read(response: HttpResponse) -> _Answer:
    """What could be read; an empty answer when nothing could."""
    try:
        return _answers.decode(response.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _Answer()


def _is_success(response: HttpResponse) -> bool:
    return response.status // 100 == 2  # noqa: PLR2004 - 2xx


def _is_over(response: HttpResponse) -> bool:
    if response.status == HTTPStatus.NOT_FOUND:
        return True
    is_refused = not _is_success(response)
    return is_refused and any(str(each.code) == _ALREADY_OVER for each in _read(response).errors)


def _refuses_stream(response: HttpResponse) -> bool:
    """Whether it was the stream that was refused: Telnyx names the field it does not like."""
    is_refused = response.status in {HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY}
    return is_refused and b"stream" in response.body.lower()

"""What a phone company must be able to do, in our words: the seam between a call and a carrier.

A carrier is one file with two pure halves. The **wire** translates the frames of one media socket; the
**desk** translates webhooks (verify, read, answer) and writes REST requests as data (`Exchange`). Neither
opens a socket, reads a clock or makes a random number: instants, tokens and answers are passed in.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import ClassVar, Final, Literal, Protocol
from urllib.parse import urlsplit

from getpatter.errors import ErrorCode, PatterConfigError
from getpatter.net.messages import Exchange, WebhookReply, WebhookRequest
from getpatter.types import AudioFormat

# ---------------------------------------------------------------------------------------------- media


@dataclass(frozen=True, slots=True)
class StreamStarted:
    """The carrier said which call this socket belongs to, and how audio is written on it."""

    stream_id: str
    call_id: str
    format: AudioFormat
    params: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Custom parameters of the stream; a `token` travels here or in the URL."""


@dataclass(frozen=True, slots=True)
class AudioReceived:
    """Audio of the caller, in the format the stream announced."""

    data: bytes
    chunk: int | None = None
    """The carrier's running number of this piece, where it has one."""


@dataclass(frozen=True, slots=True)
class KeyReceived:
    """The caller pressed a key (`0-9 * # A-D`)."""

    digit: str


@dataclass(frozen=True, slots=True)
class MarkReturned:
    """The audio before this mark has been played, or dropped by a `clear`."""

    name: str


@dataclass(frozen=True, slots=True)
class StreamStopped:
    """The carrier ended the stream; it will close the socket."""


@dataclass(frozen=True, slots=True)
class StreamComplained:
    """The carrier reports an error about the stream; to be logged, the stream goes on."""

    text: str


WireEvent = (
    StreamStarted | AudioReceived | KeyReceived | MarkReturned | StreamStopped | StreamComplained
)


class MediaWire(Protocol):
    """The frames of one media socket. One object per socket; it remembers the stream's id."""

    @property
    def format(self) -> AudioFormat:
        """What `audio` takes and what arrives; final after `StreamStarted`."""
        ...

    def receive(self, frame: bytes) -> WireEvent | None:
        """Read one text frame (UTF-8). `None` for frames that mean nothing to us.

        Raises:
            WireError: the frame is not what the protocol says. Nothing else is ever raised.
        """
        ...

    def resume(self, started: StreamStarted) -> None:
        """Stand where a wire stands that has read this start: what a fresh one needs to replay a stream."""
        ...

    def audio(self, data: bytes) -> bytes:
        """The frame that queues `data` for playing. Only after `StreamStarted`."""
        ...

    def mark(self, name: str) -> bytes:
        """The frame that asks to be told when everything queued so far has been played."""
        ...

    def clear(self) -> bytes:
        """The frame that drops everything queued; outstanding marks come back at once."""
        ...


# ------------------------------------------------------------------------------------------- webhooks


class Verdict(Enum):
    """What a signature check found."""

    GENUINE = "genuine"
    UNSIGNABLE = "unsignable"
    """No credential is configured to check with (503, or let through by `require_signature=False`)."""
    FORGED = "forged"
    """Missing, malformed or wrong (403)."""
    STALE = "stale"
    """Right, but too old or from the future (403)."""


CallStatus = Literal[
    "initiated", "ringing", "in-progress", "completed", "busy", "no-answer", "failed", "canceled"
]
FINAL_STATUSES: frozenset[CallStatus] = frozenset(
    {"completed", "busy", "no-answer", "failed", "canceled"}
)
MachineClass = Literal["human", "machine", "fax", "unknown"]


@dataclass(frozen=True, slots=True)
class CallArrived:
    """Somebody rings us, and the carrier waits for instructions."""

    call_id: str
    caller: str = field(repr=False)
    callee: str = field(repr=False)
    custom_params: Mapping[str, str] = field(default_factory=dict, repr=False)
    delivery: str = ""
    """Equal for repeated deliveries of the same event."""
    reference: str = ""
    """Set when the call is one that we placed: it was answered, and the carrier asks what to do. `call_id` is
    then the call's own id, which may be another than the one `Carrier.dial` returned."""


@dataclass(frozen=True, slots=True)
class CallProgressed:
    """The status of a call changed at the carrier."""

    call_id: str
    status: CallStatus
    raw: str = ""
    reference: str = ""
    """Our own reference of an outbound call, where the carrier hands it back."""
    duration_seconds: float | None = None
    delivery: str = ""


@dataclass(frozen=True, slots=True)
class MachineJudged:
    """Machine detection has an opinion. `greeting_ended`: a message may be left now."""

    call_id: str
    classification: MachineClass
    raw: str
    greeting_ended: bool = False
    delivery: str = ""
    reference: str = ""
    """Our own reference of a call that we placed, where the carrier hands it back."""


@dataclass(frozen=True, slots=True)
class RecordingFinished:
    """A carrier recording is ready (or failed, when `url` is empty)."""

    call_id: str
    recording_id: str
    url: str = ""
    duration_seconds: float = 0.0
    channels: int = 1
    format: str = ""
    delivery: str = ""


@dataclass(frozen=True, slots=True)
class StreamFailed:
    """The carrier could not open, or lost, the media stream."""

    call_id: str
    text: str
    delivery: str = ""


@dataclass(frozen=True, slots=True)
class StreamAwaited:
    """The call is answered, and nobody has asked for its audio yet: answer it with `Carrier.open_stream`."""

    call_id: str
    reference: str = ""
    """Our own reference of an outbound call, where the carrier hands it back."""
    attempt: int = 0
    """0 at first; above it the carrier refused the stream as it was asked for before."""
    delivery: str = ""


@dataclass(frozen=True, slots=True)
class MessageLeft:
    """The message of `Carrier.leave_message` has been spoken (or cut off): the call may be ended."""

    call_id: str
    delivery: str = ""


@dataclass(frozen=True, slots=True)
class CallCosted:
    """The carrier says what the call cost."""

    call_id: str
    dollars: float
    delivery: str = ""


@dataclass(frozen=True, slots=True)
class DocumentAsked:
    """The carrier fetches a document that was kept for it (`Keep`), which is the answer to this webhook."""

    call_id: str
    reference: str
    delivery: str = ""


TargetState = Literal[
    "answered", "briefed", "connected", "busy", "no-answer", "failed", "gone", "machine"
]
"""Where the one stands to whom a caller is transferred. From `busy` on: the transfer has failed."""


@dataclass(frozen=True, slots=True)
class TargetProgressed:
    """News of the one to whom the caller of `call_id` is transferred."""

    call_id: str
    state: TargetState
    target_id: str = ""
    """The carrier's id of the target's own call, where it has one."""
    delivery: str = ""


@dataclass(frozen=True, slots=True)
class TransferOver:
    """A transfer is over, however it went, and the carrier asks what shall become of the caller."""

    call_id: str
    state: TargetState
    """`connected`: they have talked."""
    is_caller_gone: bool = False
    delivery: str = ""


@dataclass(frozen=True, slots=True)
class RoomChanged:
    """A call entered or left a conference."""

    call_id: str
    room: str = field(repr=False)
    is_in: bool
    delivery: str = ""


WebhookEvent = (
    CallArrived
    | CallProgressed
    | MachineJudged
    | RecordingFinished
    | StreamFailed
    | StreamAwaited
    | MessageLeft
    | CallCosted
    | DocumentAsked
    | TargetProgressed
    | TransferOver
    | RoomChanged
)

Keep = Callable[[WebhookReply], str]
"""Keeps a document until the carrier fetches it, once; returns an unguessable reference for its URL."""


@dataclass(frozen=True, slots=True)
class Stream:
    """Where a carrier shall connect the audio of a call."""

    host: str
    reference: str
    """Path part that names the call on our side."""
    token: str = field(repr=False)
    caller: str = field(default="", repr=False)
    callee: str = field(default="", repr=False)


# ----------------------------------------------------------------------------------------------- desk


@dataclass(frozen=True, slots=True)
class Dial:
    """An outbound call to place."""

    to: str = field(repr=False)
    from_number: str = field(repr=False)
    stream: Stream
    ring_timeout: int | None = 25
    max_call_duration: int = 3600
    detects_machines: bool = False


@dataclass(frozen=True, slots=True)
class Warm:
    """A transfer whose target is told first who comes."""

    call_id: str
    """The caller's call."""
    to: str = field(repr=False)
    from_number: str = field(repr=False)
    host: str
    room: str = field(repr=False)
    """Name of the conference where they meet; nobody else can guess it."""
    reference: str
    """Names the target's call in URLs."""
    summary: str = field(default="", repr=False)
    """What the target is told; empty: nothing."""
    language: str = "en"
    time_limit: int = 3600
    serial: int = 0
    """How many transfers of this call were asked for before."""


class WarmSteps(Protocol):
    """The requests of one warm transfer, in their order. Each raises `PatterError` when it is refused."""

    def hold(self) -> Exchange[None]:
        """Let the caller wait; our stream ends. Raises before anything is asked when the rest cannot be done."""
        ...

    def call_target(self) -> Exchange[str]:
        """Ring the target, who is told the summary; returns the id of the request, or of the target's call."""
        ...

    def brief(self, target_id: str) -> Exchange[None] | None:
        """The target has answered: tell it the summary. `None`: it is being told."""
        ...

    def join(self, target_id: str) -> Exchange[None] | None:
        """The target was told: let both hear each other. `None`: they meet by themselves."""
        ...

    def resume(self) -> Exchange[None] | None:
        """Nobody came: take the caller off hold, before `Carrier.reconnect`. `None`: nothing is needed."""
        ...


class Carrier(Protocol):
    """One phone company with its credentials. Frozen; holds no state of any call."""

    name: ClassVar[str]
    """Path part and payload word: `"twilio"`."""
    names_calls_late: ClassVar[bool]
    """Whether the id that `dial` returns may not be the call's own: that one comes with its first webhook."""
    webhook_kinds: ClassVar[frozenset[str]]
    """Last path parts it is called at: `/webhooks/<name>/<kind>`."""

    def verify(self, request: WebhookRequest, *, host: str, now: float) -> Verdict:
        """Check the signature of a webhook (or of a WebSocket upgrade, by its path and headers).

        `host` is our configured public host, `now` the wall clock in Unix seconds.
        """
        ...

    def read(self, kind: str, request: WebhookRequest) -> Sequence[WebhookEvent]:
        """Parse a verified webhook. Raises `WireError` when its shape is wrong (400)."""
        ...

    def connect(self, stream: Stream) -> WebhookReply:
        """Answer a voice webhook: connect the call's audio to `stream`."""
        ...

    def reject_busy(self) -> WebhookReply:
        """Answer a voice webhook: the line is busy."""
        ...

    def acknowledge(self, kind: str) -> WebhookReply:
        """Answer any other webhook."""
        ...

    def follow_up(self, call_id: str, stream: Stream | None) -> Exchange[None] | None:
        """What to ask for by REST once the first voice webhook of a call has been answered.

        `stream` as it was given to `connect`, `None` after `reject_busy`. To be run beside the answer, never
        in front of it, and once a call, however often its webhook is repeated. `None`: the answer said it all.
        """
        ...

    def open_stream(self, call_id: str, stream: Stream, *, attempt: int) -> Exchange[None] | None:
        """What to ask for after `StreamAwaited`, with its `attempt` and a `stream` that has a fresh token.

        `None`: a carrier that never reports `StreamAwaited`.
        """
        ...

    def wire(self) -> MediaWire:
        """A fresh translator for one media socket."""
        ...

    def point_number(self, number: str, *, host: str) -> Exchange[None]:
        """Set the webhook of our number to this server. Raises `ProvisionError` when it cannot be."""
        ...

    def dial(self, dial: Dial) -> Exchange[str]:
        """Place a call; returns the carrier's id of it."""
        ...

    def hang_up(self, call_id: str) -> Exchange[None]:
        """End a call, ringing or running. A call that is already over counts as success."""
        ...

    def is_alive(self, call_id: str) -> Exchange[bool]:
        """Whether the carrier still has the call."""
        ...

    def record(self, call_id: str, *, host: str) -> Exchange[None]:
        """Record the call, both sides apart where the carrier can."""
        ...

    def limit(self, call_id: str, *, seconds: int) -> Exchange[None]:
        """Let the carrier itself end the call after `seconds`; does nothing where it cannot."""
        ...

    def price(self, call_id: str) -> Exchange[float | None] | None:
        """What a call that is over has cost, in US dollars; the result is `None` as long as that is unknown.

        `None` instead of an exchange: the carrier reports it by itself (`CallCosted`).
        """
        ...

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
        """Connect the caller to `to`; our stream ends.

        `serial`: how many transfers of this call were asked for before. It tells a second transfer from a
        repetition of the first. `keep`: for carriers that fetch the document which says so.
        """
        ...

    def warm(self, order: Warm, *, keep: Keep) -> WarmSteps:
        """How a warm transfer is made here. `keep`: for carriers that fetch documents."""
        ...

    def reconnect(self, call_id: str, stream: Stream, *, keep: Keep) -> Exchange[None]:
        """Bring a caller back whom nobody took: connect the audio of a running call to `stream`, a new one."""
        ...

    def send_keys(
        self, call_id: str, digits: str, *, delay_ms: int, serial: int = 0
    ) -> Exchange[None] | None:
        """Press keys (`0-9 A-D * #`, `w` waits half a second) by REST. `serial` as in `transfer`.

        `None`: the carrier has no such request, so tones have to be mixed into the outgoing audio.
        """
        ...

    def leave_message(
        self, call_id: str, text: str, *, language: str, host: str = "", keep: Keep | None = None
    ) -> Exchange[None]:
        """Speak `text` to the answering machine by the carrier's own voice.

        The carrier hangs up afterwards or reports `MessageLeft`. `host` and `keep`: for carriers that fetch the
        document which says so.
        """
        ...


# ------------------------------------------------------------------------------------------- adapters

OFFERS: Final = 3
"""How many numbers are looked at when one is bought: somebody else may be quicker with the first."""


@dataclass(frozen=True, slots=True)
class OwnedNumber:
    """A number of an account, and where calls to it ring."""

    number: str = field(repr=False)
    """E.164."""
    webhook_url: str = ""
    """Empty: no webhook is told of them."""
    note: str = ""
    """What decides instead of a webhook, where something does."""


NOT_FOR_SALE: Final = frozenset({400, 404, 409, 410, 422})
"""Statuses that refuse one number, or one kind of number, and say nothing against the next."""

_COUNTRY: Final = re.compile(r"[A-Za-z]{2}", re.ASCII)
_HOST: Final = re.compile(r"[A-Za-z0-9.-]+(:\d{1,5})?", re.ASCII)


def checked_country(country: str, *, vendor: str) -> str:
    """A country as ISO 3166 writes it, in capitals.

    Raises:
        PatterConfigError: it is not two letters.
    """
    if _COUNTRY.fullmatch(country):
        return country.upper()
    raise PatterConfigError(
        f"country is two letters such as 'US', not {country!r}",
        code=ErrorCode.INPUT_VALIDATION,
        vendor=vendor,
    )


def checked_webhook(url: str, *, vendor: str) -> str:
    """Where a carrier shall call: an `http(s)` URL as it is, or our own path at a bare host name.

    Raises:
        PatterConfigError: it is neither.
    """
    if _HOST.fullmatch(url):
        return f"https://{url}/webhooks/{vendor}/voice"
    return checked_url(url, {"http", "https"}, "webhook_url", vendor)


def checked_stream(url: str, *, vendor: str) -> str:
    """Where a carrier shall connect the audio of a call.

    Raises:
        PatterConfigError: not a `wss://` (or `ws://`) URL.
    """
    return checked_url(url, {"ws", "wss"}, "stream_url", vendor)


def checked_url(url: str, schemes: set[str], name: str, vendor: str) -> str:
    """`url`, when it begins with one of `schemes` and names a host.

    Raises:
        PatterConfigError: it does not; `name` says which argument is meant.
    """
    try:
        parts = urlsplit(url)
        is_fine = parts.scheme in schemes and bool(parts.hostname)
    except ValueError:
        is_fine = False
    if is_fine and url.isprintable() and " " not in url:
        return url
    raise PatterConfigError(
        f"{name} begins with {' or '.join(f'{each}://' for each in sorted(schemes))} and names a host",
        code=ErrorCode.INPUT_VALIDATION,
        vendor=vendor,
    )

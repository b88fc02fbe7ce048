"""The contract of a carrier's desk (`getpatter.carriers.base.Carrier`): webhooks and REST requests as data."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import unquote

from getpatter.carriers.base import CallArrived, Carrier, Dial, Stream, Verdict
from getpatter.errors import (
    AuthenticationError,
    PatterConnectionError,
    PatterError,
    RateLimitError,
    WireError,
)
from getpatter.net.messages import (
    Exchange,
    HttpRequest,
    HttpResponse,
    WebhookReply,
    WebhookRequest,
)
from getpatter.testing.contracts.check import BrokenPromiseError, Check, require

_WORD: Final = re.compile(r"[a-z][a-z0-9_-]*")
_STREAM: Final = Stream(
    host="agent.example",
    reference="the-reference",
    token="tHe-sTrEaM-t0ken",  # noqa: S106 - of nothing
    caller="+15550009876",
    callee="+15550001234",
)
_REFUSALS: Final = (
    (HTTPStatus.UNAUTHORIZED, AuthenticationError),
    (HTTPStatus.TOO_MANY_REQUESTS, RateLimitError),
    (HTTPStatus.INTERNAL_SERVER_ERROR, PatterConnectionError),
)
_MOST_REQUESTS: Final = 20


@dataclass(frozen=True, slots=True)
class DeskSample:
    """A webhook as the carrier really sends it, and what it means."""

    ring: WebhookRequest
    """Somebody calls: signed for `host` at `now` with the carrier's credentials."""
    arrived: CallArrived
    """What it says."""
    host: str
    now: float
    """Unix seconds at which it arrived."""
    kind: str = "voice"
    """Last part of the path that it came to."""
    signatures_expire: bool = False
    """Whether the carrier signs the time, so that an old webhook can be told."""
    secrets: Sequence[str] = field(default=(), repr=False)
    """The carrier's credentials."""


def desk_checks(carrier: Carrier, sample: DeskSample) -> list[Check]:
    """The promises of a carrier with the credentials that signed the sample. Nothing is sent anywhere."""
    contract = _Contract(carrier, sample)
    return [
        Check(
            "names",
            "name and webhook kinds are plain words: they are parts of a URL",
            contract.names,
        ),
        Check("genuine", "a genuine webhook is let in; else nobody gets through", contract.genuine),
        Check(
            "forged",
            "a webhook without a signature, or with one byte changed, is not let in: it could start calls",
            contract.forged,
        ),
        Check(
            "stale", "a genuine webhook of yesterday is stale: it may be a replay", contract.stale
        ),
        Check("ring", "the ring is read, and a second delivery reads the same", contract.ring),
        Check(
            "rubbish",
            "a genuine webhook of the wrong shape raises WireError and nothing else (the server says 400)",
            contract.rubbish,
        ),
        Check(
            "connect",
            "the answer to a ring, or a request after it, hands the stream's token to the carrier",
            contract.connect,
        ),
        Check(
            "answers",
            "busy and every acknowledgement are 2xx: carriers give up on others",
            contract.answers,
        ),
        Check(
            "refusals",
            "401, 429 and 500 become AuthenticationError, RateLimitError and PatterConnectionError",
            contract.refusals,
        ),
        Check(
            "secrets", "no secret is in a repr or an error: both end up in logs", contract.secrets
        ),
        Check("fresh wires", "each media socket gets a wire of its own", contract.fresh_wires),
    ]


class _Contract:
    def __init__(self, carrier: Carrier, sample: DeskSample) -> None:
        self._carrier = carrier
        self._sample = sample

    def _verdict(self, request: WebhookRequest, *, later: float = 0.0, host: str = "") -> Verdict:
        sample = self._sample
        return self._carrier.verify(request, host=host or sample.host, now=sample.now + later)

    # ------------------------------------------------------------------------------------- promises

    def names(self) -> None:
        kinds = self._carrier.webhook_kinds
        require(self._sample.kind in kinds, f"webhook_kinds has no {self._sample.kind!r}")
        for word in (self._carrier.name, *kinds):
            require(_WORD.fullmatch(word), f"{word!r} cannot be part of a URL")

    def genuine(self) -> None:
        verdict = self._verdict(self._sample.ring)
        require(verdict is Verdict.GENUINE, f"the genuine webhook is {verdict.value}")

    def forged(self) -> None:
        ring = self._sample.ring
        unsigned = {k: v for k, v in ring.headers.items() if "signature" not in k}
        require(
            len(unsigned) < len(ring.headers), "the sample has no header with 'signature' in it"
        )
        forgeries = {
            "without its signature": replace(ring, headers=unsigned),
            "with another body": replace(ring, body=ring.body + b"&x=1"),
            **{
                f"with another {name}": replace(ring, headers={**ring.headers, name: wrong})
                for name in set(ring.headers) - set(unsigned)
                for wrong in (_changed(ring.headers[name]), "", "é", "x" * 5000)
                if "timestamp" not in name
            },
        }
        for what, request in forgeries.items():
            verdict = self._verdict(request)
            require(verdict is not Verdict.GENUINE, f"{what} the webhook still is genuine")

    def stale(self) -> None:
        if self._sample.signatures_expire:
            for later in (86_400.0, -86_400.0):
                verdict = self._verdict(self._sample.ring, later=later)
                require(verdict is Verdict.STALE, f"{later:+.0f} s away it is {verdict.value}")

    def ring(self) -> None:
        sample = self._sample
        once = list(self._carrier.read(sample.kind, sample.ring))
        again = list(self._carrier.read(sample.kind, sample.ring))
        require(once == [sample.arrived], f"the ring was read as {once!r}")
        first = once[0]
        assert isinstance(first, CallArrived), "just compared"
        require(
            (first.caller, first.callee) == (sample.arrived.caller, sample.arrived.callee),
            "the numbers are not those of the sample",
        )
        require(again == once, "a second delivery of the same webhook reads differently")

    def rubbish(self) -> None:
        for kind in sorted(self._carrier.webhook_kinds):
            for request in self._broken_requests():
                try:
                    list(self._carrier.read(kind, request))
                except WireError:
                    pass
                except Exception as error:
                    what = f"{type(error).__name__}: {error}"
                    raise BrokenPromiseError(
                        f"{kind} with the body {request.body[:60]!r} raised {what[:200]}"
                    ) from error

    def _broken_requests(self) -> Iterator[WebhookRequest]:
        ring = self._sample.ring
        whole = ring.body
        bodies = [
            b"",
            b"{}",
            b"[]",
            b"null",
            b"\xff\xfe",
            b"=",
            b"&&&",
            b"a=%zz",
            b"%",
            b"{" * 50_000,
        ]
        bodies += [whole[: len(whole) * part // 8] for part in range(8)]
        bodies += [whole.replace(b"=", b""), whole.replace(b":", b""), whole + whole]
        for body in bodies:
            yield replace(ring, body=body)
        yield replace(ring, query="%ff=%ff&&=")
        yield replace(ring, headers={})

    def connect(self) -> None:
        call_id = self._sample.arrived.call_id
        reply = self._carrier.connect(_STREAM)
        require(_is_ok(reply.status), f"a ring is answered with {reply.status}")
        said = [reply.body.decode(errors="replace")]
        said += _first_request(self._carrier.follow_up(call_id, _STREAM))
        said += _first_request(self._carrier.open_stream(call_id, _STREAM, attempt=0))
        everything = "\n".join([*said, *map(unquote, said)])
        for what in (_STREAM.token, _STREAM.host):
            require(what in everything, f"nothing that the carrier is told holds {what!r}")

    def answers(self) -> None:
        require(_is_ok(self._carrier.reject_busy().status), "busy is not a 2xx")
        for kind in sorted(self._carrier.webhook_kinds):
            status = self._carrier.acknowledge(kind).status
            require(_is_ok(status), f"{kind} is acknowledged with {status}")

    def refusals(self) -> None:
        for name, start in self._requests():
            for status, expected in _REFUSALS:
                error = _refused(start(), status)
                require(
                    isinstance(error, expected),
                    f"{name} took {int(status)} for {type(error).__name__}, not {expected.__name__}",
                )

    def secrets(self) -> None:
        shown = [repr(self._carrier)]
        for _, start in self._requests():
            shown += [str(error) for status, _ in _REFUSALS if (error := _refused(start(), status))]
            shown += [repr(request) for request in _requests_of(start(), 1)]
        for secret in self._sample.secrets:
            guilty = [text for text in shown if secret and secret in text]
            require(not guilty, "a secret is shown in a repr or an error")

    def fresh_wires(self) -> None:
        require(self._carrier.wire() is not self._carrier.wire(), "two sockets share one wire")

    def _requests(self) -> Sequence[tuple[str, Callable[[], Exchange[Any]]]]:
        carrier, sample = self._carrier, self._sample
        call_id, ours, theirs = sample.arrived.call_id, "+15550001234", "+15550009876"
        return (
            ("hang_up", lambda: carrier.hang_up(call_id)),
            ("is_alive", lambda: carrier.is_alive(call_id)),
            ("dial", lambda: carrier.dial(Dial(to=theirs, from_number=ours, stream=_STREAM))),
            ("point_number", lambda: carrier.point_number(ours, host=sample.host)),
            (
                "transfer",
                lambda: carrier.transfer(
                    call_id, theirs, host=sample.host, from_number=ours, keep=_keep
                ),
            ),
        )


def _keep(document: WebhookReply) -> str:
    """What a carrier that fetches documents is given: the way to keep one."""
    require(_is_ok(document.status), f"a document to be fetched says {document.status}")
    return "the-kept-document"


def _changed(signature: str) -> str:
    middle = len(signature) // 2
    return signature[:middle] + ("A" if signature[middle] != "A" else "B") + signature[middle + 1 :]


def _is_ok(status: int) -> bool:
    return status // 100 == 2  # noqa: PLR2004 - 2xx


def _requests_of(exchange: Exchange[Any], most: int) -> Iterator[HttpRequest]:
    try:
        request = next(exchange)
        for _ in range(most):
            yield request
            request = exchange.send(HttpResponse(HTTPStatus.OK, {}, b"{}"))
    except (StopIteration, PatterError):
        return
    finally:
        exchange.close()


def _first_request(exchange: Exchange[Any] | None) -> list[str]:
    if exchange is None:
        return []
    return [
        text
        for request in _requests_of(exchange, 1)
        for text in (request.url, request.body.decode(errors="replace"))
    ]


def _refused(exchange: Exchange[Any], status: HTTPStatus) -> PatterError | None:
    """What is raised when every request of `exchange` is refused with `status`."""
    try:
        next(exchange)
        for _ in range(_MOST_REQUESTS):
            exchange.send(HttpResponse(status, {"content-type": "application/json"}, b"{}"))
    except StopIteration:
        return None
    except PatterError as error:
        return error
    finally:
        exchange.close()
    return None

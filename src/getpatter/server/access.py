"""Who may see what calls say and cost: the dashboard, its API, the numbers of `/metrics`.

```
token set            ──► Authorization: Bearer <token>, or the session cookie that /dashboard?token=... gave
no token             ──► straight from this machine, else a token that was made at start, else 401
ten wrong tokens     ──► 429 for that address until a minute has passed since the first of them
```

`Access.judge` decides without a socket or a clock; `Access.guard` puts it in front of an endpoint. A token that a
person chose can be guessed, so wrong ones are counted for each address; a session cookie is 256 random bits and
is not: whoever has one is never locked out by somebody else behind the same proxy.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import logging
import os
import secrets
import sys
import tempfile
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, urlencode, urlsplit

from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from getpatter.net.messages import WebhookRequest
from getpatter.runtime import clock
from getpatter.server.gate import headers_of
from getpatter.server.limits import Refusal, TrustedProxies
from getpatter.types import Instant

logger = logging.getLogger(__name__)

COOKIE: Final = "getpatter_session"
SESSION_SECONDS: Final = 12 * 3600
FAILURES: Final = 10
FAILURES_WITHIN: Final = 60.0
_ADDRESSES_KEPT: Final = 4096
_SITE_OF_ONE_HOLDER: Final = 64  # bits of an IPv6 address; the rest is chosen by whoever holds them
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_FORWARDING: Final = (
    "forwarded",
    "via",
    "x-real-ip",
    "x-client-ip",
    "true-client-ip",
    "cf-connecting-ip",
    "cf-ray",
    "fly-client-ip",
)
"""Besides everything that begins with `x-forwarded-`: headers with which a proxy gives itself away."""

UNAUTHORIZED: Final = Refusal(401, "Unauthorized", {"www-authenticate": "Bearer"})

Endpoint = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Admitted:
    """The request may be answered."""


@dataclass(frozen=True, slots=True)
class SignedIn:
    """The token was in the URL of the page: set the cookie and go to the URL without it."""

    cookie: str = field(repr=False)
    location: str
    lasts: int = SESSION_SECONDS
    is_secure: bool = True


_ADMITTED: Final = Admitted()


class Access:
    """The one rule for everything that shows calls (OB-13, OB-14)."""

    def __init__(
        self,
        *,
        token: str = "",
        allows_anybody: bool = False,
        host: str = "",
        proxies: TrustedProxies | None = None,
        now: Callable[[], Instant] = clock.now,
    ) -> None:
        """Ask for `token`; without one serve this machine, and whoever has the token made here.

        Args:
            token: `dashboard_token`; empty: none was chosen.
            allows_anybody: `allow_insecure_dashboard`; a token that is set is asked for all the same.
            host: The public host name, which is always reached by https.
            proxies: Whose word about the client's address is taken.
            now: Monotonic time.
        """
        self.is_chosen = bool(token)
        """Whether the token is one that the user chose."""
        self.allows_anybody = allows_anybody and not token
        self.token = token or secrets.token_urlsafe(24)
        """What to present. Never in a log."""
        self._host = ""
        self.move(host)
        self._proxies = proxies if proxies is not None else TrustedProxies()
        self._now = now
        self._key = secrets.token_bytes(32)
        self._failures: OrderedDict[str, deque[Instant]] = OrderedDict()

    # ------------------------------------------------------------------------------------ deciding

    def move(self, host: str) -> None:
        """The public host name is another one from now on."""
        self._host = _host_of(host.partition("/")[0])

    def judge(
        self,
        request: WebhookRequest,
        peer: str,
        *,
        now: Instant,
        is_page: bool = False,
        is_https: bool = False,
    ) -> Admitted | SignedIn | Refusal:
        """May this be answered?

        Args:
            request: What was asked; the body is not looked at.
            peer: Address of the other end of the connection.
            now: Monotonic time.
            is_page: Whether it is the page, which takes its token from the URL as well.
            is_https: Whether the connection itself is encrypted.
        """
        if self.allows_anybody:
            return _ADMITTED
        # Another port of this host is the same site to a browser, and its pages bring our cookie.
        may_come_from_there = request.method in _SAFE or self._is_from_our_page(request.headers)
        if may_come_from_there and self._has_session(request.headers, now):
            return _ADMITTED
        if not self.is_chosen and _is_this_machine(request, peer):
            return _ADMITTED
        given, is_in_url = self._presented(request, is_page=is_page)
        if given is None:
            return UNAUTHORIZED
        address = _holder(self._proxies.client(peer, request.headers))
        wait = self._locked_for(address, now)
        if wait > 0:
            return Refusal(429, "Too Many Requests", {"retry-after": str(int(wait) + 1)})
        if not hmac.compare_digest(given.encode(), self.token.encode()):
            self._failed(address, now)
            return UNAUTHORIZED
        if not is_in_url:
            return _ADMITTED
        host = _host_of(request.headers.get("host", ""))
        return SignedIn(
            self._session(now),
            _without_token(request),
            is_secure=is_https or (bool(self._host) and host == self._host),
        )

    def _presented(self, request: WebhookRequest, *, is_page: bool) -> tuple[str | None, bool]:
        """The token that came with the request, and whether it was in its URL."""
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return _as_sent(given.strip()), False
        if is_page:
            for name, value in _fields(request.query):
                if name == "token":
                    return value, True
        return None, False

    def _locked_for(self, address: str, now: Instant) -> float:
        """Seconds until tokens of this address are looked at again."""
        failures = self._failures.get(address)
        if failures is None:
            return 0.0
        while failures and now - failures[0] >= FAILURES_WITHIN:
            failures.popleft()
        if len(failures) < FAILURES:
            return 0.0
        return failures[0] + FAILURES_WITHIN - now

    def _failed(self, address: str, now: Instant) -> None:
        failures = self._failures.setdefault(address, deque(maxlen=FAILURES))
        failures.append(now)
        self._failures.move_to_end(address)
        while len(self._failures) > _ADDRESSES_KEPT:
            self._failures.popitem(last=False)
        if len(failures) == FAILURES:
            logger.warning("access.locked_out failures=%d", FAILURES)

    # ------------------------------------------------------------------------------------ sessions

    def _session(self, now: Instant) -> str:
        ends = str(int(now) + SESSION_SECONDS)
        nonce = secrets.token_urlsafe(16)
        return f"{ends}.{nonce}.{self._signed(ends, nonce)}"

    def _signed(self, ends: str, nonce: str) -> str:
        return hmac.new(self._key, f"{ends}.{nonce}".encode(), hashlib.sha256).hexdigest()

    def _is_from_our_page(self, headers: Mapping[str, str]) -> bool:
        """Whether a page of ours sent it; a proxy may have changed the host that it was sent to."""
        if headers.get("sec-fetch-site") == "same-origin" or _is_own_origin(headers):
            return True
        return (
            bool(self._host) and _host_of(urlsplit(headers.get("origin", "")).netloc) == self._host
        )

    def _has_session(self, headers: Mapping[str, str], now: Instant) -> bool:
        for pair in headers.get("cookie", "").split(";"):
            name, _, value = pair.strip().partition("=")
            if name != COOKIE or value.count(".") != _DOTS or not value.isascii():
                continue
            ends, nonce, signature = value.split(".")
            if hmac.compare_digest(self._signed(ends, nonce), signature):
                return now < int(ends)  # only what we signed is read as a number
        return False

    # ---------------------------------------------------------------------------------- an endpoint

    def guard(self, endpoint: Endpoint, *, is_page: bool = False) -> Endpoint:
        """The endpoint, behind this rule. For Starlette's `Route`."""

        async def guarded(request: Request) -> Response:
            verdict = self.judge(
                _as_received(request),
                request.client.host if request.client else "",
                now=self._now(),
                is_page=is_page,
                is_https=request.url.scheme == "https",
            )
            match verdict:
                case Admitted():
                    return await endpoint(request)
                case SignedIn():
                    return _signed_in(verdict, request)
                case Refusal():
                    headers = {"x-content-type-options": "nosniff", **verdict.headers}
                    return JSONResponse({"detail": verdict.detail}, verdict.status, headers=headers)

        return guarded


_DOTS: Final = 2


def _as_received(request: Request) -> WebhookRequest:
    return WebhookRequest(
        request.method, request.url.path, request.url.query, headers_of(request.headers.raw)
    )


def _as_sent(header: str) -> str:
    """A header's text where its sender meant UTF-8, which HTTP hands on as Latin-1."""
    try:
        return header.encode("latin-1").decode()
    except UnicodeError:
        return header


def _signed_in(verdict: SignedIn, request: Request) -> Response:
    answer = RedirectResponse(
        verdict.location,
        303,
        {
            "cache-control": "no-store",
            "referrer-policy": "no-referrer",
            "x-content-type-options": "nosniff",
        },
    )
    answer.set_cookie(
        COOKIE,
        verdict.cookie,
        max_age=verdict.lasts,
        path=str(request.scope.get("root_path") or "/"),
        secure=verdict.is_secure,
        httponly=True,
        samesite="strict",
    )
    return answer


def _without_token(request: WebhookRequest) -> str:
    rest = [(name, value) for name, value in _fields(request.query) if name != "token"]
    # Two slashes at the beginning would be another host.
    path = "/" + request.path.lstrip("/")
    return f"{path}?{urlencode(rest)}" if rest else path


def _fields(query: str) -> list[tuple[str, str]]:
    try:
        return parse_qsl(query, keep_blank_values=True, max_num_fields=50)
    except ValueError:
        return []


def _is_this_machine(request: WebhookRequest, peer: str) -> bool:
    """Straight from this machine: no proxy in between, and no page of somebody else's that sent it."""
    headers = request.headers
    if not _is_loopback(peer) or not _is_loopback(_host_of(headers.get("host", ""))):
        return False
    if any(name in _FORWARDING or name.startswith("x-forwarded-") for name in headers):
        return False
    # A browser lets any page send a form to this machine, and says so.
    return request.method in _SAFE or _is_own_origin(headers)


def _is_own_origin(headers: Mapping[str, str]) -> bool:
    origin = headers.get("origin")
    if origin is None:
        return headers.get("sec-fetch-site", "same-origin") in {"same-origin", "none"}
    return urlsplit(origin).netloc.lower() == headers.get("host", "").lower()


def _host_of(netloc: str) -> str:
    """The host of `host:port`, without brackets, in lower case."""
    netloc = netloc.strip().lower()
    if netloc.startswith("["):
        return netloc[1:].partition("]")[0]
    return netloc.partition(":")[0]


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


def _holder(address: str) -> str:
    """What wrong tokens are counted by: an address, or the network that one holder of IPv6 gets."""
    try:
        known = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(known, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((known, _SITE_OF_ONE_HOLDER), strict=False))
    return str(known)


# ----------------------------------------------------------------------------------- made at start


class TokenNote:
    """Tells the operator, and nobody else, the token that was made at start; `tear_up` when it is void."""

    def __init__(self, access: Access) -> None:
        """Of `access`; nothing is told before `tell`."""
        self._access = access
        self._path: Path | None = None

    def tell(self, port: int) -> None:
        """On the terminal; without one in a file that only this user can read. Never in a log."""
        access = self._access
        if access.is_chosen or access.allows_anybody:
            return
        if sys.stderr is not None and sys.stderr.isatty():
            sys.stderr.write(
                f"Dashboard: http://127.0.0.1:{port}/dashboard (from another machine add "
                f"?token={access.token})\n"
            )
            return
        try:
            handle, name = tempfile.mkstemp(prefix="getpatter-dashboard-", suffix=".token")
            with os.fdopen(handle, "w") as file:
                file.write(f"{access.token}\n")
        except OSError as error:
            logger.warning("access.token_not_kept error=%s", error.strerror)
            return
        self._path = Path(name)
        logger.info("access.token_written path=%s", name)

    def tear_up(self) -> None:
        """Remove the file."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)
            self._path = None

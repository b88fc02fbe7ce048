"""HTTP requests and answers as plain data, so that what a vendor's file decides can be tested without a socket."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A request to send. `headers` may carry credentials, so the whole object hides them in `repr`."""

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)
    is_repeatable: bool = False
    """Whether sending it twice does no more than sending it once (so 429, 5xx and lost answers are retried)."""
    attempts: int = 3
    """How often it is sent at most."""


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """An answer, fully read. Header names are lower case."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = field(default=b"", repr=False)


_T = TypeVar("_T")

Exchange = Generator[HttpRequest, HttpResponse, _T]
"""Logic that needs HTTP without doing any: it yields requests, is sent their answers, and returns its result.

Whoever runs it owns sockets, retries and time limits (`net/http.py`); a test runs it with plain `send()`.
It raises `AuthenticationError`, `RateLimitError` or `PatterConnectionError` when an answer is a refusal.
"""


@dataclass(frozen=True, slots=True)
class WebhookRequest:
    """A request that arrived at our server, as received."""

    method: str
    path: str
    """Raw path, still percent-encoded, without the query."""
    query: str
    """Raw query string without `?`; empty when there was none."""
    headers: Mapping[str, str] = field(repr=False)
    """Lower-case names; of a repeated header the last value."""
    body: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class WebhookReply:
    """What our server answers."""

    status: int = 200
    body: bytes = b""
    content_type: str = ""

"""What a service said when it refused, as one of our errors, with keys and numbers taken out."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from getpatter.errors import AuthenticationError, ErrorCode, PatterConnectionError, RateLimitError
from getpatter.types import masked

_LONGEST: Final = 300
_SHORTEST_SECRET: Final = 6
_DEPTH: Final = 4

_TEXT_KEYS: Final = (
    "message", "detail", "error_description", "err_msg", "reason", "title", "error_message", "description",
)  # fmt: skip
_NESTED_KEYS: Final = ("error", "errors", "detail", "fault")
_CODE_KEYS: Final = ("code", "err_code", "error_code", "type")
_REQUEST_IDS: Final = (
    "x-request-id", "request-id", "twilio-request-id", "dg-request-id", "x-amzn-requestid", "x-trace-id",
)  # fmt: skip
_HARMLESS_HEADERS: Final = frozenset(
    {"accept", "content-type", "content-length", "host", "user-agent", "origin", "accept-encoding"}
)

# Ways in which services quote a key back, whole or with its middle starred out.
_SECRETS: Final = (
    re.compile(r"(?i)\b(?:bearer|basic|token|key)\s+(?=\S*\d)[\w\-.~+/=*]{8,}"),
    re.compile(r"\b(?:sk|pk|rk|gsk|xai|key|api|pat|live|secret)[-_](?=[\w\-]*[\d*])[\w\-*]{6,}"),
    re.compile(
        r"(?i)\b(?:[\w\-]*api[_\-]?key|token|secret|password|signature)[\"']?\s*[=:]\s*[\"']?[^\s\"',&]+"
    ),
    re.compile(r"\b(?=[A-Za-z]*\d)(?=\d*[A-Za-z])[A-Za-z0-9]{28,}\b"),
)
_SECRET_NAME: Final = re.compile(r"(?i)key|token|secret|auth|sig|pass|jwt|access")
_NUMBER: Final = re.compile(r"(?:\+|%2B|\b00)?\d{8,15}\b|\b\d(?:[ .\-]?\d){11,18}\b")
"""A phone number in one piece; a phone or card number in groups. A date with an hour has fewer digits."""


def refusal(
    vendor: str,
    status: int,
    body_text: str,
    *,
    headers: Mapping[str, str] | None = None,
    secrets: Iterable[str] = (),
) -> AuthenticationError | RateLimitError | PatterConnectionError:
    """The error for an answer of `vendor` that is not a success: an HTTP status and what it says.

    `headers` (lower-case names) may hold the vendor's id of the request; `secrets` are taken out of the text
    wherever they stand, and so is everything that looks like a key or a phone number.
    """
    said = clean_text(readable(body_text), secrets)
    message = f"{vendor} answered {status}: {said}" if said else f"{vendor} answered {status}"
    request_id = (
        next((headers[name] for name in _REQUEST_IDS if name in headers), "") if headers else ""
    )
    match status:
        case 401 | 403:
            return AuthenticationError(
                message, vendor=vendor, retryable=False, request_id=request_id, status=status
            )
        case 429:
            return RateLimitError(message, vendor=vendor, request_id=request_id, status=status)
        case _:
            return PatterConnectionError(
                message,
                vendor=vendor,
                retryable=is_passing(status),
                request_id=request_id,
                status=status,
            )


def is_passing(status: int) -> bool:
    """Whether the same request may succeed a moment later: 408, 425, 429 and 5xx except 501 and 505."""
    return status in {408, 425, 429} or (status >= 500 and status not in {501, 505})  # noqa: PLR2004


def unreachable(vendor: str, what: str, *, timed_out: bool = False) -> PatterConnectionError:
    """The error for a service that cannot be reached, went silent or went away."""
    return PatterConnectionError(
        f"{vendor}: {what}" if vendor else what,
        code=ErrorCode.TIMEOUT if timed_out else ErrorCode.CONNECTION,
        vendor=vendor,
    )


def readable(body_text: str) -> str:
    """The sentence in an error body: the message and code of its JSON, or the text itself."""
    text = body_text.strip()
    if text[:1] in {"{", "["}:
        try:
            parsed: object = json.loads(text)
        except (ValueError, RecursionError):
            return text
        code, said = _code_and_text(parsed, _DEPTH)
        if said:
            return f"{said} (code {code})" if code else said
    return text


def _code_and_text(value: object, depth: int) -> tuple[str, str]:
    match value:
        case list() if value and depth:
            return _code_and_text(value[0], depth - 1)
        case str():
            return "", value
        case dict() if depth:
            code = next((str(value[key]) for key in _CODE_KEYS if _is_code(value.get(key))), "")
            said = next((value[key] for key in _TEXT_KEYS if _is_text(value.get(key))), "")
            if said:
                return code, str(said)
            for key in _NESTED_KEYS:
                inner_code, said = _code_and_text(value.get(key), depth - 1)
                if said:
                    return inner_code or code, said
        case _:
            pass
    return "", ""


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value)


def _is_code(value: object) -> bool:
    return isinstance(value, str | int) and not isinstance(value, bool) and bool(value)


def clean_text(text: str, secrets: Iterable[str] = ()) -> str:
    """`text` on one line, at most 300 characters, without `secrets`, keys or whole phone numbers."""
    for secret in secrets:
        if len(secret) >= _SHORTEST_SECRET:
            text = text.replace(secret, "***")
    for pattern in _SECRETS:
        text = pattern.sub("***", text)
    text = _NUMBER.sub(lambda found: masked(found.group()), text)
    text = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def secrets_of(url: str, headers: Mapping[str, str]) -> tuple[str, ...]:
    """The parts of a request that nobody may read in an error: header values, query values, user info."""
    found: list[str] = []
    for name, value in headers.items():
        if name.lower() not in _HARMLESS_HEADERS:
            found += [value, *value.split()]
    try:
        parts = urlsplit(url)
    except ValueError:  # not an address: nobody gets to see any of it
        return tuple(sorted({*found, url}, key=len, reverse=True))
    found += [value for name, value in parse_qsl(parts.query) if _SECRET_NAME.search(name)]
    found += [part for part in (parts.username, parts.password) if part]
    return tuple(sorted(set(found), key=len, reverse=True))

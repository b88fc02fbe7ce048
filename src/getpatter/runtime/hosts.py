"""The public name under which a carrier reaches this machine."""

from __future__ import annotations

import re
from typing import Final

from getpatter.types import shown_url

_HOST: Final = re.compile(
    r"(?=.{1,253}(?::|$))"
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)*"
    r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.?"
    r"(?::\d{1,5})?",
    re.ASCII,
)


def checked_host(value: object, *, name: str = "webhook_url") -> str:
    """A bare host name such as `abc.ngrok.io`, perhaps with a port.

    Raises:
        TypeError: it is not a text.
        ValueError: it has a scheme, a path or anything else that is no host name.
    """
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a str, not {type(value).__name__}")
    if value and not _HOST.fullmatch(value):
        raise ValueError(
            f"{name} must be a bare host name like 'abc123.ngrok.io', without https://, user, path or query; "
            f"got {shown_url(value)!r}"
        )
    return value

"""What a log may say of a provider that failed."""

from __future__ import annotations

from getpatter.errors import AuthenticationError


def shown(error: BaseException) -> str:
    """What a log may say: of refused credentials all of it, of anything else the kind.

    A vendor's own words may quote what was said on the phone; those about a key have had the key removed.
    """
    return str(error) if isinstance(error, AuthenticationError) else type(error).__name__

"""What is known of a provider that failed: whether asking again can help, and what a log may say of it."""

from __future__ import annotations

from getpatter.errors import AuthenticationError


def may_help(error: BaseException) -> bool:
    """Whether a second attempt can end otherwise. Not after a wrong key or a request that is refused as such."""
    return bool(getattr(error, "retryable", True))


def shown(error: BaseException) -> str:
    """What a log may say: of refused credentials all of it, of anything else the kind.

    A vendor's own words may quote what was said on the phone; those about a key have had the key removed.
    """
    return str(error) if isinstance(error, AuthenticationError) else type(error).__name__

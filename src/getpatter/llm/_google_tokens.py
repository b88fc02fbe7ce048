"""Access tokens for projects of Google Cloud: from the program, or from the google-auth package (extra `google`).

Application default credentials: https://cloud.google.com/docs/authentication/application-default-credentials
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final, TypeAlias

from getpatter.errors import AuthenticationError

AccessToken: TypeAlias = str | Callable[[], str | Awaitable[str]]
"""A token, or what gives one that is valid now; asked before each request."""

_SCOPE: Final = "https://www.googleapis.com/auth/cloud-platform"
_VENDOR: Final = "google"


class Tokens:
    """Gives a token that is valid now."""

    def __init__(self, owner: str, given: AccessToken | None) -> None:
        """Of `given`, else of the machine's own credentials. Nothing is read yet.

        Raises:
            ImportError: neither a token nor the package is there.
        """
        self._given = given
        self._credentials: Any = None
        if given is None and not _has_package():
            raise ImportError(
                f"{owner} needs the google-auth package for a project: pip install 'getpatter[google]', or pass "
                "access_token=..."
            )

    async def now(self) -> str:
        """A valid token.

        Raises:
            AuthenticationError: there is none.
        """
        if isinstance(self._given, str):
            return self._given
        if self._given is not None:
            token = self._given()
            return await token if inspect.isawaitable(token) else token
        if self._credentials is not None and self._credentials.valid:
            return str(self._credentials.token)
        return await asyncio.to_thread(self._renewed)

    def _renewed(self) -> str:
        """In a thread: files are read, and Google is asked."""
        auth, transport = (
            import_module("google.auth"),
            import_module("google.auth.transport.requests"),
        )
        try:
            if self._credentials is None:
                self._credentials, _ = auth.default(scopes=[_SCOPE])
            if not self._credentials.valid:
                self._credentials.refresh(transport.Request())
        except import_module("google.auth.exceptions").GoogleAuthError as error:
            raise AuthenticationError(
                f"{_VENDOR}: no credentials for the project ({type(error).__name__}): run "
                "'gcloud auth application-default login', set GOOGLE_APPLICATION_CREDENTIALS, or pass access_token=",
                vendor=_VENDOR,
                retryable=False,
            ) from error
        return str(self._credentials.token)


def _has_package() -> bool:
    try:
        return find_spec("google.auth") is not None and find_spec("requests") is not None
    except ModuleNotFoundError:  # there is no package `google` at all
        return False

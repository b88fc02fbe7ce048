"""The world outside a program: a simulated carrier on a loop in a thread of its own."""

from __future__ import annotations

import asyncio
import tempfile
import threading
from collections.abc import Coroutine, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from getpatter.testing.twilio import SimulatedTwilio

_T = TypeVar("_T")
PORT: Final = 8000
"""Where the documents serve."""


class Outside:
    """Keeps a `SimulatedTwilio` while a program has the main thread. A context manager."""

    def __init__(self, settings: Mapping[str, str]) -> None:
        """An account with the credentials and the number that the documents' reader has."""
        self._settings = settings
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="outside", daemon=True)
        self._turn = ExitStack()
        self.twilio = SimulatedTwilio.__new__(SimulatedTwilio)

    def __enter__(self) -> Self:
        self._wait_for_our_turn()
        self._thread.start()
        self.twilio = self.do(self._open())
        return self

    def _wait_for_our_turn(self) -> None:
        """Documents serve on one and the same port, and tests may run in several processes."""
        try:
            import fcntl  # noqa: PLC0415 - not on Windows, where tests of documents run one by one
        except ImportError:
            return
        path = Path(tempfile.gettempdir()) / f"getpatter-tests-port-{PORT}.lock"
        fcntl.flock(self._turn.enter_context(path.open("w")), fcntl.LOCK_EX)

    async def _open(self) -> SimulatedTwilio:
        twilio = SimulatedTwilio(
            account_sid=self._settings["TWILIO_ACCOUNT_SID"],
            auth_token=self._settings["TWILIO_AUTH_TOKEN"],
            number=self._settings["PHONE_NUMBER"],
        )
        twilio.server = f"127.0.0.1:{PORT}"
        return await twilio.__aenter__()

    def do(self, work: Coroutine[Any, Any, _T], limit: float = 60.0) -> _T:
        """Run `work` outside and wait for it."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(limit)

    async def beside(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Run `work` outside without holding the loop that asks."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self.do(self.twilio.__aexit__(kind, exc, trace))
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(10)
            self._loop.close()
            self._turn.close()

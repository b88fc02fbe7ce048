"""Tells a standalone dashboard of this machine that calls begin and end: fire and forget, and to nobody else."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from getpatter.dashboard import notice
from getpatter.dashboard.export import as_json
from getpatter.errors import CallEndedError, PatterError
from getpatter.net.http import HttpClient
from getpatter.net.messages import HttpRequest
from getpatter.runtime.tasks import TaskNest

if TYPE_CHECKING:
    from getpatter.dashboard.store import MetricsStoreProtocol

logger = logging.getLogger(__name__)

WITHIN: Final = 1.0
"""Seconds for one notice."""
_TOLD: Final = frozenset({"call_start", "call_end"})


class Notices:
    """Sends what one store is told of. `close` waits for the last ones."""

    def __init__(self, store: MetricsStoreProtocol, port: Callable[[], int]) -> None:
        """Begin to listen. `port` says where we serve ourselves: nothing is sent there."""
        self._store = store
        self._port = port
        self._http = HttpClient("dashboard", connect_timeout=WITHIN, total_timeout=WITHIN)
        self._nest = TaskNest("notices")
        self._sending: set[asyncio.Task[None]] = set()
        store.subscribe(self._note)

    def _note(self, kind: str, data: Mapping[str, object]) -> None:
        if kind not in _TOLD:
            return
        try:
            task = self._nest.spawn(self._send(kind, str(data["call_id"])), name=kind)
        except CallEndedError:
            return
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def _send(self, kind: str, call_id: str) -> None:
        address = await asyncio.to_thread(notice.find)
        if address is None or address.port == self._port():
            return
        record = await asyncio.to_thread(self._store.get_call, call_id)
        if record is None:
            return
        request = HttpRequest(
            "POST",
            f"http://127.0.0.1:{address.port}{notice.INGEST_PATH}",
            {"authorization": f"Bearer {address.token}", "content-type": "application/json"},
            await asyncio.to_thread(as_json, {"type": kind, "data": record}),
            attempts=1,
        )
        try:
            answer = await self._http.send(request)
        except PatterError as error:
            logger.debug("notice.not_sent error=%s", error.code)
        else:
            logger.debug("notice.sent kind=%s status=%d", kind, answer.status)

    async def close(self) -> None:
        """Listen no more, and let what was begun end. Idempotent."""
        self._store.unsubscribe(self._note)
        if self._sending:
            await asyncio.wait(list(self._sending), timeout=WITHIN)
        await self._nest.close()
        await self._http.aclose()

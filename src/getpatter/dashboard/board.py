"""What the routes show, without HTTP: the calls of a store, chosen, counted, exported, deleted.

Everything here may take a while for a long history (search, JSON, disk), so the routes run it in a thread: the loop
carries the audio of calls.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from getpatter.dashboard import archive
from getpatter.dashboard.export import Period
from getpatter.dashboard.feed import Feed
from getpatter.dashboard.store import COSTS, MetricsStore, MetricsStoreProtocol, cost_of

logger = logging.getLogger(__name__)

Call = Mapping[str, object]
_EVERYTHING: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which calls. Empty: all."""

    q: str = ""
    """Part of an id, of a number, or of what was said; upper and lower case are the same."""
    status: str = ""
    direction: str = ""
    period: Period = field(default_factory=Period)

    @property
    def is_everything(self) -> bool:
        """Whether nothing is left out."""
        return self == _ALL

    def has(self, call: Call) -> bool:
        """Whether this call is one of them; its time is not looked at."""
        if self.status and call.get("status") != self.status:
            return False
        if self.direction and call.get("direction") != self.direction:
            return False
        needle = self.q.casefold()
        return not needle or any(needle in text.casefold() for text in _texts(call))


_ALL: Final = Wanted()


class Board:
    """One store, told to everybody who watches. `close` when it is shown no more."""

    def __init__(
        self,
        store: MetricsStoreProtocol,
        *,
        root: Path | None = None,
        flush: Callable[[], None] = lambda: None,
    ) -> None:
        """Show `store`.

        Args:
            store: The calls.
            root: Where they are on disk, for deletions.
            flush: Waits until what is being written there has been. May block.
        """
        self.store = store
        self.feed = Feed()
        self._root = root
        self._flush = flush
        store.subscribe(self.feed.tell)

    def close(self) -> None:
        """End the streams of those who watch. Idempotent."""
        self.store.unsubscribe(self.feed.tell)
        self.feed.close()

    # ------------------------------------------------------------------------------------- reading

    def calls(self, wanted: Wanted, *, limit: int, offset: int) -> tuple[Sequence[Call], int]:
        """A page of calls, newest first, and how many there are."""
        if wanted.is_everything:
            total = self.store.get_aggregates().get("total_calls")
            page = self.store.get_calls(limit=limit, offset=offset)
            return page, total if isinstance(total, int) else offset + len(page)
        found = self.all(wanted)
        return found[offset : offset + limit], len(found)

    def all(self, wanted: Wanted) -> list[Call]:
        """All of these calls, newest first."""
        period = wanted.period
        if period == Period():
            calls = self.store.get_calls(limit=_EVERYTHING)
        else:
            calls = self.store.get_calls_in_range(period.begins, period.ends)
        return [call for call in calls if wanted.has(call)]

    def aggregates(self) -> dict[str, object]:
        """Totals; with `webhook_error` while the carrier does not know where we are."""
        totals = dict(self.store.get_aggregates())
        error = self.store.webhook_error if isinstance(self.store, MetricsStore) else ""
        return {**totals, "webhook_error": error} if error else totals

    def costs(self, period: Period) -> dict[str, object]:
        """What calls of a period cost, in USD, by kind of service."""
        calls = self.all(Wanted(period=period))
        breakdown = {name: sum(cost_of(call, name) for call in calls) for name in COSTS}
        return {
            "total_cost": sum(breakdown.values()),
            "breakdown": breakdown,
            "calls_analyzed": len(calls),
        }

    # ------------------------------------------------------------------------------------ deleting

    def delete(self, call_ids: Iterable[str], *, purges: bool) -> dict[str, object]:
        """Forget calls that are over; with `purges` remove their files as well."""
        known = {call_id: self.store.get_call(call_id) for call_id in call_ids}
        deleted = list(self.store.delete_calls(known))
        self._remember(deleted)
        answer: dict[str, object] = {"deleted": deleted, "count": len(deleted)}
        if purges:
            self._flush()  # or what is still to be written would bring files back
            left = [call_id for call_id in deleted if not self._purge(known[call_id])]
            if left:
                answer["not_purged"] = left
        return answer

    def _remember(self, deleted: Sequence[str]) -> None:
        if not deleted or self._root is None:
            return
        try:
            archive.keep_deleted(self._root, deleted)
        except OSError as error:
            logger.warning("store.deletion_not_kept error=%s", error.strerror)

    def _purge(self, record: Call | None) -> bool:
        try:
            if record is not None:
                archive.purge(self._root, record)
        except OSError as error:
            logger.warning("store.not_purged error=%s", error.strerror)
            return False
        return True


def _texts(call: Call) -> Iterable[str]:
    yield from (str(call.get(key, "")) for key in ("call_id", "caller", "callee"))
    lines = call.get("transcript")
    for line in lines if isinstance(lines, list | tuple) else ():
        if isinstance(line, Mapping):
            yield str(line.get("text", ""))

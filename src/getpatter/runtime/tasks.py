"""Who owns the tasks of a call: see `TaskNest`."""

from __future__ import annotations

from getpatter.net.tasks import CLOSE_LIMIT_S, TaskFailed, TaskNest

__all__ = ["CLOSE_LIMIT_S", "TaskFailed", "TaskNest"]

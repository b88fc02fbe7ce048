"""What can be seen of calls from outside: the event bus, call logs, tracing."""

from __future__ import annotations

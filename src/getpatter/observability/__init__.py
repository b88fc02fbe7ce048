"""What can be seen of calls from outside: the event bus, tracing, numbers, call logs."""

from __future__ import annotations

from getpatter.events import PatterEventType
from getpatter.observability.event_bus import EventBus
from getpatter.observability.tracing import (
    SPAN_BARGEIN,
    SPAN_CALL,
    SPAN_ENDPOINT,
    SPAN_LLM,
    SPAN_STT,
    SPAN_TOOL,
    SPAN_TTS,
    init_tracing,
    is_enabled,
    is_tracing_enabled,
    shutdown_tracing,
    start_span,
)

__all__ = [
    "SPAN_BARGEIN",
    "SPAN_CALL",
    "SPAN_ENDPOINT",
    "SPAN_LLM",
    "SPAN_STT",
    "SPAN_TOOL",
    "SPAN_TTS",
    "EventBus",
    "PatterEventType",
    "init_tracing",
    "is_enabled",
    "is_tracing_enabled",
    "shutdown_tracing",
    "start_span",
]

"""The numbers of all calls of a server in the form that Prometheus reads. Needs the extra `metrics`.

Text format: https://prometheus.io/docs/instrumenting/exposition_formats/. Labels are taken from closed sets or from
the program's own set-up (its tools, providers and models), never from what callers or models say, so their number
does not grow with the calls.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import choose_encoder

from getpatter.models import CallMetrics, TurnMetrics

Payload = Mapping[str, object]
LATENCY_PARTS: Final = ("total_ms", "endpoint_ms", "stt_ms", "llm_ttft_ms", "tts_ms", "bargein_ms")
COST_PARTS: Final = ("stt", "tts", "llm", "telephony")
NOT_CONNECTED: Final = frozenset({"no-answer", "busy", "failed", "canceled"})
"""The carrier's words for a call that ended before anybody talked."""
_LATENCY_BUCKETS: Final = (0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0)
_CALL_BUCKETS: Final = (5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 3600.0)
_TOOL_BUCKETS: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class CallCounts:
    """Counts what happens in calls. An `Observer` of calls; `page` is what `/metrics` answers."""

    wanted = frozenset(
        {
            "call_started",
            "call_ended",
            "call_status",
            "turn_ended",
            "llm_metrics",
            "tool_call_completed",
            "callback_error",
            "error",
            "guardrail_triggered",
            "interruption",
        }
    )

    def __init__(self, *, events_dropped: Callable[[], int] = lambda: 0) -> None:
        """Count from nothing. `events_dropped`: what slow listeners of the event bus have missed so far."""
        registry = self._registry = CollectorRegistry()
        self._active: dict[str, tuple[str, str]] = {}
        self._calls = Counter(
            "getpatter_calls",
            "Calls that are over, by what ended them.",
            ("direction", "outcome", "carrier"),
            registry=registry,
        )
        self._running = Gauge(
            "getpatter_calls_active",
            "Calls that are connected.",
            ("direction", "carrier"),
            registry=registry,
        )
        self._durations = Histogram(
            "getpatter_call_duration_seconds",
            "From connected media to the end.",
            ("direction", "carrier"),
            buckets=_CALL_BUCKETS,
            registry=registry,
        )
        self._latency = Histogram(
            "getpatter_turn_latency_seconds",
            "From the caller's last word to the answer, and the parts of it.",
            ("part",),
            buckets=_LATENCY_BUCKETS,
            registry=registry,
        )
        self._turns = Counter(
            "getpatter_turns", "Turns of the agent.", ("interrupted",), registry=registry
        )
        self._frames = Counter(
            "getpatter_frames_dropped",
            "Frames of carriers that were not what their protocol says.",
            ("carrier",),
            registry=registry,
        )
        self._callbacks = Counter(
            "getpatter_callback_errors",
            "Callbacks that raised or took too long.",
            ("callback",),
            registry=registry,
        )
        self._errors = Counter(
            "getpatter_provider_errors",
            "Failures of carriers and providers that a call noticed.",
            ("stage", "provider"),
            registry=registry,
        )
        self._cost = Counter(
            "getpatter_cost_dollars",
            "What calls that are over have cost, estimated.",
            ("part",),
            registry=registry,
        )
        self._tokens = Counter(
            "getpatter_tokens",
            "Tokens used, cached ones apart.",
            ("kind", "provider", "model"),
            registry=registry,
        )
        self._tools = Histogram(
            "getpatter_tool_duration_seconds",
            "Runs of tools.",
            ("tool", "outcome"),
            buckets=_TOOL_BUCKETS,
            registry=registry,
        )
        self._guardrails = Counter(
            "getpatter_guardrails_triggered",
            "Sentences that a guardrail has replaced.",
            ("guardrail",),
            registry=registry,
        )
        self._interruptions = Counter(
            "getpatter_interruptions", "Callers who cut the agent short.", registry=registry
        )
        dropped = Gauge(
            "getpatter_events_dropped",
            "Events that slow listeners of the event bus have missed.",
            registry=registry,
        )
        dropped.set_function(events_dropped)
        self._notes: dict[str, Callable[[Payload], None]] = {
            "call_started": self._began,
            "call_ended": self._ended,
            "call_status": self._status,
            "turn_ended": self._turn,
            "llm_metrics": self._request,
            "tool_call_completed": self._tool,
            "callback_error": self._callback,
            "error": self._error,
            "guardrail_triggered": self._guardrail,
            "interruption": self._interrupted,
        }

    def note(self, event: str, payload: Payload) -> None:
        """An event of a call."""
        self._notes[event](payload)

    def trace_id(self, call_id: str) -> str:
        """Counts have no calls."""
        del call_id
        return ""

    def page(self, accept: str) -> tuple[bytes, str]:
        """The numbers and their content type, in the format that `accept` asks for."""
        encode, content_type = choose_encoder(accept)
        return encode(self._registry), content_type

    # ------------------------------------------------------------------------------------ counting

    def _began(self, payload: Payload) -> None:
        where = _text(payload, "direction"), _text(payload, "telephony_provider")
        self._active[_text(payload, "call_id")] = where
        self._running.labels(*where).inc()

    def _ended(self, payload: Payload) -> None:
        direction, carrier = _text(payload, "direction"), _text(payload, "telephony_provider")
        if self._active.pop(_text(payload, "call_id"), None) is not None:
            self._running.labels(direction, carrier).dec()
        self._calls.labels(direction, _text(payload, "reason"), carrier).inc()
        self._frames.labels(carrier).inc(_number(payload, "frames_dropped"))
        metrics = payload["metrics"]
        if isinstance(metrics, CallMetrics):
            self._durations.labels(direction, carrier).observe(metrics.duration_seconds)
            for part in COST_PARTS:
                dollars: float = getattr(metrics.cost, part)
                self._cost.labels(part).inc(dollars)

    def _status(self, payload: Payload) -> None:
        status = _text(payload, "status")
        if status in NOT_CONNECTED and _text(payload, "call_id") not in self._active:
            where = _text(payload, "direction"), status, _text(payload, "telephony_provider")
            self._calls.labels(*where).inc()

    def _turn(self, payload: Payload) -> None:
        turn = payload["turn"]
        assert isinstance(turn, TurnMetrics), "a turn that is over has its metrics"
        self._turns.labels("yes" if turn.interrupted else "no").inc()
        for part in LATENCY_PARTS:
            value: float | None = getattr(turn.latency, part)
            if value:
                self._latency.labels(part.removesuffix("_ms")).observe(value / 1000)

    def _request(self, payload: Payload) -> None:
        provider, model = _text(payload, "provider"), _text(payload, "model")
        for kind in ("input", "output", "cache_read", "cache_write"):
            count = _number(payload, f"{kind}_tokens")
            if count:
                self._tokens.labels(kind, provider, model).inc(count)

    def _tool(self, payload: Payload) -> None:
        # A name that there is not is what a model made up: it may be anything.
        name = "unknown" if payload["transport"] == "unknown" else _text(payload, "name")
        outcome = "done" if payload["error"] is None else "failed"
        self._tools.labels(name, outcome).observe(_number(payload, "duration_ms") / 1000)

    def _callback(self, payload: Payload) -> None:
        self._callbacks.labels(_text(payload, "callback")).inc()

    def _error(self, payload: Payload) -> None:
        self._errors.labels(_text(payload, "stage"), _text(payload, "provider")).inc()

    def _guardrail(self, payload: Payload) -> None:
        self._guardrails.labels(_text(payload, "name")).inc()

    def _interrupted(self, _payload: Payload) -> None:
        self._interruptions.inc()


def _text(payload: Payload, name: str) -> str:
    return str(payload.get(name, ""))


def _number(payload: Payload, name: str) -> float:
    value = payload.get(name, 0)
    return float(value) if isinstance(value, int | float) else 0.0

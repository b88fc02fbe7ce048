"""The spans of calls, made from what is told of them. See `tracing.py` for what they are.

Each event of a stage brings the times of its beginning and end, so a span is made when its stage is over and costs
nothing while it lasts. Names: the documented ones, and beside them those of OpenTelemetry's conventions for
generative AI (https://opentelemetry.io/docs/specs/semconv/gen-ai/), which backends know how to show.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from opentelemetry import trace
from opentelemetry.trace import Span, SpanKind

from getpatter.models import TurnMetrics
from getpatter.observability.telemetry import Telemetry, Value
from getpatter.observability.tracing import (
    SPAN_BARGEIN,
    SPAN_CALL,
    SPAN_ENDPOINT,
    SPAN_LLM,
    SPAN_STT,
    SPAN_TOOL,
    SPAN_TTS,
)

Payload = Mapping[str, object]
_NANO: Final = 1_000_000_000
_SECONDS: Final = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0)
_CALL_SECONDS: Final = (5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 3600.0)
_TOKENS: Final = (1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576)
PARTS: Final = ("total_ms", "endpoint_ms", "stt_ms", "llm_ttft_ms", "tts_ms", "bargein_ms")
"""The parts of a turn's latency that are counted."""


@dataclass(slots=True)
class _Call:
    span: Span
    mode: str
    began: float
    tools: dict[str, Span] = field(default_factory=dict)


class CallSpans:
    """Makes the spans and the OpenTelemetry numbers of all calls. An `Observer` of calls."""

    wanted = frozenset(
        {
            "call_started",
            "call_ended",
            "stt_metrics",
            "eou_metrics",
            "llm_metrics",
            "tts_metrics",
            "tool_call_started",
            "tool_call_completed",
            "interruption",
            "turn_ended",
            "error",
        }
    )

    def __init__(self, telemetry: Telemetry) -> None:
        """Make them with `telemetry`."""
        self._telemetry = telemetry
        self._calls: dict[str, _Call] = {}
        meter = telemetry.meter
        self._active = meter.create_up_down_counter(
            "getpatter.calls.active", "{call}", "Calls that are connected."
        )
        self._durations = meter.create_histogram(
            "getpatter.call.duration",
            "s",
            "From connected media to the end.",
            explicit_bucket_boundaries_advisory=_CALL_SECONDS,
        )
        self._latency = meter.create_histogram(
            "getpatter.turn.latency",
            "s",
            "Where the time between the caller's last word and the answer goes.",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self._tokens = meter.create_histogram(
            "gen_ai.client.token.usage",
            "{token}",
            "Tokens of one request.",
            explicit_bucket_boundaries_advisory=_TOKENS,
        )
        self._requests = meter.create_histogram(
            "gen_ai.client.operation.duration",
            "s",
            "One request to a model.",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self._first_chunks = meter.create_histogram(
            "gen_ai.client.operation.time_to_first_chunk",
            "s",
            "From a request to the first of its answer.",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self._notes: dict[str, Callable[[_Call, Payload], None]] = {
            "call_ended": self._ended,
            "stt_metrics": self._transcript,
            "eou_metrics": self._turn_taken,
            "llm_metrics": self._request,
            "tts_metrics": self._sentence,
            "tool_call_started": self._tool_began,
            "tool_call_completed": self._tool_over,
            "interruption": self._interrupted,
            "turn_ended": self._turn_over,
            "error": self._failed,
        }

    def note(self, event: str, payload: Payload) -> None:
        """An event of a call."""
        call_id = str(payload["call_id"])
        if event == "call_started":
            self._began(call_id, payload)
            return
        call = self._calls.get(call_id)
        if call is not None:
            self._notes[event](call, payload)

    def trace_id(self, call_id: str) -> str:
        """The trace of a running call, as backends write it."""
        call = self._calls.get(call_id)
        if call is None:
            return ""
        return trace.format_trace_id(call.span.get_span_context().trace_id)

    # ----------------------------------------------------------------------------------- the call

    def _began(self, call_id: str, payload: Payload) -> None:
        began, mode = _number(payload, "timestamp"), str(payload["provider_mode"])
        span = self._telemetry.tracer.start_span(
            SPAN_CALL,
            context=trace.set_span_in_context(trace.INVALID_SPAN),
            kind=SpanKind.SERVER if payload["direction"] == "inbound" else SpanKind.CLIENT,
            start_time=_nano(began),
            attributes={
                "getpatter.call.id": call_id,
                "getpatter.call.direction": str(payload["direction"]),
                "getpatter.call.provider_mode": mode,
                "getpatter.call.carrier": str(payload["telephony_provider"]),
                "gen_ai.operation.name": "invoke_agent",
                "gen_ai.conversation.id": call_id,
            },
        )
        self._calls[call_id] = _Call(span, mode, began)
        self._active.add(1)

    def _ended(self, call: _Call, payload: Payload) -> None:
        call_id, ended = str(payload["call_id"]), _number(payload, "timestamp")
        del self._calls[call_id]
        for tool in call.tools.values():
            tool.end(_nano(ended))
        reason = str(payload["reason"])
        call.span.set_attribute("getpatter.call.reason", reason)
        if reason in {"provider_error", "carrier_error"}:
            self._telemetry.mark_failed(call.span, reason)
        call.span.end(_nano(ended))
        self._active.add(-1)
        kinds = {"direction": str(payload["direction"]), "reason": reason, "mode": call.mode}
        self._durations.record(max(0.0, ended - call.began), kinds)

    def _failed(self, call: _Call, payload: Payload) -> None:
        call.span.add_event(
            "getpatter.error",
            {"stage": str(payload["stage"]), "error.type": str(payload["error"])},
            _nano(_number(payload, "timestamp")),
        )

    def _turn_over(self, call: _Call, payload: Payload) -> None:
        turn = payload["turn"]
        assert isinstance(turn, TurnMetrics), "a turn that is over has its metrics"
        for part in PARTS:
            value: float | None = getattr(turn.latency, part)
            if value:
                kinds = {"part": part.removesuffix("_ms"), "mode": call.mode}
                self._latency.record(value / 1000, kinds)

    # ----------------------------------------------------------------------------------- the stages

    def _child(  # noqa: PLR0913 - what a span says
        self,
        call: _Call,
        name: str,
        payload: Payload,
        attributes: Mapping[str, Value],
        *,
        began: float,
        ended: float,
        kind: SpanKind = SpanKind.INTERNAL,
    ) -> None:
        span = self._open(call, name, payload, attributes, began=began, kind=kind)
        error = payload.get("error")
        if isinstance(error, str) and error:
            self._telemetry.mark_failed(span, error)
        span.end(_nano(ended))

    def _open(
        self,
        call: _Call,
        name: str,
        payload: Payload,
        attributes: Mapping[str, Value],
        *,
        began: float,
        kind: SpanKind = SpanKind.INTERNAL,
    ) -> Span:
        call_id = str(payload["call_id"])
        return self._telemetry.tracer.start_span(
            name,
            context=trace.set_span_in_context(call.span),
            kind=kind,
            start_time=_nano(began),
            attributes={
                "getpatter.call.id": call_id,
                "gen_ai.conversation.id": call_id,
                **attributes,
            },
        )

    def _stage(
        self, call: _Call, name: str, payload: Payload, operation: str, **more: Value
    ) -> None:
        provider, model = str(payload["provider"]), str(payload["model"])
        attributes: dict[str, Value] = {"gen_ai.operation.name": operation}
        if provider:
            attributes["gen_ai.provider.name"] = provider
        if model:
            attributes["gen_ai.request.model"] = model
        attributes |= {f"{name}.{key}": value for key, value in more.items()}
        if name == SPAN_LLM:
            attributes |= _usage(payload)
        self._child(
            call,
            name,
            payload,
            attributes,
            began=_number(payload, "started_at"),
            ended=_number(payload, "ended_at"),
            kind=SpanKind.CLIENT,
        )

    def _transcript(self, call: _Call, payload: Payload) -> None:
        confidence = _number(payload, "confidence")
        length = int(_number(payload, "text_len"))
        self._stage(
            call, SPAN_STT, payload, "speech_to_text", text_len=length, confidence=confidence
        )

    def _turn_taken(self, call: _Call, payload: Payload) -> None:
        self._child(
            call,
            SPAN_ENDPOINT,
            payload,
            {
                "getpatter.endpoint.silence_ms": _number(payload, "silence_ms"),
                "getpatter.endpoint.trigger": str(payload["trigger"]),
            },
            began=_number(payload, "started_at"),
            ended=_number(payload, "ended_at"),
        )

    def _sentence(self, call: _Call, payload: Payload) -> None:
        length, size = int(_number(payload, "text_len")), int(_number(payload, "bytes"))
        self._stage(call, SPAN_TTS, payload, "text_to_speech", text_len=length, bytes=size)

    def _request(self, call: _Call, payload: Payload) -> None:
        more: dict[str, Value] = {
            "iteration": int(_number(payload, "iteration")),
            "history_size": int(_number(payload, "history_size")),
        }
        if payload["ttft_ms"] is not None:
            more["ttft_ms"] = _number(payload, "ttft_ms")
        self._stage(call, SPAN_LLM, payload, "chat", **more)
        kinds = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": str(payload["provider"]),
            "gen_ai.request.model": str(payload["model"]),
        }
        self._requests.record(_number(payload, "duration_ms") / 1000, kinds)
        if payload["ttft_ms"] is not None:
            self._first_chunks.record(_number(payload, "ttft_ms") / 1000, kinds)
        for kind in ("input", "output"):
            count = int(_number(payload, f"{kind}_tokens"))
            if count:
                self._tokens.record(count, {**kinds, "gen_ai.token.type": kind})

    def _interrupted(self, call: _Call, payload: Payload) -> None:
        now = _number(payload, "timestamp")
        unsaid = int(_number(payload, "unsaid_letters"))
        self._child(
            call,
            SPAN_BARGEIN,
            payload,
            {"getpatter.bargein.cancelled_text_len": unsaid},
            began=now - _number(payload, "bargein_ms") / 1000,
            ended=now,
        )

    # ----------------------------------------------------------------------------------- the tools

    def _tool_began(self, call: _Call, payload: Payload) -> None:
        transport = str(payload["transport"])
        # The name of a tool that there is not is what a model made up.
        name = "unknown" if transport == "unknown" else str(payload["name"])
        call_id = str(payload["tool_call_id"])
        call.tools[call_id] = self._open(
            call,
            SPAN_TOOL,
            payload,
            {
                "getpatter.tool.name": name,
                "getpatter.tool.transport": transport,
                "gen_ai.operation.name": "execute_tool",
                "gen_ai.tool.name": name,
                "gen_ai.tool.type": "function",
                "gen_ai.tool.call.id": call_id,
            },
            began=_number(payload, "timestamp"),
        )

    def _tool_over(self, call: _Call, payload: Payload) -> None:
        span = call.tools.pop(str(payload["tool_call_id"]), None)
        if span is not None:
            if payload["error"] is not None:
                self._telemetry.mark_failed(span, "tool_error")
            span.end(_nano(_number(payload, "timestamp")))


def _usage(payload: Payload) -> dict[str, Value]:
    names = {
        "gen_ai.usage.input_tokens": "input_tokens",
        "gen_ai.usage.output_tokens": "output_tokens",
        "gen_ai.usage.cache_read.input_tokens": "cache_read_tokens",
        "gen_ai.usage.cache_creation.input_tokens": "cache_write_tokens",
    }
    found: dict[str, Value] = {
        name: int(_number(payload, key)) for name, key in names.items() if payload[key]
    }
    if payload["model"]:
        found["gen_ai.response.model"] = str(payload["model"])
    if payload["ttft_ms"] is not None:
        found["gen_ai.response.time_to_first_chunk"] = _number(payload, "ttft_ms") / 1000
    return found


def _number(payload: Payload, name: str) -> float:
    value = payload[name]
    assert isinstance(value, int | float), name
    return float(value)


def _nano(unix: float) -> int:
    return round(unix * _NANO)

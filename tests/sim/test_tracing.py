"""Calls as OpenTelemetry sees them: every span, in its place and time, and not a word of what was said."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import pytest
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from getpatter import observability as o
from getpatter.testing import time as virtual_time
from getpatter.testing.callers import Polite, babble
from getpatter.testing.simulation import Simulation
from tests.support.eventful import CANARY, engine_agent, eventful_call, pipeline_agent

NUMBERS = ("5550009876", "5550001234")


@cache
def application() -> tuple[InMemorySpanExporter, InMemoryMetricReader]:
    """A program that has OpenTelemetry set up as it likes. Its providers can be set only once in a process."""
    spans, numbers = InMemorySpanExporter(), InMemoryMetricReader()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    trace.set_tracer_provider(provider)
    metrics.set_meter_provider(MeterProvider([numbers]))
    return spans, numbers


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    exporter, _ = application()
    exporter.clear()
    monkeypatch.setenv("PATTER_OTEL_ENABLED", "1")
    yield exporter
    o.shutdown_tracing()


def of(found: Sequence[ReadableSpan], name: str) -> list[ReadableSpan]:
    return sorted(
        (each for each in found if each.name == name), key=lambda span: span.start_time or 0
    )


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def traced(mode: str) -> tuple[str, Any]:
    agent = pipeline_agent() if mode == "pipeline" else engine_agent()[0]
    told, _, call_id = virtual_time.run(eventful_call(agent))
    return call_id, told


COMMON = {o.SPAN_CALL, o.SPAN_STT, o.SPAN_ENDPOINT, o.SPAN_LLM, o.SPAN_TOOL, o.SPAN_BARGEIN}


@pytest.mark.parametrize(
    ("mode", "names"), [("pipeline", COMMON | {o.SPAN_TTS}), ("engine", COMMON)]
)
def test_every_stage_has_its_span_below_the_call(
    mode: str, names: set[str], spans: InMemorySpanExporter
) -> None:
    call_id, _ = traced(mode)
    found = spans.get_finished_spans()
    assert {span.name for span in found} == names
    (call,) = of(found, o.SPAN_CALL)
    assert call.parent is None
    for span in found:
        assert attributes(span)["getpatter.call.id"] == call_id
        assert attributes(span)["gen_ai.conversation.id"] == call_id
        assert call.start_time is not None
        assert call.end_time is not None
        assert span.start_time is not None
        assert span.end_time is not None
        assert call.start_time <= span.start_time <= span.end_time <= call.end_time
        if span is not call:
            assert span.parent is not None
            assert span.parent.span_id == call.context.span_id
            assert span.context.trace_id == call.context.trace_id


def test_the_spans_of_a_pipeline_say_what_they_should(spans: InMemorySpanExporter) -> None:
    _, told = traced("pipeline")
    found = spans.get_finished_spans()
    count = Counter(span.name for span in found)
    assert (count[o.SPAN_STT], count[o.SPAN_ENDPOINT], count[o.SPAN_TOOL]) == (3, 4, 1)
    assert count[o.SPAN_LLM] == len(told.of("llm_metrics"))
    assert count[o.SPAN_TTS] == len(told.of("tts_metrics"))
    call = attributes(of(found, o.SPAN_CALL)[0])
    assert call["getpatter.call.direction"] == "inbound"
    assert call["getpatter.call.provider_mode"] == "pipeline"
    assert call["gen_ai.operation.name"] == "invoke_agent"
    transcript = attributes(of(found, o.SPAN_STT)[0])
    assert transcript["getpatter.stt.text_len"] == 24
    assert transcript["getpatter.stt.confidence"] == 1.0
    assert transcript["gen_ai.provider.name"] == "guessing"
    ended = attributes(of(found, o.SPAN_ENDPOINT)[0])
    assert ended["getpatter.endpoint.silence_ms"] == told.of("eou_metrics")[0]["silence_ms"]
    first, second, *_ = of(found, o.SPAN_LLM)
    assert first.kind is SpanKind.CLIENT
    asked = attributes(first)
    assert (asked["getpatter.llm.iteration"], asked["getpatter.llm.history_size"]) == (1, 3)
    assert asked["getpatter.llm.ttft_ms"] == pytest.approx(200.0, abs=0.1)
    assert asked["gen_ai.operation.name"] == "chat"
    assert asked["gen_ai.request.model"] == "acting-1"
    assert (asked["gen_ai.usage.input_tokens"], asked["gen_ai.usage.output_tokens"]) == (20, 4)
    assert attributes(second)["getpatter.llm.iteration"] == 2
    assert (first.end_time or 0) - (first.start_time or 0) == pytest.approx(200e6, abs=1e5)
    assert attributes(of(found, o.SPAN_TTS)[0])["getpatter.tts.text_len"] == 16
    used = of(found, o.SPAN_TOOL)[0]
    assert attributes(used)["getpatter.tool.name"] == "look_up"
    assert attributes(used)["getpatter.tool.transport"] == "handler"
    assert attributes(used)["gen_ai.operation.name"] == "execute_tool"
    assert (used.end_time or 0) - (used.start_time or 0) == pytest.approx(500e6, abs=1e5)
    cut = of(found, o.SPAN_BARGEIN)[0]
    assert attributes(cut)["getpatter.bargein.cancelled_text_len"] > 100
    assert all(span.status.status_code is not StatusCode.ERROR for span in found)


@pytest.mark.parametrize("mode", ["pipeline", "engine"])
def test_nothing_that_was_said_and_no_number_is_in_a_trace(
    mode: str, spans: InMemorySpanExporter
) -> None:
    traced(mode)
    _, numbers = application()
    assert spans.get_finished_spans()
    data = numbers.get_metrics_data()
    assert data is not None
    shown = "".join(span.to_json() for span in spans.get_finished_spans()) + data.to_json()
    for secret in (CANARY, "hours", "Forbidden", "Welcome", *NUMBERS):
        assert secret not in shown


def test_numbers_are_kept_beside_the_spans(spans: InMemorySpanExporter) -> None:
    traced("pipeline")
    assert spans.get_finished_spans()
    _, reader = application()
    data = reader.get_metrics_data()
    assert data is not None
    found: dict[str, list[Any]] = {
        metric.name: list(metric.data.data_points)
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }
    assert {
        "getpatter.call.duration",
        "getpatter.turn.latency",
        "gen_ai.client.token.usage",
        "gen_ai.client.operation.duration",
        "gen_ai.client.operation.time_to_first_chunk",
    } <= set(found)
    assert sum(point.value for point in found["getpatter.calls.active"]) == 0
    parts = {dict(point.attributes or {})["part"] for point in found["getpatter.turn.latency"]}
    assert {"total", "endpoint", "llm_ttft", "tts", "bargein"} <= parts
    kinds = {
        dict(point.attributes or {})["gen_ai.token.type"]
        for point in found["gen_ai.client.token.usage"]
    }
    assert kinds == {"input", "output"}


@virtual_time.in_virtual_time
async def test_calls_at_the_same_time_are_traces_of_their_own(spans: InMemorySpanExporter) -> None:
    async with Simulation(pipeline_agent()) as phone:
        calls = [phone.ring(Polite("please", voice=babble)) for _ in range(3)]
        for call in calls:
            await call.ended()
    found = spans.get_finished_spans()
    by_trace = {span.context.trace_id for span in found}
    assert len(by_trace) == 3
    for span in found:
        (root,) = [
            each
            for each in of(found, o.SPAN_CALL)
            if each.context.trace_id == span.context.trace_id
        ]
        assert attributes(span)["getpatter.call.id"] == attributes(root)["getpatter.call.id"]


def test_a_span_of_the_programs_own(spans: InMemorySpanExporter) -> None:
    assert o.init_tracing()
    assert o.init_tracing()
    assert o.is_enabled()
    with o.start_span("billing.lookup", {"rows": 3}) as span:
        span.set_attribute("found", value=True)
    with pytest.raises(ValueError, match=CANARY), o.start_span("billing.fails"):
        raise ValueError(CANARY)
    fine, failed = spans.get_finished_spans()
    assert (fine.name, attributes(fine)) == ("billing.lookup", {"rows": 3, "found": True})
    assert failed.status.status_code is StatusCode.ERROR
    assert attributes(failed) == {"error.type": "ValueError"}
    assert CANARY not in failed.to_json()
    o.shutdown_tracing()
    o.shutdown_tracing()
    assert not o.is_tracing_enabled()
    with o.start_span("nothing") as span:
        span.set_attribute("rows", 1)
    assert len(spans.get_finished_spans()) == 2


def test_the_applications_provider_goes_on_after_ours_is_shut_down(
    spans: InMemorySpanExporter,
) -> None:
    assert o.init_tracing()
    o.shutdown_tracing()
    with trace.get_tracer("application").start_as_current_span("own"):
        pass
    assert [span.name for span in spans.get_finished_spans()] == ["own"]


@pytest.mark.parametrize("value", ["", "0", "off", "maybe"])
def test_without_the_variable_nothing_is_traced(
    value: str, spans: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATTER_OTEL_ENABLED", value)
    assert not o.init_tracing()
    traced("pipeline")
    assert not spans.get_finished_spans()

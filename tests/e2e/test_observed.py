"""What others see of calls: Prometheus reads `/metrics`, a collector of OpenTelemetry is sent spans and numbers."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from prometheus_client.parser import text_string_to_metric_families

from getpatter.testing.callers import Polite, babble
from getpatter.testing.providers import ScriptedSTT
from getpatter.testing.twilio import SimulatedTwilio
from tests.e2e.test_phone import HOST, serving
from tests.support.eventful import CANARY

ROOT = Path(__file__).parents[2]
TOKEN = "open sesame"


# ------------------------------------------------------------------------------------- Prometheus


def samples(text: str) -> dict[str, list[tuple[dict[str, str], float]]]:
    found: dict[str, list[tuple[dict[str, str], float]]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


def failing(_event: Any) -> None:
    raise RuntimeError


async def test_what_happened_in_calls_is_counted() -> None:
    async with (
        SimulatedTwilio() as twilio,
        # Slower than the voice detector, which has to know when the caller fell silent.
        serving(
            twilio, {"stt": ScriptedSTT(["a haircut"], final_delay=0.4)}, on_transcript=failing
        ) as phone,
        httpx.AsyncClient(base_url=f"http://{twilio.server}") as prometheus,
    ):
        ended: list[Any] = []
        phone.events.on("call_ended", ended.append)
        call = twilio.ring(Polite("a haircut please", voice=babble, gap_ms=300))
        await call.until("in-progress")
        await asyncio.sleep(0.3)
        running = samples((await prometheus.get("/metrics")).text)["getpatter_calls_active"]
        await call.ended()
        for _ in range(200):
            if ended:
                break
            await asyncio.sleep(0.02)
        answer = await prometheus.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    found = samples(answer.text)
    where = {"direction": "inbound", "carrier": "twilio"}
    assert running == [(where, 1.0)]
    assert found["getpatter_calls_active"] == [(where, 0.0)]
    assert found["getpatter_calls_total"] == [({**where, "outcome": "caller_hangup"}, 1.0)]
    assert found["getpatter_call_duration_seconds_count"] == [(where, 1.0)]
    latency = {labels["part"]: n for labels, n in found["getpatter_turn_latency_seconds_count"]}
    assert latency["total"] == 1.0
    assert sum(n for _, n in found["getpatter_turns_total"]) == 2.0
    assert found["getpatter_callback_errors_total"] == [({"callback": "on_transcript"}, 3.0)]
    assert found["getpatter_frames_dropped_total"] == [({"carrier": "twilio"}, 0.0)]
    assert {labels["part"] for labels, _ in found["getpatter_cost_dollars_total"]} == {
        "stt",
        "tts",
        "llm",
        "telephony",
    }
    for secret in ("haircut", "Certainly", "5550009876", "5550001234", call.sid):
        assert secret not in answer.text


@pytest.mark.parametrize("options", [{"dashboard_token": TOKEN}, {}])
async def test_the_counts_are_not_for_everybody(options: dict[str, Any]) -> None:
    async with (
        SimulatedTwilio() as twilio,
        serving(twilio, **options),
        httpx.AsyncClient(base_url=f"http://{twilio.server}") as client,
    ):
        public = await client.get("/metrics", headers={"host": HOST})
        assert (public.status_code, public.json()) == (401, {"detail": "Unauthorized"})
        here = await client.get("/metrics")
        assert here.status_code == (401 if options else 200)
        given = {"authorization": f"Bearer {TOKEN}", "host": HOST}
        assert (await client.get("/metrics", headers=given)).status_code == (
            200 if options else 401
        )


# ---------------------------------------------------------------------------------- OpenTelemetry


class Collector:
    """Takes OTLP over HTTP, as https://opentelemetry.io/docs/specs/otlp/#otlphttp says."""

    def __init__(self) -> None:
        self.traces: list[ExportTraceServiceRequest] = []
        self.metrics: list[ExportMetricsServiceRequest] = []
        self.bodies: list[bytes] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                status, answer = collector.take(
                    self.path,
                    self.headers["content-type"],
                    self.headers.get("content-encoding"),
                    body,
                )
                self.send_response(status)
                self.send_header("content-type", "application/x-protobuf")
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def take(
        self, path: str, content_type: str, encoding: str | None, body: bytes
    ) -> tuple[int, bytes]:
        if content_type != "application/x-protobuf" or encoding not in {None, "identity"}:
            return 415, b""
        self.bodies.append(body)
        match path:
            case "/v1/traces":
                self.traces.append(ExportTraceServiceRequest.FromString(body))
                return 200, ExportTraceServiceResponse().SerializeToString()
            case "/v1/metrics":
                self.metrics.append(ExportMetricsServiceRequest.FromString(body))
                return 200, ExportMetricsServiceResponse().SerializeToString()
            case _:
                return 404, b""

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.close()


PROGRAM = """
import sys
from getpatter.observability import init_tracing, shutdown_tracing
from getpatter.testing import time as virtual_time
from tests.support.eventful import eventful_call, pipeline_agent

is_on = init_tracing("clinic", resource_attributes={"deployment.environment": "test"})
virtual_time.run(eventful_call(pipeline_agent()))
shutdown_tracing()
print(is_on, any(name.startswith("opentelemetry") for name in sys.modules))
"""


def run(**environment: str) -> str:
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": path, **environment},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout.strip()


def test_spans_and_numbers_reach_a_collector(collector: Collector) -> None:
    told = run(PATTER_OTEL_ENABLED="true", OTEL_EXPORTER_OTLP_ENDPOINT=collector.endpoint)
    assert told == "True True"
    resource = collector.traces[0].resource_spans[0].resource
    about = {each.key: each.value.string_value for each in resource.attributes}
    assert about["service.name"] == "clinic"
    assert about["deployment.environment"] == "test"
    spans = [
        span
        for request in collector.traces
        for resource_spans in request.resource_spans
        for scope in resource_spans.scope_spans
        for span in scope.spans
    ]
    count = Counter(span.name for span in spans)
    assert count["getpatter.call"] == 1
    assert {
        f"getpatter.{each}" for each in ["stt", "endpoint", "llm", "tts", "tool", "bargein"]
    } < set(count)
    (call,) = [span for span in spans if span.name == "getpatter.call"]
    assert all(span.parent_span_id == call.span_id for span in spans if span is not call)
    names = {
        metric.name
        for request in collector.metrics
        for resource_metrics in request.resource_metrics
        for scope in resource_metrics.scope_metrics
        for metric in scope.metrics
    }
    assert {"getpatter.call.duration", "gen_ai.client.token.usage"} <= names
    for body in collector.bodies:
        assert CANARY.encode() not in body
        assert b"5550009876" not in body


def test_off_nothing_is_loaded_and_nothing_sent(collector: Collector) -> None:
    assert run(OTEL_EXPORTER_OTLP_ENDPOINT=collector.endpoint) == "False False"
    assert not collector.bodies

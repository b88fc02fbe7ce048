"""Where spans and numbers go: to the application's own OpenTelemetry providers, or to ours. Loaded when tracing is on.

OTLP over HTTP: https://opentelemetry.io/docs/specs/otlp/#otlphttp
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Final, Protocol, cast

from opentelemetry import metrics, trace
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, Status, StatusCode

from getpatter._version import __version__

logger = logging.getLogger(__name__)

FLUSH_MS: Final = 5000
_LIBRARY: Final = "getpatter"
_TRACES, _METRICS = "/v1/traces", "/v1/metrics"

Value = str | bool | int | float


class _Flushable(Protocol):
    def force_flush(self, timeout_millis: int = ...) -> bool: ...


class Telemetry:
    """A tracer and a meter, and what has to be flushed in the end."""

    def __init__(self, service_name: str, endpoint: str, resource: Mapping[str, Value]) -> None:
        """Use the application's providers where it has set any; send ours to `endpoint`, if there is one."""
        about = Resource.create({"service.name": service_name, **resource})
        self._ours: list[TracerProvider | MeterProvider] = []
        self._theirs: list[object] = []
        base = endpoint.rstrip("/").removesuffix(_TRACES).removesuffix(_METRICS)
        self.tracer = self._traces(about, base).get_tracer(_LIBRARY, __version__)
        self.meter = self._meters(about, base).get_meter(_LIBRARY, __version__)

    def _traces(self, about: Resource, endpoint: str) -> trace.TracerProvider:
        existing = trace.get_tracer_provider()
        if not isinstance(existing, trace.ProxyTracerProvider):
            self._theirs.append(existing)
            return existing
        provider = TracerProvider(resource=about)
        if endpoint:
            exporter = OTLPSpanExporter(endpoint=f"{endpoint}{_TRACES}")
            provider.add_span_processor(BatchSpanProcessor(exporter))
        self._ours.append(provider)
        return provider

    def _meters(self, about: Resource, endpoint: str) -> metrics.MeterProvider:
        existing = metrics.get_meter_provider()
        # The placeholder of an application that has set none is private, but for its name.
        if "Proxy" not in type(existing).__name__:
            self._theirs.append(existing)
            return existing
        readers = []
        if endpoint:
            exporter = OTLPMetricExporter(endpoint=f"{endpoint}{_METRICS}")
            readers.append(PeriodicExportingMetricReader(exporter))
        provider = MeterProvider(readers, resource=about)
        self._ours.append(provider)
        return provider

    @staticmethod
    def mark_failed(span: Span, error: str) -> None:
        """Say that what the span stands for failed; `error` is the name of a class, never a text."""
        span.set_attribute("error.type", error)
        span.set_status(Status(StatusCode.ERROR))

    def close(self) -> None:
        """Send what is left. Providers of the application go on."""
        for provider in (*self._ours, *self._theirs):
            if callable(getattr(provider, "force_flush", None)):
                cast("_Flushable", provider).force_flush(FLUSH_MS)
        for provider in self._ours:
            provider.shutdown()

"""Spans and numbers of calls for OpenTelemetry (https://opentelemetry.io), where they are wanted.

```
PATTER_OTEL_ENABLED=1  OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4318     then  init_tracing()
```

Off, which is the default, nothing of OpenTelemetry is imported and `start_span` gives a span that does nothing. On,
every call is a trace: `getpatter.call` with a child for each transcript, turn end, model request, sentence, tool and
interruption. Spans hold sizes, counts and ids: never speech, prompts, tool data or phone numbers.

A tracer provider that the application has set is used, and neither replaced nor shut down. Otherwise one is made for
getpatter alone: the global one stays the application's to set.
"""

from __future__ import annotations

import logging
from collections.abc import Generator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Final, Protocol

from getpatter import config

if TYPE_CHECKING:
    from getpatter.observability.telemetry import Telemetry

logger = logging.getLogger(__name__)

SPAN_CALL: Final = "getpatter.call"
"""One call; the parent of all others."""
SPAN_STT: Final = "getpatter.stt"
"""From the beginning of the caller's voice to a final transcript."""
SPAN_ENDPOINT: Final = "getpatter.endpoint"
"""From the end of the caller's voice to the decision that the turn is over."""
SPAN_LLM: Final = "getpatter.llm"
"""One request to a model, or one response of a speech-to-speech engine."""
SPAN_TTS: Final = "getpatter.tts"
"""One sentence becoming sound."""
SPAN_TOOL: Final = "getpatter.tool"
"""One run of a tool."""
SPAN_BARGEIN: Final = "getpatter.bargein"
"""From the onset of the caller's voice to the agent being silent."""

Value = str | bool | int | float
"""What an attribute may hold."""


class SpanHandle(Protocol):
    """A span that is open: OpenTelemetry's own, or one that does nothing."""

    def set_attribute(self, key: str, value: Value) -> None:
        """Note something about it. Sizes, counts and ids; never what was said."""
        ...


class _NoSpan:
    """A span while tracing is off."""

    __slots__ = ()

    def set_attribute(self, key: str, value: Value) -> None:
        """Do nothing."""


_NO_SPAN: Final[AbstractContextManager[SpanHandle]] = nullcontext(_NoSpan())
_telemetry: Telemetry | None = None


def init_tracing(
    service_name: str = "patter",
    otlp_endpoint: str | None = None,
    resource_attributes: Mapping[str, Value] | None = None,
) -> bool:
    """Begin to make spans and numbers of calls. Returns whether it does; a second call changes nothing.

    `serve()` does this with its defaults where `PATTER_OTEL_ENABLED` says so and the program has not.

    Args:
        service_name: The `service.name` under which a backend shows them.
        otlp_endpoint: Where to send them, OTLP over HTTP, such as `http://localhost:4318`. `None`: what
            `OTEL_EXPORTER_OTLP_ENDPOINT` says; unset, nothing is sent anywhere.
        resource_attributes: More about this process.

    Returns:
        False, and nothing happens, unless `PATTER_OTEL_ENABLED` is on and the extra `tracing` is installed.
    """
    global _telemetry  # noqa: PLW0603 - tracing is one for a process, as OpenTelemetry's providers are
    if not config.tracing_enabled():
        return False
    if _telemetry is None:
        try:
            from getpatter.observability.telemetry import Telemetry  # noqa: PLC0415 - loads the SDK
        except ImportError:
            logger.warning("tracing.extra_missing install=pip install 'getpatter[tracing]'")
            return False
        endpoint = otlp_endpoint or config.otlp_endpoint()
        _telemetry = Telemetry(service_name, endpoint, resource_attributes or {})
    return True


def is_tracing_enabled() -> bool:
    """Whether spans are made: `init_tracing()` has said yes, and `shutdown_tracing()` was not called since."""
    return _telemetry is not None


is_enabled = is_tracing_enabled


def start_span(
    name: str, attributes: Mapping[str, Value] | None = None
) -> AbstractContextManager[SpanHandle]:
    """A span around a block of your own.

    ```python
    with start_span("billing.lookup", {"rows": 3}) as span:
        ...
    ```

    What is raised inside marks the span as failed with the name of the exception's class, never with its text.
    """
    return _NO_SPAN if _telemetry is None else _opened(_telemetry, name, attributes)


@contextmanager
def _opened(
    telemetry: Telemetry, name: str, attributes: Mapping[str, Value] | None
) -> Generator[SpanHandle]:
    with telemetry.tracer.start_as_current_span(
        name, attributes=attributes, record_exception=False, set_status_on_exception=False
    ) as span:
        try:
            yield span
        except BaseException as error:
            telemetry.mark_failed(span, type(error).__name__)
            raise


def shutdown_tracing() -> None:
    """Send what is left, 5 s at most, and make no more. Callable any time, and any number of times. Blocks."""
    global _telemetry
    telemetry, _telemetry = _telemetry, None
    if telemetry is not None:
        telemetry.close()


def telemetry() -> Telemetry | None:
    """What makes the spans of calls, for the server; `None` while tracing is off."""
    return _telemetry

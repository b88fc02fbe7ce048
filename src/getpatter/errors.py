"""Everything the SDK raises on purpose at run time, as one tree.

```
Exception
└── PatterError                  .code .vendor .retryable .request_id
    ├── PatterConnectionError    a carrier, tunnel, provider or port cannot be reached, or failed
    │   └── RateLimitError       429, a concurrency or an admission limit
    ├── AuthenticationError      a carrier or provider refused the credentials
    ├── ProvisionError           a number or a carrier application cannot be set
    ├── PatterConfigError        the program is set up wrongly (also a ValueError)
    ├── AllProvidersFailedError  every provider of a fallback chain failed
    ├── PartialStreamError       a provider failed after speech had begun
    ├── WireError                a peer broke its own protocol; the frame is dropped, never the call
    └── CallEndedError           the call is over, so what you asked for cannot happen
ValueError └── ToolSchemaError   a tool's `parameters` are not a JSON Schema object
```

The type says whose fault it is; the message says what happened, the value (secrets and numbers masked)
and what to do.
"""

from __future__ import annotations

from enum import StrEnum


class ErrorCode(StrEnum):
    """Machine-readable kind of a `PatterError`."""

    CONFIG = "CONFIG"
    CONNECTION = "CONNECTION"
    AUTH = "AUTH"
    TIMEOUT = "TIMEOUT"
    RATE_LIMIT = "RATE_LIMIT"
    WEBHOOK_VERIFICATION = "WEBHOOK_VERIFICATION"
    INPUT_VALIDATION = "INPUT_VALIDATION"
    PROVIDER_ERROR = "PROVIDER_ERROR"
    PROVISION = "PROVISION"
    INTERNAL = "INTERNAL"


class PatterError(Exception):
    """Root of all errors raised by the SDK at run time."""

    default_code = ErrorCode.INTERNAL
    default_retryable = False

    def __init__(
        self,
        message: str = "",
        *,
        code: ErrorCode | None = None,
        vendor: str = "",
        retryable: bool | None = None,
        request_id: str = "",
        status: int | None = None,
    ) -> None:
        """Make an error about `vendor` (a provider or carrier key; empty when it is about us).

        `retryable` says whether the same request may succeed later; `request_id` is the vendor's own id
        of the failed request and `status` its HTTP status or socket close code, where one was given.
        """
        super().__init__(message)
        self.code = code if code is not None else self.default_code
        self.vendor = vendor
        self.retryable = self.default_retryable if retryable is None else retryable
        self.request_id = request_id
        self.status = status


class PatterConnectionError(PatterError):
    """A carrier, tunnel, provider or port could not be reached, or failed."""

    default_code = ErrorCode.CONNECTION
    default_retryable = True


class RateLimitError(PatterConnectionError):
    """A peer said 429, or one of our own limits (concurrent calls) is reached."""

    default_code = ErrorCode.RATE_LIMIT


class AuthenticationError(PatterError):
    """A carrier or provider refused the credentials."""

    default_code = ErrorCode.AUTH


class ProvisionError(PatterError):
    """A number or a carrier application cannot be set up."""

    default_code = ErrorCode.PROVISION


class PatterConfigError(PatterError, ValueError):
    """The program is set up wrongly, found at run time; fix the code or the environment."""

    default_code = ErrorCode.CONFIG


class AllProvidersFailedError(PatterError):
    """Every provider of a fallback chain failed."""

    default_code = ErrorCode.PROVIDER_ERROR


class PartialStreamError(PatterError):
    """A provider failed after part of its answer had been spoken, so nobody else can take over."""

    default_code = ErrorCode.PROVIDER_ERROR


class WireError(PatterError):
    """A peer sent something that breaks its own protocol. The only error a parser raises."""

    default_code = ErrorCode.PROVIDER_ERROR


class CallEndedError(PatterError):
    """The call is over, so what you asked for cannot happen."""


class ToolSchemaError(ValueError):
    """A tool's `parameters` are not a JSON Schema object."""


class PatterDeprecationWarning(DeprecationWarning):
    """An older spelling that still works; the text shows the new one."""

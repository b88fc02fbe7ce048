"""An AI agent with a phone number.

Every public name is importable from here and is loaded when it is first asked for (PEP 562), so that
`import getpatter` costs next to nothing and loads no server, no numeric library and no vendor.

To add a name, add a line to `_EXPORTS` and the import under `TYPE_CHECKING`, which is what type checkers
(and tools that freeze programs) read; `tests/unit/test_exports.py` holds the two together.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

from getpatter._version import __version__

if TYPE_CHECKING:
    from getpatter.errors import AllProvidersFailedError as AllProvidersFailedError
    from getpatter.errors import AuthenticationError as AuthenticationError
    from getpatter.errors import CallEndedError as CallEndedError
    from getpatter.errors import ErrorCode as ErrorCode
    from getpatter.errors import PartialStreamError as PartialStreamError
    from getpatter.errors import PatterConfigError as PatterConfigError
    from getpatter.errors import PatterConnectionError as PatterConnectionError
    from getpatter.errors import PatterDeprecationWarning as PatterDeprecationWarning
    from getpatter.errors import PatterError as PatterError
    from getpatter.errors import ProvisionError as ProvisionError
    from getpatter.errors import RateLimitError as RateLimitError
    from getpatter.errors import ToolSchemaError as ToolSchemaError
    from getpatter.errors import WireError as WireError

# Public name -> "module:attribute" under `getpatter`, or "module" where the names are the same.
_EXPORTS: Final[dict[str, str]] = {
    "AllProvidersFailedError": "errors",
    "AuthenticationError": "errors",
    "CallEndedError": "errors",
    "ErrorCode": "errors",
    "PartialStreamError": "errors",
    "PatterConfigError": "errors",
    "PatterConnectionError": "errors",
    "PatterDeprecationWarning": "errors",
    "PatterError": "errors",
    "ProvisionError": "errors",
    "RateLimitError": "errors",
    "ToolSchemaError": "errors",
    "WireError": "errors",
}

__all__ = ["__version__", *_EXPORTS]  # noqa: PLE0604 # pyright: ignore[reportUnsupportedDunderAll] - strings, all of them


def __getattr__(name: str) -> object:
    """Import a public name when it is first used, and keep it."""
    place = _EXPORTS.get(name)
    if place is None:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message, name=name)
    module, _, attribute = place.partition(":")
    value: object = getattr(import_module(f"{__name__}.{module}"), attribute or name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """All public names, loaded or not."""
    return sorted({*globals(), *_EXPORTS})

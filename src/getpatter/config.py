"""Every setting of the SDK, and the only reader of the environment.

Values are read when they are asked for, never at import, so a program may set them (or load a `.env` file)
at any time before it builds the object that uses them.
"""

# What a program hands over is unknown until it has been checked, and here is where it is checked.
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnnecessaryIsInstance=false
from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, TypeAlias

logger = logging.getLogger(__name__)

Redaction: TypeAlias = Literal["mask", "full", "hash_only"]

DEFAULT_BIND_HOST: Final = "127.0.0.1"
DEFAULT_RETENTION_DAYS: Final = 30
AUTO: Final = "auto"
"""As a directory: the usual one of the platform."""

_OFF: Final = frozenset({"0", "false", "no", "off"})
_ON: Final = frozenset({"1", "true", "yes", "on"})
_REDACTIONS: Final[dict[str, Redaction]] = {
    "": "mask",
    "1": "mask",
    "mask": "mask",
    "0": "full",
    "full": "full",
    "hash_only": "hash_only",
}


# ---------------------------------------------------------------------------------------- credentials


def credential(
    variable: str | tuple[str, ...],
    given: str | None = None,
    *,
    argument: str = "api_key",
    owner: str = "",
) -> str:
    """The secret that was given, else that of the first variable that has one.

    Args:
        variable: Name of an environment variable, or several in order.
        given: What the program passed; empty and `None` mean nothing.
        argument: Name of the parameter, for the error.
        owner: Whose parameter it is, such as a class name, for the error.

    Raises:
        ValueError: There is none. The text names argument and variables.
        TypeError: `given` is not a text.
    """
    found = optional_credential(variable, given, argument=argument, owner=owner)
    if found:
        return found
    names = (variable,) if isinstance(variable, str) else variable
    whose = f"{owner}: " if owner else ""
    raise ValueError(
        f"{whose}{argument} is missing: pass {argument}=... or set the environment variable "
        f"{' or '.join(names)}"
    )


def optional_credential(
    variable: str | tuple[str, ...],
    given: str | None = None,
    *,
    argument: str = "api_key",
    owner: str = "",
) -> str:
    """As `credential`, but empty where that one raises `ValueError`."""
    value: object = given
    if value is not None and not isinstance(value, str):
        whose = f"{owner}: " if owner else ""
        raise TypeError(f"{whose}{argument} must be a str, not {type(value).__name__}")
    if value and value.strip():
        return value.strip()
    names = (variable,) if isinstance(variable, str) else variable
    return next(filter(None, map(setting, names)), "")


def setting(variable: str, default: str = "") -> str:
    """The environment variable without white space around it; `default` when unset or empty."""
    return os.environ.get(variable, "").strip() or default


def set_default(variable: str, value: str) -> None:
    """Give a variable of somebody else's package a value, where it has none."""
    os.environ.setdefault(variable, value)


def is_on(variable: str, *, default: bool = False) -> bool:
    """Whether the variable says `1/true/yes/on`; `default` when it says neither that nor the opposite."""
    value = setting(variable).lower()
    if value in _ON:
        return True
    return False if value in _OFF else default


# -------------------------------------------------------------------------------------------- settings


def bind_host() -> str:
    """`PATTER_BIND_HOST`: the address that the server listens on."""
    return setting("PATTER_BIND_HOST", DEFAULT_BIND_HOST)


def shows_error_text() -> bool:
    """`PATTER_LOG_ERROR_TEXT`: whether log lines hold the text of exceptions that are not ours."""
    return is_on("PATTER_LOG_ERROR_TEXT")


def retention_days() -> int:
    """`PATTER_LOG_RETENTION_DAYS`: days of persisted calls to keep; 0 keeps everything."""
    value = setting("PATTER_LOG_RETENTION_DAYS", str(DEFAULT_RETENTION_DAYS))
    if value.isascii() and value.isdigit():
        return int(value)
    logger.warning(
        "config.bad_value variable=PATTER_LOG_RETENTION_DAYS used=%d", DEFAULT_RETENTION_DAYS
    )
    return DEFAULT_RETENTION_DAYS


def phone_redaction() -> Redaction:
    """`PATTER_LOG_REDACT_PHONE`: how numbers are written to files."""
    value = setting("PATTER_LOG_REDACT_PHONE").lower()
    if value not in _REDACTIONS:
        logger.warning("config.bad_value variable=PATTER_LOG_REDACT_PHONE used=mask")
    return _REDACTIONS.get(value, "mask")


def notifies_dashboard() -> bool:
    """`PATTER_DASHBOARD_NOTIFY`: whether a standalone dashboard on this machine is told of calls."""
    return is_on("PATTER_DASHBOARD_NOTIFY", default=True)


def tracing_enabled() -> bool:
    """`PATTER_OTEL_ENABLED`."""
    return is_on("PATTER_OTEL_ENABLED")


def otlp_endpoint() -> str:
    """`OTEL_EXPORTER_OTLP_ENDPOINT`, empty when unset."""
    return setting("OTEL_EXPORTER_OTLP_ENDPOINT")


def smart_turn_model() -> str:
    """`PATTER_SMART_TURN_MODEL`: path of a turn detector's weights, empty when unset."""
    return setting("PATTER_SMART_TURN_MODEL")


def wants_colour() -> bool:
    """False when `NO_COLOR` is set to anything."""
    return not os.environ.get("NO_COLOR")


def persist_root(persist: bool | str | os.PathLike[str] | None = None) -> Path | None:  # noqa: FBT001 - documented
    """The directory for persisted calls, or None when nothing is written.

    Args:
        persist: `None` follows `PATTER_LOG_DIR`; `False` is off and `True` the platform's directory, whatever
            the variable says; anything else is the directory, with `~` expanded.

    Raises:
        TypeError: `persist` is none of these.
        ValueError: It is an empty text.
    """
    if persist is None:
        value = setting("PATTER_LOG_DIR")
        return _directory(value) if value else None
    if isinstance(persist, bool):
        return platform_data_dir() if persist else None
    if not isinstance(persist, str | os.PathLike):
        raise TypeError(
            f"persist must be None, a bool or a directory, not {type(persist).__name__}"
        )
    text = os.fspath(persist)
    if not text.strip():
        raise ValueError(
            "persist is an empty path: use False for off, True for the platform's directory"
        )
    return Path(text).expanduser()


def platform_data_dir() -> Path:
    """Where programs of this platform keep a user's data, and in it our own directory. Not created here."""
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "patter"
    if sys.platform == "win32":
        local = setting("LOCALAPPDATA")
        return (Path(local) if local else Path.home() / "AppData" / "Local") / "patter"
    data = setting("XDG_DATA_HOME")
    # The specification wants a relative one ignored.
    base = Path(data) if data and Path(data).is_absolute() else Path.home() / ".local" / "share"
    return base / "patter"


def _directory(value: str) -> Path:
    return platform_data_dir() if value.lower() == AUTO else Path(value).expanduser()


@dataclass(frozen=True, slots=True)
class LocalConfig:
    """Carrier, credentials and address of one server. Made by `Patter`; rarely by hand.

    Credentials are left out of `repr`.
    """

    telephony_provider: str = "twilio"
    twilio_sid: str = field(default="", repr=False)
    twilio_token: str = field(default="", repr=False)
    telnyx_key: str = field(default="", repr=False)
    telnyx_connection_id: str = field(default="", repr=False)
    telnyx_public_key: str = field(default="", repr=False)
    openai_key: str = field(default="", repr=False)
    elevenlabs_key: str = field(default="", repr=False)
    deepgram_key: str = field(default="", repr=False)
    cartesia_key: str = field(default="", repr=False)
    rime_key: str = field(default="", repr=False)
    lmnt_key: str = field(default="", repr=False)
    soniox_key: str = field(default="", repr=False)
    speechmatics_key: str = field(default="", repr=False)
    assemblyai_key: str = field(default="", repr=False)
    phone_number: str = ""
    """E.164."""
    webhook_url: str = ""
    """Bare host name."""
    require_signature: bool = True
    """Turn away webhooks of a carrier that has no credentials to check them with."""
    persist_root: str | None = None
    """Directory for persisted calls; `None` writes nothing."""
    plivo_auth_id: str = field(default="", repr=False)
    plivo_auth_token: str = field(default="", repr=False)
    trusted_proxies: Sequence[str] = ()
    """Addresses or CIDR blocks whose forwarding headers count."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "trusted_proxies", tuple(self.trusted_proxies))

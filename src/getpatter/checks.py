"""What a program hands to `serve()` and `call()`, looked at before a phone rings: types first, then ranges."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from getpatter.agent import Agent
from getpatter.types import is_e164, masked

_HIGHEST_PORT: Final = 65535
_LONGEST_CALL: Final = 14400
_LONGEST_RING: Final = 600


def check_number(number: object, name: str) -> None:
    """Raise unless it is a number as E.164 writes it."""
    if not isinstance(number, str):
        raise TypeError(f"{name} must be a str, not {type(number).__name__}")
    if not is_e164(number):
        shown = masked(number) if number else "nothing"
        raise ValueError(f"{name} must be E.164 like +15550001234, got {shown}")


def checked_bool(value: object, name: str) -> bool:
    """The value, if it is a bool."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be a bool, not {type(value).__name__}")
    return value


def check_agent(agent: object) -> None:
    """Refuse what is no `Agent`."""
    if not isinstance(agent, Agent):
        raise TypeError(f"agent must be made with phone.agent(...), not {type(agent).__name__}")


def check_serving(given: Mapping[str, Any]) -> None:
    """Check the arguments of `serve()`, by name."""
    check_agent(given["agent"])
    port = given["port"]
    if not isinstance(port, int) or isinstance(port, bool):
        raise TypeError(f"port must be an int, not {type(port).__name__}")
    if not 1 <= port <= _HIGHEST_PORT:
        raise ValueError(f"port must be 1 to 65535, got {port}")
    for name in ("recording", "dashboard", "manage_webhook", "allow_insecure_dashboard"):
        checked_bool(given[name], name)
    for name in ("on_call_start", "on_call_end", "on_transcript", "on_metrics"):
        check_callable(given[name], name)
    if not isinstance(given["on_message"], str):
        check_callable(given["on_message"], "on_message")
    for name in ("voicemail_message", "dashboard_token", "webhook_secret"):
        if not isinstance(given[name], str):
            raise TypeError(f"{name} must be a str, not {type(given[name]).__name__}")
    check_limits(given)


def check_limits(given: Mapping[str, Any]) -> None:
    """Check how long and how many calls may be."""
    duration = given["max_call_duration"]
    if not isinstance(duration, int) or isinstance(duration, bool):
        raise TypeError(f"max_call_duration must be an int, not {type(duration).__name__}")
    if not 1 <= duration <= _LONGEST_CALL:
        raise ValueError(f"max_call_duration must be 1 to {_LONGEST_CALL} seconds, got {duration}")
    most = given["max_concurrent_calls"]
    if most is not None and (not isinstance(most, int) or isinstance(most, bool) or most < 1):
        raise ValueError(f"max_concurrent_calls must be a positive int or None, got {most!r}")
    idle = given["idle_timeout"]
    if idle is not None and not (isinstance(idle, (int, float)) and idle > 0):
        raise ValueError(f"idle_timeout must be positive seconds or None, got {idle!r}")


def check_placing(given: Mapping[str, Any]) -> None:
    """Check the arguments of `call()`, by name."""
    agent, ring, duration = given["agent"], given["ring_timeout"], given["max_call_duration"]
    if agent is not None and not isinstance(agent, Agent):
        raise TypeError(f"agent must be made with phone.agent(...), not {type(agent).__name__}")
    for name in ("first_message", "voicemail_message", "from_number"):
        if not isinstance(given[name], str):
            raise TypeError(f"{name} must be a str, not {type(given[name]).__name__}")
    switches = ["machine_detection", "wait"] + ["recording"] * (given["recording"] is not None)
    for name in switches:
        checked_bool(given[name], name)
    for name in ("on_machine_detection", "on_machine"):
        check_callable(given[name], name)
    for name, value, most in (
        ("ring_timeout", ring, _LONGEST_RING),
        ("max_call_duration", duration, _LONGEST_CALL),
    ):
        if value is None:
            continue
        if not isinstance(value, int) or isinstance(value, bool):
            raise TypeError(f"{name} must be an int or None, not {type(value).__name__}")
        if not 1 <= value <= most:
            raise ValueError(f"{name} must be 1 to {most} seconds, got {value}")


def check_callable(value: object, name: str) -> None:
    """Raise unless it is a function or `None`."""
    if value is not None and not callable(value):
        raise TypeError(f"{name} must be a function, not {type(value).__name__}")

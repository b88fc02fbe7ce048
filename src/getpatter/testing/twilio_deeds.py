"""What a simulated call of Twilio was asked to do, and what it told the server."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

LONGEST_CALL_S: Final = 4 * 3600.0


@dataclass(slots=True)
class Delivery:
    """A webhook that was sent."""

    kind: str
    """`voice`, `status`, `amd`, `recording`, `stream`, `dial` or `conference`."""
    url: str
    form: dict[str, str] = field(repr=False)
    status: int
    """HTTP status of the server's answer; 0 for none."""


@dataclass(frozen=True, slots=True)
class Orders:
    """What an outbound call was asked to do."""

    status_callback: str = ""
    status_events: frozenset[str] = frozenset({"completed"})
    ring_timeout_s: float = 60.0
    time_limit_s: float = LONGEST_CALL_S
    twiml: str = ""
    url: str = ""
    detects_machines: bool = False
    detects_beside: bool = False
    """`AsyncAmd`: the document runs at once and the verdict comes by webhook."""
    amd_callback: str = ""

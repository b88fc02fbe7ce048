"""Who can be called at a simulated carrier: by the program, or by a transfer of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from getpatter.testing.callers import Program, SilentOne


@dataclass(frozen=True, slots=True)
class Callee:
    """Somebody who can be called, and what becomes of it."""

    caller: Program = field(default_factory=SilentOne)
    """What the person (or machine) does once connected."""
    outcome: Literal["answered", "busy", "no-answer", "failed"] = "answered"
    rings_s: float = 1.0
    """Seconds until the outcome is known; past the ring timeout of the call it is `no-answer`."""
    answered_by: str = "human"
    """What machine detection will say: `human`, `machine_end_beep`, `fax` ..."""
    verdict_after_s: float = 2.0
    """Seconds from the answer to that verdict."""
    talks_s: float = 5.0
    """How long a call that was transferred here lasts, once they talk."""
    hangs_up_after_s: float | None = None
    """Seconds from the answer after which they hang up, whoever waits for them; `None`: they stay."""

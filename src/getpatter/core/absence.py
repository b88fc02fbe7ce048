"""The caller is taken to somebody else, and perhaps brought back: what the end of a stream means meanwhile.

While the carrier is asked for a transfer its stream may end before its answer is here, or after it, or not at all.
None of these ends the call; what becomes of the transfer does.
"""

from __future__ import annotations

from getpatter.core import messages as m
from getpatter.core.turns import Turn

Departure = m.StreamEnded | m.CallOver | m.HandOverAsked | m.HandOverRefused | m.HandedOver


class Absence:
    """Whether the end of the stream is the end of the call."""

    def __init__(self) -> None:
        """It is, until a transfer is asked for."""
        self.is_possible = False

    def turn(self, event: Departure) -> Turn | None:
        """What `event` means for the floor."""
        match event:
            case m.HandOverAsked() | m.HandOverRefused():
                self.is_possible = isinstance(event, m.HandOverAsked)
                return None
            case m.HandedOver():
                return Turn.HANDED_OVER
            case m.StreamEnded() if self.is_possible:
                return Turn.HANDED_OVER
            case m.StreamEnded() | m.CallOver():
                return Turn.GONE

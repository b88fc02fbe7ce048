"""What a call hears of a stream on which its caller came back."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from getpatter.runtime.call import Call


class LaterStream:
    """The `MediaListener` of a stream on which the caller came back."""

    __slots__ = ("_call", "_number")

    def __init__(self, call: Call, number: int) -> None:
        """Stream `number` of `call`."""
        self._call = call
        self._number = number

    def received(self, frame: bytes) -> None:
        """One text frame of the carrier."""
        self._call.frame_of(self._number, frame)

    def dropped(self, reason: str) -> None:
        """The server could not hand a frame on."""
        self._call.drop_of(self._number, reason)

    def closed(self, code: int) -> None:
        """The carrier's socket is gone."""
        self._call.stream_closed(self._number, code)

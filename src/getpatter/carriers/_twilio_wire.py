"""The frames of a Twilio media socket.

Protocol: https://www.twilio.com/docs/voice/media-streams/websocket-messages
"""

from __future__ import annotations

import binascii
import re
from typing import Final, TypeVar

import msgspec

from getpatter.carriers.base import (
    AudioReceived,
    KeyReceived,
    MarkReturned,
    StreamStarted,
    StreamStopped,
    WireEvent,
)
from getpatter.errors import WireError
from getpatter.types import MULAW_8K, AudioFormat

_T = TypeVar("_T")

_CALL_SID: Final = re.compile(r"CA[0-9a-fA-F]{32}", re.ASCII)
_KEYS: Final = frozenset("0123456789*#ABCD")
_LONGEST_NUMBER: Final = 18


class _Start(msgspec.Struct, rename="camel"):
    call_sid: str
    media_format: _MediaFormat
    custom_parameters: dict[str, str] = {}


class _MediaFormat(msgspec.Struct, rename="camel"):
    encoding: str
    sample_rate: int
    channels: int = 1


class _Media(msgspec.Struct):
    payload: bytes
    """msgspec undoes base64 while it reads the JSON: one pass, 0.4 us a frame."""
    chunk: str | int | None = None
    track: str = "inbound"


class _Digit(msgspec.Struct):
    digit: str


class _Mark(msgspec.Struct):
    name: str


class _Frame(msgspec.Struct, rename="camel"):
    event: str
    media: _Media | None = None
    stream_sid: str = ""
    start: _Start | None = None
    mark: _Mark | None = None
    dtmf: _Digit | None = None


_frames: Final = msgspec.json.Decoder(_Frame)
_json_text: Final = msgspec.json.Encoder().encode


class Wire:
    """The frames of one Media Streams socket: mu-law at 8 kHz both ways, base64 in JSON."""

    __slots__ = ("_clear", "_mark", "_media", "stream_id")

    def __init__(self) -> None:
        """Nothing is known yet; `StreamStarted` brings the id that every outgoing frame must carry."""
        self.stream_id = ""
        """The carrier's id of the stream; empty until it has started."""
        self._media = self._mark = self._clear = b""

    @property
    def format(self) -> AudioFormat:
        """Always mu-law at 8 kHz: Media Streams speak nothing else."""
        return MULAW_8K

    def receive(self, frame: bytes) -> WireEvent | None:
        """Read one text frame; `None` for `connected` and for events we do not know.

        Raises:
            WireError: the frame breaks the protocol.
        """
        try:
            read = _frames.decode(frame)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
            # A DecodeError may quote the frame, and frames hold what people say.
            raise _broken("not a JSON object of the expected shape") from exc
        match read.event:
            case "media":
                return _audio(read.media)
            case "mark":
                return MarkReturned(_present(read.mark, "mark").name)
            case "dtmf":
                return _key(_present(read.dtmf, "dtmf").digit)
            case "start":
                return self._started(read)
            case "stop":
                return StreamStopped()
            case _:
                return None

    def resume(self, started: StreamStarted) -> None:
        """Go on with a stream whose `start` another wire has read."""
        self._begin(started.stream_id)

    def audio(self, data: bytes) -> bytes:
        """The `media` frame that queues `data`. Any length; no file header.

        Raises:
            RuntimeError: the stream has not started.
        """
        return self._ready(self._media) + binascii.b2a_base64(data, newline=False) + b'"}}'

    def mark(self, name: str) -> bytes:
        """The `mark` frame; its name comes back when what is queued was played, or at once after `clear`.

        Raises:
            RuntimeError: the stream has not started.
        """
        return self._ready(self._mark) + _json_text(name) + b"}}"

    def clear(self) -> bytes:
        """The `clear` frame.

        Raises:
            RuntimeError: the stream has not started.
        """
        return self._ready(self._clear)

    def _ready(self, head: bytes) -> bytes:
        if not head:
            raise RuntimeError("nothing can be sent before the stream has started")
        return head

    def _started(self, read: _Frame) -> StreamStarted:
        start = _present(read.start, "start")
        if self.stream_id:
            raise _broken("a second start")
        if not read.stream_sid or not _CALL_SID.fullmatch(start.call_sid):
            raise _broken("start without a stream id or a call id")
        layout = start.media_format
        if (layout.encoding, layout.sample_rate, layout.channels) != ("audio/x-mulaw", 8000, 1):
            raise _broken("audio that is not mu-law at 8 kHz, mono")
        self._begin(read.stream_sid)
        return StreamStarted(read.stream_sid, start.call_sid, MULAW_8K, start.custom_parameters)

    def _begin(self, stream_id: str) -> None:
        self.stream_id = stream_id
        sid = _json_text(stream_id)
        self._media = b'{"event":"media","streamSid":' + sid + b',"media":{"payload":"'
        self._mark = b'{"event":"mark","streamSid":' + sid + b',"mark":{"name":'
        self._clear = b'{"event":"clear","streamSid":' + sid + b"}"


def _audio(media: _Media | None) -> AudioReceived | None:
    if media is None:
        raise _broken("media without media")
    if media.track.startswith("outbound"):  # what we said ourselves
        return None
    chunk = media.chunk
    if isinstance(
        chunk, str
    ):  # numbers are strings here, and a bad one is no reason to lose the sound
        chunk = (
            int(chunk)
            if chunk.isascii() and chunk.isdecimal() and len(chunk) <= _LONGEST_NUMBER
            else None
        )
    return AudioReceived(media.payload, chunk)


def _key(digit: str) -> KeyReceived:
    key = digit.upper()
    if key not in _KEYS:
        raise _broken("a key that no telephone has")
    return KeyReceived(key)


def _present(part: _T | None, event: str) -> _T:
    if part is None:
        raise _broken(f"{event} without its fields")
    return part


def _broken(what: str) -> WireError:
    return WireError(f"Twilio sent {what}", vendor="twilio")

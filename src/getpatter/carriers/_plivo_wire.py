"""The frames of a Plivo audio stream: mu-law at 8 kHz both ways.

Protocol: https://www.plivo.com/docs/voice-agents/audio-streaming/concepts/audio-streaming-reference. There is no
frame for the end of a stream: the socket closes. A checkpoint that `clearAudio` dropped never comes back.
"""

from __future__ import annotations

import binascii
from typing import Final, TypeVar

import msgspec

from getpatter.carriers._plivo_forms import CALL_ID, NAME
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

_KEYS: Final = frozenset("0123456789*#ABCD")
_LONGEST_NUMBER: Final = 18


class _MediaFormat(msgspec.Struct, rename="camel"):
    encoding: str = "audio/x-mulaw"
    sample_rate: int | str = 8000


class _Start(msgspec.Struct, rename="camel"):
    call_id: str
    stream_id: str
    media_format: _MediaFormat = msgspec.field(default_factory=_MediaFormat)


class _Media(msgspec.Struct):
    payload: bytes
    chunk: str | int | None = None
    track: str = "inbound"


class _Digit(msgspec.Struct):
    digit: str


class _Frame(msgspec.Struct):
    event: str
    media: _Media | None = None
    start: _Start | None = None
    dtmf: _Digit | None = None
    name: str | None = None


_frames: Final = msgspec.json.Decoder(_Frame)
_json_text: Final = msgspec.json.Encoder().encode


class Wire:
    """The frames of one audio stream."""

    __slots__ = ("_checkpoint", "_clear", "stream_id")

    def __init__(self) -> None:
        """Nothing is known yet; `StreamStarted` brings the id that checkpoints must carry."""
        self.stream_id = ""
        """The carrier's id of the stream; empty until it has started."""
        self._checkpoint = self._clear = b""

    @property
    def format(self) -> AudioFormat:
        """Always mu-law at 8 kHz: it is what our document asks for."""
        return MULAW_8K

    def receive(self, frame: bytes) -> WireEvent | None:
        """Read one text frame; `None` for `clearedAudio` and for events we do not know.

        Raises:
            WireError: the frame breaks the protocol.
        """
        try:
            read = _frames.decode(frame)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
            raise _broken("not a JSON object of the expected shape") from exc
        match read.event:
            case "media":
                return _audio(_present(read.media, "media"))
            case "playedStream":
                return MarkReturned(_present(read.name, "playedStream"))
            case "dtmf":
                return _key(_present(read.dtmf, "dtmf").digit)
            case "start":
                return self._started(_present(read.start, "start"))
            case "stop":  # documented nowhere, and its meaning is plain
                return StreamStopped()
            case _:
                return None

    def resume(self, started: StreamStarted) -> None:
        """Go on with a stream whose `start` another wire has read."""
        self._begin(started.stream_id)

    def audio(self, data: bytes) -> bytes:
        """The `playAudio` frame that queues `data`. Any length; no file header."""
        payload = binascii.b2a_base64(data, newline=False)
        return (
            b'{"event":"playAudio","media":{"contentType":"audio/x-mulaw","sampleRate":8000,"payload":"'
            + payload
            + b'"}}'
        )

    def mark(self, name: str) -> bytes:
        """The `checkpoint` frame; its name comes back when what is queued was played, never after `clear`.

        Raises:
            RuntimeError: the stream has not started.
        """
        return self._ready(self._checkpoint) + _json_text(name) + b"}"

    def clear(self) -> bytes:
        """The `clearAudio` frame.

        Raises:
            RuntimeError: the stream has not started.
        """
        return self._ready(self._clear)

    def _ready(self, head: bytes) -> bytes:
        if not head:
            raise RuntimeError("nothing can be sent before the stream has started")
        return head

    def _started(self, start: _Start) -> StreamStarted:
        if self.stream_id:
            raise _broken("a second start")
        if not start.stream_id or not CALL_ID.fullmatch(start.call_id):
            raise _broken("start without a stream id or a call id")
        layout = start.media_format
        if (layout.encoding, str(layout.sample_rate)) != ("audio/x-mulaw", "8000"):
            raise _broken("audio that is not mu-law at 8 kHz")
        self._begin(start.stream_id)
        return StreamStarted(start.stream_id, start.call_id, MULAW_8K)

    def _begin(self, stream_id: str) -> None:
        self.stream_id = stream_id
        known_as = _json_text(stream_id)
        self._checkpoint = b'{"event":"checkpoint","streamId":' + known_as + b',"name":'
        self._clear = b'{"event":"clearAudio","streamId":' + known_as + b"}"


def _audio(media: _Media) -> AudioReceived | None:
    if media.track.startswith("outbound"):  # what we said ourselves
        return None
    chunk = media.chunk
    if isinstance(chunk, str):
        is_number = chunk.isascii() and chunk.isdecimal() and len(chunk) <= _LONGEST_NUMBER
        chunk = int(chunk) if is_number else None
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
    return WireError(f"Plivo sent {what}", vendor=NAME)

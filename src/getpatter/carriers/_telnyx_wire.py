"""The frames of a Telnyx media socket, the order of its audio, and which byte of a sample comes first.

Protocol: https://developers.telnyx.com/docs/voice/programmable-voice/media-streaming. Three things need care:

* **Order is not promised.** Pieces are put back in order by their `chunk`, within 60 ms.
* **The two directions are independent.** What arrives is written as `start.media_format` says, what is sent as we
  asked for it. They are the same unless Telnyx could not do what it was asked; then what arrives is converted.
* **The byte order of L16 is documented nowhere.** It is found by listening: the wrong reading of any sound,
  even of the hiss of a quiet line, jumps wildly from sample to sample.
"""

from __future__ import annotations

import binascii
import sys
from array import array
from itertools import pairwise
from typing import Final, Literal, TypeVar

import msgspec

from getpatter.audio.convert import Converter, Untouched, converter
from getpatter.carriers._telnyx_state import CALL_ID, State
from getpatter.carriers.base import (
    AudioReceived,
    KeyReceived,
    MarkReturned,
    StreamComplained,
    StreamStarted,
    StreamStopped,
    WireEvent,
)
from getpatter.errors import WireError
from getpatter.types import MULAW_8K, PCM16_16K, AudioFormat, Encoding

ByteOrder = Literal["auto", "little", "big"]

_T = TypeVar("_T")

_KEYS: Final = frozenset("0123456789*#ABCD")
_LONGEST_NUMBER: Final = 18
_LONGEST_TEXT: Final = 200
_ENCODINGS: Final = {"L16": Encoding.PCM16, "PCMU": Encoding.MULAW, "PCMA": Encoding.ALAW}
_RATES: Final = range(8000, 48001)
_WAITS_MS: Final = 60
_MOST_HELD: Final = 16
_SHORTEST_MS: Final = 20
_STARTED_ANEW: Final = 5


class _MediaFormat(msgspec.Struct):
    encoding: str
    sample_rate: int
    channels: int = 1


class _Start(msgspec.Struct):
    call_control_id: str
    media_format: _MediaFormat
    client_state: str | None = None


class _Media(msgspec.Struct):
    payload: bytes
    chunk: str | int | None = None
    track: str = "inbound"


class _Digit(msgspec.Struct):
    digit: str


class _Mark(msgspec.Struct):
    name: str


class _Trouble(msgspec.Struct):
    code: str | int | None = None
    title: str | None = None
    detail: str | None = None


class _Frame(msgspec.Struct):
    event: str
    media: _Media | None = None
    stream_id: str = ""
    start: _Start | None = None
    mark: _Mark | None = None
    dtmf: _Digit | None = None
    payload: _Trouble | None = None


_frames: Final = msgspec.json.Decoder(_Frame)
_json_text: Final = msgspec.json.Encoder().encode


# ----------------------------------------------------------------------------------------- in order


class Order:
    """Puts pieces of audio back in order by their running number, waiting at most 60 ms for one that is late."""

    __slots__ = ("_held", "_late", "_most", "_next", "_size")

    def __init__(self, most: int) -> None:
        """`most`: bytes that may be held back while an earlier piece is missing."""
        self._most = most
        self._next: int | None = None
        self._held: dict[int, bytes] = {}
        self._size = 0
        self._late = 0

    def push(self, chunk: int | None, data: bytes) -> bytes:
        """What can be handed on now, in order; empty while a piece is missing, or for one that comes twice."""
        if chunk is None:
            return data
        if self._next is None and chunk <= 1:  # streams begin with 1, or with 0
            self._next = chunk
        if self._next is not None and chunk < self._next:
            return self._too_late(chunk, data)
        self._late = 0
        if chunk == self._next and not self._held:
            self._next = chunk + 1
            return data
        if chunk in self._held:
            return b""
        self._held[chunk] = data
        self._size += len(data)
        ready = self._from(self._next)
        is_full = self._size >= self._most or len(self._held) >= _MOST_HELD
        if not ready and is_full:  # it is lost, or later than we can wait
            ready = self._from(min(self._held))
        return ready

    def _from(self, chunk: int | None) -> bytes:
        pieces: list[bytes] = []
        while chunk is not None and chunk in self._held:
            pieces.append(self._held.pop(chunk))
            self._next = chunk = chunk + 1
        ready = b"".join(pieces)
        self._size -= len(ready)
        return ready

    def _too_late(self, chunk: int, data: bytes) -> bytes:
        """A late piece is dropped; several in a row mean that the counting began anew."""
        self._late += 1
        if self._late < _STARTED_ANEW:
            return b""
        self._late = 0
        self._held.clear()
        self._size = 0
        self._next = chunk + 1
        return data


# --------------------------------------------------------------------------------------- byte order

_ENOUGH: Final = 160
"""Samples to listen to before anything is decided: 10 ms at 16 kHz."""
_TOO_LONG: Final = 8000
"""Samples after which an undecided hearing begins anew: noise as loud as can be reads alike both ways."""
_CLEARLY: Final = 4
_AUDIBLY: Final = 64


class ByteOrderFinder:
    """Finds out whether 16-bit samples are little-endian (ours) or big-endian (the network's).

    Read the wrong way round, the low byte decides: neighbouring samples, close together in any sound that a
    telephone carries, end up far apart. Digital silence says nothing and is skipped.
    """

    __slots__ = ("_as_big", "_as_little", "_samples", "is_big", "is_settled")

    def __init__(self, order: ByteOrder) -> None:
        """`"auto"` begins little-endian and listens; the others are settled."""
        self.is_big = order == "big"
        self.is_settled = order != "auto"
        self._samples = self._as_little = self._as_big = 0

    def listen(self, data: bytes) -> None:
        """Take audio of the caller, as it arrived; whole samples."""
        if self.is_settled or not data.strip(b"\0"):
            return
        samples = array("h", data)
        swapped = array("h", samples)
        swapped.byteswap()
        if sys.byteorder == "big":
            samples, swapped = swapped, samples
        self._as_little += _jumps(samples)
        self._as_big += _jumps(swapped)
        self._samples += len(samples)
        low, high = sorted((self._as_little, self._as_big))
        if high >= _AUDIBLY * self._samples and self._samples >= _ENOUGH and high >= _CLEARLY * low:
            self.is_big = self._as_big == low
            self.is_settled = True
        elif self._samples >= _TOO_LONG:
            self._samples = self._as_little = self._as_big = 0

    def turned(self, data: bytes) -> bytes:
        """From the order of the wire to ours, or back."""
        if not self.is_big:
            return data
        samples = array("h", data[: len(data) - len(data) % 2])
        samples.byteswap()
        return samples.tobytes()


def _jumps(samples: array[int]) -> int:
    return sum(abs(b - a) for a, b in pairwise(samples))


# --------------------------------------------------------------------------------------------- wire


class Wire:
    """The frames of one media socket. Little-endian PCM16 or G.711 on our side, base64 in JSON on theirs."""

    __slots__ = ("_byte_order", "_heard", "_order", "_plain", "_said", "stream_id")

    def __init__(self, wanted: AudioFormat, byte_order: ByteOrder) -> None:
        """`wanted`: what the stream was asked to take; `byte_order`: that of L16."""
        self.stream_id = ""
        """The carrier's id of the stream; empty until it has started."""
        self._said = wanted
        self._heard = wanted
        self._byte_order = ByteOrderFinder(byte_order)
        self._order = Order(wanted.size(_WAITS_MS))
        self._plain: Converter = Untouched()

    @property
    def format(self) -> AudioFormat:
        """PCM16 at 16 kHz or mu-law at 8 kHz, as the stream was asked for; final once it has started."""
        return self._said

    def receive(self, frame: bytes) -> WireEvent | None:
        """Read one text frame; `None` for audio that waits for an earlier piece, and for unknown events.

        Raises:
            WireError: the frame breaks the protocol.
        """
        try:
            read = _frames.decode(frame)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
            raise _broken("not a JSON object of the expected shape") from exc
        match read.event:
            case "media":
                return self._audio(_present(read.media, "media"))
            case "mark":
                return MarkReturned(_present(read.mark, "mark").name)
            case "dtmf":
                return _key(_present(read.dtmf, "dtmf").digit)
            case "start":
                return self._started(read)
            case "error":
                return StreamComplained(_said(read.payload or _Trouble()))
            case "stop":
                return StreamStopped()
            case _:
                return None

    def resume(self, started: StreamStarted) -> None:
        """Go on with a stream whose `start` another wire has read; what arrives is taken to be in its format."""
        self._begin(started.stream_id, heard=started.format, said=started.format)

    def audio(self, data: bytes) -> bytes:
        """The `media` frame that queues `data`: at most 30 s, no file header. Shorter ones are 20 ms long."""
        missing = self._said.size(_SHORTEST_MS) - len(data)
        if missing > 0:
            data += self._said.silence * (missing // self._said.bytes_per_sample)
        if self._said.encoding is Encoding.PCM16:
            data = self._byte_order.turned(data)
        payload = binascii.b2a_base64(data, newline=False)
        return b'{"event":"media","media":{"payload":"' + payload + b'"}}'

    def mark(self, name: str) -> bytes:
        """The `mark` frame; its name comes back when what is queued was played, or at once after `clear`."""
        return b'{"event":"mark","mark":{"name":' + _json_text(name) + b"}}"

    def clear(self) -> bytes:
        """The `clear` frame."""
        return b'{"event":"clear"}'

    def _started(self, read: _Frame) -> StreamStarted:
        start = _present(read.start, "start")
        if self.stream_id:
            raise _broken("a second start")
        if not read.stream_id or not CALL_ID.fullmatch(start.call_control_id):
            raise _broken("start without a stream id or a call id")
        heard = _announced(start.media_format)
        state = State.read(start.client_state)
        said = self._said
        if state.asked == "L16":
            said = PCM16_16K
        elif state.asked == "PCMU":
            said = MULAW_8K
        self._begin(read.stream_id, heard=heard, said=said)
        return StreamStarted(read.stream_id, start.call_control_id, said)

    def _begin(self, stream_id: str, *, heard: AudioFormat, said: AudioFormat) -> None:
        self.stream_id = stream_id
        self._heard, self._said = heard, said
        self._order = Order(heard.size(_WAITS_MS))
        self._plain = converter(heard, said)

    def _audio(self, media: _Media) -> AudioReceived | None:
        if media.track.startswith("outbound"):  # what we said ourselves
            return None
        chunk = _number(media.chunk)
        data = self._order.push(chunk, media.payload)
        if self._heard.encoding is Encoding.PCM16:
            data = data[: len(data) - len(data) % 2]
            self._byte_order.listen(data)
            data = self._byte_order.turned(data)
        data = self._plain.convert(data)
        return AudioReceived(data, chunk) if data else None


def _announced(layout: _MediaFormat) -> AudioFormat:
    encoding = _ENCODINGS.get(layout.encoding.upper())
    if encoding is None or layout.sample_rate not in _RATES or layout.channels != 1:
        raise _broken("audio that is neither L16, PCMU nor PCMA, mono")
    return AudioFormat(encoding, layout.sample_rate)


def _number(chunk: str | int | None) -> int | None:
    """Numbers are strings here, and a bad one is no reason to lose the sound."""
    if isinstance(chunk, str):
        is_one = chunk.isascii() and chunk.isdecimal() and len(chunk) <= _LONGEST_NUMBER
        return int(chunk) if is_one else None
    return chunk


def _key(digit: str) -> KeyReceived:
    key = digit.upper()
    if key not in _KEYS:
        raise _broken("a key that no telephone has")
    return KeyReceived(key)


def _said(trouble: _Trouble) -> str:
    text = " ".join(str(part) for part in (trouble.code, trouble.title, trouble.detail) if part)
    line = "".join(letter if letter.isprintable() else " " for letter in text)
    return line[:_LONGEST_TEXT] or "no reason given"


def _present(part: _T | None, event: str) -> _T:
    if part is None:
        raise _broken(f"{event} without its fields")
    return part


def _broken(what: str) -> WireError:
    return WireError(f"Telnyx sent {what}", vendor="telnyx")

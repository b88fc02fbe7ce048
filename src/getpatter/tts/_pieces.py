"""What all voices share: texts cut to the size that a vendor takes, and sound without the container around it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import ClassVar, Final, Self
from weakref import WeakSet

from getpatter.audio.pcm import PcmCarry
from getpatter.net.service import Service
from getpatter.types import AudioFormat, Encoding

_ENDS: Final = re.compile(r"[.!?…。！？।؟]+[\"'”’)]*(?=\s|$)|[。！？]")


class Voice(Service):
    """A voice of a vendor: its model, its format, the characters that it was asked for."""

    output_format: AudioFormat
    """What `synthesize` yields."""
    model: str
    most_characters: ClassVar[int] = 4000
    """Longest text of one request; longer ones are cut at a sentence."""

    def adopt(self, audio_format: AudioFormat) -> bool:
        """Speak `audio_format` from now on, if the vendor can and the program named no other."""
        return audio_format == self.output_format

    def _renew(self) -> None:
        self.billed_characters = 0
        """Characters that this object has sent; the vendor charges for them, heard or not."""
        self._chosen: WeakSet[Voice] = WeakSet()

    def with_output(self, formats: Sequence[AudioFormat]) -> Self | None:
        """A clone that speaks the first of `formats` it can, or `None`. Closing this one closes it too.

        Where the program named a format, that one stays.
        """
        for audio_format in formats:
            twin = self.clone()
            if twin.adopt(audio_format):
                self._chosen.add(twin)
                return twin
        return None

    async def close(self) -> None:
        """Give back sockets and connections, also those of voices that `with_output` gave. Idempotent."""
        for chosen in [*self._chosen]:
            await chosen.close()
        await self._release()

    @property
    def voice_key(self) -> str:
        """Equal for objects that sound the same."""
        how = ":".join(f"{name}={value}" for name, value in sorted(self._options.items()))
        return f"{self.provider_key}:{type(self).__name__}:{how}"

    def _pieces(self, text: str) -> list[str]:
        """`text` as one or more requests; nothing where there is nothing to say."""
        pieces = cut(text, self.most_characters)
        self.billed_characters += sum(map(len, pieces))
        return pieces


def cut(text: str, most: int) -> list[str]:
    """`text` without white space around it, in pieces of at most `most` characters.

    Cut behind a sentence, else between words, else anywhere.
    """
    pieces: list[str] = []
    rest = text.strip()
    while len(rest) > most:
        ends = [found.end() for found in _ENDS.finditer(rest, 0, most)]
        at = ends[-1] if ends else rest.rfind(" ", 1, most)
        at = at if at > 0 else most
        pieces.append(rest[:at].strip())
        rest = rest[at:].strip()
    return [*pieces, rest] if rest else pieces


_RIFF: Final = b"RIFF"
_LONGEST_HEADER: Final = 4096


class Bare:
    """Sound without a WAV header, in whole samples. One for each stream; pure."""

    def __init__(self, audio_format: AudioFormat) -> None:
        """For sound in `audio_format`."""
        self._carry = PcmCarry() if audio_format.encoding is Encoding.PCM16 else None
        self._head: bytes | None = b""

    def push(self, data: bytes) -> bytes:
        """The sound in the next bytes; may be empty."""
        if self._head is not None:
            data = self._head + data
            start = _sound_at(data)
            if start is None:
                self._head = data
                return b""
            self._head = None
            data = data[start:]
        return self._carry.push(data) if self._carry is not None else data

    def flush(self) -> bytes:
        """What was held back at the end: sound that was shorter than a header."""
        head, self._head = self._head, None
        if not head or head[:4] == _RIFF[: len(head)]:
            return b""
        return self._carry.push(head) if self._carry is not None else head


def _sound_at(data: bytes) -> int | None:
    """Where the samples begin, or `None` while that cannot be told."""
    if data[:4] != _RIFF[: len(data)] or len(data) > _LONGEST_HEADER:
        return 0
    at = 12
    while len(data) >= at + 8:
        if data[at : at + 4] == b"data":
            return at + 8
        at += 8 + int.from_bytes(data[at + 4 : at + 8], "little") // 2 * 2
    return None

"""The contract of a voice (`getpatter.tts.base.TTSProvider`)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final

from getpatter.testing.contracts.check import (
    Check,
    NewLoop,
    cloning,
    end,
    in_time,
    on_a_loop,
    require,
)
from getpatter.tts.base import TTSProvider, output_format
from getpatter.types import MULAW_8K, PCM16_8K, PCM16_16K, PCM16_24K, AudioFormat

NewVoice = Callable[[], TTSProvider]
Choose = Callable[[tuple[AudioFormat, ...]], TTSProvider | None]

SHORT: Final = "Good morning."
LONG: Final = (
    "We are open from nine to five on every weekday, and on Saturdays until noon, except in August."
)
_CLOSE_WITHIN_S: Final = 2.0
_SHORTEST_MS: Final = 100.0
_LIKE: Final = 0.75
"""Two takes of one sentence differ in length by less, or something of one is missing."""


def voice_checks(new: NewVoice, *, new_loop: NewLoop | None = None) -> list[Check]:
    """The promises of a voice. `new` makes one for each call.

    Each check runs on a loop of its own; `new_loop=VirtualTimeLoop` for one that talks to nobody outside.
    """
    contract = _Contract(new)

    def check(name: str, promise: str, work: Callable[[], Coroutine[Any, Any, None]]) -> Check:
        return Check(name, promise, lambda: on_a_loop(work, new_loop=new_loop))

    return [
        check(
            "format",
            "`output_format` says what comes out; `with_output` gives what it promises",
            contract.format,
        ),
        check(
            "speaks",
            "a sentence gives whole samples of sound, and a longer one more",
            contract.speaks,
        ),
        check(
            "cancelled",
            "closing the iterator ends this synthesis and nothing else: callers interrupt all the time",
            contract.cancelled,
        ),
        check(
            "at once",
            "two calls speak at the same time and each gets the whole of its own",
            contract.at_once,
        ),
        check(
            "calls apart",
            "`clone()` gives a voice of its own: closing it, when its call ends, leaves the others speaking",
            contract.calls_apart,
        ),
        check(
            "key", "`voice_key` is equal for equal voices: greetings are kept by it", contract.key
        ),
        check(
            "close",
            "close() returns within 2 s and may come twice, and before any word",
            contract.closes,
        ),
    ]


class _Contract:
    def __init__(self, new: NewVoice) -> None:
        self._new = new

    async def format(self) -> None:
        voice = self._new()
        declared: object = getattr(voice, "output_format", PCM16_16K)
        require(
            isinstance(declared, AudioFormat), f"output_format is {declared!r}, not an AudioFormat"
        )
        choose: Choose | None = getattr(voice, "with_output", None)
        if choose is not None:
            for wanted in (MULAW_8K, PCM16_8K, PCM16_16K, PCM16_24K):
                chosen = choose((wanted,))
                require(
                    chosen is None or output_format(chosen) == wanted,
                    f"with_output(({wanted},)) gives one that speaks {output_format(chosen)}",
                )
        await voice.close()

    async def speaks(self) -> None:
        voice = self._new()
        spoken = output_format(voice)
        short, long = await _said(voice, SHORT), await _said(voice, LONG)
        await voice.close()
        for audio in (short, long):
            require(len(audio) % spoken.bytes_per_sample == 0, "the sound ends in half a sample")
            require(
                spoken.ms(len(audio)) >= _SHORTEST_MS,
                f"a sentence lasts {spoken.ms(len(audio)):.0f} ms",
            )
        require(len(long) > len(short), "a long sentence does not last longer than a short one")

    async def cancelled(self) -> None:
        voice = self._new()
        whole = await _said(voice, LONG)
        pieces = aiter(voice.synthesize(LONG))
        await anext(pieces)
        await end(pieces, "synthesize", _CLOSE_WITHIN_S)
        again = await _said(voice, LONG)
        await voice.close()
        _require_whole(again, whole, "after another was cancelled")

    async def at_once(self) -> None:
        voice = self._new()
        clone = cloning(voice)
        others = [voice, voice] if clone is None else [clone(), clone()]
        whole = await _said(voice, LONG)
        first, second, short = await asyncio.gather(
            _said(others[0], LONG), _said(others[1], LONG), _said(voice, SHORT)
        )
        for each in {id(one): one for one in (voice, *others)}.values():
            await each.close()
        _require_whole(first, whole, "beside another")
        _require_whole(second, whole, "beside another")
        require(len(short) < len(whole), "the short sentence came out as long as the other one")

    async def calls_apart(self) -> None:
        configured = self._new()
        clone = cloning(configured)
        if clone is not None:
            first, second = clone(), clone()
            require(
                first is not second and first is not configured, "clone() gives the same object"
            )
            whole = await _said(first, LONG)
            await first.close()
            _require_whole(
                await _said(second, LONG), whole, "after another call's voice was closed"
            )
            await second.close()
        await configured.close()

    async def key(self) -> None:
        one, other = self._new(), self._new()
        key: object = getattr(one, "voice_key", None)
        if key is not None:
            require(isinstance(key, str) and bool(key), f"voice_key is {key!r}, not a text")
            require(
                key == getattr(other, "voice_key", None), "two equal voices have different keys"
            )
        await one.close()
        await other.close()

    async def closes(self) -> None:
        voice = self._new()
        await in_time(voice.close(), _CLOSE_WITHIN_S, "close() before any word")
        voice = self._new()
        await _said(voice, SHORT)
        await in_time(voice.close(), _CLOSE_WITHIN_S, "close()")
        await in_time(voice.close(), _CLOSE_WITHIN_S, "a second close()")


async def _said(voice: TTSProvider, text: str) -> bytes:
    audio = bytearray()
    async for piece in voice.synthesize(text):
        require(isinstance(piece, bytes | bytearray), f"a piece of sound is {type(piece).__name__}")
        audio += piece
    return bytes(audio)


def _require_whole(take: bytes, whole: bytes, when: str) -> None:
    require(
        len(whole) * _LIKE <= len(take) <= len(whole) / _LIKE,
        f"{when}, a sentence of {len(whole)} bytes has {len(take)}",
    )

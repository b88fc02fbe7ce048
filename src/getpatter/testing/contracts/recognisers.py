"""The contract of a recogniser (`getpatter.stt.base.STTProvider`)."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from getpatter.audio.convert import converter
from getpatter.models import Transcript
from getpatter.stt.base import STTProvider, input_formats
from getpatter.testing.contracts.check import (
    BrokenPromiseError,
    Check,
    NewLoop,
    beside,
    cloning,
    in_time,
    on_a_loop,
    require,
)
from getpatter.types import PCM16_16K, AudioFormat

_T = TypeVar("_T")
NewRecogniser = Callable[[], STTProvider]
Choose = Callable[[tuple[AudioFormat, ...]], STTProvider | None]

_SILENCE_S: Final = 1.5
_FRAME_MS: Final = 20.0
_CLOSE_WITHIN_S: Final = 2.0
_HEARS_WITHIN_S: Final = 15.0


@dataclass(frozen=True, slots=True)
class HearingSample:
    """Something that is said, and what it says."""

    sound: bytes = field(repr=False)
    """Speech, in `format`."""
    says: str = ""
    """Its words; empty: any will do. Case and punctuation do not count."""
    format: AudioFormat = PCM16_16K
    lose: Callable[[STTProvider], None] | None = None
    """Breaks a connected recogniser's stream from outside, as a cut connection would; `None`: cannot be."""


def recogniser_checks(
    new: NewRecogniser, sample: HearingSample, *, new_loop: NewLoop | None = None
) -> list[Check]:
    """The promises of a recogniser. `new` makes one for each call.

    Each check runs on a loop of its own; `new_loop=VirtualTimeLoop` for one that talks to nobody outside.
    """
    contract = _Contract(new, sample)

    def check(name: str, promise: str, work: Callable[[], Coroutine[Any, Any, None]]) -> Check:
        return Check(name, promise, lambda: on_a_loop(work, new_loop=new_loop))

    return [
        check(
            "formats",
            "`input_formats` names formats; a call converts to one of them",
            contract.formats,
        ),
        check(
            "hears",
            "what is said gives a final Transcript; without one nobody is answered",
            contract.hears,
        ),
        check(
            "any pieces",
            "audio may come in pieces of any whole number of samples: carriers and filters differ",
            contract.any_pieces,
        ),
        check(
            "calls apart",
            "`clone()` gives a recogniser with a stream of its own: two callers never hear each other",
            contract.calls_apart,
        ),
        check(
            "close",
            "close() ends the results within 2 s, may come twice, and before connect(): calls end at any time",
            contract.closes,
        ),
        *(
            [
                check(
                    "lost",
                    "a lost stream raises in the results, and connect() opens it again; one that only ends them "
                    "is taken for a recogniser that has nothing more to say",
                    contract.lost,
                )
            ]
            if sample.lose is not None
            else []
        ),
    ]


class _Contract:
    def __init__(self, new: NewRecogniser, sample: HearingSample) -> None:
        self._new = new
        self._sample = sample

    def _audio(self, stt: STTProvider) -> tuple[bytes, AudioFormat]:
        source, wanted = self._sample.format, input_formats(stt)[0]
        change = converter(source, wanted)
        silence = source.silence * int(source.sample_rate * _SILENCE_S)
        return change.convert(self._sample.sound + silence) + change.flush(), wanted

    async def _first_final(self, stt: STTProvider) -> Transcript:
        async for said in stt.receive_transcripts():
            require(isinstance(said, Transcript), f"a result is {type(said).__name__}")
            if said.is_final and said.text.strip():
                return said
        raise BrokenPromiseError("the results ended without a final one")

    async def _heard(self, stt: STTProvider, *, step: int | None = None) -> str:
        audio, spoken = self._audio(stt)
        size = step or spoken.size(_FRAME_MS)
        async with beside(self._first_final(stt)) as listening:
            for start in range(0, len(audio), size):
                await stt.send_audio(audio[start : start + size])
            final = await in_time(_outcome(listening), _HEARS_WITHIN_S, "a final result")
        return final.text

    # ------------------------------------------------------------------------------------- promises

    async def formats(self) -> None:
        stt = self._new()
        declared: tuple[AudioFormat, ...] = getattr(stt, "input_formats", ())
        require(
            all(isinstance(each, AudioFormat) for each in declared),
            f"input_formats is {declared!r}, not a tuple of AudioFormat",
        )
        choose: Choose | None = getattr(stt, "with_input", None)
        for wanted in declared if choose is not None else ():
            assert choose is not None, "or there is nothing to try"
            chosen = choose((wanted,))
            require(
                chosen is not None and input_formats(chosen)[0] == wanted,
                f"with_input(({wanted},)) does not give one that takes it",
            )
        await stt.close()

    async def hears(self) -> None:
        stt = self._new()
        await stt.connect()
        heard = await self._heard(stt)
        await stt.close()
        says = self._sample.says
        require(not says or _plain(heard) == _plain(says), f"{says!r} was heard as {heard!r}")

    async def any_pieces(self) -> None:
        texts: list[str] = []
        for samples in (7, 160, 4001):
            stt = self._new()
            await stt.connect()
            _, wanted = self._audio(stt)
            texts.append(_plain(await self._heard(stt, step=samples * wanted.bytes_per_sample)))
            await stt.close()
        require(len(set(texts)) == 1, f"cut differently, the same sound was heard as {texts}")

    async def calls_apart(self) -> None:
        configured = self._new()
        clone = cloning(configured)
        if clone is None:
            raise BrokenPromiseError("there is no clone(), so all calls would share one stream")
        busy, idle = clone(), clone()
        require(busy is not idle and busy is not configured, "clone() gives the same object again")
        await busy.connect()
        await idle.connect()
        async with beside(self._first_final(idle)) as overhearing:
            await self._heard(busy)
            await busy.close()
            require(
                not overhearing.done(), "a second call's recogniser reported what the first heard"
            )
        await self._heard(idle)  # and it is still there, after the other one was closed
        await idle.close()
        await configured.close()

    async def closes(self) -> None:
        never_connected = self._new()
        await in_time(never_connected.close(), _CLOSE_WITHIN_S, "close() before connect()")
        stt = self._new()
        await stt.connect()
        async with beside(_all(stt)) as listening:
            await asyncio.sleep(0)
            await in_time(stt.close(), _CLOSE_WITHIN_S, "close()")
            await in_time(_outcome(listening), _CLOSE_WITHIN_S, "the end of receive_transcripts()")
        await in_time(stt.close(), _CLOSE_WITHIN_S, "a second close()")

    async def lost(self) -> None:
        assert self._sample.lose is not None, "only offered then"
        stt = self._new()
        await stt.connect()
        async with beside(_failure(stt)) as listening:
            await asyncio.sleep(0)
            self._sample.lose(stt)
            error = await in_time(_outcome(listening), _CLOSE_WITHIN_S, "noticing the lost stream")
        require(error is not None, "the results ended as if all were well")
        await stt.connect()
        await self._heard(stt)
        await stt.close()


async def _failure(stt: STTProvider) -> Exception | None:
    try:
        await _all(stt)
    except Exception as error:  # noqa: BLE001 - any will do: the call asks no more than that it failed
        return error
    return None


async def _all(stt: STTProvider) -> list[Transcript]:
    return [said async for said in stt.receive_transcripts()]


async def _outcome(task: asyncio.Task[_T]) -> _T:
    return await asyncio.shield(task)


def _plain(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.casefold()))

"""What a caller hears behind the agent: `BackgroundAudioPlayer`, and the sounds that come with the package."""

# What a program hands over is unknown until it has been checked, and here is where it is checked.
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnnecessaryIsInstance=false
from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TypeAlias

__all__ = ["BackgroundAudioPlayer", "BackgroundSound", "BuiltinAudioClip", "Source"]


class BuiltinAudioClip(StrEnum):
    """Sounds that need no file. They are computed, not recorded, and the same on every machine."""

    CITY_AMBIENCE = "city_ambience"
    FOREST_AMBIENCE = "forest_ambience"
    OFFICE_AMBIENCE = "office_ambience"
    CROWDED_ROOM = "crowded_room"
    KEYBOARD_TYPING = "keyboard_typing"
    KEYBOARD_TYPING2 = "keyboard_typing2"
    HOLD_MUSIC = "hold_music"


Source: TypeAlias = BuiltinAudioClip | str | os.PathLike[str]
"""A built-in clip, or the path of a WAV file."""


@dataclass(frozen=True, slots=True)
class BackgroundSound:
    """One sound that may be played."""

    clip: str = ""
    """Name of a built-in clip; empty: it is a file."""
    path: str = ""
    weight: float = 1.0
    """How often it is chosen, beside the others."""


@dataclass(frozen=True, slots=True, init=False)
class BackgroundAudioPlayer:
    """A sound under the agent and in its pauses, for every call from its own beginning.

    One object serves all calls; each has its own place in the sound. The recogniser never hears it. It stops when
    the caller is transferred, and with the call.

    Raises:
        ValueError: There is no such WAV file, `volume` is not 0 to 1, or a weight is not positive.
        TypeError: `source` is none of those named there.
    """

    sounds: tuple[BackgroundSound, ...]
    volume: float
    """Loudness, 0 to 1: a factor on the sound's samples."""
    loop: bool
    """Begin again at the end; of a list, with another choice. Else it is heard once."""

    def __init__(
        self,
        source: Source | Sequence[Source | tuple[Source, float]],
        *,
        volume: float = 0.1,
        loop: bool = False,
    ) -> None:
        """Play `source`.

        Args:
            source: A `BuiltinAudioClip`, the path of a WAV file (any rate, mono or not), or a list of those, each
                alone or as `(source, weight)`: a call plays one of them, by chance.
            volume: Loudness, 0 to 1.
            loop: Go on for as long as the call lasts.
        """
        if isinstance(volume, bool) or not isinstance(volume, int | float):
            raise TypeError(f"volume must be a number, not {type(volume).__name__}")
        if not 0 <= volume <= 1:
            raise ValueError(f"volume is {volume}; it must be 0 to 1")
        if not isinstance(loop, bool):
            raise TypeError(f"loop must be bool, not {type(loop).__name__}")
        object.__setattr__(self, "sounds", _sounds(source))
        object.__setattr__(self, "volume", float(volume))
        object.__setattr__(self, "loop", loop)


def _sounds(source: object) -> tuple[BackgroundSound, ...]:
    if isinstance(source, list | tuple):
        found = tuple(map(_weighted, source))
        if not found:
            raise ValueError("a list of background sounds must name at least one")
        return found
    return (_sound(source, 1.0),)


def _weighted(entry: object) -> BackgroundSound:
    source, weight = entry, 1.0
    if isinstance(entry, tuple):
        if len(entry) != 2:  # noqa: PLR2004 - a pair
            raise ValueError(f"a weighted sound is (source, weight), not {len(entry)} values")
        source, weight = entry
    if isinstance(weight, bool) or not isinstance(weight, int | float):
        raise TypeError(f"a weight must be a number, not {type(weight).__name__}")
    if not 0 < weight < float("inf"):
        raise ValueError(f"a weight is {weight}; it must be more than 0")
    return _sound(source, float(weight))


def _sound(source: object, weight: float) -> BackgroundSound:
    if isinstance(source, BuiltinAudioClip):
        return BackgroundSound(clip=source.value, weight=weight)
    if not isinstance(source, str | os.PathLike):
        raise TypeError(
            "a background sound is a BuiltinAudioClip or the path of a WAV file, "
            f"not {type(source).__name__}"
        )
    path = Path(os.fsdecode(source)).absolute()
    if not path.is_file():
        raise ValueError(f"there is no background sound {path.name!r}: no such file")
    with path.open("rb") as file:
        head = file.read(12)
    if head[:4] != b"RIFF" or head[8:] != b"WAVE":
        raise ValueError(f"the background sound {path.name!r} is not a WAV file: convert it to one")
    return BackgroundSound(path=str(path), weight=weight)

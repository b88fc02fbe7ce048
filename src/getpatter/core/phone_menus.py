"""What an agent needs in somebody else's phone menu: keys, and the notice that the menu goes round in circles."""

from __future__ import annotations

import math
import re
from collections import Counter, deque
from collections.abc import Iterable
from enum import StrEnum
from typing import Final

_WORD: Final = re.compile(r"\w+")


class DtmfEvent(StrEnum):
    """A key of a phone."""

    ONE = "1"
    TWO = "2"
    THREE = "3"
    FOUR = "4"
    FIVE = "5"
    SIX = "6"
    SEVEN = "7"
    EIGHT = "8"
    NINE = "9"
    ZERO = "0"
    STAR = "*"
    POUND = "#"
    A = "A"
    B = "B"
    C = "C"
    D = "D"


def format_dtmf(events: Iterable[DtmfEvent | str]) -> str:
    """Keys for people and models to read: `"1 2 #"`.

    Raises:
        ValueError: one of them is no key.
    """
    return " ".join(DtmfEvent(event).value for event in events)


class TfidfLoopDetector:
    """Notices that the same things are said again: three announcements in a row that were heard before.

    Each announcement is compared with the latest `window_size` ones, word by word; words that come in most of them
    ("press", "for") weigh little (TF-IDF, cosine).
    """

    def __init__(
        self,
        window_size: int = 20,
        similarity_threshold: float = 0.85,
        consecutive_threshold: int = 3,
    ) -> None:
        """Begin with nothing heard.

        Args:
            window_size: Announcements that are remembered.
            similarity_threshold: From 0 to 1: from where on two are the same.
            consecutive_threshold: Repetitions in a row that make a loop.

        Raises:
            ValueError: a number that is out of its range.
        """
        if window_size < 2:  # noqa: PLR2004 - one to compare with
            raise ValueError(f"window_size is {window_size}; it must be 2 or more")
        if not 0 < similarity_threshold <= 1:
            raise ValueError(f"similarity_threshold is {similarity_threshold}; it must be 0 to 1")
        if consecutive_threshold < 1:
            raise ValueError(
                f"consecutive_threshold is {consecutive_threshold}; it must be 1 or more"
            )
        self._heard: deque[Counter[str]] = deque(maxlen=window_size)
        self._threshold = similarity_threshold
        self._needed = consecutive_threshold
        self._repeated = 0

    def add(self, text: str) -> bool:
        """Something was said. Whether that makes a loop; after one, counting begins anew."""
        words = Counter(_WORD.findall(text.casefold()))
        if not words:
            return False
        is_known = self._most_alike(words) >= self._threshold
        self._heard.append(words)
        self._repeated = self._repeated + 1 if is_known else 0
        if self._repeated < self._needed:
            return False
        self._repeated = 0
        return True

    def reset(self) -> None:
        """Forget what was heard, as when another menu begins."""
        self._heard.clear()
        self._repeated = 0

    def _most_alike(self, words: Counter[str]) -> float:
        everything = [*self._heard, words]
        found_in = Counter(word for each in everything for word in each)
        weight = {
            word: math.log((1 + len(everything)) / (1 + times)) + 1
            for word, times in found_in.items()
        }
        return max((_cosine(words, each, weight) for each in self._heard), default=0.0)


def _cosine(one: Counter[str], other: Counter[str], weight: dict[str, float]) -> float:
    shared = sum(one[word] * other[word] * weight[word] ** 2 for word in one.keys() & other.keys())
    return shared / (_length(one, weight) * _length(other, weight))


def _length(words: Counter[str], weight: dict[str, float]) -> float:
    return math.sqrt(sum((times * weight[word]) ** 2 for word, times in words.items()))

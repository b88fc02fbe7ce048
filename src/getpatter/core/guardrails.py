"""What the agent may not say.

Two kinds of rules: terms, which are matched here, and checks, which are the program's own functions and
may take time. `screen` decides the order of both and leaves running the checks to its caller:

```python
screening = screen(rules, sentence, tail)
blocked = False
try:
    check = next(screening)
    while True:
        check = screening.send(await run(check, sentence))
except StopIteration as done:
    blocked_by = done.value
```

A reply arrives in pieces, and a phrase may be split between two of them. `TermFilter.tail` is what has to
be remembered of the earlier pieces; a term is found in the pieces exactly when it is found in the whole.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from getpatter.tools import Guardrail

_LETTER_ALIKES: Final = str.maketrans(
    {"’": "'", "‘": "'", "ʼ": "'", "‐": "-", "‑": "-", "\u00ad": ""}
)
# The end of a sentence between two words of a phrase is a gap like any white space: where the reply is cut
# must not decide what is found.
_GAP: Final = r"(?:[.!?…]+[\"'”»)\]]*)?\s+[\"'“«(\[]*"
_UNSPACED: Final = (
    ("\u0e00", "\u0eff"),  # Thai, Lao
    ("\u0f00", "\u0fff"),  # Tibetan
    ("\u1000", "\u109f"),  # Burmese
    ("\u1780", "\u17ff"),  # Khmer
    ("\u2e80", "\ua4cf"),  # CJK, kana, Yi
    ("\uf900", "\ufaff"),
    ("\uff66", "\uff9f"),
    ("\U00020000", "\U0003ffff"),
)
"""Scripts without spaces between words, in which a word has no boundary to look for."""


class TermFilter:
    """Terms that must not be said, compiled once for all calls.

    Matching ignores case (Unicode case folding), takes whole words or phrases, and lets any white space
    stand for any. A term that begins or ends with a symbol needs no boundary on that side.

    Raises:
        ValueError: A term is empty.
    """

    def __init__(self, terms: Iterable[str]) -> None:
        self._terms = tuple((term, _pattern(term)) for term in terms)
        longest = max((len(term.split()) for term, _ in self._terms), default=0)
        self._tail_words = 2 * longest

    def first_hit(self, text: str, tail: str = "") -> str | None:
        """The first of the terms found in `text`, or begun in `tail` and ended in `text`."""
        whole, start = _joined(tail, text)
        for term, pattern in self._terms:
            at = 0
            while found := pattern.search(whole, at):
                if found.end() > start and _stands_alone(whole, found):
                    return term
                at = found.start() + 1
        return None

    def tail(self, text: str, previous: str = "") -> str:
        """What to give to `first_hit` with the piece after `text`; `previous` is the tail before it."""
        if not self._tail_words:
            return ""
        return " ".join(f"{previous} {text}".split()[-self._tail_words :])


def _folded(text: str) -> str:
    folded = unicodedata.normalize("NFC", text).casefold()
    return unicodedata.normalize("NFC", folded).translate(_LETTER_ALIKES)


def _pattern(term: str) -> re.Pattern[str]:
    words = _folded(term).split()
    if not words:
        raise ValueError("a blocked term is empty; remove it")
    return re.compile(_GAP.join(map(re.escape, words)))


def _joined(tail: str, text: str) -> tuple[str, int]:
    """Both, folded, and where `text` begins."""
    before = f"{_folded(tail)} " if tail else ""
    return before + _folded(text), len(before)


def _stands_alone(text: str, found: re.Match[str]) -> bool:
    start, end = found.span()
    first, last = text[start], text[end - 1]
    opens = not _is_word(first) or start == 0 or not _is_word(text[start - 1])
    return opens and (not _is_word(last) or end == len(text) or not _is_word(text[end]))


def _is_word(character: str) -> bool:
    """A letter, digit or mark of a script that puts spaces between its words."""
    if not (character.isalnum() or unicodedata.category(character)[0] == "M"):
        return False
    return not any(low <= character <= high for low, high in _UNSPACED)


@dataclass(frozen=True, slots=True)
class GuardRule:
    """A guardrail with its terms compiled."""

    guardrail: Guardrail
    terms: TermFilter


def compiled(guardrails: Iterable[Guardrail]) -> tuple[GuardRule, ...]:
    """The rules of an agent, to be kept and used for all of its calls."""
    return tuple(GuardRule(each, TermFilter(each.blocked_terms or ())) for each in guardrails)


def check_terms(rules: Sequence[GuardRule], text: str, tail: str = "") -> Guardrail | None:
    """The first guardrail with a term in `text`. Its checks are not asked: see `screen`."""
    return next((each.guardrail for each in rules if each.terms.first_hit(text, tail)), None)


def screen(
    rules: Sequence[GuardRule], text: str, tail: str = ""
) -> Generator[Callable[[str], object], bool, Guardrail | None]:
    """Ask all rules in order, the terms of each before its check; the first hit is returned.

    Yields the check that has to be run on `text` and is sent whether it blocks. One that raised or took
    too long blocks.
    """
    for rule in rules:
        if rule.terms.first_hit(text, tail) is not None:
            return rule.guardrail
        check = rule.guardrail.check
        if check is not None and (yield check):
            return rule.guardrail
    return None


def longest_tail(rules: Sequence[GuardRule], text: str, previous: str = "") -> str:
    """A tail that is long enough for every rule."""
    return max((rule.terms.tail(text, previous) for rule in rules), key=len, default="")

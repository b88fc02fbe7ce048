"""Whether a number is one that the caller spoke or keyed: "plus one, five five five, double oh twelve ...".

A caller may try to have a call sent to a number of their choice. So every line of theirs is read as digits
wherever it can be, in the agent's language and in English, and the number in question is looked for in all of
them, over the ends of lines too: it may have been given in parts. A number counts as found by its last
`ENOUGH` digits, because people leave out the country.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Set
from functools import cache
from typing import Final

ENOUGH: Final = 7
"""Digits that identify a subscriber where country and area are taken for granted."""

_INTERJECTIONS: Final = frozenset({"o", "oh", "un", "una", "une", "um", "uma", "ein", "eine"})
"""Digits in a number, and small words everywhere else: lines are read with them and without."""
_TOKEN: Final = re.compile(r"\d|[^\W\d_]+")


def was_dictated(number: str, lines: Iterable[str], *, language: str) -> bool:
    """Whether the digits of `number` are among those that were said in `lines`."""
    wanted = "".join(re.findall(r"\d", number.partition("@")[0]))
    if len(wanted) < ENOUGH:
        return False
    said = list(lines)
    readings = (
        "".join(spoken_digits(line, words, without=without) for line in said)
        for words in {_base(language), "en"}
        for without in (frozenset[str](), _INTERJECTIONS)
    )
    return any(wanted[-ENOUGH:] in digits for digits in readings)


def spoken_digits(text: str, language: str, *, without: Set[str] = frozenset()) -> str:
    """The digits in `text`, written or said, without anything else; "double" and "triple" count.

    Words of `without` are passed over, as if they had not been said.
    """
    words = _words(_base(language))
    repeats = _REPEATS.get(_base(language), {})
    found: list[str] = []
    times = 1
    tokens = [token for token in _TOKEN.findall(_plain(text)) if token not in without]
    at = 0
    while at < len(tokens):
        token = tokens[at]
        if token in repeats:
            times, at = repeats[token], at + 1
            continue
        digits, used = _read(tokens, at, words)
        if digits:
            found.append(digits[0] * (times - 1) + digits)
        times = 1
        at += used
    return "".join(found)


def _read(tokens: list[str], at: int, words: Mapping[tuple[str, ...], str]) -> tuple[str, int]:
    """The digits that begin at `at`, by the longest words that make a number, and how many tokens those are."""
    if tokens[at].isdigit():
        return str(unicodedata.digit(tokens[at])), 1
    for length in range(_LONGEST, 0, -1):
        digits = words.get(tuple(tokens[at : at + length]))
        if digits is not None and len(tokens) - at >= length:
            return digits, length
    return "", 1


def _base(language: str) -> str:
    return re.split(r"[-_]", language.lower())[0]


def _plain(text: str) -> str:
    """Lower case, without accents and without the hyphens of compound numbers."""
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    return "".join(c for c in decomposed if not unicodedata.combining(c))


# --------------------------------------------------------------------------------------- the words

_LONGEST: Final = 5

_UNITS: Final[Mapping[str, str]] = {
    "en": "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen",
    "it": "zero uno due tre quattro cinque sei sette otto nove dieci undici dodici tredici quattordici "
    "quindici sedici diciassette diciotto diciannove",
    "es": "cero uno dos tres cuatro cinco seis siete ocho nueve diez once doce trece catorce quince "
    "dieciseis diecisiete dieciocho diecinueve",
    "de": "null eins zwei drei vier funf sechs sieben acht neun zehn elf zwolf dreizehn vierzehn funfzehn "
    "sechzehn siebzehn achtzehn neunzehn",
    "fr": "zero un deux trois quatre cinq six sept huit neuf dix onze douze treize quatorze quinze seize "
    "dix_sept dix_huit dix_neuf",
    "pt": "zero um dois tres quatro cinco seis sete oito nove dez onze doze treze catorze quinze dezesseis "
    "dezessete dezoito dezenove",
}
_TENS: Final[Mapping[str, str]] = {
    "en": "twenty thirty forty fifty sixty seventy eighty ninety",
    "it": "venti trenta quaranta cinquanta sessanta settanta ottanta novanta",
    "es": "veinte treinta cuarenta cincuenta sesenta setenta ochenta noventa",
    "de": "zwanzig dreissig vierzig funfzig sechzig siebzig achtzig neunzig",
    "fr": "vingt trente quarante cinquante soixante soixante_dix quatre_vingt quatre_vingt_dix",
    "pt": "vinte trinta quarenta cinquenta sessenta setenta oitenta noventa",
}
_ALSO: Final[Mapping[str, str]] = {
    "en": "o=0 oh=0 nought=0 nil=0 niner=9 hundred=00 thousand=000",
    "it": "un=1 una=1 cento=100 mila=000 mille=1000",
    "es": "un=1 una=1 cien=100 ciento=100 mil=000",
    "de": "zwo=2 ein=1 eine=1 hundert=00 tausend=000",
    "fr": "une=1 cent=00 mille=000 septante=70 octante=80 huitante=80 nonante=90 quatre_vingts=80",
    "pt": "uma=1 duas=2 meia=6 cem=100 cento=100 mil=000 dezasseis=16 dezassete=17 dezanove=19",
}
_REPEATS: Final[Mapping[str, Mapping[str, int]]] = {
    "en": {"double": 2, "triple": 3, "treble": 3},
    "it": {"doppio": 2, "doppia": 2, "triplo": 3},
    "es": {"doble": 2, "triple": 3},
    "de": {"doppel": 2, "zweimal": 2, "dreimal": 3},
    "fr": {"double": 2, "triple": 3},
    "pt": {"dobro": 2, "duplo": 2, "triplo": 3},
}


@cache
def _words(language: str) -> Mapping[tuple[str, ...], str]:
    """All ways to say 0 to 99, as tuples of words."""
    if language not in _UNITS:
        return {}
    units = _UNITS[language].split()
    table: dict[tuple[str, ...], str] = {}

    def add(words: str, value: str) -> None:
        table.setdefault(tuple(words.replace("_", " ").split()), value)

    for number, word in enumerate(units):
        add(word, str(number))
    for ten, word in enumerate(_TENS[language].split(), 2):
        add(word, str(10 * ten))
        for unit in range(1, 20 if language == "fr" else 10):
            for joined in _joined(language, word, units[unit]):
                add(joined, str(10 * ten + unit))
    for pair in _ALSO[language].split():
        word, _, value = pair.partition("=")
        add(word, value)
    return table


def _joined(language: str, ten: str, unit: str) -> list[str]:
    """How a ten and a unit are said together."""
    match language:
        case "en":
            return [f"{ten} {unit}", ten + unit]
        case "de":
            stem = "ein" if unit == "eins" else unit
            return [f"{stem}und{ten}", f"{stem} und {ten}"]
        case "it":
            elided = ten[:-1] + unit if unit[0] in "uo" else ten + unit
            return [elided, ten + unit, f"{ten} {unit}"]
        case "es":
            twenty = [f"veinti{unit}"] if ten == "veinte" else []
            return [*twenty, f"{ten} y {unit}", f"{ten} {unit}"]
        case "fr":
            plural = [f"{ten}s {unit}"] if ten == "quatre_vingt" else []
            return [*plural, f"{ten} {unit}", f"{ten} et {unit}"]
        case _:
            return [f"{ten} e {unit}", f"{ten} {unit}"]

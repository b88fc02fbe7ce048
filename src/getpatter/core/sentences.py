"""Cuts the stream of a model's tokens into pieces that a voice can say.

The earlier a piece is known, the earlier the caller hears something; a piece that ends too early sounds
broken ("Doctor. Smith"). Where the reply is cut depends on its text alone, never on how the tokens fell,
so a mark at the end of what has arrived waits for the character after it:

```
TEXT --terminator--> RUN --closing quote or bracket--> CLOSERS --anything else--> cut, or back to TEXT
     --comma, dash (first piece only)--> CLAUSE ---------------------------------> cut, or back to TEXT
RUN, CLOSERS --white space after "No."--> NUMBER? --a digit--> TEXT, --anything else--> cut
```

Every character is looked at once, with a bounded look back, so the time is linear in the reply.
"""

from __future__ import annotations

import re
from enum import Enum, auto
from typing import Final

_SPACED: Final = ".!?…՜՞"
"""End a sentence only before white space: inside words, numbers and addresses they are something else."""
_FIRM: Final = "。！？｡．；।॥؟؛۔؏։።፧។៕။༎༏"
"""End a sentence wherever they stand; their scripts do not write them inside words."""
_LINE_BREAKS: Final = "\n\r\u2028\u2029"
_CLOSERS: Final = "\"'”’»›)]}*_~`」』】）〉》〕］｝〟"
_DASHES: Final = "—–"
_FIRST_WIDE: Final = "\u2e80"
"""From here on (CJK and kana) sentences follow each other without a space."""

_STOP: Final = re.compile(f"[{_SPACED}{_FIRM}{_LINE_BREAKS}]")
_STOP_OR_CLAUSE: Final = re.compile(f"[{_SPACED}{_FIRM}{_LINE_BREAKS},{_DASHES}]")
_RUN: Final = re.compile(f"[{_SPACED}{_FIRM}]+")
_CLOSING: Final = re.compile(f"[{re.escape(_CLOSERS)}]+")
_BLANK: Final = re.compile(f"[^\\S{_LINE_BREAKS}]+")

_LOOK_BACK: Final = 32
_WORD: Final = re.compile(r"(?<![^\W\d_])[^\W\d_]{1,12}(?:\.[^\W\d_]{1,12}){0,5}\Z")
_INITIAL: Final = re.compile(r"(?:\A|[\s\-.(\[\"'“‘’«])[A-Za-z]\Z")
_LIST_NUMBER: Final = re.compile(r"(?:\A|[\n\r:;])[\s>*_(-]*\d{1,3}\Z")
_I_AFTER_WORD: Final = re.compile(r"[a-z]['’]?[a-z]*,?\s+I\Z")
_GERMAN_DATE: Final = re.compile(
    r"\b(?:am|ab|bis|dem|den|der|des|vom|zum|seit)\s+\d{1,2}\Z", re.IGNORECASE
)


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_ABBREVIATIONS: Final = _words(
    # Before a name or a word; never the last word of a sentence that matters.
    """
    mr mrs ms mx dr prof rev hon gen col capt cmdr lt sgt cpl gov sen rep pres supt messrs jr sr st mt ft
    vs etc approx dept blvd ave inc ltd corp co bros assn esq al viz resp incl excl
    sig sigg sigra dott dottssa avv ing arch geom rag on egr gent spett ecc mons
    sra srta dra profa ud uds vd vds lic excmo excma exmo exma ilmo ilma ltda cía cia
    hr fr frl dipl bzw usw evtl ggf inkl exkl zzgl str geb verh gest gmbh mwst bspw sog vgl allg
    mme mlle mmes mlles mgr me cf env boul bd
    """
)
_CAPITALISED: Final = _words(
    # Ordinary words when they are written small ("with the", "ran on", "me").
    "rev hon gen col sen rep pres gov sig ing arch on st mt ft fr str me bd co ave gent geb gest"
)
_BEFORE_A_NUMBER: Final = _words(
    # Abbreviations only where a number follows; words, or ends of sentences, everywhere else.
    """
    no nos nr num núm tel ext art fig vol pag pág p pp ch chap sec par apt apto ca max min
    jan feb mar apr jun jul aug sep sept oct okt nov dec dez gen mag giu lug ago set ott dic
    ene abr janv févr avr juil déc fev mai out
    """
)
_OF_LANGUAGE: Final = {
    "it": _words("es ca art pag"),
    "de": _words("ca nr tel max min mind"),
    "es": _words("pág núm art tel av avda"),
    "pt": _words("pág núm art tel av"),
    "fr": _words("art tel av chap"),
}
_LONGEST_PART: Final = 2
"""Of a dotted abbreviation: `U.S`, `S.p.A`, `Ph.D`, `EE.UU`, but not `example.com`."""


class _Mode(Enum):
    TEXT = auto()
    RUN = auto()
    CLOSERS = auto()
    CLAUSE = auto()
    BEFORE_NUMBER = auto()


_EXTENT: Final = {
    _Mode.RUN: _RUN,
    _Mode.CLOSERS: _CLOSING,
    _Mode.CLAUSE: _CLOSING,
    _Mode.BEFORE_NUMBER: _BLANK,
}
"""What a mode reads until something else comes."""


class _Verdict(Enum):
    CUT = auto()
    KEEP = auto()
    ASK = auto()
    """It depends on whether a number follows the white space."""


class SentenceChunker:
    """Takes tokens, gives back sentences as soon as they are known to be complete.

    The pieces of a reply, joined, are the reply except for white space around the pieces, and they are the
    same however the reply was divided into tokens. Call `flush` when the reply ends or turns to a tool.

    Args:
        min_sentence_len: Shorter pieces join the next one, unless they end the reply.
        aggressive_first_flush: Let the first piece end at a comma or a dash. Without effect in Italian,
            whose voices then fall in pitch in the middle of the thought.
        aggressive_first_min_len: How long such a first piece has to be.
        language: BCP-47 tag of what is being said.
    """

    def __init__(
        self,
        *,
        min_sentence_len: int = 20,
        aggressive_first_flush: bool = False,
        aggressive_first_min_len: int = 40,
        language: str = "en",
    ) -> None:
        self._min_len = min_sentence_len
        self._first_min_len = aggressive_first_min_len
        self._language = language.lower().partition("-")[0]
        self._early = aggressive_first_flush and self._language != "it"
        self._more = _OF_LANGUAGE.get(self._language, frozenset())
        self.reset()

    def reset(self) -> None:
        """Forget everything: the next token begins a new reply."""
        self._stops = _STOP_OR_CLAUSE if self._early else _STOP
        self._begin_piece()

    def push(self, token: str) -> list[str]:
        """Take the next token; return the pieces that it completed, often none."""
        pieces: list[str] = []
        at = 0
        while at < len(token):
            if self._mode is _Mode.TEXT:
                at = self._read_text(token, at, pieces)
                continue
            at = self._read_while(_EXTENT[self._mode], token, at)
            if at < len(token):
                self._decide(token[at], pieces)
        return pieces

    def flush(self) -> list[str]:
        """Return what is left, however short, and begin a new reply."""
        pieces: list[str] = []
        self._cut(pieces, 1)
        self.reset()
        return pieces

    # ------------------------------------------------------------------------------------ reading

    def _begin_piece(self) -> None:
        self._parts: list[str] = []
        self._total = 0
        self._size = 0  # of the piece without the white space at its end
        self._tail = ""  # its last characters, at most _LOOK_BACK
        self._mode: _Mode = _Mode.TEXT
        self._before = ""  # what stood before the mark that is being looked at
        self._run = ""  # the mark; of a long run its first two characters
        self._is_firm = False

    def _take(self, text: str) -> None:
        if not self._total:
            text = text.lstrip()
        if not text:
            return
        solid = len(text.rstrip())
        if solid:
            self._size = self._total + solid
        self._total += len(text)
        self._parts.append(text)
        self._tail = (self._tail + text[-_LOOK_BACK:])[-_LOOK_BACK:]

    def _read_text(self, token: str, at: int, pieces: list[str]) -> int:
        found = self._stops.search(token, at)
        if found is None:
            self._take(token[at:])
            return len(token)
        stop = found.start()
        self._take(token[at:stop])
        mark = token[stop]
        if mark in _LINE_BREAKS:
            self._take(mark)
            self._cut(pieces, self._min_len)
            return stop + 1
        self._before = self._tail
        self._run = mark
        self._is_firm = False
        if mark == "," or mark in _DASHES:
            self._take(mark)
            self._mode = _Mode.CLAUSE
            return stop + 1
        self._run = ""
        self._mode = _Mode.RUN
        return stop

    def _read_while(self, kind: re.Pattern[str], token: str, at: int) -> int:
        found = kind.match(token, at)
        if found is None:
            return at
        text = found.group()
        if kind is _RUN:
            self._run = (self._run + text[:2])[:2]
            self._is_firm = self._is_firm or any(mark in _FIRM for mark in text)
        self._take(text)
        return found.end()

    def _cut(self, pieces: list[str], min_len: int) -> None:
        if self._size < min_len or not self._size:
            return
        pieces.append("".join(self._parts)[: self._size])
        self._begin_piece()
        self._stops = _STOP

    # ----------------------------------------------------------------------------------- deciding

    def _decide(self, following: str, pieces: list[str]) -> None:
        """Leave the present mode, knowing the first character that does not belong to it."""
        match self._mode:
            case _Mode.RUN:
                self._mode = _Mode.CLOSERS
            case _Mode.CLOSERS:
                self._after_terminator(following, pieces)
            case _Mode.CLAUSE:
                self._after_clause(following, pieces)
            case _Mode.BEFORE_NUMBER | _Mode.TEXT:  # TEXT reads until its own end
                self._mode = _Mode.TEXT
                if not following.isdigit():
                    self._cut(pieces, self._min_len)

    def _after_terminator(self, following: str, pieces: list[str]) -> None:
        if _RUN.match(following):
            self._before, self._run = self._tail, ""
            self._mode = _Mode.RUN
            return
        verdict = self._verdict(following)
        self._mode = _Mode.BEFORE_NUMBER if verdict is _Verdict.ASK else _Mode.TEXT
        if verdict is _Verdict.CUT:
            self._cut(pieces, self._min_len)

    def _verdict(self, following: str) -> _Verdict:
        before = self._before[-1:]
        if self._is_firm:
            decimal = self._run == "．" and before.isdigit() and following.isdigit()
            return _Verdict.KEEP if decimal else _Verdict.CUT
        if following.isspace():
            return self._verdict_on_dot() if self._run == "." else _Verdict.CUT
        wide = following >= _FIRST_WIDE and (self._run != "." or before >= _FIRST_WIDE)
        return _Verdict.CUT if wide and following.isalnum() else _Verdict.KEEP

    def _verdict_on_dot(self) -> _Verdict:
        """Whether the single dot after `_before` ends a sentence; white space follows it."""
        before = self._before
        if not before or before[-1].isspace():
            return _Verdict.KEEP  # ". . ." and a dot that stands alone
        if before[-1].isdigit():
            return _Verdict.KEEP if self._is_ordinal(before) else _Verdict.CUT
        word = _WORD.search(before)
        return _Verdict.CUT if word is None else self._verdict_on_word(word.group())

    def _is_ordinal(self, before: str) -> bool:
        whole = before if self._total <= _LOOK_BACK else f"\0{before}"
        if _LIST_NUMBER.search(whole):
            return True
        return self._language == "de" and _GERMAN_DATE.search(before) is not None

    def _verdict_on_word(self, word: str) -> _Verdict:
        if len(word) == 1 and word.isascii() and _INITIAL.search(self._before):
            ends = word == "I" and self._language == "en" and _I_AFTER_WORD.search(self._before)
            return _Verdict.CUT if ends else _Verdict.KEEP
        parts = word.split(".")
        if len(parts) > 1:
            short = all(len(part) <= _LONGEST_PART for part in parts)
            return _Verdict.KEEP if short else _Verdict.CUT
        small = word.lower()
        if small in self._more:
            return _Verdict.KEEP
        if small in _ABBREVIATIONS and (small not in _CAPITALISED or word[0].isupper()):
            return _Verdict.KEEP
        return _Verdict.ASK if small in _BEFORE_A_NUMBER else _Verdict.CUT

    def _after_clause(self, following: str, pieces: list[str]) -> None:
        self._mode = _Mode.TEXT
        if self._run == ",":
            ends = following.isspace()
        else:
            in_range = self._before[-1:].isdigit() and following.isdigit()
            ends = following not in _DASHES and not in_range
        if ends:
            self._cut(pieces, self._first_min_len)

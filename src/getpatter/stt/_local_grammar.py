"""What callers may say, written so that a person can read it, and as JSGF for the recogniser.

```
day = monday | tuesday | wednesday
[please] (book | change) an appointment [on <day>]
yes [please]
```

Words are spoken words (`nine thirty`, not `9:30`). `( )` groups, `|` separates choices, `[ ]` may be left
out, `<name>` stands for the line `name = ...`. Case and `, . ? !` do not matter. A text that begins with
`#JSGF` is JSGF already: https://www.w3.org/TR/jsgf/
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Final

_HEADER: Final = "#JSGF"
_DEFINITION: Final = re.compile(r"([A-Za-z][\w-]*)\s*=\s*(.*)", re.DOTALL)
_TOKEN: Final = re.compile(
    r"\s*(?:([()\[\]|])|<\s*([\w-]+)\s*>|([^\W\d_][\w'-]*)|([,.?!;:])|(\S+))"
)
_NOT_WORDS: Final = re.compile(
    r"//[^\n]*|/\*.*?\*/|\{[^}]*\}|<[^>]*>|/[\d.eE+-]+/|^#[^\n]*\n|\bgrammar\s+[\w.]+\s*;"
    r"|\bimport\b[^;]*;|\bpublic\b",
    re.DOTALL,
)
_WORD: Final = re.compile(r"[^\W_][\w'.-]*")


@dataclass(frozen=True, slots=True)
class Word:
    """One word, in lower case."""

    text: str


@dataclass(frozen=True, slots=True)
class Rule:
    """What the definition of that name says."""

    name: str


@dataclass(frozen=True, slots=True)
class Chain:
    """One after the other."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Choice:
    """One of these."""

    options: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Maybe:
    """This or nothing."""

    part: Node


Node = Word | Rule | Chain | Choice | Maybe


@dataclass(frozen=True, slots=True)
class Grammar:
    """All sentences that can be recognised."""

    jsgf: str
    words: frozenset[str]
    tops: tuple[Node, ...] = ()
    """Empty if the grammar was given as JSGF."""
    rules: tuple[tuple[str, Node], ...] = ()

    def sentences(self) -> Iterator[str]:
        """Every sentence once, in the order of the grammar. Empty for JSGF."""
        rules = dict(self.rules)
        seen: set[str] = set()
        for top in self.tops:
            for sentence in _expanded(top, rules):
                if sentence and sentence not in seen:
                    seen.add(sentence)
                    yield sentence


def parse(source: str | Iterable[str]) -> Grammar:
    """Understand a grammar: phrases, the notation above, or JSGF.

    Raises:
        ValueError: it is empty or wrong; the message shows where.
    """
    if isinstance(source, str):
        if source.lstrip().startswith(_HEADER):
            return _parsed_jsgf(source.strip())
        lines = source.splitlines()
    else:
        lines = list(source)
    tops: list[Node] = []
    rules: dict[str, Node] = {}
    for line in lines:
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        definition = _DEFINITION.fullmatch(line.strip())
        if definition is None:
            tops.append(_Line(line).parse())
        elif (name := definition[1]) in rules:
            raise ValueError(f"the grammar defines <{name}> twice")
        else:
            rules[name] = _Line(definition[2]).parse()
    _check(tops, rules)
    words = frozenset(word for node in (*tops, *rules.values()) for word in _words(node))
    return Grammar(_as_jsgf(tops, rules), words, tuple(tops), tuple(rules.items()))


class _Line:
    """Reads one line of the notation, left to right."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens: list[tuple[str, str]] = []
        for mark, rule, word, _ignored, odd in _TOKEN.findall(text.strip()):
            if odd:
                raise self._wrong(
                    f"{odd!r} is not a word; write numbers and signs as they are spoken"
                )
            if mark:
                self._tokens.append((mark, mark))
            elif rule:
                self._tokens.append(("<", rule))
            elif word:
                self._tokens.append(("word", word.lower()))
        self._at = 0

    def parse(self) -> Node:
        node = self._choice()
        if self._at < len(self._tokens):
            raise self._wrong(f"{self._tokens[self._at][1]!r} has no partner")
        return node

    def _choice(self) -> Node:
        options = [self._sequence()]
        while self._peek() == "|":
            self._at += 1
            options.append(self._sequence())
        return options[0] if len(options) == 1 else Choice(tuple(options))

    def _sequence(self) -> Node:
        parts: list[Node] = []
        while (kind := self._peek()) in ("word", "<", "(", "["):
            self._at += 1
            text = self._tokens[self._at - 1][1]
            if kind == "word":
                parts.append(Word(text))
            elif kind == "<":
                parts.append(Rule(text))
            else:
                inner = self._choice()
                self._close(")" if kind == "(" else "]")
                parts.append(inner if kind == "(" else Maybe(inner))
        if not parts:
            raise self._wrong("a choice or a group is empty; write [ ] around what may be left out")
        return parts[0] if len(parts) == 1 else Chain(tuple(parts))

    def _close(self, mark: str) -> None:
        if self._peek() != mark:
            raise self._wrong(f"{mark!r} is missing")
        self._at += 1

    def _peek(self) -> str:
        return self._tokens[self._at][0] if self._at < len(self._tokens) else ""

    def _wrong(self, why: str) -> ValueError:
        return ValueError(f"grammar line {self._text.strip()!r}: {why}")


def _check(tops: Iterable[Node], rules: Mapping[str, Node]) -> None:
    """Every rule exists, none contains itself, and silence is not a sentence."""
    if not tops:
        raise ValueError("the grammar has no sentence: give phrases that callers may say")
    for name, node in rules.items():
        _can_be_silent(node, rules, (name,))
    for node in tops:
        if _can_be_silent(node, rules, ()):
            raise ValueError(f"every word of {_text(node)!r} may be left out: that is silence")


def _can_be_silent(node: Node, rules: Mapping[str, Node], inside: tuple[str, ...]) -> bool:
    """True if no word of it must be said; looks at every part, so that each reference is checked."""
    match node:
        case Word():
            return False
        case Rule(name):
            if name not in rules:
                raise ValueError(f"the grammar uses <{name}> but has no line '{name} = ...'")
            if name in inside:
                raise ValueError(f"the grammar's <{name}> contains itself")
            return _can_be_silent(rules[name], rules, (*inside, name))
        case Chain(parts):
            return min([_can_be_silent(part, rules, inside) for part in parts])
        case Choice(options):
            return max([_can_be_silent(option, rules, inside) for option in options])
        case Maybe(part):
            _can_be_silent(part, rules, inside)
            return True


def _words(node: Node) -> Iterator[str]:
    match node:
        case Word(text):
            yield text
        case Rule():
            return
        case Chain(parts) | Choice(parts):
            for part in parts:
                yield from _words(part)
        case Maybe(part):
            yield from _words(part)


def _text(node: Node) -> str:
    match node:
        case Word(text):
            return text
        case Rule(name):
            return f"<r_{name}>"
        case Chain(parts):
            return " ".join(_text(part) for part in parts)
        case Choice(options):
            return f"({' | '.join(_text(option) for option in options)})"
        case Maybe(part):
            return f"[{_text(part)}]"


def _as_jsgf(tops: Iterable[Node], rules: Mapping[str, Node]) -> str:
    lines = ["#JSGF V1.0;", "grammar callers;"]
    lines += [f"<r_{name}> = {_text(node)};" for name, node in rules.items()]
    lines.append(f"public <sentence> = {' | '.join(_text(node) for node in tops)};")
    return "\n".join(lines) + "\n"


def _expanded(node: Node, rules: Mapping[str, Node]) -> Iterator[str]:
    match node:
        case Word(text):
            yield text
        case Rule(name):
            yield from _expanded(rules[name], rules)
        case Chain(parts):
            for combination in product(*(list(_expanded(part, rules)) for part in parts)):
                yield " ".join(piece for piece in combination if piece)
        case Choice(options):
            for option in options:
                yield from _expanded(option, rules)
        case Maybe(part):
            yield ""
            yield from _expanded(part, rules)


def _parsed_jsgf(source: str) -> Grammar:
    if "public" not in source:
        raise ValueError("the JSGF grammar has no public rule")
    words = frozenset(_WORD.findall(_NOT_WORDS.sub(" ", source)))
    if not words:
        raise ValueError("the JSGF grammar has no words")
    return Grammar(source + "\n", words)

"""What must not get out, in every form in which it could, and the places where it is looked for."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final
from urllib.parse import quote

from benchmarks._stage import CALLER, OURS, THEIRS, THIRD

_TAIL: Final = 8
"""Digits of a number that are together never shown; four are."""
_SEPARATORS: Final = r"(?:[\s.\-_/()+]{1,2}|%20)?"


class Kind(Enum):
    """What a canary is."""

    DIGITS = "digits"
    NUMBER = "number"
    SECRET = "secret"


@dataclass(frozen=True, slots=True)
class Canary:
    """Something that is searched for."""

    name: str
    text: str = field(repr=False)
    kind: Kind = Kind.SECRET

    def is_in(self, seen: str) -> bool:
        """Whether any form of it is there."""
        return any(each.search(seen) for each in self._forms())

    def _forms(self) -> Iterator[re.Pattern[str]]:
        digits = re.sub(r"\D", "", self.text)
        if self.kind is not Kind.SECRET:
            wanted = digits if self.kind is Kind.DIGITS else digits[-_TAIL:]
            yield re.compile(_SEPARATORS.join(wanted))
        whole = self.text if self.kind is Kind.SECRET else digits
        plain = {whole, self.text} if self.kind is Kind.SECRET else {whole}
        plain |= {quote(self.text, safe=""), whole.encode().hex(), whole[::-1]}
        for form in (*plain, *_in_base64(whole)):
            yield re.compile(re.escape(form))


def _in_base64(text: str) -> Iterator[str]:
    """What stands in base64 of anything that holds the text, at each of three alignments."""
    for shift in range(3):
        data = b"\0" * shift + text.encode()
        coded = base64.b64encode(data[: len(data) - len(data) % 3]).decode()
        core = coded[4:] if shift else coded
        yield core
        yield core.translate(str.maketrans("+/", "-_"))


SPOKEN: Final = Canary("spoken card number", "4929 1188 0027 3366", Kind.DIGITS)
KEYED: Final = Canary("keyed card number", "4716209355184402", Kind.DIGITS)
NUMBERS: Final = (
    Canary("caller's number", CALLER, Kind.NUMBER),
    Canary("our number", OURS, Kind.NUMBER),
    Canary("callee's number", THEIRS, Kind.NUMBER),
    Canary("number of the transfer", THIRD, Kind.NUMBER),
)
CARRIER: Final = Canary("key of the carrier", "hQ7vTzKp2mXwR9bLcN4sYd1gJf6uEa3o")
EAR: Final = Canary("key of the recogniser", "nightjar+Vw8/LqZt3Rk5")
MODEL: Final = Canary("key of the model", "sk-proj-hoopoe_Tn6Bz0Wq9Yc2")
VOICE: Final = Canary("key of the voice", "wagtail.Xe4Mh7Gp1Sd8")
ENGINE: Final = Canary("key of the engine", "sk-kestrel-Jr5Uv2Oa6Ic9")
WRONG: Final = Canary("wrong key", "ouzel-Fb3Pk8Dy1Ht6Qw")
WEBHOOK: Final = Canary("webhook_secret", "plover Zs9!Ng4@Lm2")
DASHBOARD: Final = Canary("dashboard_token", "siskin-Rc7Xt5Vb0Ke3")
TOOL_URL: Final = Canary("key in a tool's URL", "whinchat8Gq2Wm6")
FIXED: Final = (
    SPOKEN,
    KEYED,
    *NUMBERS,
    CARRIER,
    EAR,
    MODEL,
    VOICE,
    ENGINE,
    WRONG,
    WEBHOOK,
    DASHBOARD,
    TOOL_URL,
)
STREAM: Final = "tokens of streams"
"""One for each call: they are known once the carrier was given them."""
NAMES: Final = (*(each.name for each in FIXED), STREAM)


class Place(Enum):
    """Where things are written, told or shown."""

    OUR_LOG = "log of getpatter"
    LIBRARY_LOG = "log of everything else"
    SPANS = "spans"
    NUMBERS = "numbers of OpenTelemetry"
    METRICS = "/metrics"
    METADATA = "metadata.json"
    EVENTS = "events.jsonl"
    TRANSCRIPT = "transcript.jsonl"
    OTHER_FILES = "other files of a call"
    FLIGHT = "flight recording"
    STORE = "metrics_store"
    BUS = "phone.events"
    CALLBACKS = "callbacks"
    ERRORS = "errors that are raised"
    SHOWN = "repr of what a program makes"
    RESULTS = "repr of a CallResult"
    ANSWERS = "answers to strangers"
    TERMINAL = "terminal"


_CALLERS: Final = frozenset({each.name for each in NUMBERS})
_ALL_THAT_IS_SAID: Final = frozenset({SPOKEN.name})
DOCUMENTED: Final[Mapping[Place, frozenset[str]]] = {
    Place.TRANSCRIPT: _ALL_THAT_IS_SAID,
    Place.FLIGHT: _ALL_THAT_IS_SAID,
    Place.STORE: _ALL_THAT_IS_SAID | _CALLERS,
    Place.BUS: _ALL_THAT_IS_SAID | _CALLERS,
    Place.CALLBACKS: _ALL_THAT_IS_SAID | _CALLERS,
    Place.RESULTS: _ALL_THAT_IS_SAID,
}
"""Who may hold what. Everything else must be absent. Where it is written: docs/explanation/secrets.md."""


@dataclass(slots=True)
class Haul:
    """Everything that got out, by place."""

    seen: dict[Place, list[str]] = field(default_factory=lambda: {place: [] for place in Place})
    tokens: list[str] = field(default_factory=list)
    """Stream tokens, as the carrier was given them."""

    def add(self, place: Place, what: object) -> None:
        """Something was written, told or shown there."""
        text = what.decode("utf-8", "replace") if isinstance(what, bytes) else str(what)
        self.seen[place].append(text)

    def error(self, error: BaseException) -> None:
        """A program was shown this."""
        texts = (repr(error), str(error), repr(error.__cause__), repr(vars(error)))
        # Errors about a number show how one is written.
        self.add(Place.ERRORS, " ".join(texts).replace(f"like {OURS}", ""))

    def canaries(self) -> Sequence[Canary]:
        """All of them, one for each token."""
        return (*FIXED, *(Canary(STREAM, token) for token in dict.fromkeys(self.tokens)))

    def found(self) -> dict[tuple[Place, str], str]:
        """Which canary is where, and what it stands in."""
        found: dict[tuple[Place, str], str] = {}
        canaries = self.canaries()
        for place, texts in self.seen.items():
            for text in dict.fromkeys(texts):
                for canary in canaries:
                    if (place, canary.name) not in found and canary.is_in(text):
                        found[place, canary.name] = text
        return found

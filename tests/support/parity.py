"""The parity matrix: every provider in one set of whole phone calls, and what does not apply to whom.

A provider is one line of a table below; `ROWS` is all of them. A scenario is one function of `parity_scenes.py`.
Every pair that is not in `NOT_APPLICABLE` is one cell, and one test of `tests/e2e/test_parity.py`. The page
`docs/reference/parity.md` is written by `python -m benchmarks.parity --write`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from getpatter import (
    ElevenLabsConvAI,
    GeminiLive,
    HermesLLM,
    OpenAIRealtime,
    OpenAIRealtime2,
    OpenClawLLM,
    UltravoxRealtime,
)
from getpatter.testing.fake_convai import FakeConvAI
from getpatter.testing.fake_gemini import FakeGemini
from getpatter.testing.fake_realtime import FakeRealtime
from getpatter.testing.fake_ultravox import FakeUltravox
from tests.e2e.speech_kit import EARS, MOUTHS, Ear, Mouth
from tests.support.llm_vendors import VENDORS, GuardedServer, Vendor


class Kind(Enum):
    """What a provider does in a call. The value is the heading of its table."""

    RECOGNISER = "Recognisers"
    VOICE = "Voices"
    MODEL = "Language models"
    ENGINE = "Speech-to-speech engines"


@dataclass(frozen=True)
class Engine:
    """An engine and its service."""

    name: str
    service: type[FakeRealtime | FakeConvAI | FakeGemini | FakeUltravox]
    make: Callable[[Any, str], object]
    """Of a service and a key."""


# A new provider is one line here, or in `EARS` and `MOUTHS` of `tests/e2e/speech_kit.py`.
MODELS: Final = (
    *(each for each in VENDORS if not each.is_package),  # a package may be absent, the page may not
    Vendor(
        "hermes", GuardedServer, lambda key, url, limit: HermesLLM(key, base_url=url, timeout=limit)
    ),
    Vendor(
        "openclaw",
        GuardedServer,
        lambda key, url, limit: OpenClawLLM("desk", api_key=key, base_url=url, timeout=limit),
    ),
)
ENGINES: Final = (
    Engine("openai", FakeRealtime, lambda s, key: OpenAIRealtime(key, base_url=s.url)),
    Engine("openai_2", FakeRealtime, lambda s, key: OpenAIRealtime2(key, base_url=s.url)),
    Engine(
        "elevenlabs", FakeConvAI, lambda s, key: ElevenLabsConvAI(key, s.agent_id, base_url=s.url)
    ),
    Engine("google", FakeGemini, lambda s, key: GeminiLive(key, base_url=s.url)),
    Engine("ultravox", FakeUltravox, lambda s, key: UltravoxRealtime(key, base_url=s.url)),
)


@dataclass(frozen=True)
class Row:
    """One provider."""

    kind: Kind
    of: Ear | Mouth | Vendor | Engine

    @property
    def name(self) -> str:
        """As its table calls it."""
        return self.of.name


ROWS: Final = (
    *(Row(Kind.RECOGNISER, each) for each in EARS),
    *(Row(Kind.VOICE, each) for each in MOUTHS),
    *(Row(Kind.MODEL, each) for each in MODELS),
    *(Row(Kind.ENGINE, each) for each in ENGINES),
)

SCENARIOS: Final[Mapping[str, str]] = {
    "reply": "Two questions, two answers. Both sides' words are exact, each answer is heard within 2.5 s; when the "
    "caller hangs up no connection of the call is left, and what the provider did is priced or named as unpriced.",
    "long reply": "Half a minute of speech in five scripts, heard to its end; the turn after it works.",
    "interruption": "The caller speaks into a long answer: it falls silent within a second, history keeps what was "
    "heard of it, and the words of the interruption are answered.",
    "tool call": "The model says a few words and calls a tool; the words are heard while it runs, then its result.",
    "two tools": "Two tools in one answer run at the same time, and both results are spoken of.",
    "slow start": "The service takes four seconds to begin, an engine six. Nothing is lost, nothing is said twice.",
    "drop": "The connection breaks in the middle of a word. The call goes on, and the next turn is complete.",
    "wrong key": "One attempt, one line in the log without the key, an apology that the caller hears, and the end "
    "of the call with reason `provider_error` within 20 s.",
    "rate limit": "The first request is refused with 429. It is repeated, and the conversation is complete.",
    "outage": "The service answers everything with 503. It is asked up to four times within seconds; then the caller "
    "hears an apology, and the call ends with `provider_error`. A model's outage costs the turn: the apology asks "
    "the caller to say it again, and once the service is back the next turn is answered.",
    "silence": "The caller says nothing for eight seconds after the greeting: no words are made up, no answer is "
    "given, and the call stays.",
}
"""Name and promise of each column."""

_NO_TOOLS: Final = "takes no part in tools"
NOT_APPLICABLE: Final[Mapping[tuple[Kind, str], str]] = {
    (Kind.RECOGNISER, "tool call"): f"a recogniser {_NO_TOOLS}",
    (Kind.RECOGNISER, "two tools"): f"a recogniser {_NO_TOOLS}",
    (Kind.VOICE, "two tools"): "for a voice it is the same as one tool: words, a pause, words",
}
"""Why a scenario cannot be played with a kind."""
NOT_APPLICABLE_TO: Final[Mapping[tuple[Kind, str, str], str]] = {}
"""The same, for one provider."""
FAILING: Final[Mapping[tuple[Kind, str, str], str]] = {}
"""Cells that fail, and why. Their tests must fail: one that passes has to leave this table."""


@dataclass(frozen=True)
class Cell:
    """One provider in one scenario."""

    row: Row
    scenario: str

    @property
    def key(self) -> tuple[Kind, str, str]:
        """What the tables above name it by."""
        return self.row.kind, self.row.name, self.scenario

    @property
    def id(self) -> str:
        """As a test's name."""
        return f"{self.row.kind.name.lower()}-{self.row.name}-{self.scenario.replace(' ', '_')}"

    @property
    def reason(self) -> str | None:
        """Why it is not played; `None`: it is."""
        general = NOT_APPLICABLE.get((self.row.kind, self.scenario))
        return general or NOT_APPLICABLE_TO.get(self.key)


ALL_CELLS: Final = tuple(Cell(row, scenario) for row in ROWS for scenario in SCENARIOS)
CELLS: Final = tuple(cell for cell in ALL_CELLS if cell.reason is None)


# ------------------------------------------------------------------------------------------- the page

OK: Final = "ok"
NOT: Final = "n/a"


def expected(cell: Cell) -> str:
    """What the page says of a cell: it was seen, it fails, or it does not apply."""
    if cell.reason is not None:
        return NOT
    return "fails" if cell.key in FAILING else OK


def tables(outcome: Callable[[Cell], str]) -> str:
    """The matrix in Markdown, a table for each kind, and the reasons of what is not `ok`."""
    parts: list[str] = []
    for kind in Kind:
        rows = [row for row in ROWS if row.kind is kind]
        cells = [Cell(row, scenario) for row in rows for scenario in SCENARIOS]
        head = [
            f"## {kind.value}",
            "",
            _line(["", *SCENARIOS]),
            _line(["---"] * (len(SCENARIOS) + 1)),
        ]
        lines = [
            _line([f"`{row.name}`", *(outcome(Cell(row, each)) for each in SCENARIOS)])
            for row in rows
        ]
        parts.append("\n".join([*head, *lines, *_reasons(cells)]))
    return "\n\n".join(parts)


def _reasons(cells: Sequence[Cell]) -> list[str]:
    told = {
        f"- {cell.scenario}: {reason}."
        if (cell.row.kind, cell.scenario) in NOT_APPLICABLE
        else f"- `{cell.row.name}`, {cell.scenario}: {reason}."
        for cell in cells
        if (reason := cell.reason or FAILING.get(cell.key)) is not None
    }
    return ["", *sorted(told)] if told else []


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"

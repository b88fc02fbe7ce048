"""Takes the Python examples out of documents.

The seed documents are the text of web pages: the code is there, line for line, but its fences are gone.
So `PLACES` says by content where each example begins and ends, and `python_like_lines` finds whatever
looks like Python and is in no example, so that none is forgotten. Markdown pages still have fences.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

SEEDS: Final = Path(__file__).parents[3] / "shared" / "spec" / "seeds"
"""Beside the checkout, where the specification is at hand; see `tests/test_seeds.py` for when it is not."""


@dataclass(frozen=True)
class Example:
    """Some code as it was written, and where."""

    name: str
    source: str
    document: str
    first_line: int
    """Counted from 1."""

    @property
    def last_line(self) -> int:
        return self.first_line + self.source.count("\n")


@dataclass(frozen=True)
class Place:
    """Where an example stands in a document without fences."""

    name: str
    document: str
    after: str
    """A line of the document, before the example; found once, or the first after the example before."""
    first: str
    last: str
    """Beginnings of the example's first and last line."""


_LOCAL_MODE: Final = "003_ff7b7697a75e8f77.txt"
_CARRIERS: Final = "004_c3b5420fdd9d39e9.txt"

PLACES: Final = (
    Place("initialize", _LOCAL_MODE, "3. Initialize Patter", "import os", ")"),
    Place("serve", _LOCAL_MODE, "serve()", "await phone.serve(", "await phone.serve("),
    Place(
        "outbound", _LOCAL_MODE, "Making Outbound Calls", "import asyncio", "asyncio.run(main())"
    ),
    Place(
        "disconnect",
        _LOCAL_MODE,
        "Disconnecting",
        "await phone.disconnect()",
        "await phone.disconnect()",
    ),
    Place("complete", _LOCAL_MODE, "Complete Example", "import os", "asyncio.run(main())"),
    Place("twilio", _CARRIERS, "Twilio", "from getpatter import Patter, Twilio", ")"),
    Place(
        "twilio-namespaced",
        _CARRIERS,
        "Namespaced form:",
        "from getpatter.carriers import",
        "carrier =",
    ),
    Place("telnyx", _CARRIERS, "Telnyx", "from getpatter import Patter, Telnyx", ")"),
    Place(
        "telnyx-namespaced",
        _CARRIERS,
        "Namespaced form:",
        "from getpatter.carriers import",
        "carrier =",
    ),
)
"""In the order of the documents."""

TOP_LEVEL_AWAIT: Final = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT


def parses(source: str) -> bool:
    """Whether `source` is whole Python; `await` may stand at the top, as in a notebook."""
    try:
        compile(source, "<example>", "exec", TOP_LEVEL_AWAIT, dont_inherit=True)
    except SyntaxError:
        return False
    return True


def _cut(place: Place, lines: list[str], begin: int) -> Example:
    """The example at `place`, looked for from line index `begin` on.

    Its end is the last line that begins with `place.last` and leaves a text that parses, before the first one
    that does not: `twilio.Carrier()` twice in a row belongs to one example.
    """
    heading = lines.index(place.after, begin)
    first = next(i for i in range(heading + 1, len(lines)) if lines[i].startswith(place.first))
    ends = [
        i
        for i in range(first, len(lines))
        if lines[i].startswith(place.last) and parses("\n".join(lines[first : i + 1]))
    ]
    source = "\n".join(lines[first : ends[-1] + 1])
    return Example(place.name, source, place.document, first + 1)


def seed_examples(folder: Path = SEEDS) -> list[Example]:
    """Every Python example of the seed documents, in order. Raises if one is not where it should be."""
    examples: list[Example] = []
    for place in PLACES:
        lines = (folder / place.document).read_text(encoding="utf-8").split("\n")
        same = [example for example in examples if example.document == place.document]
        begin = same[-1].last_line if same else 0
        try:
            examples.append(_cut(place, lines, begin))
        except (ValueError, StopIteration, IndexError) as exc:
            message = f"{place.document} has no example {place.name!r} after {place.after!r}"
            raise LookupError(message) from exc
    return examples


_LOOKS_LIKE_PYTHON: Final = re.compile(
    r"(from [\w.]+ import [\w, ]+$|import [a-z_]+$|async def |def |await [\w.]+\(|asyncio\.run\(|\w+ = \w+\($)"
)


def python_like_lines(text: str) -> Iterator[tuple[int, str]]:
    """(number, line) of lines that begin like a Python statement. TypeScript ends them with `;`."""
    for number, line in enumerate(text.split("\n"), 1):
        if _LOOKS_LIKE_PYTHON.match(line) and not line.rstrip().endswith((";", "{", "});")):
            yield number, line


# ----------------------------------------------------------------------------------------- markdown

_FENCED: Final = re.compile(
    r"(?P<note><!-- test: (?P<what>[^>]*?) -->\n+)?"
    r"^(?P<indent> *)```(?:python|py)(?P<rest>[^\n]*)\n(?P<code>.*?)^(?P=indent)```$",
    re.DOTALL | re.MULTILINE,
)


@dataclass(frozen=True)
class Block(Example):
    """A fenced example of a Markdown page, and how the page says it shall be tested.

    The line before the fence may be one of

    * `<!-- test: continues -->`: it goes on with the names of the block before;
    * `<!-- test: scenario NAME -->`: it is driven by that scenario of `scenarios.py`;
    * `<!-- test: skip REASON -->`: it is not run, only compiled.
    """

    directive: str = ""
    argument: str = ""


def markdown_blocks(page: Path, root: Path) -> list[Block]:
    """The Python blocks of a page, named `docs/how-to/page.md:1` and so on."""
    text = page.read_text(encoding="utf-8")
    name = page.relative_to(root).as_posix()
    blocks: list[Block] = []
    for number, found in enumerate(_FENCED.finditer(text), 1):
        indent = len(found["indent"])
        code = "".join(line[indent:] for line in found["code"].splitlines(keepends=True))
        directive, _, argument = (found["what"] or "").partition(" ")
        first_line = text.count("\n", 0, found.start("code")) + 1
        blocks.append(Block(f"{name}:{number}", code, name, first_line, directive, argument))
    return blocks

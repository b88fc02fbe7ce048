"""Turns what models write into what can be said: no asterisks, no pictures, all of the words.

The filters work on one piece of a reply at a time, so a pair of marks may arrive in two pieces: half a
pair is removed like a whole one. All patterns take linear time on any text.
"""

from __future__ import annotations

import html
import re
from typing import Final

# ------------------------------------------------------------------------------------------- markdown

_MARKS: Final = re.compile(r"[*_`~#>|\[\]<&\\]|^[ \t]*[-+=:]", re.MULTILINE)
_FENCE: Final = re.compile(r"^[ \t]*(?:`{3,}|~{3,})[ \t]*[\w+#.-]*[ \t]*$")
_FENCE_INSIDE: Final = re.compile(r"`{3,}")
_RULE: Final = re.compile(r"^[ \t]*(?:(?:\*[ \t]*){3,}|(?:-[ \t]*){3,}|(?:_[ \t]*){3,}|={3,})$")
_TABLE_RULE: Final = re.compile(r"^[ \t]*\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*$")
_DEFINITION: Final = re.compile(r"^[ \t]{0,3}\[[^\[\]]+\]:[ \t]*\S+")
_QUOTE: Final = re.compile(r"^[ \t]*(?:>[ \t]?)+")
_HEADING: Final = re.compile(r"^[ \t]*#{1,6}[ \t]+")
_BULLET: Final = re.compile(r"^[ \t]*[-*+•][ \t]+(?:\[[ xX]\][ \t]+)?")

_IMAGE_OR_LINK: Final = re.compile(r"!?\[([^\[\]]*)\]\([^()\n]*(?:\([^()\n]*\)[^()\n]*)?\)")
_REFERENCE: Final = re.compile(r"!?\[([^\[\]]+)\]\[[^\[\]]*\]")
_FOOTNOTE: Final = re.compile(r"\[\^[^\[\]\s]+\]")
_AUTOLINK: Final = re.compile(
    r"<(?:mailto:)?([a-z][a-z0-9+.-]*:[^<>\s]+|[^<>\s@]+@[^<>\s]+)>", re.IGNORECASE
)
_LINE_TAG: Final = re.compile(r"<(?:br|hr|/p|/li|/div)[ \t]*/?>", re.IGNORECASE)
_TAG: Final = re.compile(r"</?[a-z][a-z0-9-]*(?:[ \t][^<>\n]*)?/?>", re.IGNORECASE)
_CODE: Final = re.compile(r"`+")
_STRIKE: Final = re.compile(r"~~")
# A mark of emphasis leans on a word on one side only; between two words (`2*3`, `snake_case`) and between
# two spaces (`2 * 3`) it is what was meant.
_OPENING: Final = re.compile(r"(?<![\w*])[*_]{1,6}(?=[^\s*_])")
_CLOSING: Final = re.compile(r"(?<=[^\s*_])[*_]{1,6}(?![\w*])")
_LONE_PAIR: Final = re.compile(r"(?<![*\d])\*{2,3}(?!\*)|(?<!\*)\*{2,3}(?![*\d])")
_ESCAPE: Final = re.compile(r"\\([!-/:-@\[-`{-~])")
_HIDDEN: Final = re.compile("[\ue000-\ue0ff]")
_HIDE_FROM: Final = 0xE000


def filter_markdown(text: str) -> str:
    """`text` without markdown signs, with all that can be read.

    Links and images become their text, code its content, a table row its cells with commas between them;
    headings, bullets and quotes lose their sign. Numbers of ordered lists stay. Text without markdown is
    returned as it is.
    """
    if _MARKS.search(text) is None:
        return text
    plain = _ESCAPE.sub(_hidden, _HIDDEN.sub("", text))
    lines = [_plain_line(line) for line in plain.split("\n")]
    joined = "\n".join(line for line in lines if line is not None)
    return _HIDDEN.sub(_shown, html.unescape(_plain_spans(joined))).strip()


def _hidden(found: re.Match[str]) -> str:
    """A character behind a backslash is itself: out of the sight of all other patterns."""
    return chr(_HIDE_FROM + ord(found.group(1)))


def _shown(found: re.Match[str]) -> str:
    return chr(ord(found.group()) - _HIDE_FROM)


def _plain_line(line: str) -> str | None:
    """The line without its sign; None when there is nothing else on it."""
    if _FENCE.match(line) or _RULE.match(line) or _DEFINITION.match(line):
        return None
    if "-" in line and "|" in line and _TABLE_RULE.match(line):
        return None
    line = _QUOTE.sub("", line)
    line = _HEADING.sub("", line)
    line = _BULLET.sub("", line)
    stripped = line.strip()
    if len(stripped) > 1 and stripped.startswith("|"):
        cells = (cell.strip() for cell in stripped.strip("|").split("|"))
        return ", ".join(cell for cell in cells if cell)
    return line


def _plain_spans(text: str) -> str:
    text = _FOOTNOTE.sub("", text)
    text = _IMAGE_OR_LINK.sub(r"\1", text)
    text = _REFERENCE.sub(r"\1", text)
    text = _AUTOLINK.sub(r"\1", text)
    text = _LINE_TAG.sub("\n", text)
    text = _TAG.sub("", text)
    text = _FENCE_INSIDE.sub("", text)
    text = _CODE.sub("", text)
    text = _STRIKE.sub("", text)
    text = _CLOSING.sub("", text)
    text = _OPENING.sub("", text)
    return _LONE_PAIR.sub("", text)


# ---------------------------------------------------------------------------------------------- emoji

_PICTURE: Final = (
    "\U0001f000-\U0001f0ff\U0001f170\U0001f171\U0001f17e\U0001f17f\U0001f18e\U0001f191-\U0001f19a"
    "\U0001f201\U0001f202\U0001f21a\U0001f22f\U0001f232-\U0001f23a\U0001f250\U0001f251"
    "\U0001f300-\U0001faff"
    "\u231a\u231b\u2328\u23cf\u23e9-\u23f3\u23f8-\u23fa\u25fb-\u25fe\u2600-\u2775\u2794-\u27bf"
    "\u2934\u2935\u2b05-\u2b07\u2b1b\u2b1c\u2b50\u2b55"
)
"""Shown as a picture by itself. Circled digits (U+2776 to U+2793) are readable and left out."""
_SIGN: Final = (
    "\u00a9\u00ae\u203c\u2049\u2122\u2139\u2194-\u21aa\u24c2\u25aa-\u25c0\u3030\u303d\u3297\u3299"
)
"""Text, unless a variation selector makes a picture of it."""
_EMOJI: Final = re.compile(
    "(?:"
    "[\U0001f1e6-\U0001f1ff]{1,2}"  # flags
    f"|[{_PICTURE}]|[{_SIGN}]\ufe0f"
    ")"
    "(?:[\ufe0e\ufe0f\u20e3\U0001f3fb-\U0001f3ff\U000e0020-\U000e007f]"
    f"|\u200d[{_PICTURE}{_SIGN}])*"
)
_KEYCAP: Final = re.compile("([0-9#*])\ufe0f?\u20e3")
_SELECTOR: Final = re.compile("[\ufe0e\ufe0f]")
_NO_SPACE_BEFORE: Final = frozenset(".,;:!?…)]}。！？，")


def filter_emoji(text: str) -> str:
    """`text` without emoji, and without the gaps that they leave.

    Flags, skin tones and joined families go as a whole. A keycap (1️⃣) becomes its digit.
    """
    if text.isascii():
        return text
    text = _KEYCAP.sub(r"\1", text)
    kept: list[str] = []
    end = 0
    for found in _EMOJI.finditer(text):
        _append(kept, text[end : found.start()], after_emoji=end > 0)
        end = found.end()
    _append(kept, text[end:], after_emoji=end > 0)
    return _SELECTOR.sub("", "".join(kept))


def _append(kept: list[str], text: str, *, after_emoji: bool) -> None:
    """Add text, closing the gap if an emoji stood before it."""
    if not after_emoji or not kept:
        kept.append(text.lstrip(" ") if after_emoji else text)
        return
    bare = text.lstrip(" ")
    if not bare:
        kept[-1] = kept[-1] if not text or kept[-1].endswith(" ") else kept[-1] + " "
    elif bare[0] in _NO_SPACE_BEFORE:
        kept[-1] = kept[-1].rstrip(" ")
        kept.append(bare)
    else:
        spaced = kept[-1].endswith((" ", "\n")) or not kept[-1]
        kept.append(bare if spaced else f" {bare}")


def filter_for_tts(text: str) -> str:
    """`text` without markdown and without emoji: what a voice should be given."""
    return filter_emoji(filter_markdown(text)).strip()

"""Puts the values of a call into prompts: `"Hello {name}"`.

Prompts are full of braces that are no placeholders (JSON examples above all), so only `{identifier}` with a
known name is replaced. Values come from carriers and from callers: they are text to be shown, never a
template themselves.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from typing import Final

MAX_VALUE_LEN: Final = 500
"""Characters of one value; the rest is cut off."""

_PLACEHOLDER: Final = re.compile(r"\{([^\W\d]\w*)\}")
_NEVER_SHOWN: Final = frozenset({"Cc", "Cs"})
"""Control characters, and halves of surrogate pairs, which no encoder takes."""
_LINE_SEPARATORS: Final = frozenset({"Zl", "Zp"})


def substitute(text: str, values: Mapping[str, object]) -> str:
    """`text` with every `{name}` that `values` knows replaced by its sanitised value.

    Unknown placeholders and all other braces stay as they are. Values are not searched for placeholders.
    """
    if "{" not in text or not values:
        return text

    def value_of(found: re.Match[str]) -> str:
        name = found.group(1)
        return sanitised(values[name]) if name in values else found.group()

    return _PLACEHOLDER.sub(value_of, text)


def sanitised(value: object) -> str:
    """`value` as text without control characters, at most `MAX_VALUE_LEN` long; None is empty.

    Line breaks and tabs become spaces, so that words do not run together.
    """
    if value is None:
        return ""
    return "".join(map(_visible, str(value)[:MAX_VALUE_LEN]))


def merge_variables(*sources: Mapping[str, object] | None) -> dict[str, object]:
    """One mapping of all sources, the most important first.

    The order of a call: what `on_call_start` returned, the agent's variables, the call's parameters.
    """
    merged: dict[str, object] = {}
    for source in reversed(sources):
        merged.update(source or {})
    return merged


def _visible(character: str) -> str:
    category = unicodedata.category(character)
    if character in "\t\n\v\f\r\x85" or category in _LINE_SEPARATORS:
        return " "
    return "" if category in _NEVER_SHOWN else character

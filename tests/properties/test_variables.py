"""No prompt and no value can break the substitution."""

from __future__ import annotations

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from getpatter.core.variables import MAX_VALUE_LEN, sanitised, substitute

NAMES = st.sampled_from(["name", "x", "_y", "città"])
TEXTS = st.one_of(
    st.text(), st.lists(st.sampled_from(["{", "}", "name", "x", '"', ":", " "])).map("".join)
)


@given(TEXTS, st.dictionaries(NAMES, TEXTS))
def test_never_raises_and_changes_placeholders_only(text: str, values: dict[str, str]) -> None:
    unnamed = text
    for name in values:
        unnamed = unnamed.replace("{" + name + "}", "")
    found = substitute(text, values)
    if "{" not in "".join(values.values()):
        for name in values:
            assert "{" + name + "}" not in found or "{" in unnamed
    if not any("{" + name + "}" in text for name in values):
        assert found == text


@given(st.text(st.characters()))
def test_a_sanitised_value_is_short_and_can_be_encoded(value: str) -> None:
    shown = sanitised(value)
    assert len(shown) <= MAX_VALUE_LEN
    assert not any(unicodedata.category(character) in {"Cc", "Cs"} for character in shown)
    shown.encode()
    assert sanitised(shown) == shown

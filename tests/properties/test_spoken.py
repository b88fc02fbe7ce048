"""No text breaks the filters, and none loses its words."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from getpatter.core.spoken import filter_emoji, filter_for_tts, filter_markdown

MARKED = st.lists(
    st.sampled_from(
        [*"*_`~#>|[]()!<&\\-+:=\n ", "**", "```", "word", "1.", "[a](b)",
         "👍", "👨‍👩‍👧", "🇮🇹", "1️⃣", "\u200d", "\ufe0f"]
    ),
    max_size=40,
).map("".join)  # fmt: skip
TEXTS = st.one_of(st.text(st.characters()), MARKED)


@given(TEXTS)
def test_never_raises(text: str) -> None:
    filter_markdown(text)
    filter_emoji(text)
    assert filter_for_tts(text) == filter_for_tts(text).strip()


@given(
    st.text(st.characters(categories=["L", "Nd"]), min_size=1),
    st.sampled_from(["*", "**", "_", "`", "~~"]),
)
def test_marked_words_are_read_whole(word: str, mark: str) -> None:
    assert filter_markdown(f"so {mark}{word}{mark} it is") == f"so {word} it is"


@given(st.text(st.characters(categories=["L", "Nd", "Zs"], include_characters=".,!?'")))
def test_plain_text_stays_as_it_is(text: str) -> None:
    assert filter_markdown(text) == text
    assert filter_emoji(text) == text


@given(MARKED)
def test_words_survive(text: str) -> None:
    prose = re.sub(r"<[^>]*>|\[[^\]]*\]|```[^\n]*|&[^;]*;", "", text)
    if prose == text:
        assert filter_markdown(text).count("word") == text.count("word")


@given(TEXTS)
def test_emoji_are_gone_after_one_pass(text: str) -> None:
    once = filter_emoji(text)
    assert filter_emoji(once) == once

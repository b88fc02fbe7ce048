"""What holds for every text and for every way in which it may arrive."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from getpatter.core.sentences import SentenceChunker

BITS = st.sampled_from(
    [
        *"aB1 .!?…,—–\n\r\"')*。？；।؟՞．\u2028",
        "Dr", "no", "I", "S.p.A.", "etc.", "3.50", "https://a.b/c?d", "J. R.", "...", "word ", "Hello there ",
        "  ", "今日は", "10", "1. ",
    ]
)  # fmt: skip
TEXTS = st.one_of(st.lists(BITS, max_size=40).map("".join), st.text(max_size=60))
OPTIONS = st.fixed_dictionaries(
    {
        "min_sentence_len": st.integers(0, 30),
        "aggressive_first_flush": st.booleans(),
        "aggressive_first_min_len": st.integers(1, 40),
        "language": st.sampled_from(["en", "it", "de-DE", "zh"]),
    }
)


def solid(text: str) -> str:
    return "".join(text.split())


@given(st.lists(TEXTS, max_size=12), OPTIONS)
def test_nothing_is_lost_added_or_moved(tokens: list[str], options: dict[str, object]) -> None:
    chunker = SentenceChunker(**options)  # type: ignore[arg-type]
    found = [piece for token in tokens for piece in chunker.push(token)] + chunker.flush()
    assert solid("".join(found)) == solid("".join(tokens))
    assert all(piece == piece.strip() and piece for piece in found)


@given(TEXTS, st.lists(st.integers(0, 60), max_size=20), OPTIONS)
def test_how_a_reply_falls_into_tokens_does_not_matter(
    text: str, cuts: list[int], options: dict[str, object]
) -> None:
    whole = SentenceChunker(**options)  # type: ignore[arg-type]
    expected = whole.push(text) + whole.flush()
    parts = SentenceChunker(**options)  # type: ignore[arg-type]
    edges = [0, *sorted(cut for cut in cuts if cut < len(text)), len(text)]
    found = [piece for a, b in pairwise(edges) for piece in parts.push(text[a:b])]
    assert found + parts.flush() == expected


@given(TEXTS, st.integers(1, 30))
def test_only_the_end_of_a_reply_is_short(text: str, least: int) -> None:
    chunker = SentenceChunker(min_sentence_len=least)
    assert all(len(piece) >= least for piece in chunker.push(text))


@given(TEXTS, OPTIONS)
def test_a_used_chunker_is_as_good_as_new(text: str, options: dict[str, object]) -> None:
    used = SentenceChunker(**options)  # type: ignore[arg-type]
    used.push(text)
    used.reset()
    new = SentenceChunker(**options)  # type: ignore[arg-type]
    assert used.push(text) + used.flush() == new.push(text) + new.flush()

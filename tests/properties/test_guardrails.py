"""How a reply is cut decides nothing about what is found in it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from getpatter.core.guardrails import TermFilter

WORDS = st.sampled_from(
    ["sue", "Legal", "advice", "issue", "c++", "you", "straße", "不", "a.b", "can’t"]
)
SEAMS = st.sampled_from([" ", "  ", "\n", ". ", "? ", '." ', "! ("])
TERMS = ["sue", "legal advice", "c++ you", "can't", "you legal advice", "STRASSE"]


@given(
    st.text(st.characters()), st.text(st.characters()), st.lists(st.text(min_size=1), max_size=3)
)
def test_never_raises_on_any_text(text: str, tail: str, terms: list[str]) -> None:
    filtered = TermFilter([term for term in terms if term.strip()] or ["x"])
    filtered.first_hit(text, filtered.tail(tail))


@given(st.lists(st.tuples(WORDS, SEAMS), min_size=1, max_size=12), st.sets(st.integers(0, 11)))
def test_found_in_pieces_exactly_when_found_in_the_whole(
    parts: list[tuple[str, str]], cuts: set[int]
) -> None:
    whole = "".join(word + seam for word, seam in parts).strip()
    pieces, piece = [], ""
    for number, (word, seam) in enumerate(parts):
        piece += word + seam
        if number in cuts:
            pieces.append(piece.strip())
            piece = ""
    pieces.append(piece.strip())
    for term in TERMS:
        terms = TermFilter([term])
        tail, hit = "", False
        for piece in pieces:
            hit = hit or terms.first_hit(piece, tail) is not None
            tail = terms.tail(piece, tail)
        assert hit == (terms.first_hit(whole) is not None), (term, pieces)


@given(st.sampled_from(TERMS), st.text("xyz ", max_size=8), st.text("xyz ", max_size=8))
def test_a_term_between_spaces_is_always_found(term: str, before: str, after: str) -> None:
    assert TermFilter([term]).first_hit(f"{before} {term.upper()} {after}") == term

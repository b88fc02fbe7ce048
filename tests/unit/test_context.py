"""What a model is sent of a long conversation: an estimate, a budget, and no call without its results."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from getpatter.core.context import tokens_of, units, within

SYSTEM: dict[str, object] = {"role": "system", "content": "Be brief."}


def said(role: str, text: str) -> dict[str, object]:
    return {"role": role, "content": text}


def exchange(name: str, size: int = 40) -> list[dict[str, object]]:
    return [
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": name, "function": {"name": name, "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": name, "content": "x" * size},
    ]


def test_four_letters_are_a_token_and_a_message_costs_something() -> None:
    assert tokens_of([said("user", "x" * 40)]) == 14
    assert tokens_of([said("user", "")]) == 4
    assert tokens_of(exchange("look", 0)) > 8
    assert tokens_of([{"role": "user", "content": [{"type": "text", "text": "hi"}]}]) > 4


def test_the_oldest_goes_first_and_the_instructions_stay() -> None:
    messages = [SYSTEM, said("user", "a" * 40), said("assistant", "b" * 40), said("user", "c" * 40)]
    assert within(messages, 1000) == messages
    assert within(messages, 36) == [SYSTEM, *messages[2:]]
    assert within(messages, 25) == [SYSTEM, messages[3]]
    assert within(messages, 1) == [SYSTEM, messages[3]], "the newest words are never cut"


def test_a_call_goes_with_its_results() -> None:
    messages = [
        SYSTEM,
        said("user", "a"),
        *exchange("one"),
        said("assistant", "b"),
        said("user", "c"),
    ]
    kept = within(messages, tokens_of(messages) - 6)
    assert kept == [SYSTEM, said("assistant", "b"), said("user", "c")]


def test_results_of_the_newest_turn_stay_however_long_they_are() -> None:
    messages = [SYSTEM, said("user", "a"), *exchange("one", 4000)]
    assert within(messages, 10) == messages


MESSAGES = st.lists(
    st.one_of(
        st.builds(
            said,
            st.sampled_from(["user", "assistant"]),
            st.sampled_from(["", "hello", "a longer line of it"]),
        ).map(lambda each: [each]),
        st.builds(exchange, st.sampled_from(["a", "b"]), st.integers(0, 60)),
    ),
    max_size=12,
)


@settings(max_examples=60)
@given(MESSAGES, st.integers(1, 200))
def test_what_is_left_is_the_end_of_what_there_was(pieces: list[Any], budget: int) -> None:
    messages: list[dict[str, object]] = [SYSTEM, *(each for piece in pieces for each in piece)]
    kept = within(messages, budget)
    assert kept[0] == SYSTEM
    rest = kept[1:]
    assert rest == messages[len(messages) - len(rest) :]
    assert not rest or rest[0]["role"] != "tool"
    assert len(units(kept)) <= len(units(messages))
    if tokens_of(kept) > budget:
        newest = [each for each in messages if each["role"] == "user"][-1:]
        assert rest[:1] == (newest or rest[:1])

"""What the model is told of the conversation: what was heard."""

from __future__ import annotations

import pytest

from getpatter.core.history import Heard, History, Line, heard_text


@pytest.mark.parametrize(
    ("share", "heard"),
    [(0.0, ""), (0.2, ""), (0.45, "Hello"), (0.9, "Hello dear"), (1.0, "Hello dear caller")],
)
def test_interrupted_history_keeps_only_whole_words_that_were_heard(
    share: float, heard: str
) -> None:
    assert heard_text([Heard("Hello dear caller", share)]) == heard


def test_a_word_heard_to_its_end_is_kept() -> None:
    assert heard_text([Heard("one two", 3.5 / 7)]) == "one"


def test_nothing_after_the_cut_was_heard() -> None:
    assert (
        heard_text([Heard("One.", 1.0), Heard("", 1.0), Heard("Two.", 0.1), Heard("3.", 1.0)])
        == "One."
    )


def test_the_newest_lines_are_for_the_model_and_all_for_people() -> None:
    history = History()
    for number in range(5):
        history.add(Line("user", str(number), 1000.0 + number, number))
    assert [line.text for line in history.recent(2)] == ["3", "4"]
    dicts = history.to_dicts()
    assert dicts[0] == {"role": "user", "text": "0", "timestamp": 1000.0}
    dicts.clear()
    assert len(history.to_dicts()) == 5

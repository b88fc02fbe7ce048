"""Tool calls in the conversation that a model sees."""

from __future__ import annotations

from getpatter.core.exchanges import RESULT_BYTES, STILL_RUNNING, Exchanges, Wish, shortened
from getpatter.core.history import Line


def lines(*texts: str) -> list[Line]:
    roles = ("user", "assistant")
    return [Line(roles[index % 2], text, 0.0, index) for index, text in enumerate(texts)]  # type: ignore[arg-type]


def told(exchanges: Exchanges, said: list[Line], reply: int, most: int = 100) -> list[object]:
    """Roles and contents; a call as its names."""
    short: list[object] = []
    for each in exchanges.messages(said, reply, most=most):
        calls = each.get("tool_calls")
        names = [call["function"]["name"] for call in calls] if isinstance(calls, list) else None
        short.append((each["role"], names or each["content"]))
    return short


def test_calls_stand_before_the_line_that_was_said_because_of_them() -> None:
    made = Exchanges()
    made.begin(1, 1, "One moment.", [Wish("a", "look", "{}"), Wish("b", "see", "{}")])
    made.returned("b", "two")
    made.returned("a", "one")
    assert told(made, lines("x", "One moment. It is one.", "y"), 2) == [
        ("user", "x"),
        ("assistant", ["look", "see"]),
        ("tool", "one"),
        ("tool", "two"),
        ("assistant", "One moment. It is one."),
        ("user", "y"),
    ]


def test_a_reply_sees_what_it_said_itself_and_others_only_what_was_heard() -> None:
    made = Exchanges()
    made.begin(1, 1, "One moment.", [Wish("a", "look", "{}")])
    made.returned("a", "one")
    own = made.messages(lines("x"), 1, most=9)
    assert own[1]["content"] == "One moment."
    assert made.messages(lines("x"), 2, most=9)[1]["content"] is None


def test_a_call_is_never_without_a_result() -> None:
    made = Exchanges()
    made.begin(1, 1, "", [Wish("a", "look", "{}")])
    assert told(made, lines("x"), 1)[-1] == ("tool", STILL_RUNNING)
    assert made.unanswered == (Wish("a", "look", "{}"),)
    made.returned("a", "late")
    assert told(made, lines("x"), 1)[-1] == ("tool", "late")
    made.returned("unheard of", "x")
    assert len(made) == 1


def test_results_are_whole_for_their_own_reply_and_short_later() -> None:
    made = Exchanges()
    made.begin(1, 1, "", [Wish("a", "look", "{}")])
    made.returned("a", "ü" * RESULT_BYTES)
    assert made.messages(lines("x"), 1, most=9)[-1]["content"] == "ü" * RESULT_BYTES
    later = str(made.messages(lines("x"), 2, most=9)[-1]["content"])
    assert later == shortened("ü" * RESULT_BYTES)
    assert len(later.encode()) <= RESULT_BYTES
    assert later.startswith("üüü")
    assert later.endswith("[cut]")


def test_trimming_drops_whole_exchanges_with_the_lines_before_them() -> None:
    made = Exchanges()
    made.begin(1, 1, "", [Wish("a", "old", "{}")])
    made.begin(2, 3, "", [Wish("b", "new", "{}")])
    said = lines("1", "2", "3", "4", "5")
    assert told(made, said, 9, most=3) == [
        ("user", "3"),
        ("assistant", ["new"]),
        ("tool", STILL_RUNNING),
        ("assistant", "4"),
        ("user", "5"),
    ]


def test_arguments_that_are_no_object_are_shown_as_an_empty_one() -> None:
    made = Exchanges()
    made.begin(
        1, 0, "", [Wish("a", "x", "{brok"), Wish("b", "x", "[1]"), Wish("c", "x", '{"k":1}')]
    )
    calls = made.messages([], 1, most=9)[0]["tool_calls"]
    assert isinstance(calls, list)
    assert [call["function"]["arguments"] for call in calls] == ["{}", "{}", '{"k":1}']


def test_ids_that_a_provider_gives_twice_are_told_apart() -> None:
    made = Exchanges()
    assert made.unused_id("call_0") == "call_0"
    made.begin(1, 0, "", [Wish("call_0", "x", "{}")])
    assert made.unused_id("call_0") == "call_0-2"
    assert made.unused_id("") == "call"

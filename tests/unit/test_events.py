"""The names of events."""

from __future__ import annotations

from getpatter.events import PatterEventType


def test_values_are_the_names_in_small_letters() -> None:
    assert all(member.value == member.name.lower() for member in PatterEventType)


def test_a_member_is_its_value() -> None:
    assert PatterEventType("tool_call_started") is PatterEventType.TOOL_CALL_STARTED
    listeners: dict[str, int] = {PatterEventType.ERROR: 1}
    assert listeners["error"] == 1

"""Sound of an engine is heard only as far as its words were judged, and never held for long."""

from __future__ import annotations

from getpatter.core.released import HOLD_SECONDS, Held
from getpatter.types import Instant

NOW = Instant(1.0)


def test_without_guardrails_sound_passes_at_once() -> None:
    held = Held(is_guarded=False)
    held.add(b"a", 100.0, NOW)
    assert held.release(NOW) == [b"a"]
    assert held.is_empty
    assert held.received_ms == 100.0


def test_sound_waits_for_the_words_that_were_known_when_it_came() -> None:
    held = Held(is_guarded=True, letters=20)
    held.add(b"a", 100.0, NOW)
    assert held.release(Instant(9.0)) == [], "however long it takes: it was not judged"
    assert held.deadline is None
    held.checked = 20
    assert held.release(NOW) == [b"a"]


def test_judged_words_cover_as_much_sound_as_a_fast_speaker_needs() -> None:
    held = Held(is_guarded=True, letters=5, checked=5)  # 300 ms at 60 ms a letter
    for name in (b"a", b"b", b"c"):
        held.add(name, 150.0, NOW)
    assert held.release(NOW) == [b"a", b"b"]
    assert held.deadline == NOW + HOLD_SECONDS
    assert held.release(Instant(NOW + HOLD_SECONDS)) == [b"c"]
    assert held.deadline is None


def test_when_all_words_are_good_all_sound_is() -> None:
    held = Held(is_guarded=True, letters=1, checked=1, is_whole=True)
    held.add(b"a", 5000.0, NOW)
    assert held.release(NOW) == [b"a"]

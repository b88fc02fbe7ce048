"""What leaves when, and what was heard."""

from __future__ import annotations

import pytest

from getpatter.core.playout import Audio, Mark, Playout
from getpatter.types import MULAW_8K, Instant


def ms(length: float) -> bytes:
    return b"\x7f" * int(length * 8)


def speaking(length: float, *, is_whole: bool = True) -> Playout:
    playout = Playout(MULAW_8K)
    playout.begin(1)
    playout.add(ms(length))
    if is_whole:
        playout.finish()
    return playout


def sent(playout: Playout, now: float) -> tuple[float, list[str]]:
    out = playout.pull(Instant(now))
    audio = sum(len(o.data) for o in out if isinstance(o, Audio)) / 8
    return audio, [o.name for o in out if isinstance(o, Mark)]


def test_the_first_sound_leaves_at_once_whatever_its_size() -> None:
    playout = Playout(MULAW_8K)
    playout.begin(1)
    playout.add(b"")
    playout.add(ms(20))
    assert sent(playout, 0.0)[0] == 20


def test_the_lead_stays_bounded() -> None:
    playout = speaking(5000)
    assert sent(playout, 0.0)[0] == 400
    assert playout.queued_ms == 4600
    assert playout.next_send(Instant(0.0)) == pytest.approx(0.1)
    assert sent(playout, 0.1)[0] == 100


def test_scraps_wait_until_they_are_needed() -> None:
    playout = speaking(200, is_whole=False)
    assert sent(playout, 0.0)[0] == 200
    playout.add(ms(30))
    assert sent(playout, 0.0)[0] == 0
    due = playout.next_send(Instant(0.0))
    assert due == pytest.approx(0.08)
    assert due is not None
    assert sent(playout, due)[0] == 30
    assert playout.next_send(due) is None


def test_small_pieces_are_joined() -> None:
    playout = Playout(MULAW_8K)
    playout.begin(1)
    for _ in range(9):
        playout.add(ms(20))
    out = playout.pull(Instant(0.0))
    assert [len(o.data) / 8 for o in out if isinstance(o, Audio)] == [100, 80]


def test_marks_stand_at_the_end_and_every_half_second() -> None:
    playout = speaking(1100)
    marks: list[str] = []
    now = 0.0
    while playout.queued_ms:
        marks += sent(playout, now)[1]
        now += 0.1
    assert marks == ["p1", "p2", "p3"]
    assert playout.end_mark(Instant(now)) == []


def test_a_piece_that_ends_late_gets_its_mark() -> None:
    playout = speaking(100, is_whole=False)
    assert playout.end_mark(Instant(0.0)) == []
    assert sent(playout, 0.0) == (100, [])
    playout.finish()
    assert playout.end_mark(Instant(0.0)) == [Mark("p1")]


def test_an_end_without_a_beginning_is_nothing() -> None:
    playout = Playout(MULAW_8K)
    playout.finish()
    assert playout.is_silent(Instant(0.0))


def test_a_mark_holds_the_ear_until_it_is_back() -> None:
    playout = speaking(300)
    sent(playout, 0.0)
    assert playout.heard_ms(Instant(0.2)) == pytest.approx(200)
    assert not playout.is_silent(Instant(1.0))
    assert playout.marked("p1", Instant(1.0))
    assert playout.is_silent(Instant(1.0))


def test_a_mark_that_is_early_moves_the_ear() -> None:
    playout = speaking(300)
    sent(playout, 0.0)
    assert playout.marked("p1", Instant(0.1))
    assert playout.heard_ms(Instant(0.1)) == 300


def test_a_lost_mark_does_not_stop_the_call() -> None:
    playout = speaking(300)
    sent(playout, 0.0)
    due = playout.silent_at(Instant(0.0))
    assert due == pytest.approx(1.8)
    assert due is not None
    assert playout.silent_at(Instant(due)) == due
    assert playout.is_silent(due)
    assert not playout.marked("p1", due)


def test_a_later_mark_means_the_earlier_ones() -> None:
    playout = speaking(900)
    for tenth in range(10):
        sent(playout, tenth / 10)
    assert playout.marked("p2", Instant(1.0))
    assert not playout.marked("p1", Instant(1.1))
    assert playout.is_silent(Instant(1.1))


def test_marks_that_return_from_a_clear_mean_nothing() -> None:
    playout = speaking(400)
    sent(playout, 0.0)
    assert playout.clear(Instant(0.1)) == pytest.approx(100)
    assert not playout.marked("p1", Instant(0.1))
    assert playout.heard_ms(Instant(0.2)) == pytest.approx(100)
    assert playout.sent_ms == pytest.approx(100)
    assert playout.queued_ms == 0


def test_the_ear_waits_for_the_next_words() -> None:
    playout = speaking(100)
    sent(playout, 0.0)
    playout.marked("p1", Instant(0.2))
    playout.begin(2)
    playout.add(ms(200))
    sent(playout, 5.0)
    assert playout.heard_ms(Instant(5.1)) == pytest.approx(200)
    assert playout.silent_at(Instant(5.1)) == pytest.approx(5.2)


def test_what_is_over_is_forgotten() -> None:
    playout = speaking(100)
    playout.begin(2)
    playout.add(ms(100))
    playout.forget_before(100.0)
    assert [span.piece for span in playout.spans] == [2]
    assert playout.silent_at(Instant(0.0)) is None


def test_the_ear_does_not_go_back_with_the_clock() -> None:
    playout = speaking(300)
    sent(playout, 0.0)
    assert playout.heard_ms(Instant(0.2)) == pytest.approx(200)
    assert playout.heard_ms(Instant(0.1)) == pytest.approx(200)


def test_keys_go_before_what_waits_and_no_clear_drops_them() -> None:
    playout = Playout(MULAW_8K)
    now = Instant(10.0)
    playout.begin(1)
    playout.add(b"s" * 8000)
    playout.finish()
    first = [each for each in playout.pull(now) if isinstance(each, Audio)]
    assert all(each.is_speech for each in first)
    sent = playout.sent_ms
    playout.press(b"k" * 1600)
    assert playout.is_pressing(now)
    later = Instant(10.0 + sent / 1000)
    out = [each for each in playout.pull(later) if isinstance(each, Audio)]
    keys = [each for each in out if not each.is_speech]
    assert b"".join(each.data for each in keys) == b"k" * 1600
    assert out[: len(keys)] == keys
    assert playout.spans[0].ends_ms == 1200  # a second of speech, held up for 200 ms
    playout.drop_unsent()
    assert playout.is_pressing(later)
    assert not playout.is_pressing(Instant(later + 3.0))


def test_keys_alone_are_sent_in_time_and_heard() -> None:
    playout = Playout(MULAW_8K)
    now = Instant(10.0)
    playout.press(b"k" * 8000)
    sent = 0
    while (due := playout.next_send(now)) is not None:
        now = Instant(max(now, due))
        sent += sum(len(each.data) for each in playout.pull(now) if isinstance(each, Audio))
    assert sent == 8000
    assert playout.is_pressing(now)
    assert playout.is_silent(Instant(now + 5.0))

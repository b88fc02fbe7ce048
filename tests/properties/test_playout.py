"""The ear never goes back and never hears what was not sent."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from getpatter.core.playout import Audio, Mark, Playout
from getpatter.types import MULAW_8K, Instant

STEPS = st.lists(
    st.tuples(
        st.floats(0, 1.5),
        st.sampled_from(["begin", "add", "finish", "pull", "mark", "clear", "end", "forget"]),
        st.integers(0, 4000),
    ),
    max_size=60,
)


@given(STEPS)
def test_the_ear_moves_forward_and_stays_behind_what_was_sent(  # noqa: C901 - one case a step
    steps: list[tuple[float, str, int]],
) -> None:
    playout = Playout(MULAW_8K)
    playout.begin(0)
    now, heard, marks = 0.0, 0.0, ["zz"]
    for pause, step, number in steps:
        now += pause
        at = Instant(now)
        out: list[Audio | Mark] = []
        match step:
            case "begin":
                playout.begin(number)
            case "add":
                if not playout.spans:
                    playout.begin(number)
                playout.add(b"\x7f" * number)
            case "finish":
                playout.finish()
            case "pull":
                out = playout.pull(at)
            case "mark":
                playout.marked(marks[number % len(marks)], at)
            case "clear":
                playout.clear(at)
                assert playout.pull(at) == []
            case "end":
                out = playout.end_mark(at)
            case _:
                playout.forget_before(playout.heard_ms(at))
        marks += [o.name for o in out if isinstance(o, Mark)]
        ear = playout.heard_ms(at)
        assert heard <= ear <= playout.sent_ms + 1e-6
        assert playout.sent_ms - ear <= 500.001, "no more than the lead and one chunk is out"
        heard = ear
    playout.finish()
    for _ in range(400):
        playout.pull(Instant(now))
        due = playout.next_send(Instant(now)) or playout.silent_at(Instant(now))
        if playout.is_silent(Instant(now)):
            break
        assert due is not None
        now = max(now, due)
    assert playout.is_silent(Instant(now))

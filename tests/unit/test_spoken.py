"""What a voice is given of what a model wrote."""

from __future__ import annotations

import pytest

from getpatter.core.spoken import filter_emoji, filter_for_tts, filter_markdown


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("**Hello** and __welcome__", "Hello and welcome"),
        ("*Hello* and _welcome_", "Hello and welcome"),
        ("***Hello*** there", "Hello there"),
        ("**Hello *dear* friend**", "Hello dear friend"),
        ("(**yes**), *well*.", "(yes), well."),
        ("**_both_** and __*both*__", "both and both"),
        ("**重要**です", "重要です"),
        ("~~old~~ new", "old new"),
        ("Press `Enter` now", "Press Enter now"),
        ("Use ``a`b`` here", "Use ab here"),
        ("[our site](https://example.com/a_(b)?c=d)", "our site"),
        ('[site](https://example.com "title")', "site"),
        ("![a red car](car.png) is here", "a red car is here"),
        ("[text][ref] and [two][]", "text and two"),
        ("[ref]: https://example.com", ""),
        ("See<https://example.com> or <a@b.example>", "Seehttps://example.com or a@b.example"),
        ("A fact[^1] here", "A fact here"),
        ("# Title\nText", "Title\nText"),
        ("###### Deep", "Deep"),
        ("> quoted\n> > twice", "quoted\ntwice"),
        ("- one\n* two\n+ three", "one\ntwo\nthree"),
        ("- [ ] open\n- [x] done", "open\ndone"),
        ("1. one\n2. two", "1. one\n2. two"),
        ("| Day | Time |\n|:---|---:|\n| Monday | 9 to 5 |", "Day, Time\nMonday, 9 to 5"),
        ("above\n\n---\n\nbelow", "above\n\n\nbelow"),
        ("```python\nprint('hi')\n```", "print('hi')"),
        ("~~~\ncode\n~~~", "code"),
        ("one<br>two<br/>three", "one\ntwo\nthree"),
        ("<b>bold</b> and <span class='x'>span</span>", "bold and span"),
        (r"\*not bold\* and 5 \_ 6", "*not bold* and 5 _ 6"),
        ("Fish &amp; chips &lt;now&gt;", "Fish & chips <now>"),
    ],
)
def test_markdown_signs_go_and_words_stay(written: str, said: str) -> None:
    assert filter_markdown(written) == said


@pytest.mark.parametrize(
    "text",
    [
        "Plain words, nothing else.",
        "  white space stays  ",
        "2 * 3 * 4 is 24",
        "2*3 and 2**3",
        "snake_case_name",
        "5 < 6 and 7 > 3",
        "Rock & roll",
        "It costs 5 - 3 = 2",
        "Room #5",
        "[DTMF: 5]",
        "a | b",
        "~5 minutes",
    ],
)
def test_what_only_looks_like_markdown_stays(text: str) -> None:
    assert filter_markdown(text) == text


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("**Hello there.", "Hello there."),
        ("How are you?**", "How are you?"),
        ("*Hello there.", "Hello there."),
        ("```python\nprint(1)", "print(1)"),
        ("```", ""),
        ("| a | b", "a, b"),
    ],
)
def test_half_a_pair_goes_too(written: str, said: str) -> None:
    assert filter_markdown(written) == said


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("Hi 👋 there", "Hi there"),
        ("Hi👋there", "Hi there"),
        ("Great 🎉!", "Great!"),
        ("👋 Hello", "Hello"),
        ("Bye 👋", "Bye"),
        ("🎉🎊✨", ""),
        ("The 👨‍👩‍👧‍👦 family", "The family"),
        ("Thumbs 👍🏽 up", "Thumbs up"),
        ("From 🇮🇹 and 🏴󠁧󠁢󠁥󠁮󠁧󠁿 with love", "From and with love"),
        ("Press 1️⃣ or #️⃣", "Press 1 or #"),
        ("Love ❤️ you ☎️ ✔", "Love you"),
        ("One 🏳️‍🌈 flag", "One flag"),
        ("New ↔️ arrow", "New arrow"),
    ],
)
def test_emoji_go_without_a_gap(written: str, said: str) -> None:
    assert filter_emoji(written).strip() == said


@pytest.mark.parametrize(
    "text",
    [
        "No emoji here.",
        "Ünïcödé — “quoted” … 5 € © ® ™",
        "क्‍ष and می‌خواهم",
        "Step ① then ❷",
        "您好，世界！",
        "Press # or * or 0",
        "a → b ↔ c",
    ],
)
def test_text_of_every_language_stays(text: str) -> None:
    assert filter_emoji(text) == text


def test_line_breaks_around_emoji_stay() -> None:
    assert filter_emoji("One 🎉\nTwo") == "One \nTwo"


def test_both_together() -> None:
    assert filter_for_tts("## Great **news** 🎉!\n- [Book](https://x.example) 📅") == (
        "Great news!\nBook"
    )
    assert filter_for_tts("🎉") == ""

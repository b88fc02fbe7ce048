"""Where a reply is cut into sentences, language by language."""

from __future__ import annotations

import pytest

from getpatter.core.sentences import SentenceChunker


def pieces(text: str, *, by: int = 1, **options: object) -> list[str]:
    chunker = SentenceChunker(**options)  # type: ignore[arg-type]
    found = [piece for at in range(0, len(text), by) for piece in chunker.push(text[at : at + by])]
    return found + chunker.flush()


def test_a_sentence_is_given_as_soon_as_the_space_after_it_arrives() -> None:
    chunker = SentenceChunker()
    assert chunker.push("Your table is booked.") == []
    assert chunker.push(" ") == ["Your table is booked."]
    assert chunker.push("See you") == []
    assert chunker.flush() == ["See you"]
    assert chunker.flush() == []


def test_a_line_break_ends_a_piece_at_once() -> None:
    assert SentenceChunker().push("Here is what we offer\n") == ["Here is what we offer"]


def test_sentences_that_end_in_one_token_all_come_out() -> None:
    text = "This is the first sentence. And here is the second one! Is this the third?"
    assert pieces(text, by=len(text)) == [
        "This is the first sentence.",
        "And here is the second one!",
        "Is this the third?",
    ]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("That is really wonderful!", "Next one"),
        ("Is that really what you want?", "Next one"),
        ("I was thinking about it…", "Next one"),
        ("I was thinking about it...", "Next one"),
        ("Are you really sure about that?!", "Next one"),
        ("您好，我是您的预约助手，请问您需要什么样的帮助呢。", "请告诉我您的名字"),
        ("您好，我是您的预约助手，请问您需要什么样的帮助呢？", "请告诉我您的名字"),
        ("您好，我是您的预约助手，请问您需要什么样的帮助呢！", "请告诉我您的名字"),
        ("您好，我是您的预约助手，请问您需要什么样的帮助呢；", "请告诉我您的名字"),
        ("您好，我是您的预约助手，请问您需要什么样的帮助呢．", "请告诉我您的名字"),
        ("ご予約の日時とお名前をお電話番号をお願いいたします｡", "ありがとうございます"),
        ("「ご予約の日時とお名前をお願いいたします。」", "ありがとうございます"),
        ("आपकी बुकिंग की पुष्टि हो गई है।", "धन्यवाद"),
        ("आपकी बुकिंग की पुष्टि हो गई है॥", "धन्यवाद"),
        ("هل ترغب في حجز طاولة لهذا المساء؟", "شكرا"),
        ("نعم يمكننا حجز طاولة لهذا المساء؛", "شكرا"),
        ("آپ کی میز آج شام کے لیے محفوظ ہے۔", "شکریہ"),
        ("آپ کی میز آج شام کے لیے محفوظ ہے؏", "شکریہ"),
        ("Ձեր սեղանն ամրագրված է այս երեկո։", "Շնորհակալություն"),
        ("Ձեր սեղանն ամրագրված է այս երեկո՜", "Շնորհակալություն"),
        ("Ձեր սեղանն ամրագրված է այս երեկո՞", "Շնորհակալություն"),
        ("ጠረጴዛዎ ለዛሬ ምሽት ተይዟል እናመሰግናለን።", "አመሰግናለሁ"),
        ("ጠረጴዛዎ ለዛሬ ምሽት ተይዟል እናመሰግናለን፧", "አመሰግናለሁ"),
        ("តុរបស់អ្នកត្រូវបានកក់សម្រាប់ល្ងាចនេះ។", "អរគុណ"),
        ("តុរបស់អ្នកត្រូវបានកក់សម្រាប់ល្ងាចនេះ៕", "អរគុណ"),
        ("ယနေ့ညအတွက် သင့်စားပွဲကို ကြိုတင်မှာယူထားသည်။", "ကျေးဇူးတင်ပါသည်"),
        ("བོད་སྐད་ཀྱི་ཚིག་གྲུབ་རིང་པོ་ཞིག༎", "ཐུགས་རྗེ་ཆེ"),
        ("བོད་སྐད་ཀྱི་ཚིག་གྲུབ་རིང་པོ་ཞིག༏", "ཐུགས་རྗེ་ཆེ"),
    ],
)
def test_every_script_ends_its_sentences(first: str, second: str) -> None:
    assert pieces(f"{first} {second}") == [first, second]


def test_sentences_of_scripts_without_spaces_follow_each_other_directly() -> None:
    first = "您好，我是您的预约助手，请问您需要什么样的帮助呢？"
    assert pieces(f"{first}谢谢") == [first, "谢谢"]
    ascii_mark = first.replace("？", "?")
    assert pieces(f"{ascii_mark}谢谢") == [ascii_mark, "谢谢"]


@pytest.mark.parametrize(
    "text",
    [
        "Please ask for Mr. Brown at the front desk",
        "Your appointment is with Dr. Anna Prof. Smith",
        "It is the red team vs. the blue team today",
        "We sell apples, pears, plums, etc. in our shop",
        "La riceve il Sig. Rossi oppure il Dott. Bianchi",
        "La chiamo per conto dell'Avv. Verdi e della ACME S.p.A. di Milano",
        "Lavoriamo con la ROSSI S.r.l. dal lontano anno duemila",
        "Vendiamo mele, pere, prugne, ecc. nel nostro negozio",
        "Le atiende la Sra. García en nuestra oficina",
        "Hier spricht die Assistentin von Hr. Müller aus Berlin",
        "Wir haben Birnen, Pflaumen, z. B. auch Äpfel, usw. im Laden",
        "Vous avez rendez-vous avec Mme. Dupont demain matin",
        "O seu horário é com o Exmo. Silva na nossa loja",
        "That makes exactly 3.50 dollars for the coffee",
        "The total of your order is $1,234.56 including tax",
        "Please open https://example.com/a.b?c=d.e now",
        "Our address is www.example.com.au for all orders",
        "Write to anna.smith@mail.example.com today",
        "The author is J. R. R. Tolkien from England",
        "He works for the U.S. government in Washington D.C. today",
        "It opens at 9 a.m. on every single working day",
        "Hmm, let me think..of something that is better",
        "Please see no. 5 on the second page of the list",
        "Your birthday is on Jan. 5 if I am not mistaken",
        "Well . . . I am not entirely sure about this one",
        "版本３．５已经可以下载了，欢迎大家现在就来试用看看",
    ],
)
def test_no_cut_inside(text: str) -> None:
    assert pieces(text) == [text]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "The answer to that is no. Please call again.",
            ["The answer to that is no.", "Please call again."],
        ),
        (
            "The total comes to 42. Would you like to pay?",
            ["The total comes to 42.", "Would you like to pay?"],
        ),
        (
            "You are taller than I. Is that really so?",
            ["You are taller than I.", "Is that really so?"],
        ),
        (
            "Visit us at example.com. We are open all day.",
            ["Visit us at example.com.", "We are open all day."],
        ),
        (
            'He said: "I will call you." Then he left us.',
            ['He said: "I will call you."', "Then he left us."],
        ),
        (
            "(We are open on Sundays.) Please come by then.",
            ["(We are open on Sundays.)", "Please come by then."],
        ),
        (
            'Did she really say "no"?". Then we wait.',
            ['Did she really say "no"?".', "Then we wait."],
        ),
        ("**This is very important!** Do it now.", ["**This is very important!**", "Do it now."]),
    ],
)
def test_cut_after(text: str, expected: list[str]) -> None:
    assert pieces(text) == expected


def test_numbers_of_a_list_stay_with_their_item() -> None:
    text = "Here is what we have:\n1. Apples from the garden\n2. Pears from the market\n"
    assert pieces(text) == [
        "Here is what we have:",
        "1. Apples from the garden",
        "2. Pears from the market",
    ]


def test_abbreviations_of_one_language_only() -> None:
    text = "Vendiamo molte cose, ad es. frutta e verdura fresca"
    assert pieces(text, language="it") == [text]
    spanish = "No sabemos todavía lo que es. Pregunte mañana"
    assert len(pieces(spanish, language="es")) == 2


def test_german_dates_are_not_cut() -> None:
    text = "Ihr Termin ist am 3. Oktober um zehn Uhr"
    assert pieces(text, language="de") == [text]


def test_short_pieces_join_the_next() -> None:
    assert pieces("Yes. Of course. I can do that for you. Bye.") == [
        "Yes. Of course. I can do that for you.",
        "Bye.",
    ]
    assert pieces("Yes. Of course.", min_sentence_len=1) == ["Yes.", "Of course."]


def test_first_clause_comes_early_and_only_once() -> None:
    text = (
        "Thank you so much for calling our little restaurant, I can help you with that, "
        "and with much more, at any time."
    )
    assert pieces(text, aggressive_first_flush=True) == [
        "Thank you so much for calling our little restaurant,",
        "I can help you with that, and with much more, at any time.",
    ]
    assert len(pieces(text)) == 1


@pytest.mark.parametrize("dash", ["—", "–"])
def test_first_clause_ends_at_a_dash(dash: str) -> None:
    first = f"Thank you so much for calling our restaurant{dash}"
    assert pieces(f"{first}how may I help you", aggressive_first_flush=True)[0] == first


def test_first_clause_is_long_enough_and_no_number_is_split() -> None:
    early = {"aggressive_first_flush": True}
    assert pieces("Well, thank you for your call today", **early) == [
        "Well, thank you for your call today"
    ]
    text = "The price of the house that you asked about is 1,250,000 or 10–12 per month"
    assert pieces(text, **early) == [text]


def test_first_clause_length_can_be_chosen() -> None:
    assert pieces("Well, let me see", aggressive_first_flush=True, aggressive_first_min_len=5) == [
        "Well,",
        "let me see",
    ]


@pytest.mark.parametrize("language", ["it", "it-IT", "IT"])
def test_first_clause_has_no_effect_in_italian(language: str) -> None:
    text = "Grazie mille per aver chiamato il nostro ristorante, come posso aiutarla"
    assert pieces(text, aggressive_first_flush=True, language=language) == [text]


def test_each_reply_has_its_own_first_clause() -> None:
    chunker = SentenceChunker(aggressive_first_flush=True)
    clause = "Thank you so much for calling our little restaurant, "
    assert chunker.push(clause) == [clause.strip()]
    assert chunker.push(clause) == []
    chunker.flush()
    assert chunker.push(clause) == [clause.strip()]
    chunker.reset()
    assert chunker.push(clause) == [clause.strip()]


def test_reset_forgets_what_was_not_said() -> None:
    chunker = SentenceChunker()
    chunker.push("Something that was interrupted")
    chunker.reset()
    assert chunker.push("Hello. ") == []
    assert chunker.flush() == ["Hello."]


def test_white_space_alone_is_no_piece() -> None:
    assert pieces(" \n\n \t ") == []


@pytest.mark.parametrize("unit", ["a", "!", ". ", "a.", "\n", "1. ", '."', "x, ", "—", " "])
def test_work_grows_with_the_text_and_not_faster(unit: str) -> None:
    """What is held back never grows with the length of the look-back, whatever the text is."""
    chunker = SentenceChunker(aggressive_first_flush=True)
    for _ in range(5000):
        chunker.push(unit)
    assert len(chunker._tail) <= 32
    assert len(chunker._before) <= 32
    assert len(chunker._run) <= 2

"""A refusal keeps the vendor's words and loses our secrets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from getpatter.errors import AuthenticationError, PatterConnectionError, PatterError, RateLimitError
from getpatter.net.http import retry_after
from getpatter.net.refusals import clean_text, is_passing, readable, refusal, secrets_of


@pytest.mark.parametrize(
    ("status", "kind", "retryable"),
    [
        (400, PatterConnectionError, False),
        (401, AuthenticationError, False),
        (403, AuthenticationError, False),
        (404, PatterConnectionError, False),
        (408, PatterConnectionError, True),
        (429, RateLimitError, True),
        (500, PatterConnectionError, True),
        (501, PatterConnectionError, False),
        (503, PatterConnectionError, True),
    ],
)
def test_the_type_says_whose_fault_it_is(
    status: int, kind: type[PatterError], retryable: bool
) -> None:
    error = refusal("acme", status, "because", headers={"x-request-id": "req_1"})
    assert type(error) is kind
    assert str(error) == f"acme answered {status}: because"
    assert (error.vendor, error.status, error.retryable, error.request_id) == (
        "acme", status, retryable, "req_1",
    )  # fmt: skip
    assert is_passing(status) is retryable


def test_an_empty_answer_is_no_reason() -> None:
    assert str(refusal("acme", 500, "  ")) == "acme answered 500"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ('{"code": 21211, "message": "The number is not valid", "status": 400}',
         "The number is not valid (code 21211)"),
        ('{"errors": [{"code": "10009", "title": "Authentication failed", "detail": "No key found"}]}',
         "No key found (code 10009)"),
        ('{"error": {"message": "Rate limit reached", "type": "tokens", "code": "rate_limit_exceeded"}}',
         "Rate limit reached (code rate_limit_exceeded)"),
        ('{"err_code": "INVALID_AUTH", "err_msg": "Invalid credentials."}', "Invalid credentials. (code INVALID_AUTH)"),
        ('{"detail": {"status": "quota_exceeded", "message": "This request exceeds your quota"}}',
         "This request exceeds your quota"),
        ('{"error": "not found"}', "not found"),
        ('{"api_id": "x", "error": "not found"}', "not found"),
        ('[{"message": "first"}, {"message": "second"}]', "first"),
        ('{"message": "torn', '{"message": "torn'),
        ("{}", "{}"),
        ("[]", "[]"),
        ("<html>Bad gateway</html>", "<html>Bad gateway</html>"),
        ('{"code": true, "message": ""}', '{"code": true, "message": ""}'),
    ],
)  # fmt: skip
def test_the_sentence_is_found_in_the_json(body: str, said: str) -> None:
    assert readable(body) == said


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("Incorrect API key provided: sk-proj-abc*****************xyZ9. See docs",
         "Incorrect API key provided: ***. See docs"),
        ("bad Authorization: Bearer abcdef1234567890", "bad Authorization: ***"),
        ("api_key=abcd1234 is unknown", "*** is unknown"),
        ("the token: xyz!", "the ***"),
        ("account 0123456789abcdef0123456789abcdef is suspended", "account *** is suspended"),
        ("+15550001234 is not verified", "***1234 is not verified"),
        ("rate limit: 90000 tokens per minute", "rate limit: 90000 tokens per minute"),
        ("model gpt-4o-mini was not found", "model gpt-4o-mini was not found"),
        ("one\r\ntwo\x00three", "one two three"),
    ],
)  # fmt: skip
def test_keys_and_numbers_are_taken_out_and_words_are_not(text: str, cleaned: str) -> None:
    assert clean_text(text) == cleaned


def test_our_own_secrets_are_taken_out_wherever_they_stand() -> None:
    secrets = secrets_of(
        "wss://user:passw0rd@host/x?token=opensesame&model=nova",
        {"Authorization": "Token correct horse", "Content-Type": "application/json"},
    )
    text = "passw0rd opensesame correct horse application/json"
    assert clean_text(
        text, secrets
    ) == "*** *** *** *** application/json" or "correct" not in clean_text(text, secrets)
    assert clean_text(text, secrets).endswith("application/json")
    assert "opensesame" not in clean_text(text, secrets)


def test_long_texts_are_cut() -> None:
    assert len(clean_text("x y " * 1000)) == 300


@given(st.text(max_size=200), st.integers(300, 599))
def test_no_body_can_break_it(body: str, status: int) -> None:
    error = refusal("acme", status, body)
    assert isinstance(error, PatterError)
    assert "\n" not in str(error)


def test_a_deep_body_cannot_break_it() -> None:
    assert readable("[" * 100_000).startswith("[[[")
    assert readable('{"error":' * 50 + '"x"' + "}" * 50).startswith('{"error":')


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "3"}, 3.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after": "-1"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:10 GMT"}, None),
        (
            {
                "retry-after": "Wed, 21 Oct 2026 07:28:10 GMT",
                "date": "Wed, 21 Oct 2026 07:28:00 GMT",
            },
            10.0,
        ),
    ],
)
def test_retry_after_is_read_without_a_clock(
    headers: dict[str, str], seconds: float | None
) -> None:
    assert retry_after(headers) == seconds

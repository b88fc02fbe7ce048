"""Prices: looked up, overridden, multiplied; each expected figure computed by hand."""

from __future__ import annotations

from typing import Any

import pytest

from getpatter import pricing
from getpatter.pricing import (
    calculate_llm_cost,
    calculate_realtime_cost,
    calculate_stt_cost,
    calculate_telephony_cost,
    calculate_tts_cost,
    merge_pricing,
)


@pytest.mark.parametrize(
    ("vendor", "model", "dollars"),
    [
        ("deepgram", "nova-3", 0.0048 * 2),
        ("deepgram", "nova-2-phonecall", 0.0058 * 2),
        ("deepgram", "flux-general-en", 0.0065 * 2),
        ("deepgram", "something-new", 0.0048 * 2),
        ("openai", "whisper-1", 0.006 * 2),
        ("openai", "gpt-4o-mini-transcribe", 0.003 * 2),
        ("openai", "gpt-4o-transcribe", 0.006 * 2),
        ("cartesia", "ink-whisper", 0.0025 * 2),
        ("soniox", "stt-rt-v4", 0.002 * 2),
        ("speechmatics", "", 0.004 * 2),
        ("assemblyai", "universal-streaming-english", 0.0025 * 2),
    ],
)
def test_two_minutes_of_hearing(vendor: str, model: str, dollars: float) -> None:
    assert calculate_stt_cost(vendor, 120.0, model) == pytest.approx(dollars)


@pytest.mark.parametrize(
    ("vendor", "model", "dollars"),
    [
        ("elevenlabs", "eleven_flash_v2_5", 0.05 * 0.5),
        ("elevenlabs", "eleven_multilingual_v2", 0.10 * 0.5),
        ("openai", "tts-1", 0.015 * 0.5),
        ("openai", "tts-1-hd", 0.030 * 0.5),
        ("openai", "gpt-4o-mini-tts", 0.012 * 0.5),
        ("cartesia", "sonic-3", 0.030 * 0.5),
        ("rime", "arcana", 0.040 * 0.5),
        ("rime", "mistv2", 0.030 * 0.5),
        ("lmnt", "blizzard", 0.050 * 0.5),
    ],
)
def test_five_hundred_letters_of_speech(vendor: str, model: str, dollars: float) -> None:
    assert calculate_tts_cost(vendor, 500, model) == pytest.approx(dollars)


@pytest.mark.parametrize(
    ("carrier", "direction", "seconds", "dollars"),
    [
        ("twilio", "inbound", 78, 0.0085 * 2),
        ("twilio", "outbound", 60, 0.014),
        ("twilio", "outbound", 60.1, 0.028),
        ("telnyx", "inbound", 7, 0.0035 * 12 / 60),
        ("telnyx", "outbound", 60, 0.007),
        ("plivo", "inbound", 1, 0.0055),
        ("twilio", "inbound", 0, 0.0),
    ],
)
def test_carriers_round_up_in_their_own_steps(
    carrier: str, direction: str, seconds: float, dollars: float
) -> None:
    assert calculate_telephony_cost(carrier, seconds, direction) == pytest.approx(dollars)


def test_tokens_have_a_price_each() -> None:
    cost = calculate_llm_cost(
        "anthropic",
        "claude-haiku-4-5-20251001",
        input_tokens=1000,
        output_tokens=200,
        cache_read_tokens=5000,
        cache_write_tokens=300,
    )
    assert cost == pytest.approx((1000 * 1 + 200 * 5 + 5000 * 0.1 + 300 * 1.25) / 1e6)
    cost = calculate_llm_cost(
        "openai", "gpt-4o-mini-2024", input_tokens=1000, cache_read_tokens=500
    )
    assert cost == pytest.approx((1000 * 0.15 + 500 * 0.075) / 1e6)


def test_the_vendors_worked_example_of_a_realtime_response() -> None:
    # Text 119 of which 64 cached, audio 13; out: text 30, audio 91 (protocols, billing).
    cost = calculate_realtime_cost(
        "openai",
        "gpt-realtime-mini",
        text_in=55,
        cached_text=64,
        audio_in=13,
        text_out=30,
        audio_out=91,
    )
    assert cost == pytest.approx((55 * 0.6 + 64 * 0.06 + 13 * 10 + 30 * 2.4 + 91 * 20) / 1e6)


def test_what_has_no_price_has_none() -> None:
    assert calculate_stt_cost("nobody", 60, "x") is None
    assert calculate_tts_cost("openai", 1000, "tts-9") is None
    assert calculate_llm_cost("openai", "gpt-9", input_tokens=1) is None
    assert calculate_realtime_cost("openai", "gpt-9", audio_in=1) is None
    assert calculate_telephony_cost("nobody", 60, "inbound") is None


def test_one_price_is_enough_and_holds_for_all_models_it_does_not_name() -> None:
    table = merge_pricing({"deepgram": {"price": 0.005}})
    assert calculate_stt_cost("deepgram", 60, "nova-2", table) == pytest.approx(0.005)
    table = merge_pricing({"deepgram": {"price": 0.005, "models": {"nova-2": {"price": 0.007}}}})
    assert calculate_stt_cost("deepgram", 60, "nova-2", table) == pytest.approx(0.007)
    assert calculate_stt_cost("deepgram", 60, "nova-3", table) == pytest.approx(0.005)


def test_the_later_override_wins_key_by_key() -> None:
    table = merge_pricing(
        {"twilio": {"inbound": 0.01}}, {"twilio": {"outbound": 0.02, "round_up": 1}}
    )
    assert calculate_telephony_cost("twilio", 30, "inbound", table) == pytest.approx(0.005)
    assert calculate_telephony_cost("twilio", 30, "outbound", table) == pytest.approx(0.01)


def test_a_provider_of_ones_own_may_have_a_price() -> None:
    table = merge_pricing({"my_stt": {"price": 0.001, "unit": "minute"}})
    assert calculate_stt_cost("my_stt", 120, "", table) == pytest.approx(0.002)


@pytest.mark.parametrize("price", [-1, "cheap", None, float("nan"), True])
def test_a_price_is_a_number_of_zero_or_more(price: Any) -> None:
    with pytest.raises(ValueError, match="deepgram"):
        merge_pricing({"deepgram": {"price": price}})


def test_an_override_is_a_dict() -> None:
    with pytest.raises(TypeError, match="deepgram"):
        merge_pricing({"deepgram": 0.005})  # type: ignore[dict-item]


def test_the_table_is_dated_sourced_and_nobodys_to_change() -> None:
    assert pricing.PRICING_LAST_UPDATED >= "2026-11-20"
    table = pricing.DEFAULT_PRICING
    assert all(entry["source"] and entry["read"] for entry in table.values())
    table["deepgram"]["price"] = 99
    assert calculate_stt_cost("deepgram", 60, "something-new") == pytest.approx(0.0048)


def test_an_engine_may_be_paid_by_the_minute() -> None:
    table = pricing.merge_pricing({"house": {"kind": "engine", "unit": "minute", "price": 0.06}})
    assert pricing.calculate_engine_cost("house", 90, "any", table) == pytest.approx(0.09)
    assert pricing.calculate_engine_cost("nobody", 90, "any", table) is None

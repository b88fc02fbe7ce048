"""What services cost: the table in `prices.json`, overrides over it, and the arithmetic.

Everything is USD. A model is looked up by its exact name, else by the longest entry that its name begins with,
else by the provider's general price. What has no price has none: `None`, never somebody else's price.
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any, Final, Literal

Kind = Literal["stt", "tts", "llm", "engine", "telephony"]
Pricing = dict[str, dict[str, Any]]
Overrides = Mapping[str, Mapping[str, object]]

MILLION: Final = 1_000_000
_TEXTS: Final = frozenset({"unit", "kind", "vendor", "source", "read"})

if TYPE_CHECKING:
    DEFAULT_PRICING: Pricing
    PRICING_LAST_UPDATED: str


@cache
def _file() -> dict[str, Any]:
    text = resources.files("getpatter").joinpath("prices.json").read_text(encoding="utf-8")
    loaded: dict[str, Any] = json.loads(text)
    return loaded


def __getattr__(name: str) -> object:
    if name == "DEFAULT_PRICING":
        # A copy, so that whoever changes it changes no bill; the same one every time.
        return globals().setdefault(name, copy.deepcopy(_file()["providers"]))
    if name == "PRICING_LAST_UPDATED":
        return _file()["updated"]
    message = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(message, name=name)


def merge_pricing(*overrides: Overrides | None) -> Pricing:
    """The price table with overrides merged over it, key by key, the last one winning.

    A `price` for a provider applies to all its models that the same override does not name.

    Raises:
        TypeError: an override is not a dict of dicts.
        ValueError: a price is negative or no number.
    """
    table: Pricing = copy.deepcopy(_file()["providers"])
    for override in overrides:
        for provider, given in (override or {}).items():
            if not isinstance(given, Mapping):
                raise TypeError(f"pricing[{provider!r}] must be a dict, not {type(given).__name__}")
            _check(provider, given)
            _merge(table.setdefault(provider, {"vendor": provider}), given)
    return table


def _merge(entry: dict[str, Any], given: Mapping[str, object]) -> None:
    named = given.get("models")
    if "price" in given:
        entry["models"] = {}
    entry |= {key: value for key, value in given.items() if key != "models"}
    if isinstance(named, Mapping):
        models = entry.setdefault("models", {})
        models |= {
            model: {
                **models.get(model, {}),
                **(prices if isinstance(prices, Mapping) else {"price": prices}),
            }
            for model, prices in named.items()
        }


def _check(provider: str, given: Mapping[str, object], path: str = "") -> None:
    for key, value in given.items():
        where = f"pricing[{provider!r}]{path}[{key!r}]"
        if isinstance(value, Mapping):
            _check(provider, value, f"{path}[{key!r}]")
        elif key == "round_up":
            if not isinstance(value, bool | int | float):
                raise TypeError(f"{where} must be a bool or seconds, got {value!r}")
        elif key not in _TEXTS and (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not 0 <= value < math.inf
        ):
            raise ValueError(f"{where} must be a price of 0 or more, got {value!r}")


# ----------------------------------------------------------------------------------------- look-up


def prices_of(
    pricing: Pricing, kind: Kind, vendor: str, model: str = ""
) -> Mapping[str, Any] | None:
    """The prices of a vendor's model (or of an entry named `vendor` itself); `None` when there are none."""
    candidates = [
        entry
        for name, entry in pricing.items()
        if name == vendor or (entry.get("vendor") == vendor and entry.get("kind") == kind)
    ]
    fitting = [entry for entry in candidates if entry.get("kind", kind) == kind]
    for entry in fitting:
        found = _of_model(entry, model)
        if found is not None:
            return {**entry, **found}
    for entry in fitting:
        if "price" in entry or kind == "telephony":
            return entry
    return None


def _of_model(entry: Mapping[str, Any], model: str) -> Mapping[str, Any] | None:
    models: Mapping[str, Mapping[str, Any]] = entry.get("models") or {}
    if model in models:
        return models[model]
    prefixes = [name for name in models if model.startswith(name)]
    return models[max(prefixes, key=len)] if prefixes else None


# -------------------------------------------------------------------------------------- arithmetic


def calculate_stt_cost(
    provider: str, seconds: float, model: str = "", pricing: Pricing | None = None
) -> float | None:
    """Dollars for so many seconds of audio; `None` without a price."""
    return _per_unit("stt", provider, model, seconds / 60, pricing)


def calculate_tts_cost(
    provider: str, characters: int, model: str = "", pricing: Pricing | None = None
) -> float | None:
    """Dollars for so many characters; `None` without a price."""
    return _per_unit("tts", provider, model, characters / 1000, pricing)


def calculate_engine_cost(
    provider: str, seconds: float, model: str = "", pricing: Pricing | None = None
) -> float | None:
    """Dollars for so many seconds of a conversation with an engine; `None` without a price."""
    return _per_unit("engine", provider, model, seconds / 60, pricing)


def _per_unit(
    kind: Kind, provider: str, model: str, units: float, pricing: Pricing | None
) -> float | None:
    found = prices_of(_table(pricing), kind, provider, model)
    price = found.get("price") if found is not None else None
    return None if price is None else float(price) * units


def calculate_telephony_cost(
    carrier: str, seconds: float, direction: str, pricing: Pricing | None = None
) -> float | None:
    """Dollars for a call of so many seconds, rounded up as the carrier does; `None` without a price."""
    found = prices_of(_table(pricing), "telephony", carrier)
    if found is None:
        return None
    price = found.get("price", found.get(direction))
    step = found.get("round_up", 0)
    if price is None:
        return None
    step = 60 if step is True else step
    billed = math.ceil(round(seconds / step, 6)) * step if step else seconds
    return float(price) * billed / 60


def calculate_llm_cost(  # noqa: PLR0913 - each kind of token has its price
    provider: str,
    model: str,
    *,
    input_tokens: int = 0,
    output_tokens: int = 0,
    cache_read_tokens: int = 0,
    cache_write_tokens: int = 0,
    pricing: Pricing | None = None,
) -> float | None:
    """Dollars for tokens; `input_tokens` without the cached ones. `None` without a price."""
    found = prices_of(_table(pricing), "llm", provider, model)
    if found is None or "input" not in found or "output" not in found:
        return None
    plain = found["input"]
    return (
        float(
            input_tokens * plain
            + output_tokens * found["output"]
            + cache_read_tokens * found.get("cache_read", plain)
            + cache_write_tokens * found.get("cache_write", plain)
        )
        / MILLION
    )


def calculate_realtime_cost(  # noqa: PLR0913 - each kind of token has its price
    provider: str,
    model: str,
    *,
    audio_in: int = 0,
    audio_out: int = 0,
    text_in: int = 0,
    text_out: int = 0,
    cached_audio: int = 0,
    cached_text: int = 0,
    pricing: Pricing | None = None,
) -> float | None:
    """Dollars for an engine's tokens by kind; those in, without the cached ones. `None` without a price."""
    found = prices_of(_table(pricing), "engine", provider, model)
    if found is None or "audio_in" not in found:
        return None
    tokens = {
        "audio_in": audio_in,
        "audio_out": audio_out,
        "text_in": text_in,
        "text_out": text_out,
        "cached_audio": cached_audio,
        "cached_text": cached_text,
    }
    return float(sum(count * found.get(kind, 0.0) for kind, count in tokens.items())) / MILLION


def _table(pricing: Pricing | None) -> Pricing:
    return _file()["providers"] if pricing is None else pricing

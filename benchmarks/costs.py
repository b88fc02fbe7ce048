"""Does a call cost what its price page says? One simulated call for each service, billed twice.

python -m benchmarks.costs            the table
python -m benchmarks.costs --write    docs/reference/prices.md again, from the price table
"""

from __future__ import annotations

import argparse
import sys
from typing import Any, Final

from benchmarks._costs import CALLS, PAGE, measured
from benchmarks._figures import verdict
from getpatter import pricing

_UNITS: Final = {
    "stt": "minute",
    "tts": "1,000 characters",
    "llm": "1M tokens",
    "engine": "1M tokens",
}
_ONLY: Final = {"stt": "audio", "tts": "characters"}
_TEXTS: Final = frozenset({"kind", "vendor", "unit", "source", "read", "models", "round_up"})

HEAD: Final = """# Prices

What `CallMetrics.cost` is computed from, in US dollars: the package's table, last looked at on {updated}. Vendors
change their prices, so compare with theirs, and put yours over it, by the provider's name in this table:
`Patter(pricing={{"deepgram": {{"price": 0.005}}}})`, or model by model
(`{{"models": {{"nova-3": {{"price": 0.005}}}}}}`). A model that is not listed costs nothing in the record, is named in
`CallMetrics.unpriced`, and is warned about once: never another model's price.

A model's name is looked up as it is, else by the longest name here that it begins with, else under "any".
Recognisers are billed for the audio that they were sent, voices for the characters (interrupted ones too), models by
tokens of each kind, carriers by the length of the call, rounded up.

| Provider | Model | Kind | What | For each | Dollars |
|---|---|---|---|---|--:|
"""
TAIL: Final = """
`python -m benchmarks.costs` holds a call with each of these services, and compares its cost with this page and what the
service counted.
"""


def page() -> str:
    """The price page, from the table."""
    rows: list[str] = []
    for provider, entry in pricing.DEFAULT_PRICING.items():
        for model, prices in [("any", entry), *entry.get("models", {}).items()]:
            rows += _rows(provider, entry, model, prices)
    return HEAD.format(updated=pricing.PRICING_LAST_UPDATED) + "\n".join(rows) + "\n" + TAIL


def _rows(name: str, entry: dict[str, Any], model: str, prices: dict[str, Any]) -> list[str]:
    kind = entry["kind"]
    unit = _UNITS.get(kind, "minute")
    if step := entry.get("round_up"):
        unit = f"{unit}, rounded up to {step} s"
    return [
        f"| `{name}` | {model} | {kind} | {_ONLY.get(kind) if what == 'price' else what} | {unit} | {price} |"
        for what, price in prices.items()
        if what not in _TEXTS
    ]


def main() -> None:
    """Print the table."""
    wanted = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    wanted.add_argument("--write", action="store_true", help="write the page of the documentation")
    wanted.add_argument("--quick", action="store_true", help="the same")
    if wanted.parse_args().write:
        PAGE.write_text(page())
        return
    bills = [measured(name) for name in CALLS]
    print(
        f"{'':10}{'service':22}{'model':28}{'counted by the service':44}{'by hand':>12}{'ours':>12}"
    )
    for bill in bills:
        note = "" if bill.is_priced else "  no price: reported as unknown"
        print(
            f"{bill.kind:10}{bill.service:22}{bill.model:28}{bill.units:44}"
            f"{bill.by_hand:12.8f}{bill.ours:12.8f}{note}{'' if bill.is_right else '  WRONG'}"
        )
    is_met = all(bill.is_right for bill in bills)
    verdict(f"{len(bills)} services: the cost of a call is that of the page", is_met=is_met)
    sys.exit(not is_met)


if __name__ == "__main__":
    main()

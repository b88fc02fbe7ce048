"""What a call costs, against the price page and what the services counted on their own side."""

from __future__ import annotations

import pytest

from benchmarks._costs import CALLS, PAGE, measured
from benchmarks.costs import page


@pytest.mark.parametrize("name", CALLS)
def test_a_call_costs_what_its_page_says(name: str) -> None:
    bill = measured(name)
    assert bill.is_right, bill
    assert bill.ours > 0 or not bill.is_priced, bill


def test_the_page_is_that_of_the_table() -> None:
    assert PAGE.read_text() == page(), "run: python -m benchmarks.costs --write"

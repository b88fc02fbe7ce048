"""Every provider in every scenario: a test for each cell of the matrix, and what its page says of them."""

from __future__ import annotations

from importlib.metadata import version

import pytest

from tests.support.parity import ALL_CELLS, CELLS, FAILING, NOT_APPLICABLE_TO, Cell, expected
from tests.support.parity_clients import CLIENTS, Client, names_of_tests, pins
from tests.support.parity_page import PAGE, page
from tests.support.parity_scenes import play

PLAYED = [
    pytest.param(
        cell,
        id=cell.id,
        marks=[pytest.mark.xfail(reason=FAILING[cell.key])] if cell.key in FAILING else [],
    )
    for cell in CELLS
]


@pytest.mark.virtual_time
@pytest.mark.parametrize("cell", PLAYED)
async def test_cell(cell: Cell) -> None:
    await play(cell)


def test_the_page_says_what_the_tests_show() -> None:
    hint = "run: python -m benchmarks.parity --write"
    assert PAGE.read_text() == page(expected), hint


def test_every_exception_is_about_a_cell_that_there_is() -> None:
    keys = {cell.key for cell in ALL_CELLS}
    assert {*FAILING, *NOT_APPLICABLE_TO} <= keys


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.package)
def test_a_client_is_pinned_installed_and_used_where_the_page_says(client: Client) -> None:
    assert version(client.package) == pins()[client.package]
    for run in client.runs:
        assert run.test in names_of_tests(run.file)

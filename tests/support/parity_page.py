"""The page `docs/reference/parity.md`: the matrix, what its columns promise, and the clients."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from tests.support import parity, parity_clients

PAGE: Final = Path(__file__).parents[2] / "docs" / "reference" / "parity.md"
_HEAD: Final = """\
# Parity of providers

<!-- Written by `python -m benchmarks.parity --write`; a test compares it with what the matrix declares. -->

Every recogniser, voice, model and engine is put into the same phone calls. A call is whole: a simulated carrier with
its signed webhooks and media stream, a caller who speaks and listens, the agent, and the provider's fake service, which
speaks the vendor's own protocol over a real socket. Scripted providers take the other places. Nobody's real service is
asked; how near the fakes come to it is told by [the vendors' own clients](#the-vendors-own-clients) below.

`ok`: the call was made when the page was written, and everything that the column promises was seen. Each `ok` is a test
of its own (`pytest tests/e2e/test_parity.py -k deepgram`). `n/a`: it does not apply; the reason stands under the table.
"""
_CLIENTS: Final = """\
## The vendors' own clients

These were pointed at the fakes, in the tests, and took them for the service. A provider that is not named here has a
fake that only our own code has spoken to.
"""


def page(outcome: Callable[[parity.Cell], str]) -> str:
    """The whole page. `outcome` says what stands in a cell."""
    promises = "\n".join(f"| {name} | {promise} |" for name, promise in parity.SCENARIOS.items())
    parts = [
        _HEAD,
        f"| Scenario | What must be seen |\n|---|---|\n{promises}\n",
        parity.tables(outcome) + "\n",
        f"{_CLIENTS}\n{parity_clients.table()}\n",
    ]
    return "\n".join(parts)

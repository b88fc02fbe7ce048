"""`getpatter numbers`: the numbers of your carriers' accounts, and where they ring."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence

from getpatter.carriers.base import OwnedNumber
from getpatter.cli import accounts, environment
from getpatter.cli.accounts import Account
from getpatter.cli.screen import Screen
from getpatter.errors import PatterError


def run(options: argparse.Namespace) -> int:
    """List them. 0: every account answered; 1: one did not."""
    environment.read()
    asked = accounts.chosen(options.carrier)
    found = asyncio.run(_listed(asked))
    lines = [
        f"{number.number:<16}  {account.name:<6}  {number.webhook_url or number.note or '(nowhere)'}"
        for account, numbers in zip(asked, found, strict=True)
        if isinstance(numbers, list)
        for number in numbers
    ]
    screen = Screen(no_color=options.no_color)
    for line in lines or ["no numbers"]:
        screen.line(line)
    return _failures(asked, found)


async def _listed(asked: Sequence[Account]) -> list[list[OwnedNumber] | PatterError]:
    return list(await asyncio.gather(*map(ask, asked)))


async def ask(account: Account) -> list[OwnedNumber] | PatterError:
    """The account's numbers, or why there are none."""
    adapter = account.adapter()
    try:
        return await adapter.list_numbers()
    except PatterError as error:
        return error
    finally:
        await adapter.close()


def _failures(asked: Sequence[Account], found: Sequence[object]) -> int:
    failed = [
        f"{account.shown}: {' '.join(str(what).split())}"
        for account, what in zip(asked, found, strict=True)
        if isinstance(what, PatterError)
    ]
    if failed:
        sys.stdout.flush()
        print(f"getpatter: {'; '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0

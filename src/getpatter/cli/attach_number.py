"""`getpatter attach-number`: let calls to a number ring at a server."""

from __future__ import annotations

import argparse
import asyncio

from getpatter.cli import accounts, environment
from getpatter.cli.accounts import Account
from getpatter.cli.screen import Screen
from getpatter.errors import PatterConfigError
from getpatter.types import is_e164


def run(options: argparse.Namespace) -> int:
    """Set its webhook."""
    if not is_e164(options.number):
        raise PatterConfigError(f"NUMBER must be E.164 like +15550001234, got {options.number!r}")
    environment.read()
    asked = accounts.chosen(options.carrier)
    if len(asked) > 1:
        names = ", ".join(each.name for each in asked)
        raise PatterConfigError(f"whose number is it? Pass --carrier, one of {names}")
    asyncio.run(_attach(asked[0], options.number, options.url))
    Screen(no_color=options.no_color).line(f"{options.number} rings at {options.url}")
    return 0


async def _attach(account: Account, number: str, url: str) -> None:
    adapter = account.adapter()
    try:
        await adapter.configure_number(number, url)
    finally:
        await adapter.close()

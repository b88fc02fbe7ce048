"""`getpatter telemetry`: there is none."""

from __future__ import annotations

import argparse

from getpatter.cli.screen import Screen


def run(options: argparse.Namespace) -> int:
    """Say so."""
    screen = Screen(no_color=options.no_color)
    screen.line(
        "There is no telemetry: getpatter reports nothing about you, your calls or its use."
    )
    screen.line(
        "It talks to the carrier, the services and the tunnel that you configure, and to no others."
    )
    return 0

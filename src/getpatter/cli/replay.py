"""`getpatter replay`: the same inputs at the same instants must give the same bytes."""

from __future__ import annotations

import argparse
import sys

from getpatter.carriers import resumed_wire
from getpatter.cli.screen import Screen
from getpatter.errors import PatterConfigError
from getpatter.runtime.replay import read_header, replay


def run(options: argparse.Namespace) -> int:
    """Run a flight recording again. 0: what is sent is the same, byte for byte; 1: it is not."""
    screen = Screen(no_color=options.no_color)
    header = read_header(options.file)
    try:
        wire = resumed_wire(header.carrier, header.started)
    except (ValueError, ImportError) as error:
        raise PatterConfigError(f"{options.file}: this version cannot replay {error}") from error
    flight = replay(options.file, wire)
    for line in flight.lines:
        who = "caller" if line.role == "user" else "agent"
        text = line.text + (" -- cut short" if line.is_interrupted else "")
        screen.entry("", who, text, "cyan" if who == "caller" else "green")
    recorded, again = len(flight.frames_recorded), len(flight.frames_replayed)
    screen.line(
        f"{flight.lasted_seconds:.1f} s, {flight.inputs} inputs, {recorded} frames sent then, {again} now"
    )
    at = flight.first_difference
    if at is None and recorded:
        screen.line("byte for byte the same", "green")
        return 0
    sys.stdout.flush()
    reason = f"frame {at} differs" if at is not None else "the recording has no frame that was sent"
    print(f"getpatter: {reason}", file=sys.stderr)
    return 1

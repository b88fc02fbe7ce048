"""Where commands find an agent: `MODULE:ATTR`, with the current folder importable."""

from __future__ import annotations

import sys
from pathlib import Path

from getpatter.errors import PatterConfigError
from getpatter.evals.targets import is_target, referred


def named(reference: str) -> object:
    """What `MODULE:ATTR` names.

    Raises:
        PatterConfigError: there is no such thing.
    """
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    return referred(reference)


def found(reference: str) -> object:
    """What `MODULE:ATTR` names: an agent, or something that makes one.

    Raises:
        PatterConfigError: there is no such thing, or it is neither.
    """
    thing = named(reference)
    if is_target(thing) or callable(thing):
        return thing
    raise PatterConfigError(
        f"{reference} is {type(thing).__name__}, not an Agent, a function that returns one, or an object "
        "with `async reply(text)`"
    )

"""`getpatter mcp MODULE:ATTR`: a telephone for programs that speak the Model Context Protocol."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys

from getpatter import Patter, PatterTool
from getpatter.cli import agents
from getpatter.errors import PatterConfigError
from getpatter.integrations.mcp_server import serve_stdio


def run(options: argparse.Namespace) -> int:
    """Serve until standard input ends."""
    with contextlib.redirect_stdout(sys.stderr):
        tool = agents.named(options.tool)
    if isinstance(tool, Patter):
        tool = PatterTool(tool)
    if not isinstance(tool, PatterTool):
        raise PatterConfigError(
            f"{options.tool} is {type(tool).__name__}, not a PatterTool or a Patter"
        )
    asyncio.run(serve_stdio(tool, port=options.port))
    return 0

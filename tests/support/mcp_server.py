"""A server of tools made with the official SDK: `python mcp_server.py`, or with a port for streamable HTTP.

Environment: `SLOW_START` seconds before it answers, `NOTE` a file where it writes how it ends.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path

from mcp.server.mcpserver import MCPServer
from mcp.types import ToolAnnotations

server = MCPServer(os.environ.get("SERVER_NAME", "weather"))


@server.tool(annotations=ToolAnnotations(read_only_hint=True))
def forecast(city: str, days: int = 1) -> str:
    """The weather in a city."""
    return f"{city}: sun for {days} days"


@server.tool()
def broken(city: str) -> str:
    """Always fails."""
    raise RuntimeError(f"no station in {city}")


@server.tool()
async def slow() -> str:
    """Takes its time."""
    await asyncio.sleep(30)
    return "late"


@server.tool()
def end_call() -> str:
    """Has the name of a tool that every agent has."""
    return "the server's own"


@server.tool()
def leave() -> str:
    """Ends the server in the middle of a call."""
    os._exit(3)


if __name__ == "__main__":
    time.sleep(float(os.environ.get("SLOW_START", "0")))
    try:
        if len(sys.argv) > 1:
            server.run("streamable-http", host="127.0.0.1", port=int(sys.argv[1]))
        else:
            server.run("stdio")
    finally:
        if "NOTE" in os.environ:
            Path(os.environ["NOTE"]).write_text("ended in order")

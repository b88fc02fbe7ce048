"""`PatterTool` as a server of the Model Context Protocol: programs that speak it can make phone calls.

Protocol: https://modelcontextprotocol.io/specification
"""

from __future__ import annotations

import contextlib
import json
import sys
from typing import TYPE_CHECKING, Any

from getpatter._version import __version__
from getpatter.errors import PatterError

if TYPE_CHECKING:
    from mcp.server import Server

    from getpatter.integrations.phone_tool import PatterTool


def mcp_server(tool: PatterTool, **serving: Any) -> Server[Any]:
    """A server whose only tool is `tool`. Run it over any transport of the `mcp` package.

    The phone begins to serve at the first call; `serving` as for `PatterTool.start`.

    Raises:
        ImportError: the `mcp` package is missing.
    """
    try:
        from mcp import types  # noqa: PLC0415 - an extra
        from mcp.server import Server  # noqa: PLC0415 - as above
    except ImportError as error:
        raise ImportError(
            "an MCP server needs the mcp package: pip install 'getpatter[mcp]'"
        ) from error
    handler = tool.hermes_handler()
    listed = types.Tool(
        name=tool.name,
        description=tool.description,
        input_schema=tool.parameters(),
        annotations=types.ToolAnnotations(
            read_only_hint=False, destructive_hint=True, idempotent_hint=False
        ),
    )

    async def started(arguments: dict[str, Any]) -> str:
        try:
            await tool.start(**serving)
        except (PatterError, ValueError, TypeError, OSError) as error:
            return json.dumps({"error": str(error)})
        return await handler(arguments)

    async def list_tools(_context: Any, _params: Any) -> types.ListToolsResult:
        return types.ListToolsResult(tools=[listed])

    async def call_tool(_context: Any, params: types.CallToolRequestParams) -> types.CallToolResult:
        if params.name != tool.name:
            answer = json.dumps({"error": f"there is no tool {params.name!r}"})
        else:
            answer = await started(params.arguments or {})
        return types.CallToolResult(
            content=[types.TextContent(type="text", text=answer)],
            is_error=set(json.loads(answer)) == {"error"},
        )

    return Server(
        "getpatter", version=__version__, on_list_tools=list_tools, on_call_tool=call_tool
    )


async def serve_stdio(tool: PatterTool, **serving: Any) -> None:
    """Serve `tool` over standard input and output, until the input ends. Calls that run are ended then.

    What the program prints meanwhile goes to standard error.
    """
    server = mcp_server(tool, **serving)
    from mcp.server.stdio import stdio_server  # noqa: PLC0415 - an extra

    try:
        async with stdio_server() as (read, write):
            with contextlib.redirect_stdout(sys.stderr):
                await server.run(read, write, server.create_initialization_options())
    finally:
        await tool.stop()

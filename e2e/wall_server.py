"""A server for `check_wall.py`: every tool that the hostile messages name, two resources and a prompt, each of which leaves a mark.

`wall_server.py KIND MARKS NAMES [PORT]`: KIND is `fastmcp-1`, `lowlevel-1` (PyPI `mcp` 1.x), `mcpserver-2` (`mcp` 2.x) or `fastmcp`
(PyPI `fastmcp`); MARKS the file that a line is appended to whenever something runs; NAMES a JSON list of tools. Without PORT, on stdio.
"""

import json
import os
import sys
from typing import Any

kind, marks, names = sys.argv[1], os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT | os.O_APPEND), json.loads(open(sys.argv[3]).read())
port = int(sys.argv[4]) if len(sys.argv) > 4 else None
URIS, PROMPT = ["truenas://vms", "truenas://services"], "greet"


def mark(what, **said):
    os.write(marks, (json.dumps({"what": what, **said}) + "\n").encode())
    return "done"


def tool(name):
    """A function with every argument that any message here gives, so that none is refused for its form."""

    def run(
        id: Any = None, force: Any = None, category: Any = None, action: Any = None, params: Any = None, method: Any = None,
        path: Any = None, body: Any = None, service: Any = None, confirm: Any = None, note: Any = None,
    ) -> str:  # fmt: skip
        return mark(name, id=id, action=action, params=params, path=path)

    run.__name__ = name
    return run


def leaves(what):
    """A function without arguments, as resources and prompts are."""

    def run() -> str:
        return mark(what)

    return run


def high_level(server):
    for name in names:
        server.tool(name=name)(tool(name))
    for uri in URIS:
        server.resource(uri)(leaves(uri))
    server.prompt(name=PROMPT)(leaves(PROMPT))
    return server


if kind == "fastmcp-1":
    from mcp.server.fastmcp import FastMCP

    high_level(FastMCP("wall", host="127.0.0.1", port=port or 0)).run("streamable-http" if port else "stdio")
elif kind == "mcpserver-2":
    from mcp.server.mcpserver import MCPServer

    server = high_level(MCPServer("wall"))
    if port:
        server.run("streamable-http", host="127.0.0.1", port=port)
    else:
        server.run("stdio")
elif kind == "fastmcp":
    from fastmcp import FastMCP

    server = high_level(FastMCP("wall"))
    if port:
        server.run(transport="http", host="127.0.0.1", port=port, show_banner=False)
    else:
        server.run(transport="stdio", show_banner=False)
elif kind == "lowlevel-1":
    import anyio
    from mcp import types
    from mcp.server.lowlevel import Server
    from mcp.server.stdio import stdio_server

    server = Server("wall")

    @server.list_tools()
    async def _():
        return [types.Tool(name=name, inputSchema={"type": "object"}) for name in names]

    @server.call_tool(validate_input=False)
    async def _(name, arguments):
        if name not in names:
            raise ValueError(f"there is no tool {name}")
        return [types.TextContent(type="text", text=mark(name, arguments=arguments))]

    @server.read_resource()
    async def _(uri):
        if str(uri) not in URIS:
            raise ValueError(f"there is no resource {uri}")
        return mark(str(uri))

    @server.get_prompt()
    async def _(name, arguments):
        mark(name)
        return types.GetPromptResult(messages=[])

    async def main():
        async with stdio_server() as (read, write):
            await server.run(read, write, server.create_initialization_options())

    anyio.run(main)
else:
    sys.exit(f"no server of the kind {kind}")

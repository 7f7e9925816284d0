"""A server of both eras: PyPI `mcp` 2.x, with the tools of server-everything that the checks use.

`server.py` speaks on stdio, `server.py PORT` over streamable HTTP.
"""

import sys

import anyio
from mcp.server.mcpserver import Context, MCPServer

server = MCPServer("modern")


@server.tool()
def echo(message: str) -> str:
    return f"Echo: {message}"


@server.tool(name="get-sum")
def get_sum(a: int, b: int) -> str:
    return f"The sum of {a} and {b} is {a + b}."


@server.tool(name="get-env")
def get_env() -> str:
    return "nothing to see"


@server.tool(name="trigger-long-running-operation")
async def operate(duration: float, steps: int, ctx: Context) -> str:
    for step in range(steps):
        await anyio.sleep(duration / steps)
        await ctx.report_progress(step + 1, steps)
    return "done"


if len(sys.argv) > 1:
    server.run("streamable-http", host="127.0.0.1", port=int(sys.argv[1]))
else:
    server.run("stdio")

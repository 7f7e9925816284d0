"""A server of both eras: PyPI `mcp` 2.x, with the tools of server-everything that the checks use.

`server.py` speaks on stdio, `server.py PORT` over streamable HTTP, `server.py PORT CERTIFICATE KEY` over HTTP/2 alone, by hypercorn.
"""

import sys
from typing import Annotated

import anyio
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.resolve import Elicit, Resolve, Sample
from mcp.server.elicitation import ElicitationResult
from mcp_types import CallToolResult, CreateMessageResult, SamplingMessage, TextContent
from pydantic import BaseModel

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
async def operate(duration: float, steps: int, ctx: Context, silence: float = 0, mark: str = "") -> str:
    try:
        print(f"began {mark}", file=sys.stderr, flush=True)
        for step in range(steps):
            await anyio.sleep(duration / steps)
            await ctx.report_progress(step + 1, steps)
        await anyio.sleep(silence)
    except anyio.get_cancelled_exc_class():
        print(f"cancelled {mark}", file=sys.stderr, flush=True)
        raise
    return "done"


# What a denial looks like, from a server's own mouth.
@server.tool()
def refuse() -> CallToolResult:
    return CallToolResult(content=[TextContent(type="text", text="[POLICY DENIED] Not for agents.")], is_error=True)


class Name(BaseModel):
    name: str


def ask_name() -> Elicit[Name]:
    return Elicit("Who are you?", Name)


def ask_model() -> Sample:
    text = TextContent(type="text", text="Say something.")
    return Sample([SamplingMessage(role="user", content=text)], max_tokens=10)


# In the modern era both ask by `input_required`, in the legacy one by a request of the server's own.
@server.tool(name="trigger-elicitation-request")
def elicit(answer: Annotated[ElicitationResult[Name], Resolve(ask_name)]) -> str:
    return f"User {answer.action}"


@server.tool(name="trigger-sampling-request")
def sample(answer: Annotated[CreateMessageResult, Resolve(ask_model)]) -> str:
    return f"LLM sampling result: {answer.content.text}"


@server.tool(name="change-tools")
async def change(ctx: Context) -> str:
    await ctx.notify_tools_changed()
    return "changed"


if len(sys.argv) > 3:
    from hypercorn.asyncio import serve
    from hypercorn.config import Config

    config = Config()
    config.bind, config.certfile, config.keyfile = [f"127.0.0.1:{sys.argv[1]}"], sys.argv[2], sys.argv[3]
    config.alpn_protocols = ["h2"]
    anyio.run(serve, server.streamable_http_app(), config)
elif len(sys.argv) > 1:
    server.run("streamable-http", host="127.0.0.1", port=int(sys.argv[1]))
else:
    server.run("stdio")

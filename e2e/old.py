"""A server of the legacy era: PyPI `mcp` 1.x, with the tools that the checks use.

`old.py PORT` speaks the transport of 2024-11-05, `old.py PORT streamable-http` that with sessions.
"""

import sys

import anyio
from mcp.server.fastmcp import Context, FastMCP
from mcp.types import CallToolResult, SamplingMessage, TextContent
from pydantic import BaseModel

server = FastMCP("old", host="127.0.0.1", port=int(sys.argv[1]))


class Name(BaseModel):
    name: str


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
    return CallToolResult(content=[TextContent(type="text", text="[POLICY DENIED] Not for agents.")], isError=True)


@server.tool(name="trigger-elicitation-request")
async def elicit(ctx: Context) -> str:
    answer = await ctx.elicit("Who are you?", Name)
    return f"User {answer.action}"


@server.tool(name="trigger-sampling-request")
async def sample(ctx: Context, prompt: str = "", maxTokens: int = 10) -> str:
    text = TextContent(type="text", text="Say something.")
    answer = await ctx.session.create_message([SamplingMessage(role="user", content=text)], max_tokens=10)
    return f"LLM sampling result: {answer.content.text}"


server.run(sys.argv[2] if len(sys.argv) > 2 else "sse")

"""A hub as the documentation of its SDK writes one, with the tools that hubcheck's deeper cells need.

Runs on PyPI fastmcp 2 and 4, mcp 1 and 2:  python hub.py --host 127.0.0.1 --port 8000 --transport sse|streamable
"""

import argparse
import asyncio
import collections
import os

from starlette.responses import PlainTextResponse

parser = argparse.ArgumentParser()
parser.add_argument("--host", default="127.0.0.1")
parser.add_argument("--port", type=int, default=8000)
parser.add_argument("--transport", choices=["sse", "streamable"], default="sse")
args = parser.parse_args()
where = {"host": args.host, "port": args.port}
transport = "streamable-http" if args.transport == "streamable" else "sse"

try:
    from fastmcp import Context, FastMCP

    mcp, run = FastMCP("peer"), {**where, "show_banner": False}
except ModuleNotFoundError:
    try:
        from mcp.server.mcpserver import Context, MCPServer

        mcp, run = MCPServer("peer"), where
    except ModuleNotFoundError:
        from mcp.server.fastmcp import Context, FastMCP

        mcp, run = FastMCP("peer", **where), {}

tallies: collections.Counter[str] = collections.Counter()
held: list[bytes] = []


@mcp.custom_route("/healthz", methods=["GET"])
async def healthz(_request):
    return PlainTextResponse("ok")


@mcp.tool()
def whoami() -> str:
    return os.environ.get("POD_NAME", "unknown")


@mcp.tool()
def echo(text: str) -> str:
    return text


@mcp.tool()
async def count(n: int, ctx: Context, interval_ms: int = 0) -> str:
    for i in range(1, n + 1):
        await asyncio.sleep(interval_ms / 1000 if i > 1 else 0)
        await ctx.report_progress(i, n)
    return str(n)


@mcp.tool()
async def tally(key: str, ctx: Context, add: int = 1, hold_ms: int = 0) -> str:
    tallies[key] += add
    total = tallies[key]
    await ctx.report_progress(1, 1)
    await asyncio.sleep(hold_ms / 1000)
    return str(total)


@mcp.tool()
async def sleep(ms: int) -> str:
    await asyncio.sleep(ms / 1000)
    return f"slept {ms} ms"


@mcp.tool()
def allocate(mib: int) -> str:
    held.append(b"\1" * (mib << 20))
    return str(sum(map(len, held)) >> 20)


mcp.run(transport=transport, **run)

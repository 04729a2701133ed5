"""A FastMCP 2 server, as its documentation writes one, with the tools that hubcheck's deeper cells need.

    python fastmcp2.py --host 127.0.0.1 --port 8000 --transport sse
"""

import argparse
import asyncio
import collections
import os

from fastmcp import Context, FastMCP

mcp = FastMCP("fastmcp2")
tallies: collections.Counter[str] = collections.Counter()


@mcp.tool
def whoami() -> str:
    """Names the replica."""
    return os.environ.get("POD_NAME", "unknown")


@mcp.tool
def echo(text: str) -> str:
    """Returns its argument."""
    return text


@mcp.tool
async def tally(key: str, ctx: Context, add: int = 1, hold_ms: int = 0) -> str:
    """Counts a side effect, reports progress, holds, and returns the count."""
    tallies[key] += add
    count = tallies[key]
    await ctx.report_progress(1, 1)
    await asyncio.sleep(hold_ms / 1000)
    return str(count)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--transport", default="sse")
    args = parser.parse_args()
    mcp.run(transport=args.transport, host=args.host, port=args.port, show_banner=False)

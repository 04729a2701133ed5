"""The tools that hubcheck's deeper cells need, and the path that says that a hub is ready, for every Python SDK."""

import asyncio
import collections
import os

from starlette.responses import PlainTextResponse

tallies: collections.Counter[str] = collections.Counter()
held: list[bytes] = []


def add_tools(mcp, Context):
    """Gives a server its tools; `Context` is its SDK's."""

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
    async def work(key: str, n: int, ctx: Context, interval_ms: int = 0) -> str:
        for i in range(1, n + 1):
            await asyncio.sleep(interval_ms / 1000 if i > 1 else 0)
            tallies[key] += 1
            await ctx.report_progress(i, n)
        return str(tallies[key])

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

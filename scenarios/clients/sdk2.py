"""Sessions of the Python SDK 2: `sdk2.py sse|streamable|stateless URL SESSIONS`.

With `stateless` the client asks which versions there are, as it does by itself, and takes 2026-07-28.
"""

import sys

import conversation
from mcp import Client
from mcp.client.sse import sse_client

MODES = {"sse": "legacy", "streamable": "legacy", "stateless": "auto"}


async def talk(transport: str, url: str, number: int) -> None:
    server = sse_client(url) if transport == "sse" else url
    limit = conversation.ANSWER_LIMIT
    async with Client(server, mode=MODES[transport], read_timeout_seconds=limit) as client:
        tools = (await client.list_tools()).tools
        conversation.must("echo" in [tool.name for tool in tools], "tools/list has no echo")
        for text in conversation.texts(number):
            result = await client.call_tool("echo", {"text": text})
            conversation.must(result.content[0].text == text, f"echo answered {result.content[0].text}")


conversation.main(talk, sys.argv[1:])

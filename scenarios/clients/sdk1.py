"""Sessions of the Python SDK 1: `sdk1.py sse|streamable URL SESSIONS`."""

import datetime
import sys

import conversation
from mcp import ClientSession
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamablehttp_client

OPEN = {"sse": sse_client, "streamable": streamablehttp_client}


async def talk(transport: str, url: str, number: int) -> None:
    limit = datetime.timedelta(seconds=conversation.ANSWER_LIMIT)
    async with OPEN[transport](url) as streams, ClientSession(*streams[:2], read_timeout_seconds=limit) as session:
        await session.initialize()
        tools = (await session.list_tools()).tools
        conversation.must("echo" in [tool.name for tool in tools], "tools/list has no echo")
        for text in conversation.texts(number):
            result = await session.call_tool("echo", {"text": text})
            conversation.must(result.content[0].text == text, f"echo answered {result.content[0].text}")


conversation.main(talk, sys.argv[1:])

"""Sessions of mcp-remote, each a process as a desktop client starts it: `remote.py NODE MCP-REMOTE URL SESSIONS`."""

import asyncio
import json
import os
import sys
import tempfile

import conversation

# mcp-remote starts slowly, the more so when several do at once.
START_LIMIT = 30
CONCURRENT = 6


async def talk(node: str, remote: str, url: str, number: int) -> None:
    with tempfile.TemporaryDirectory() as config:
        process = await asyncio.create_subprocess_exec(
            node, remote, url, "--transport", "sse-only", "--allow-http",
            env={**os.environ, "MCP_REMOTE_CONFIG_DIR": config},
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            await conversed(process, number)
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


async def conversed(process: asyncio.subprocess.Process, number: int) -> None:
    async def say(message: dict) -> None:
        process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
        await process.stdin.drain()

    async def ask(asked: int, method: str, params: dict, limit: float) -> dict:
        await say({"id": asked, "method": method, "params": params})
        while line := await asyncio.wait_for(process.stdout.readline(), limit):
            message = json.loads(line)
            if message.get("id") == asked:
                conversation.must("error" not in message, message.get("error", {}).get("message", ""))
                return message["result"]
        raise AssertionError("mcp-remote ended")

    limit = conversation.ANSWER_LIMIT
    about = {"protocolVersion": "2024-11-05", "capabilities": {}, "clientInfo": {"name": "hubcheck", "version": "1"}}
    await ask(0, "initialize", about, START_LIMIT)
    await say({"method": "notifications/initialized"})
    tools = (await ask(1, "tools/list", {}, limit))["tools"]
    conversation.must("echo" in [tool["name"] for tool in tools], "tools/list has no echo")
    for asked, text in enumerate(conversation.texts(number), start=2):
        result = await ask(asked, "tools/call", {"name": "echo", "arguments": {"text": text}}, limit)
        conversation.must(result["content"][0]["text"] == text, f"echo answered {result}")


conversation.AT_ONCE = CONCURRENT
conversation.main(talk, sys.argv[1:])

"""Clients that people use, against two replicas of the reference hub behind the balancer without affinity.

In `forward` mode every session of every client must hold. The same with `--sessions memory` shows what that is worth: a client
that loses no session there proves nothing, unless it has none to lose.

    real.py [--sessions N] [--memory-sessions N] [CLIENT..]
"""

import argparse
import dataclasses
import json
import os
import pathlib
import socket
import subprocess
import sys
import time
from collections.abc import Callable

import place

CLIENT_LIMIT = 1200
# How many seconds an answer may take. What is lost in memory mode never comes; what must come may come late, on a machine that
# does something else beside.
ANSWER_LIMIT = {"forward": 30, "memory": 5}


@dataclasses.dataclass
class Client:
    name: str
    transport: str
    # The command line for a transport: installs what it names, unless it is there.
    command: Callable[[str], list[str]]
    path: str = "/mcp"
    folder: pathlib.Path | None = None
    has_sessions: bool = True


def clients() -> list[Client]:
    script = lambda name: str(place.HERE / name)
    one = lambda transport: [place.python("mcp1"), script("sdk1.py"), transport]
    two = lambda transport: [place.python("mcp2"), script("sdk2.py"), transport]
    modules = place.CACHE / "npm"
    js = lambda transport: [place.node()[0], script("sdk.mjs"), transport]
    proxy = str(modules / "node_modules/mcp-remote/dist/proxy.js")
    remote = lambda _: [sys.executable, script("remote.py"), place.node()[0], proxy]
    return [
        Client("mcp 1 (Python)", "sse", one, "/sse"),
        Client("mcp 1 (Python)", "streamable", one),
        Client("mcp 2 (Python)", "sse", two, "/sse"),
        Client("mcp 2 (Python)", "streamable", two),
        Client("mcp 2 (Python)", "stateless", two, has_sessions=False),
        Client("sdk 1 (JavaScript)", "sse", js, "/sse", modules),
        Client("sdk 1 (JavaScript)", "streamable", js, folder=modules),
        Client("mcp-remote", "sse", remote, "/sse"),
    ]


def free_address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, default=100)
    parser.add_argument("--memory-sessions", type=int, default=40)
    parser.add_argument("client", nargs="*", help="only clients whose name or transport contains one of these")
    args = parser.parse_args()
    chosen = [
        client for client in clients()
        if not args.client or any(word in f"{client.name} {client.transport}" for word in args.client)
    ]
    if not chosen:
        parser.error("no client is called so")
    good = True
    print(f"{'client':<20} {'transport':<11} {'forward':>9}  {'memory':>7}  what a lost session looks like", flush=True)
    for client in chosen:
        forward, forward_took = held(client, "forward", args.sessions)
        memory, memory_took = held(client, "memory", args.memory_sessions)
        score = lambda counted: f"{counted['held']}/{counted['of']}"
        lost = memory["failures"][0][0] if memory["failures"] else "none was"
        print(
            f"{client.name:<20} {client.transport:<11} {score(forward):>9}  {score(memory):>7}  {lost[:100]}"
            f"  ({forward_took:.0f} + {memory_took:.0f} s)",
            flush=True,
        )
        if forward["held"] < forward["of"]:
            good = False
            print(f"  FAIL: in forward mode every session must hold: {forward['failures']}")
        if client.has_sessions and memory["held"] == memory["of"]:
            good = False
            print("  FAIL: it lost no session in memory mode, so its 100 % in forward mode prove nothing")
    return 0 if good else 1


def held(client: Client, mode: str, sessions: int) -> tuple[dict, float]:
    """How many of these sessions held, and what the others saw."""
    address, command = free_address(), client.command(client.transport)
    log = place.CACHE / f"hub-{mode}.log"
    with place.served("--listen", address, "--env", f"SESSIONS={mode}", log=log):
        began = time.monotonic()
        run = subprocess.run(
            [*command, f"http://{address}{client.path}", str(sessions)],
            cwd=client.folder, env={**os.environ, "ANSWER_LIMIT": str(ANSWER_LIMIT[mode])},
            capture_output=True, text=True, timeout=CLIENT_LIMIT,
        )
        took = time.monotonic() - began
    if run.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{run.stdout}{run.stderr}")
    return json.loads(run.stdout.splitlines()[-1]), took


if __name__ == "__main__":
    sys.exit(main())

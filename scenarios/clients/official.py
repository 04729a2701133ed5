"""The official conformance suite against the reference hub: one replica, and two behind the balancer without affinity.

Every scored scenario of both requirement sets must pass; what the suite runs without scoring it is shown.
"""

import pathlib
import re
import socket
import subprocess
import sys

import place

# The sets that this release of the suite carries for servers.
REVISIONS = ["2025-11-25", "2026-07-28"]
SUITE_LIMIT = 300


def free_port() -> int:
    # The suite takes nothing but 127.0.0.1 or localhost for a local server.
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def main() -> int:
    node, modules = place.node()
    suite = modules / "@modelcontextprotocol/conformance/dist/index.js"
    results = place.CACHE / "official"
    results.mkdir(parents=True, exist_ok=True)
    failed = False
    for replicas in [1, 2]:
        address = f"127.0.0.1:{free_port()}"
        hub = ["--env", "TOOLSET=official", "--env", f"ALLOW_ORIGIN=http://{address}"]
        log = results / f"hub-{replicas}.log"
        with place.served("--listen", address, "--replicas", str(replicas), *hub, log=log):
            for revision in REVISIONS:
                command = [node, suite, "server", "--url", f"http://{address}/mcp", "--requirements", revision]
                run = subprocess.run(
                    [*command, "-o", results / f"{revision}-{replicas}"],
                    capture_output=True, text=True, timeout=SUITE_LIMIT,
                )
                said = run.stdout + run.stderr
                (results / f"{revision}-{replicas}.log").write_text(said)
                failed |= not told(revision, replicas, said, run.returncode)
        stopped = log.read_text()
        print("".join(line + "\n" for line in stopped.splitlines()[-replicas:]), end="")
    print(f"evidence: {results}")
    return 1 if failed else 0


def told(revision: str, replicas: int, said: str, code: int) -> bool:
    """Prints what came of one run of the suite; whether every scored scenario passed."""
    summary, _, unscored = said.partition("Not scored for ")
    names = {name for _, name in re.findall(r"^  ([✓✗]) (\S+) \(", unscored, re.M)}
    lines = re.findall(r"^([✓✗]) (\S+): (\d+) passed, (\d+) failed", summary, re.M)
    scored = [(mark, name, int(passed), int(lost)) for mark, name, passed, lost in lines if name not in names]
    broken = [name for mark, name, _, lost in scored if mark == "✗" or lost]
    checks = sum(passed for _, _, passed, _ in scored)
    others = re.findall(r"^  ✗ (\S+) \(([^)]*)\)", unscored, re.M)
    is_good = code == 0 and bool(scored) and not broken
    print(
        f"{'PASS' if is_good else 'FAIL'}  {revision}, {replicas} replica{'s'[:replicas - 1]}: "
        f"{len(scored) - len(broken)} of {len(scored)} scored scenarios, {checks} checks passed"
    )
    for name in broken:
        print(f"      failed: {name}")
    if not scored:
        print(said)
    if others:
        print(f"      not scored and failing: {', '.join(f'{name} ({why})' for name, why in others)}")
    return is_good


if __name__ == "__main__":
    sys.exit(main())

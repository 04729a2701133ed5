"""What every client says: initialize, tools/list, and three calls whose answers are its own. Counts who could."""

import asyncio
import collections
import json
import logging
import os

# How many seconds an answer may take: by default these clients wait for minutes.
ANSWER_LIMIT = float(os.environ["ANSWER_LIMIT"])
# Five answers, and the start of a process.
SESSION_LIMIT = 8 * ANSWER_LIMIT
# More than two cores serve in time makes the load what is measured.
AT_ONCE = 4


def texts(number: int) -> list[str]:
    return [f"session {number}, call {call}" for call in range(3)]


def must(holds: bool, otherwise: str) -> None:
    if not holds:
        raise AssertionError(otherwise)


def reason(error: BaseException) -> str:
    """The innermost error: the SDKs wrap them in groups."""
    while isinstance(error, BaseExceptionGroup) and error.exceptions:
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}".splitlines()[0]


async def all_of(talk, sessions: int, *args) -> None:
    failures: collections.Counter[str] = collections.Counter()
    turn = asyncio.Semaphore(AT_ONCE)

    async def one(number: int) -> None:
        async with turn:
            try:
                await asyncio.wait_for(talk(*args, number), SESSION_LIMIT)
            except Exception as error:
                failures[reason(error)] += 1

    await asyncio.gather(*(one(number) for number in range(sessions)))
    print(json.dumps({"held": sessions - failures.total(), "of": sessions, "failures": failures.most_common(3)}))


def main(talk, args: list[str]) -> None:
    """Runs `talk(transport, url, number)` for each session, and prints how many held."""
    logging.disable()
    *args, sessions = args
    asyncio.run(all_of(talk, int(sessions), *args))

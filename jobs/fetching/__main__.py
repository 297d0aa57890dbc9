"""``python -m jobs.fetching RESULT``: the order on standard input, the outcome into the file RESULT."""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import signal
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from jobs.fetching.order import FetchError, Order, Outcome

SECONDS = 600
_MEMORY = 4 << 30
_QUERY = re.compile(r"\?\S+")


def main() -> None:
    """Fetch within the limits and write down how it went; whatever goes wrong is an outcome."""
    result = Path(sys.argv[1])
    given = json.load(sys.stdin)
    order = Order(**given)
    signal.signal(signal.SIGALRM, _too_late)
    signal.alarm(SECONDS)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2 * order.limit, 2 * order.limit))
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    shutil.rmtree(order.directory, ignore_errors=True)
    try:
        answer: dict[str, Any] = {"ok": asdict(_fetch(order))}
    except FetchError as error:
        answer = _failure(order, error.message, error.hint, error.permanent)
    except MemoryError:
        answer = _failure(order, "It is too large to be fetched.", "Give a smaller source.", True)
    except OSError as error:
        answer = _failure(order, f"It could not be fetched: {error}", "", type(error).__module__ == "portal.outbound")
    except Exception as error:
        answer = _failure(order, f"It could not be fetched: {type(error).__name__}: {error}", "", False)
    written = result.with_suffix(".part")
    written.write_text(json.dumps(answer))
    os.replace(written, result)


def _fetch(order: Order) -> Outcome:
    match order.type:  # each imports what only it needs
        case "GIT":
            from jobs.fetching import git

            return git.fetch(order)
        case "URL":
            from jobs.fetching import web

            return web.fetch(order)
        case _:
            from jobs.fetching import s3

            return s3.fetch(order)


def _failure(order: Order, message: str, hint: str, permanent: bool) -> dict[str, Any]:
    secrets = [order.token, *order.credentials.values()]
    for secret in filter(None, secrets):  # an address in an error may hold it
        message = message.replace(secret, "***")
    if "?" in order.location:
        message = message.replace(order.location, order.location.partition("?")[0])
    message = _QUERY.sub("?…", message)  # of this address or of one that it redirected to: it may be a signature
    return {"error": {"message": message[:1000], "hint": hint, "permanent": permanent}}


def _too_late(*_: object) -> None:
    raise FetchError(f"It took longer than {SECONDS // 60} minutes.", "Give a smaller source.", permanent=False)


if __name__ == "__main__":
    main()

"""The launch doctor: what a cloud says about something before it is made. Outside of transactions.

A page waits for the answer so long and no longer, and a cloud that does not answer is a check that failed.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence

from django.db import connection

from portal.clouds.base import Check, CloudError
from portal.errors import UserError

logger = logging.getLogger(__name__)

SECONDS = 20.0
"""How long a page waits. A call to a cloud that hangs ends by itself soon after."""

AT_ONCE = 4
"""How many of these a web process makes at a time; each holds one of its threads."""

_places = threading.BoundedSemaphore(AT_ONCE)


def ask(question: Callable[[], Sequence[Check]]) -> list[Check]:
    """The checks that a cloud makes; ``question`` must not touch the database. Raises UserError(TooManyChecks)."""
    if not _places.acquire(blocking=False):
        raise UserError("TooManyChecks", f"{AT_ONCE} launches are being checked.", "Try again in a few seconds.")
    answers: list[Sequence[Check]] = []
    worker = threading.Thread(target=_answer, args=(question, answers), name="launch doctor", daemon=True)
    worker.start()
    if not connection.in_atomic_block:
        connection.close()  # or this thread would keep one of the few that there are all the while
    worker.join(SECONDS)
    if not answers:
        hint = "Try again. If it stays so, validate the cloud configuration."
        return [Check("Answer of the cloud", False, f"There was no answer within {SECONDS:.0f} seconds.", hint)]
    return list(answers[0])


def _answer(question: Callable[[], Sequence[Check]], answers: list[Sequence[Check]]) -> None:
    """In a thread of its own, which keeps its place until it ends, also where nobody waits any more."""
    try:
        answers.append(question())
    except CloudError as error:
        hint = error.hint or "Try again. If it stays so, validate the cloud configuration."
        answers.append([Check("Answer of the cloud", False, error.message, hint)])
    except Exception:
        logger.exception("A launch could not be checked")
        answers.append([Check("Answer of the cloud", False, "The portal made a mistake; it is in the log.")])
    finally:
        _places.release()


def failed(checks: Sequence[Check]) -> bool:
    """Whether something stands in the way."""
    return not all(check.passed for check in checks)


STOPPED = "Nothing was made, because a check failed. Do what it says, then try again."
"""What is said where a failed check stopped a launch."""

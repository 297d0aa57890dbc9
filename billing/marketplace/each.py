"""Doing the same for many, of whom none may keep the others from it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import TypeVar

logger = logging.getLogger(__name__)
Item = TypeVar("Item")


def each(work: Callable[[Item], int | None], items: Iterable[Item]) -> int:
    """The sum of what ``work`` returned. Where it fails, the log says over what, and the next pass tries again."""
    done = 0
    for item in items:
        try:
            done += work(item) or 0
        except Exception:
            logger.exception("AWS Marketplace: the work on %s failed", item)
    return done

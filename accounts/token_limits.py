"""How often somebody may be wrong about a client id and its secret. Guessing a secret is hopeless; this keeps it from
costing us anything, and a program with an old secret from asking a thousand times a second.

The counts are in the cache. Where it is away, nobody is held up.
"""

from __future__ import annotations

import hashlib
import logging

from django.core.cache import cache
from redis.exceptions import RedisError

logger = logging.getLogger(__name__)

SECONDS = 60
FAILURES = 10
"""In that time, of one client id from one address. From another address, the right program gets in meanwhile."""

FAILURES_OF_ADDRESS = 100
"""In that time, of all client ids from one address."""


def exceeded(client_id: str, address: str | None) -> bool:
    """Whether it was too often."""
    limits = _limits(client_id, address)
    try:
        counts = cache.get_many(limits)
    except RedisError as error:
        logger.warning("Failures of API tokens are not counted: %s", error)
        return False
    return any(counts.get(key, 0) >= limit for key, limit in limits.items())


def count_failure(client_id: str, address: str | None) -> None:
    """One more."""
    try:
        for key in _limits(client_id, address):
            if not cache.add(key, 1, SECONDS):
                cache.incr(key)
    except (RedisError, ValueError) as error:  # ValueError: the time was up between the two
        logger.warning("A failure of an API token was not counted: %s", error)


def _limits(client_id: str, address: str | None) -> dict[str, int]:
    """Keys of counts, and what each may reach. What was sent as a client id may be anything of any length."""
    digest = hashlib.sha256(client_id.encode(errors="replace")).hexdigest()
    return {f"token-failures:{address}:{digest}": FAILURES, f"token-failures:{address}": FAILURES_OF_ADDRESS}

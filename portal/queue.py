"""The queue is a nudge: a lost job costs seconds, because the scheduler's sweep finds every row that is due."""

from __future__ import annotations

import functools
import logging
from typing import Any

import django_rq
from django.db import transaction
from redis import Redis
from redis.exceptions import RedisError

logger = logging.getLogger(__name__)

NUDGE_SECONDS = 30
"""How long a nudge is worth anything. Without an end, they would pile up while workers are away."""


def enqueue(name: str, pk: object) -> None:
    """Ask a worker to reconcile one row, once the surrounding transaction has committed."""
    transaction.on_commit(lambda: send(name, pk))


def send(name: str, pk: object) -> None:
    """Ask a worker now. A queue that cannot be reached is logged and left to the sweep."""
    try:
        rq_queue().enqueue("portal.tasks.reconcile", name, str(pk), ttl=NUDGE_SECONDS, result_ttl=0, failure_ttl=3600)
    except RedisError as error:
        logger.warning("The queue did not take %s %s; the sweep will: %s", name, pk, error)


def call(function: str, *arguments: int | str) -> None:
    """Ask a worker to call a function of ``portal.tasks``; what is lost here, the caller's own sweep asks again."""
    try:
        rq_queue().enqueue(function, *arguments, ttl=NUDGE_SECONDS, result_ttl=0, failure_ttl=3600)
    except RedisError as error:
        logger.warning("The queue did not take %s %s; the sweep will: %s", function, arguments, error)


@functools.cache
def connection() -> Redis:
    """The process's pool of connections; safe in all its threads. A new one for each message costs milliseconds."""
    connected: Redis = django_rq.get_connection("default")
    return connected


@functools.cache
def rq_queue() -> Any:
    """The queue, on that pool."""
    return django_rq.get_queue("default", connection=connection())

"""``manage.py worker``: run queued reconciliations until stopped."""

from __future__ import annotations

import time
from typing import Any

import django_rq
from django.core.management.base import BaseCommand
from redis.exceptions import RedisError
from rq import SimpleWorker


class Worker(SimpleWorker):
    """Does not fork per job: a job is a few milliseconds of our own code, and whatever dies in the middle is found
    again by its lease."""

    stopping = False

    def request_stop(self, signum: Any, frame: Any) -> None:
        """Remember the wish first: RQ tells the queue about it, which may be what is away."""
        Worker.stopping = True
        super().request_stop(signum, frame)  # type: ignore[no-untyped-call]


class Command(BaseCommand):
    """Run one worker in the foreground."""

    help = "Run queued reconciliations until stopped."
    requires_system_checks = ()  # these load every page and form; `make check` runs them

    def handle(self, *args: Any, **options: Any) -> None:
        """Work until a signal comes; a queue that is away is waited for."""
        while not Worker.stopping:
            try:
                queue = django_rq.get_queue("default")
                worker = Worker([queue], connection=queue.connection, serializer=queue.serializer)
                worker.work(with_scheduler=False, logging_level="WARNING")
                return
            except RedisError as error:
                self.stderr.write(f"The queue is away, trying again: {error}")
                time.sleep(1)

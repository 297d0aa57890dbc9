"""``manage.py scheduler``: sweep due rows and run periodic work until stopped."""

from __future__ import annotations

import signal
import threading
from typing import Any

from django.core.management.base import BaseCommand

from portal import scheduler


class Command(BaseCommand):
    """Run the scheduler in the foreground; SIGTERM and SIGINT end it."""

    help = "Sweep due rows and run periodic work until stopped."
    requires_system_checks = ()  # these load every page and form; `make check` runs them

    def handle(self, *args: Any, **options: Any) -> None:
        """Run until a signal comes."""
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        scheduler.run(stop)

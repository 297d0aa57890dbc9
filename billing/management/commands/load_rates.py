"""``manage.py load_rates FILE.csv``: the prices of instances, from a file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from accounts import audit
from billing import rates
from portal.errors import UserError


class Command(BaseCommand):
    """All prices of the file, or none."""

    help = f"Load rates from a CSV file with the columns {', '.join(rates.COLUMNS)}. Loading it again changes nothing."
    requires_system_checks = ()  # these load every page and form; `make check` runs them

    def add_arguments(self, parser: CommandParser) -> None:
        """The file."""
        parser.add_argument("file", help="its name, or - for standard input")
        parser.add_argument("--dry-run", action="store_true", help="say what would happen, and change nothing")

    def handle(self, *args: Any, **options: Any) -> None:
        """Load, or say which lines are wrong."""
        try:
            text = sys.stdin.read() if options["file"] == "-" else Path(options["file"]).read_text("utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise CommandError(f"{options['file']} cannot be read: {error}") from None
        try:
            with transaction.atomic():
                loaded = rates.load(text.splitlines(), actor=audit.system("manage.py load_rates"))
                transaction.set_rollback(options["dry_run"])
        except UserError as error:
            raise CommandError(f"{error.message}\n{error.hint}") from None
        would = "would change" if options["dry_run"] else "changed"
        self.stdout.write(f"{loaded.changed} prices {would}, {loaded.same} are known already.")

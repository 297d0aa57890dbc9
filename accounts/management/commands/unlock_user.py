"""``manage.py unlock_user EMAIL``: for the operator who is locked out of the admin pages, too."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from accounts import audit, services_lockout
from accounts.models import User
from portal.errors import UserError


class Command(BaseCommand):
    """Unlock one person."""

    help = "Unlock a person who is locked out because nobody signed in for long."
    requires_system_checks = ()  # these load every page and form; `make check` runs them

    def add_arguments(self, parser: CommandParser) -> None:
        """The person."""
        parser.add_argument("email")

    def handle(self, *args: Any, **options: Any) -> None:
        """Unlock, or say why not."""
        user = User.objects.filter(email=options["email"].strip().lower()).first()
        if user is None:
            raise CommandError(f"Nobody has the e-mail address {options['email']}.")
        try:
            services_lockout.unlock_user(actor=audit.system("manage.py unlock_user"), user=user, organization=None)
        except UserError as error:
            raise CommandError(error.message) from None
        self.stdout.write(f"{user.email} can sign in again.")

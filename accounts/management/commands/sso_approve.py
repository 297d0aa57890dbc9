"""``manage.py sso_approve DOMAIN``: what the operator's pages offer as "Approve domain", from the command line."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser

from accounts import audit, services_sso, sso
from accounts.models import SsoDomain
from portal.errors import UserError


class Command(BaseCommand):
    """Approve one domain."""

    help = "Let an organization's provider speak for a domain of e-mail addresses that it asked for."
    requires_system_checks = ()  # these load every page and form; `make check` runs them

    def add_arguments(self, parser: CommandParser) -> None:
        """The domain, and whose where several asked."""
        parser.add_argument("domain")
        parser.add_argument("--organization", help="the id of the organization, where several asked for the domain")

    def handle(self, *args: Any, **options: Any) -> None:
        """Approve, or say why not."""
        try:
            domain = sso.clean_domain(options["domain"])
        except ValidationError as error:
            raise CommandError(error.messages[0]) from None
        asked = SsoDomain.objects.filter(domain=domain).select_related("connection__organization")
        if options["organization"]:
            asked = asked.filter(connection__organization=options["organization"])
        match list(asked):
            case []:
                raise CommandError(f"No organization asked for {domain}.")
            case [one]:
                self._approve(one)
            case several:
                names = ", ".join(
                    f"{each.connection.organization} ({each.connection.organization_id})" for each in several
                )
                raise CommandError(f"Several asked for {domain}: {names}. Name one with --organization ID.")

    def _approve(self, domain: SsoDomain) -> None:
        try:
            services_sso.approve_domain(actor=audit.system("manage.py sso_approve"), domain=domain)
        except UserError as error:
            raise CommandError(f"{error.message} {error.hint}") from None
        self.stdout.write(f"{domain.connection.organization} speaks for {domain.domain}.")

"""``manage.py find_orphans CONFIGURATION``: search a cloud account for what has no record, list it, remove it."""

from __future__ import annotations

from decimal import Decimal
from typing import Any
from uuid import UUID

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser

from accounts import audit
from portal import reconcile
from portal.errors import UserError
from workspaces import services_orphans
from workspaces.models import CloudConfiguration, LostThing, OrphanSearch


class Command(BaseCommand):
    """Search, list, and with ``--remove`` remove."""

    help = "Search the account of a cloud configuration for things without a record, list them with what they cost."

    def add_arguments(self, parser: CommandParser) -> None:
        """The configuration, and what to remove."""
        parser.add_argument("configuration", help="the id of the cloud configuration, as in the address of its page")
        parser.add_argument(
            "--remove",
            action="append",
            default=[],
            metavar="ID",
            help="remove the thing with this id of the provider's; can be given several times",
        )
        parser.add_argument("--yes", action="store_true", help="do not ask before removing")

    def handle(self, *args: Any, **options: Any) -> None:
        """The workers of the portal go on with the removal; this looks only once."""
        configuration = _configuration(options["configuration"])
        actor = audit.system("manage.py find_orphans")
        try:
            search = services_orphans.search_orphans(actor=actor, configuration=configuration)
        except UserError as error:
            raise CommandError(f"{error.message} {error.hint}") from error
        reconcile.run("orphan-search", str(search.pk))
        search = OrphanSearch.objects.get(pk=search.pk)
        if not search.settled or search.failure_code:
            said = search.failure_message or search.progress_message or "Somebody else searches at this moment."
            raise CommandError(f"{said} {search.failure_hint}".strip())
        things = list(LostThing.objects.in_configuration(configuration))
        self._list(things)
        if options["remove"]:
            self._remove(configuration, things, options["remove"], sure=options["yes"])

    def _list(self, things: list[LostThing]) -> None:
        for thing in things:
            price = "?" if thing.daily is None else f"{thing.daily:.2f}"
            about = thing.deployment_name or thing.deployment
            line = f"{price:>8}  {thing.status:<9} {thing.region:<10} {thing.kind:<22} {thing.provider_id}  ({about})"
            self.stdout.write(line)
        total = sum((thing.daily for thing in things if thing.daily), Decimal(0))
        self.stdout.write(f"{len(things)} things without a record, {total:.2f} US dollars a day where it is known.")

    def _remove(
        self, configuration: CloudConfiguration, things: list[LostThing], wanted: list[str], *, sure: bool
    ) -> None:
        chosen = [thing for thing in things if thing.provider_id in wanted]
        unknown = sorted(set(wanted) - {thing.provider_id for thing in chosen})
        if unknown:
            raise CommandError(f"Not among them: {', '.join(unknown)}. Nothing was removed.")
        if not sure:
            answer = input(f"Remove {', '.join(map(str, chosen))} for good? Type the first id to go on: ")
            if answer.strip() != chosen[0].provider_id:
                raise CommandError("Nothing was removed.")
        actor = audit.system("manage.py find_orphans")
        count = services_orphans.remove_orphans(
            actor=actor, configuration=configuration, things=[thing.pk for thing in chosen]
        )
        for thing in chosen:
            reconcile.run("lost-thing", str(thing.pk))
            thing.refresh_from_db()
            said = thing.failure_message or thing.progress_message
            self.stdout.write(f"{thing.status:<9} {thing.provider_id} {said}".rstrip())
        self.stdout.write(f"{count} removed or being removed; the portal goes on until they are gone.")


def _configuration(text: str) -> CloudConfiguration:
    try:
        return CloudConfiguration.objects.get(pk=UUID(text), deleted_at=None)
    except (CloudConfiguration.DoesNotExist, ValidationError, ValueError) as error:
        raise CommandError(f"There is no cloud configuration {text}.") from error

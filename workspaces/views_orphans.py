"""The page of what stands in a cloud account without a record."""

from __future__ import annotations

import uuid
from decimal import Decimal
from itertools import groupby
from uuid import UUID

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, render

from accounts.access import OrganizationRequest, organization_view
from accounts.audit import actor_of
from accounts.models import Organization
from accounts.permissions import Perm
from portal.forms import done
from workspaces import services_orphans
from workspaces.models import LostStatus, LostThing, OrphanSearch
from workspaces.views_configurations import find_configuration


@organization_view(Perm.CLOUD_MANAGE)
def orphans(request: OrganizationRequest, organization: Organization, configuration: UUID) -> HttpResponse:
    """What the last search found, by deployment, with what it costs."""
    row = find_configuration(organization, configuration)
    search = OrphanSearch.objects.filter(configuration=row).first()
    things = list(LostThing.objects.in_configuration(row))
    groups = []
    for deployment, members in groupby(things, lambda thing: thing.deployment):
        listed = list(members)
        here = [thing for thing in listed if thing.status == LostStatus.FOUND]
        cost = sum((thing.daily for thing in here if thing.daily), Decimal(0))
        groups.append({"deployment": deployment, "things": listed, "found": here, "daily": cost})
    groups.sort(key=lambda group: -Decimal(str(group["daily"])))
    context = {
        "nav": "configurations",
        "configuration": row,
        "search": search,
        "groups": groups,
        "found": sum(thing.status == LostStatus.FOUND for thing in things),
        "daily": sum((Decimal(str(group["daily"])) for group in groups), Decimal(0)),
        "unpriced": sum(thing.daily is None and thing.status == LostStatus.FOUND for thing in things),
        "searching": search is not None and not search.settled,
        "removing": any(thing.status == LostStatus.REMOVING for thing in things),
    }
    return render(request, "workspaces/orphans.html", context)


@organization_view(Perm.CLOUD_MANAGE, ("POST",))
def orphans_search(request: OrganizationRequest, organization: Organization, configuration: UUID) -> HttpResponse:
    """Search the account."""
    row = find_configuration(organization, configuration)
    services_orphans.search_orphans(actor=actor_of(request), configuration=row)
    return done(request, "workspaces:orphans", organization.pk, row.pk)


@organization_view(Perm.CLOUD_MANAGE, ("POST",))
def orphans_remove(request: OrganizationRequest, organization: Organization, configuration: UUID) -> HttpResponse:
    """Remove one or several things that were found."""
    row = find_configuration(organization, configuration)
    chosen = [id for text in request.POST.getlist("thing") if (id := _uuid(text))]
    count = services_orphans.remove_orphans(actor=actor_of(request), configuration=row, things=chosen)
    messages.success(request, "It is being removed." if count == 1 else f"{count} things are being removed.")
    return done(request, "workspaces:orphans", organization.pk, row.pk)


@organization_view(Perm.CLOUD_MANAGE, ("POST",))
def orphan_adopt(
    request: OrganizationRequest, organization: Organization, configuration: UUID, thing: UUID
) -> HttpResponse:
    """Give something back to the workspace that lacks it."""
    row = find_configuration(organization, configuration)
    lost = get_object_or_404(LostThing.objects.in_configuration(row).select_related("search__configuration"), pk=thing)
    workspace = services_orphans.adopt_orphan(actor=actor_of(request), configuration=row, thing=lost)
    messages.success(request, f"The workspace {workspace.name} has it in its records now.")
    return done(request, "workspaces:orphans", organization.pk, row.pk)


def _uuid(text: str) -> UUID | None:
    try:
        return uuid.UUID(text)
    except ValueError:
        return None

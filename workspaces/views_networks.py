"""The pages of network configurations."""

from __future__ import annotations

from uuid import UUID

from django.contrib import messages
from django.db.models import Count, Q
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, render

from accounts.access import OrganizationRequest, organization_view
from accounts.audit import actor_of
from accounts.models import Organization
from accounts.permissions import Perm
from portal.clouds.base import Check, CloudError
from portal.errors import UserError
from portal.forms import done, form_response, posted
from workspaces import services_networks
from workspaces.forms_networks import NetworkForm, with_networks
from workspaces.models import NetworkConfiguration, WorkspaceStatus
from workspaces.views import add_error


@organization_view(Perm.CLOUD_MANAGE)
def networks(request: OrganizationRequest, organization: Organization) -> HttpResponse:
    """The networks of an organization's own."""
    rows = NetworkConfiguration.objects.in_organization(organization).select_related("cloud_configuration")
    standing = Count("workspaces", filter=~Q(workspaces__status=WorkspaceStatus.TERMINATED))
    context = {
        "nav": "configurations",
        "networks": rows.annotate(workspace_count=standing),
        "offered": bool(with_networks(organization)),
    }
    return render(request, "workspaces/networks.html", context)


@organization_view(Perm.CLOUD_MANAGE, ("GET", "HEAD", "POST"))
def network_new(request: OrganizationRequest, organization: Organization) -> HttpResponse:
    """VALIDATE shows the named checks; CREATE keeps the network."""
    form = NetworkForm(posted(request), organization=organization)
    checks: list[Check] | None = None
    if request.method == "POST" and form.is_valid():
        values, network = form.cleaned_data, form.network()
        where = {"configuration": values["cloud_configuration"], "region": values["region"], "network": network}
        try:
            if request.POST.get("action") == "create":
                services_networks.create_network(actor=actor_of(request), name=values["name"], **where)
                messages.success(request, f"Workspaces can be created in the network {values['name']}.")
                return done(request, "workspaces:networks", organization.pk)
            checks = services_networks.validate_network(**where)
        except services_networks.ChecksFailedError as error:
            checks = error.checks
            add_error(form, error, {})
        except UserError as error:
            add_error(form, error, {"NameTaken": "name", "ConfigurationGone": "cloud_configuration"})
        except CloudError as error:
            form.add_error(None, f"{error.message} {error.hint}")
    return form_response(request, "workspaces/network_new.html", form, nav="configurations", checks=checks)


@organization_view(Perm.CLOUD_MANAGE, ("POST",))
def network_delete(request: OrganizationRequest, organization: Organization, network: UUID) -> HttpResponse:
    """Forget a network in which no workspace is."""
    row = get_object_or_404(NetworkConfiguration.objects.in_organization(organization), pk=network)
    services_networks.delete_network(actor=actor_of(request), network=row)
    messages.success(request, f"The network {row.name} is deleted here. In the cloud it stays as it is.")
    return done(request, "workspaces:networks", organization.pk)

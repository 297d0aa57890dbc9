"""The pages of cloud configurations."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.db.models import Count, Q
from django.forms import Form
from django.http import Http404, HttpResponse, QueryDict
from django.shortcuts import get_object_or_404, redirect, render

from accounts.access import OrganizationRequest, organization_view
from accounts.audit import actor_of
from accounts.models import Organization
from accounts.permissions import Perm
from portal.clouds.aws.session import Keys
from portal.clouds.base import Check, CloudError
from portal.errors import UserError
from portal.forms import done, form_page, form_response, posted
from portal.models import DeploymentEvent
from workspaces import configurations as facts
from workspaces import hooks, services_configurations
from workspaces.clouds import cloud_of, offered_clouds
from workspaces.forms_configurations import (
    AwsConfigurationForm,
    ByHandForm,
    KeysForm,
    LocalConfigurationForm,
    StackForm,
)
from workspaces.models import CloudConfiguration, ConfigurationStatus, Provider, Way, Workspace, WorkspaceStatus
from workspaces.views import add_error

FORMS: dict[str, type[Form]] = {Way.KEYS: KeysForm, Way.MANUAL: ByHandForm, Way.STACK: StackForm}


@organization_view(Perm.ORG_VIEW)
def configurations(request: OrganizationRequest, organization: Organization) -> HttpResponse:
    """The connected clouds."""
    rows = CloudConfiguration.objects.in_organization(organization).annotate(
        workspace_count=Count("workspaces", filter=~Q(workspaces__status=WorkspaceStatus.TERMINATED))
    )
    context = {"nav": "configurations", "configurations": rows, "more_pages": hooks.configuration_pages}
    return render(request, "workspaces/configurations.html", context)


@organization_view(Perm.CLOUD_MANAGE, ("GET", "HEAD", "POST"))
def configuration_new(request: OrganizationRequest, organization: Organization) -> HttpResponse:
    """Choose a cloud where there are several; the form of LOCAL. VALIDATE shows its checks, CREATE makes it."""
    offered = offered_clouds()
    chosen = request.GET.get("cloud", offered[0] if len(offered) == 1 else "")
    if request.method != "POST" and len(offered) > 1 and chosen != Provider.LOCAL:
        template = "workspaces/configuration_choose.html" + ("#drawer" if getattr(request, "htmx", False) else "")
        return render(request, template, {"nav": "configurations"})
    if request.method != "POST" and chosen == Provider.AWS:
        return redirect("workspaces:configuration_new_aws", organization.pk)
    form = LocalConfigurationForm(posted(request), initial={"name": "This machine"})
    checks: list[Check] | None = None
    if request.method == "POST" and form.is_valid():
        values = form.cleaned_data
        try:
            checks = services_configurations.validate_local(directory=values["directory"])
            if request.POST.get("action") == "create":
                services_configurations.create_local_configuration(
                    actor=actor_of(request),
                    organization=organization,
                    name=values["name"],
                    directory=values["directory"],
                )
                messages.success(request, f"The cloud configuration {values['name']} is ready to use.")
                return done(request, "workspaces:configurations", organization.pk)
        except UserError as error:
            add_error(form, error, {"NameTaken": "name", "DirectoryNotAllowed": "directory"})
        except CloudError as error:
            form.add_error(None, f"{error.message} {error.hint}")
    return form_response(request, "workspaces/configuration_new.html", form, nav="configurations", checks=checks)


@organization_view(Perm.CLOUD_MANAGE, ("GET", "HEAD", "POST"))
def configuration_new_aws(request: OrganizationRequest, organization: Organization) -> HttpResponse:
    """Begin a configuration on AWS; it is set up on its own page."""
    form = AwsConfigurationForm(posted(request), ways=facts.ways(), initial={"name": "AWS", "region": "us-east-1"})
    if request.method == "POST" and form.is_valid():
        try:
            row = services_configurations.create_aws_configuration(
                actor=actor_of(request), organization=organization, **form.cleaned_data
            )
            return done(request, "workspaces:configuration", organization.pk, row.pk)
        except UserError as error:
            add_error(form, error, {"NameTaken": "name"})
    return form_response(request, "workspaces/configuration_new_aws.html", form, nav="configurations")


@organization_view(Perm.CLOUD_MANAGE, ("GET", "HEAD", "POST"))
def configuration(request: OrganizationRequest, organization: Organization, configuration: UUID) -> HttpResponse:
    """A configuration: how it stands, and what is to be done next. A POST is the form of its way."""
    row = find_configuration(organization, configuration)
    form = _form(row, posted(request))
    if request.method == "POST" and form.is_valid():
        try:
            _go_on(request, row, form)
        except CloudError as error:
            form.add_error(None, f"{error.message} {error.hint}")
        else:
            return done(request, "workspaces:configuration", organization.pk, row.pk)
    changing = request.method == "POST" or request.GET.get("change") == "account"  # a form is not refreshed
    response = form_page(request, "workspaces/configuration.html", form, changing=changing, **_context(row))
    response.headers["Cache-Control"] = "no-store"
    return response


@organization_view(Perm.CLOUD_MANAGE, ("POST",))
def configuration_check(request: OrganizationRequest, organization: Organization, configuration: UUID) -> HttpResponse:
    """VALIDATE again."""
    row = find_configuration(organization, configuration)
    checks = services_configurations.validate_configuration(actor=actor_of(request), configuration=row)
    _say(request, checks)
    return done(request, "workspaces:configuration", organization.pk, row.pk)


@organization_view(Perm.CLOUD_MANAGE)
def configuration_policy(request: OrganizationRequest, organization: Organization, configuration: UUID) -> HttpResponse:
    """A policy, filled with what is known or what is being typed: to look at, or as a file."""
    row = find_configuration(organization, configuration)
    known = {name: request.GET.get(name, value) for name, value in facts.known_of(row).items()}
    wanted = request.GET.get("kind", "role")
    policy = next((each for each in facts.policies(row, known) if each.kind == wanted), None)
    if policy is None:
        raise Http404
    if getattr(request, "htmx", False):
        return render(request, "workspaces/_configuration_policy.html", {"configuration": row, "policy": policy})
    response = HttpResponse(policy.text + "\n", content_type="application/json")
    response.headers["Content-Disposition"] = f'attachment; filename="{policy.file}"'
    return response


@organization_view(Perm.CLOUD_MANAGE, ("POST",))
def configuration_delete(request: OrganizationRequest, organization: Organization, configuration: UUID) -> HttpResponse:
    """Forget a configuration that nothing stands on."""
    row = find_configuration(organization, configuration)
    services_configurations.delete_configuration(actor=actor_of(request), configuration=row)
    messages.success(request, f"The cloud configuration {row.name} is deleted.")
    return done(request, "workspaces:configurations", organization.pk)


def find_configuration(organization: Organization, configuration: UUID) -> CloudConfiguration:
    """One of the organization's; 404 otherwise."""
    row = get_object_or_404(CloudConfiguration.objects.in_organization(organization), pk=configuration)
    row.organization = organization  # nobody has to fetch it again
    return row


def _form(row: CloudConfiguration, data: QueryDict | None) -> Form:
    """The form of its way; one without fields where there is nothing to enter."""
    return FORMS.get(row.way, Form)(data, initial={**facts.known_of(row), "account": row.account})


def _go_on(request: OrganizationRequest, row: CloudConfiguration, form: Form) -> None:
    """The next step of a set-up."""
    by, values = actor_of(request), form.cleaned_data
    if row.way == Way.KEYS:
        keys = Keys(values["access_key_id"], values["secret_access_key"], values["session_token"] or None)
        services_configurations.connect_with_keys(actor=by, configuration=row, keys=keys)
    elif row.way == Way.STACK:
        services_configurations.connect_by_stack(actor=by, configuration=row, account=values["account"])
    elif request.POST.get("action") == "create":
        checks = services_configurations.connect_by_hand(actor=by, configuration=row, values=values)
        _say(request, checks, created=f"The cloud configuration {row} is ready to use.")
    else:
        _say(request, services_configurations.validate_by_hand(actor=by, configuration=row, values=values))


def _say(request: OrganizationRequest, checks: list[Check], created: str = "") -> None:
    failed = sum(not check.passed for check in checks)
    if failed:
        messages.error(request, f"{failed} of {len(checks)} checks failed. Each says below what to do.")
    else:
        messages.success(request, created or f"All {len(checks)} checks passed.")


def _context(row: CloudConfiguration) -> dict[str, Any]:
    context: dict[str, Any] = {
        "nav": "configurations",
        "configuration": row,
        "events": DeploymentEvent.objects.of(row.pk)[:50],
        "failed_checks": sum(not check["passed"] for check in row.checks),
        "stays": facts.what_stays(row),
        "more_pages": [page for page in hooks.configuration_pages if row.provider in page[2]],
    }
    if row.status == ConfigurationStatus.READY:
        context["networks_offered"] = cloud_of(row).features.networks
        context["workspaces"] = Workspace.objects.in_organization(row.organization).filter(cloud_configuration=row)
    if row.provider == Provider.AWS:
        context["policies"] = facts.policies(row, facts.known_of(row))
        if row.status != ConfigurationStatus.READY:
            platform = facts.platform()
            context |= {"platform": platform, "stack_link": facts.stack_link(row, platform.account)}
            if row.way == Way.MANUAL:
                context["trust_policy"] = facts.trust_policy(platform.account, row.external_id or "")
    return context

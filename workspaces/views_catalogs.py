"""Pages of catalogs."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, render

from accounts.audit import actor_of
from accounts.impersonation import not_while_impersonating
from accounts.permissions import Perm
from portal.clouds.base import Check, CloudError
from portal.crypto import unseal
from portal.errors import UserError
from portal.forms import done, form_response, posted
from workspaces import hooks
from workspaces import services_catalogs as services
from workspaces.access import WorkspaceRequest, workspace_view
from workspaces.connections import checks_of
from workspaces.forms_catalogs import FORMS, CatalogForm
from workspaces.models import Catalog, CatalogKind, Workspace
from workspaces.tables import Tables, tables_below
from workspaces.views import add_error
from workspaces.views_files import files_of

FIELDS = {"NameTaken": "name", "SecretNeeded": "password"}


def find(workspace: Workspace, catalog: UUID) -> Catalog:
    """A catalog of this workspace; 404 for any other."""
    rows = Catalog.objects.in_workspace(workspace).select_related("workspace", "changed_by")
    return get_object_or_404(rows, pk=catalog)


@workspace_view(Perm.WS_VIEW)
def catalogs(request: WorkspaceRequest, workspace: Workspace) -> HttpResponse:
    """The catalogs of a workspace."""
    context = {
        "nav": "catalogs",
        "catalogs": Catalog.objects.in_workspace(workspace).defer("sealed"),
        "can_manage": Perm.WS_MANAGE in request.permissions,
    }
    return render(request, "workspaces/catalogs.html", context)


@workspace_view(Perm.WS_VIEW)
def catalog(request: WorkspaceRequest, workspace: Workspace, catalog: UUID) -> HttpResponse:
    """One catalog: its settings, the last test, its tables where they are files of the workspace, and what uses it."""
    row = find(workspace, catalog)
    tables, error = Tables(), None
    if row.kind == CatalogKind.FILESYSTEM:
        try:
            tables = tables_below(files_of(workspace), row.settings["directory"])
        except CloudError as raised:
            error = raised
    context = {
        "nav": "catalogs",
        "catalog": row,
        "has_secret": bool(row.sealed),
        "tables": tables,
        "error": error,
        "used_by": [name for ask in hooks.uses for name in ask(row)],
        "can_manage": Perm.WS_MANAGE in request.permissions,
    }
    return render(request, "workspaces/catalog.html", context)


@not_while_impersonating
@workspace_view(Perm.WS_MANAGE, ("GET", "HEAD", "POST"))
def catalog_new(request: WorkspaceRequest, workspace: Workspace) -> HttpResponse:
    """Choose a kind; then fill in its form, try the connection, and save."""
    form_class = FORMS.get((request.POST if request.method == "POST" else request.GET).get("kind", ""))
    if form_class is None:
        return _choose_kind(request)
    form = form_class(posted(request))
    checks: list[Check] | None = None
    if request.method == "POST" and form.is_valid():
        values = form.cleaned_data
        try:
            if request.POST.get("action") == "test":
                checks = checks_of(workspace, form.kind, form.settings, form.secret or {})
            else:
                row = services.create_catalog(
                    actor=actor_of(request),
                    workspace=workspace,
                    name=values["name"],
                    kind=form.kind,
                    settings=form.settings,
                    secret=form.secret or {},
                    description=values["description"],
                )
                messages.success(request, f"The catalog {row.name} is saved.")
                return done(request, "workspaces:catalog", workspace.pk, row.pk)
        except UserError as error:
            add_error(form, error, FIELDS)
    return _form(request, form, checks)


@not_while_impersonating
@workspace_view(Perm.WS_MANAGE, ("GET", "HEAD", "POST"))
def catalog_edit(request: WorkspaceRequest, workspace: Workspace, catalog: UUID) -> HttpResponse:
    """Change a catalog. Its kind stays."""
    row = find(workspace, catalog)
    form = FORMS[row.kind](posted(request), catalog=row)
    checks: list[Check] | None = None
    if request.method == "POST" and form.is_valid():
        values = form.cleaned_data
        try:
            if request.POST.get("action") == "test":
                secret = unseal(row.sealed) if form.secret is None else form.secret
                checks = checks_of(workspace, row.kind, form.settings, secret)
            else:
                services.update_catalog(
                    actor=actor_of(request),
                    catalog=row,
                    name=values["name"],
                    settings=form.settings,
                    secret=form.secret,
                    description=values["description"],
                )
                messages.success(request, "Saved.")
                return done(request, "workspaces:catalog", workspace.pk, row.pk)
        except UserError as error:
            add_error(form, error, FIELDS)
    return _form(request, form, checks, catalog=row)


@not_while_impersonating
@workspace_view(Perm.WS_MANAGE, ("POST",))
def catalog_test(request: WorkspaceRequest, workspace: Workspace, catalog: UUID) -> HttpResponse:
    """Try the connection as it is saved; its page shows what was found."""
    row = find(workspace, catalog)
    checks = checks_of(workspace, row.kind, row.settings, unseal(row.sealed))
    services.record_test(actor=actor_of(request), catalog=row, checks=checks)
    return done(request, "workspaces:catalog", workspace.pk, row.pk)


@workspace_view(Perm.WS_MANAGE, ("POST",))
def catalog_delete(request: WorkspaceRequest, workspace: Workspace, catalog: UUID) -> HttpResponse:
    """Forget a catalog."""
    row = find(workspace, catalog)
    services.delete_catalog(actor=actor_of(request), catalog=row)
    messages.success(request, f"The catalog {row.name} is deleted. What it led to is as it was.")
    return done(request, "workspaces:catalogs", workspace.pk)


def _choose_kind(request: WorkspaceRequest) -> HttpResponse:
    template = "workspaces/catalog_kind.html" + ("#drawer" if getattr(request, "htmx", False) else "")
    context: dict[str, Any] = {"nav": "catalogs", "kinds": CatalogKind.choices}
    return render(request, template, context, status=422 if request.method == "POST" else 200)


def _form(request: WorkspaceRequest, form: CatalogForm, checks: list[Check] | None, **context: Any) -> HttpResponse:
    return form_response(request, "workspaces/catalog_form.html", form, nav="catalogs", checks=checks, **context)

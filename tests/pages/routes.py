"""Every address of ours, who may use it (by hand, from the product's matrix), and a good form for it.

A new address that is missing here fails ``test_access``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from django.urls import URLPattern, URLResolver, get_resolver

ALL = frozenset({"owner", "admin", "billing", "member", "ws_admin", "developer", "viewer"})
"""Everybody in Acme: people with a role in a workspace are its members."""
OWNERS = frozenset({"owner"})
MANAGERS = frozenset({"owner", "admin"})
USAGE = frozenset({"owner", "admin", "billing"})
BILLERS = frozenset({"owner", "billing"})
IN_LAB = frozenset({"owner", "admin", "ws_admin", "developer", "viewer"})
EDITORS = frozenset({"owner", "admin", "ws_admin", "developer"})
LAB_ADMINS = frozenset({"owner", "admin", "ws_admin"})


@dataclass(frozen=True)
class Route:
    """``seen_by`` are those for whom the tenant exists, ``allowed`` those who may; ``form`` is a valid POST, if any.

    ``from_elsewhere``: another site posts here, so there is no CSRF token.
    """

    allowed: frozenset[str] = ALL
    seen_by: frozenset[str] = ALL
    get: bool = True
    form: dict[str, Any] | None = None
    public: bool = False
    in_tenant: bool = True
    stream: bool = False
    from_elsewhere: bool = False
    refusals: frozenset[int] = frozenset()
    """For public addresses: answers to those for whom it is not."""
    query: dict[str, str] = field(default_factory=dict)


def _lab(allowed: frozenset[str], **options: Any) -> Route:
    return Route(allowed, IN_LAB, **options)


JOIN = {"first_name": "Ada", "last_name": "Lovelace", "password": "an engine of brass", "accept_terms": "on"}
CLUSTER = {
    "name": "fresh",
    "instance_type": "local.1x",
    "instances": "1",
    "release": "2026.10",
    "auto_pause_minutes": "60",
    "auto_stop_minutes": "0",
    "description": "",
    "tags": "team=a",
}
RUN = {
    "name": "nightly",
    "cluster": "{cluster}",
    "file": "job.py",
    "arguments": "--fast 'two words'",
    "environment": "KEY=value",
    "mode": "spawn",
    "timeout_minutes": "60",
    "auto_resume": "on",
}
TOKEN = {"id": "6a0d1c2e-0000-4000-8000-000000000000", "name": "nightly", "lifetime": "30", "expires_on": ""}

REGISTRATION = {
    "target": "new",
    "organization": "Initech",
    "first_name": "Ada",
    "last_name": "Lovelace",
    "email": "ada@example.org",
    "password1": "an engine of brass",
    "accept_terms": "on",
}
"""For a stranger; somebody who is signed in needs the first two only."""
SECRET = {
    "name": "warehouse",
    "keys-TOTAL_FORMS": "1",
    "keys-INITIAL_FORMS": "0",
    "keys-0-key": "DB_PASSWORD",
    "keys-0-value": "a-password-that-nobody-sees",
}

SCHEDULE = {
    "name": "weekly",
    "template": "{template}",
    "cron": "0 3 * * *",
    "timezone": "Europe/Berlin",
    "max_concurrent": "1",
    "catch_up": "NONE",
    "enabled": "on",
}

BUDGET = {"limit": "100", "warn_percent": "80", "reserve_hours": "8", "pauses": "on"}

CATALOG = {"kind": "FILESYSTEM", "name": "sales", "directory": "folder", "description": "", "action": "save"}

ROUTES: dict[str, Route] = {
    "home": Route(public=True, in_tenant=False),
    "healthz": Route(public=True, in_tenant=False),
    "accounts:terms": Route(public=True, in_tenant=False, form={"accept_terms": "on"}),
    "accounts:send_again": Route(public=True, in_tenant=False, form={"email": "ada@example.org"}),
    "accounts:activate": Route(public=True, in_tenant=False, form={}),
    "accounts:marketplace_register": Route(
        public=True, in_tenant=False, form={"x-amzn-marketplace-token": "{token}"}, from_elsewhere=True
    ),
    "accounts:marketplace_claim": Route(public=True, in_tenant=False),
    "accounts:marketplace_sign_up": Route(public=True, in_tenant=False, form=REGISTRATION),
    "accounts:marketplace_sandbox": Route(public=True, in_tenant=False),
    "accounts:marketplace_sandbox_send": Route(BILLERS, get=False, form={"notification": "subscribe-fail"}),
    "accounts:organization_new": Route(in_tenant=False, form={"name": "Initech"}),
    "accounts:impersonation_stop": Route(get=False, in_tenant=False, form={}),
    "accounts:session_end": Route(in_tenant=False, get=False, form={}),
    "accounts:invitation": Route(public=True, in_tenant=False),
    "accounts:invitation_accept": Route(public=True, in_tenant=False, get=False, form={}, refusals=frozenset({403})),
    "accounts:invitation_decline": Route(public=True, in_tenant=False, get=False, form={}, refusals=frozenset({403})),
    "accounts:invitation_sign_up": Route(public=True, in_tenant=False, get=False, form=JOIN),
    "accounts:sso_start": Route(
        public=True, in_tenant=False, form={"email": "ada@nobody.example"}, refusals=frozenset({422})
    ),
    "accounts:sso_callback": Route(public=True, in_tenant=False, refusals=frozenset({400})),
    "accounts:sso": Route(
        OWNERS, form={"issuer": "https://127.0.0.1:9", "client_id": "portal", "client_secret": "sesame"}
    ),
    "accounts:sso_test": Route(OWNERS, get=False, form={}),
    "accounts:sso_policy": Route(OWNERS, get=False, form={}),
    "accounts:sso_remove": Route(OWNERS, get=False, form={}),
    "accounts:sso_domain_add": Route(OWNERS, get=False, form={"domain": "fresh.example"}),
    "accounts:sso_domain_remove": Route(OWNERS, get=False, form={}),
    "accounts:people": Route(),
    "accounts:invitations": Route(MANAGERS),
    "accounts:invite": Route(MANAGERS, form={"emails": "new@example.com, other@example.com", "role": "ADMIN"}),
    "accounts:invitation_resend": Route(MANAGERS, get=False, form={}),
    "accounts:invitation_revoke": Route(MANAGERS, get=False, form={}),
    "accounts:unlock": Route(MANAGERS, get=False, form={}),
    "accounts:people_roles": Route(),
    "accounts:member": Route(MANAGERS, form={"role": "BILLING"}),
    "accounts:member_remove": Route(MANAGERS, get=False, form={}),
    "accounts:leave": Route(get=False, form={}),
    "accounts:settings": Route(MANAGERS),
    "accounts:second_factor_required": Route(OWNERS, get=False, form={"required": "no"}),
    "accounts:organization_rename": Route(OWNERS, get=False, form={"name": "Initech"}),
    "accounts:organization_delete": Route(OWNERS, form={"name": "{organization_name}"}),
    "accounts:tokens": Route(MANAGERS),
    "accounts:token_new": Route(MANAGERS, form={**TOKEN, "role": "ADMIN"}),
    "accounts:token_revoke": Route(MANAGERS, get=False, form={}),
    "accounts:audit": Route(MANAGERS),
    "accounts:audit_export": Route(MANAGERS, get=False, form={"format": "csv"}),
    "accounts:events": Route(stream=True),
    "workspaces:configurations": Route(),
    "workspaces:configuration_new": Route(MANAGERS, form={"name": "Here", "directory": "", "action": "create"}),
    "workspaces:configuration_new_aws": Route(MANAGERS, form={"name": "There", "region": "us-east-2", "way": "MANUAL"}),
    "workspaces:configuration": Route(MANAGERS, form={"action": "validate"}),
    "workspaces:configuration_check": Route(MANAGERS, get=False, form={}),
    "workspaces:configuration_policy": Route(MANAGERS),
    "workspaces:configuration_delete": Route(MANAGERS, get=False, form={}),
    "workspaces:networks": Route(MANAGERS),
    "workspaces:network_new": Route(MANAGERS, form={"name": "Backbone", "action": "validate"}),
    "workspaces:network_delete": Route(MANAGERS, get=False, form={}),
    "workspaces:orphans": Route(MANAGERS),
    "workspaces:orphans_search": Route(MANAGERS, get=False, form={}),
    "workspaces:orphans_remove": Route(MANAGERS, get=False, form={"thing": "{thing}"}),
    "workspaces:orphan_adopt": Route(MANAGERS, get=False, form={}),
    "workspaces:list": Route(),
    "workspaces:new": Route(
        MANAGERS, form={"name": "Attic", "cloud_configuration": "{configuration}", "region": "local"}
    ),
    "workspaces:enter": _lab(IN_LAB),
    "workspaces:row": _lab(IN_LAB),
    "workspaces:events": _lab(IN_LAB, stream=True),
    "workspaces:settings": _lab(LAB_ADMINS, form={"name": "Laboratory"}),
    "workspaces:tokens": _lab(LAB_ADMINS),
    "workspaces:token_new": _lab(LAB_ADMINS, form={**TOKEN, "role": "BodoDeveloper"}),
    "workspaces:token_revoke": _lab(LAB_ADMINS, get=False, form={}),
    "workspaces:instance_roles": _lab(LAB_ADMINS),
    "workspaces:instance_role_row": _lab(LAB_ADMINS),
    "workspaces:instance_role_new": _lab(LAB_ADMINS, form={"name": "reader", "role": "arn:x", "description": ""}),
    "workspaces:instance_role_retry": _lab(LAB_ADMINS, get=False, form={}),
    "workspaces:instance_role_delete": _lab(LAB_ADMINS, get=False, form={}),
    "workspaces:members": _lab(IN_LAB),
    "workspaces:member_add": _lab(LAB_ADMINS, form={"emails": "new@example.com", "role": "BodoViewer"}),
    "workspaces:member": _lab(LAB_ADMINS, form={"role": "BodoAdmin"}),
    "workspaces:member_remove": _lab(LAB_ADMINS, get=False, form={}),
    "workspaces:leave": _lab(IN_LAB, get=False, form={}),
    "workspaces:invitation_resend": _lab(LAB_ADMINS, get=False, form={}),
    "workspaces:invitation_revoke": _lab(LAB_ADMINS, get=False, form={}),
    "workspaces:delete": _lab(LAB_ADMINS, get=False, form={}),
    "workspaces:files": _lab(IN_LAB),
    "workspaces:files_upload": _lab(EDITORS, get=False, form={"path": ""}),
    "workspaces:files_folder": _lab(EDITORS, get=False, form={"path": "", "name": "more"}),
    "workspaces:files_move": _lab(EDITORS, get=False, form={"path": "job.py", "name": "other.py"}),
    "workspaces:files_delete": _lab(EDITORS, get=False, form={"path": "job.py"}),
    "workspaces:files_download": _lab(IN_LAB, query={"path": "job.py"}),
    "workspaces:files_edit": _lab(EDITORS, query={"path": "job.py"}, form={"text": "print(1)\n", "digest": "0"}),
    "workspaces:catalogs": _lab(IN_LAB),
    "workspaces:catalog": _lab(IN_LAB),
    "workspaces:catalog_new": _lab(LAB_ADMINS, form=CATALOG),
    "workspaces:catalog_edit": _lab(LAB_ADMINS, form=CATALOG),
    "workspaces:catalog_test": _lab(LAB_ADMINS, get=False, form={}),
    "workspaces:catalog_delete": _lab(LAB_ADMINS, get=False, form={}),
    "workspaces:secrets": _lab(IN_LAB),
    "workspaces:secret_group_new": _lab(LAB_ADMINS, form={"name": "production", "description": ""}),
    "workspaces:secret_group_edit": _lab(LAB_ADMINS, form={"name": "production", "description": "x"}),
    "workspaces:secret_group_delete": _lab(LAB_ADMINS, get=False, form={}),
    "workspaces:secret_new": _lab(LAB_ADMINS, form=SECRET),
    "workspaces:secret_edit": _lab(LAB_ADMINS, form=SECRET),
    "workspaces:secret_delete": _lab(LAB_ADMINS, get=False, form={}),
    "clusters:list": _lab(IN_LAB),
    "clusters:new": _lab(EDITORS, form=CLUSTER),
    "clusters:detail": _lab(IN_LAB),
    "clusters:row": _lab(IN_LAB),
    "clusters:live": _lab(IN_LAB),
    "clusters:edit": _lab(
        EDITORS, form={"name": "renamed", "auto_pause_minutes": "5", "auto_stop_minutes": "0", "description": "x"}
    ),
    "clusters:scale": _lab(EDITORS, get=False, form={"instances": "3"}),
    "clusters:action": _lab(EDITORS, get=False, form={}),
    "clusters:snooze": _lab(EDITORS, get=False, form={"minutes": "60"}),
    "clusters:snooze_end": _lab(EDITORS, get=False, form={}),
    "clusters:snooze_link": Route(public=True, in_tenant=False, form={"minutes": "60"}, refusals=frozenset({403})),
    "jobs:list": _lab(IN_LAB),
    "notebooks:mine": _lab(EDITORS),
    "notebooks:live": _lab(EDITORS),
    "notebooks:start": _lab(EDITORS, get=False, form={}),
    "notebooks:restart": _lab(EDITORS, get=False, form={}),
    "notebooks:stop": _lab(EDITORS, get=False, form={}),
    "notebooks:stay": _lab(EDITORS, get=False, form={}),
    "notebooks:open": _lab(EDITORS, get=False, form={}),
    "notebooks:settings": _lab(EDITORS, form={"image": "4.6", "size": "small", "idle_stop_minutes": "30"}),
    "jobs:new": _lab(EDITORS, form=RUN),
    "jobs:detail": _lab(IN_LAB),
    "jobs:row": _lab(IN_LAB),
    "jobs:live": _lab(IN_LAB),
    "jobs:cancel": _lab(EDITORS, get=False, form={}),
    "jobs:log": _lab(IN_LAB),
    "jobs:log_search": _lab(IN_LAB, query={"q": "text"}),
    "jobs:log_download": _lab(IN_LAB),
    "jobs:output": _lab(IN_LAB, query={"path": "result.json"}),
    "jobs:templates": _lab(IN_LAB),
    "jobs:template_new": _lab(EDITORS, form={**RUN, "name": "another"}),
    "jobs:template": _lab(IN_LAB),
    "jobs:template_edit": _lab(EDITORS, form=RUN),
    "jobs:template_run": _lab(EDITORS, get=False, form={}),
    "jobs:template_delete": _lab(EDITORS, get=False, form={}),
    "jobs:schedules": _lab(IN_LAB),
    "jobs:schedule_new": _lab(EDITORS, form=SCHEDULE),
    "jobs:schedule": _lab(IN_LAB),
    "jobs:schedule_edit": _lab(EDITORS, form=SCHEDULE),
    "jobs:schedule_switch": _lab(EDITORS, get=False, form={"enabled": "off"}),
    "jobs:schedule_run": _lab(EDITORS, get=False, form={}),
    "jobs:schedule_delete": _lab(EDITORS, get=False, form={}),
    "billing:dashboard": Route(USAGE),
    "billing:export": Route(USAGE, get=False, form={"first": "2026-11-01", "last": "2026-11-30"}),
    "billing:intervals": Route(USAGE),
    "billing:interval": Route(USAGE),
    "billing:saved": Route(USAGE),
    "billing:budgets": Route(USAGE),
    "billing:budget": Route(USAGE),
    "billing:budget_new": Route(BILLERS, form={**BUDGET, "scope": "organization"}),
    "billing:budget_edit": Route(BILLERS, form=BUDGET),
    "billing:budget_delete": Route(BILLERS, get=False, form={}),
    "billing:budget_lift": Route(OWNERS, form={"kind": "extra", "extra": "5", "reason": "Quarter end"}),
    "billing:budget_end_lift": Route(OWNERS, get=False, form={}),
    "billing:statements": Route(USAGE),
    "billing:statement": Route(USAGE),
    "billing:statement_file": Route(USAGE, get=False, form={"format": "parquet"}),
    "billing:alarms": Route(),
    "billing:alarm_new": Route(
        MANAGERS,
        form={
            "name": "Big bill",
            "topic": "bills",
            "threshold": "8",
            "period_minutes": "5",
            "emails": "a@example.org, b@example.org",
        },
    ),
    "billing:alarm": Route(),
    "billing:alarm_edit": Route(MANAGERS, form={"name": "Other", "threshold": "9", "period_minutes": "15"}),
    "billing:alarm_retry": Route(MANAGERS, get=False, form={}),
    "billing:alarm_delete": Route(MANAGERS, get=False, form={}),
    "billing:alarm_endpoint_add": Route(MANAGERS, get=False, form={"emails": "c@example.org"}),
    "billing:alarm_endpoint_resend": Route(MANAGERS, get=False, form={}),
    "billing:alarm_endpoint_remove": Route(MANAGERS, get=False, form={}),
    "billing:alarm_confirm": Route(public=True, in_tenant=False, form={}),
    "billing:alarm_unsubscribe": Route(public=True, in_tenant=False, form={}),
    "billing:marketplace": Route(USAGE),
}

OUR_NAMESPACES = ("accounts", "workspaces", "clusters", "jobs", "billing", None)
FOREIGN = ("accounts/", "admin/")
"""Where allauth and Django's admin live: ``test_borrowed`` walks those."""


def our_patterns() -> Iterator[tuple[str, URLPattern]]:
    """Each pattern that is ours, by its full name."""
    for entry in get_resolver().url_patterns:
        if isinstance(entry, URLPattern):
            yield entry.name or "", entry
        elif str(entry.pattern) not in FOREIGN:
            yield from _below(entry)


def _below(resolver: URLResolver) -> Iterator[tuple[str, URLPattern]]:
    for entry in resolver.url_patterns:
        assert isinstance(entry, URLPattern), "a new level of addresses: teach this function"
        yield f"{resolver.namespace}:{entry.name}", entry


def arguments(pattern: URLPattern) -> tuple[str, ...]:
    """The names in an address."""
    return tuple(pattern.pattern.converters)


def filled(form: dict[str, Any], ids: dict[str, Any]) -> dict[str, Any]:
    """A form with the ids of this world in it."""
    return {key: value.format(**ids) if value.startswith("{") else value for key, value in form.items()}

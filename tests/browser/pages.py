"""Every page of the portal as the museum has it, by a name; the tests and the screenshots walk the same list."""

from __future__ import annotations

from dataclasses import dataclass

from tests.browser.stage import Stage

STRANGER, NEWCOMER, OWNER = "", "newcomer_session", "session"
BUYER, SUBSCRIBER = "buyer_session", "subscriber_session"
BEFORE_TERMS, UNFINISHED = "before_terms_session", "unfinished_session"
SECURED, UNSECURED = "secured_session", "unsecured_session"


@dataclass(frozen=True)
class PageToSee:
    """``path`` has names of the museum in braces, and ``named`` for the portal under a host name.

    ``ready`` is a selector of what scripts put there.
    """

    path: str
    by: str = OWNER
    ready: str = "main"
    status: int = 200

    def address(self, stage: Stage) -> str:
        return self.path.format(**stage.museum, named=stage.named)

    def session(self, stage: Stage) -> str:
        return str(stage.museum[self.by]) if self.by else ""


COMPLETE = "[data-log-note]:text('Complete.')"
COMPLETE_EMPTY = "[data-log-note]:text('Nothing was written')"
PAGES: dict[str, PageToSee] = {
    "home": PageToSee("/", STRANGER),
    "sign-in": PageToSee("/accounts/login/", STRANGER),
    "sign-in-named": PageToSee("{named}/accounts/login/", STRANGER),
    "sign-up": PageToSee("/accounts/signup/", STRANGER),
    "sso-sign-in": PageToSee("/sso/?email=ada@people.example", STRANGER),
    "sso-failed": PageToSee("/sso/{organization}/callback/?state=unknown", STRANGER, status=400),
    "sso": PageToSee("/o/{organization}/settings/sso/"),
    "sso-empty": PageToSee("/o/{newcomer_organization}/settings/sso/", NEWCOMER),
    "password-reset": PageToSee("/accounts/password/reset/", STRANGER),
    "sign-up-sent": PageToSee("/accounts/confirm-email/", STRANGER),
    "send-again": PageToSee("/activate/", STRANGER),
    "link-broken": PageToSee("/activate/unknown/", STRANGER, status=404),
    "address-link-used": PageToSee("/accounts/confirm-email/unknown/", STRANGER),
    "activate": PageToSee("/activate/{activation_key}/", STRANGER),
    "terms": PageToSee("/terms/", STRANGER),
    "terms-new": PageToSee("/terms/", BEFORE_TERMS),
    "marketplace": PageToSee("/marketplace/register/", STRANGER),
    "marketplace-claimed": PageToSee("/marketplace/claim/unknown/", STRANGER, status=409),
    "marketplace-sandbox": PageToSee("/marketplace/sandbox/", STRANGER),
    "marketplace-sign-up": PageToSee("/marketplace/sign-up/{buyer_registration}/", BUYER),
    "marketplace-subscribe": PageToSee("/marketplace/sign-up/{subscriber_registration}/", SUBSCRIBER),
    "billing-subscribed": PageToSee("/o/{subscribed_organization}/billing/", SUBSCRIBER),
    "organization-unfinished": PageToSee("/organizations/new/", UNFINISHED),
    "not-found": PageToSee("/w/{cluster}/files/", status=404),
    "first-steps": PageToSee("/o/{newcomer_organization}/workspaces/", NEWCOMER),
    "configurations-empty": PageToSee("/o/{newcomer_organization}/configurations/", NEWCOMER),
    "billing-empty": PageToSee("/o/{newcomer_organization}/billing/", NEWCOMER),
    "workspaces": PageToSee("/o/{organization}/workspaces/"),
    "workspace-new": PageToSee("/o/{organization}/workspaces/new/"),
    "configurations": PageToSee("/o/{organization}/configurations/"),
    "configuration-new": PageToSee("/o/{organization}/configurations/new/"),
    "billing": PageToSee("/o/{organization}/billing/"),
    "billing-intervals": PageToSee("/o/{organization}/billing/intervals/"),
    "billing-interval": PageToSee("/o/{organization}/billing/intervals/{interval}/"),
    "statements": PageToSee("/o/{organization}/billing/statements/"),
    "statement": PageToSee("/o/{organization}/billing/statements/{statement_month}/"),
    "statements-empty": PageToSee("/o/{newcomer_organization}/billing/statements/", NEWCOMER),
    "billing-intervals-empty": PageToSee("/o/{newcomer_organization}/billing/intervals/", NEWCOMER),
    "alarms": PageToSee("/o/{organization}/configurations/{configuration}/alarms/"),
    "alarms-empty": PageToSee("/o/{organization}/configurations/{spare_configuration}/alarms/"),
    "alarm": PageToSee("/o/{organization}/configurations/{configuration}/alarms/{alarm}/?range=2w"),
    "alarm-failed": PageToSee("/o/{organization}/configurations/{configuration}/alarms/{failed_alarm}/?range=1d"),
    "alarm-new": PageToSee("/o/{organization}/configurations/{configuration}/alarms/new/"),
    "alarm-confirm": PageToSee("/alarms/confirm/{alarm_confirm_key}/", STRANGER),
    "alarm-unsubscribe": PageToSee("/alarms/unsubscribe/{alarm_unsubscribe_key}/", STRANGER),
    "people": PageToSee("/o/{organization}/people/"),
    "people-none-match": PageToSee("/o/{organization}/people/?q=nobody"),
    "invitations": PageToSee("/o/{organization}/people/invitations/"),
    "invitations-empty": PageToSee("/o/{newcomer_organization}/people/invitations/", NEWCOMER),
    "invite": PageToSee("/o/{organization}/people/invitations/new/"),
    "invited-stranger": PageToSee("/invitations/join-a-workspace/", STRANGER),
    "invited-with-account": PageToSee("/invitations/sign-in-first/", STRANGER),
    "invited-signed-in": PageToSee("/invitations/for-the-owner/"),
    "invited-somebody-else": PageToSee("/invitations/sign-in-first/"),
    "invited-too-late": PageToSee("/invitations/too-late/", STRANGER, status=410),
    "invited-through-sso": PageToSee("/invitations/through-the-door/", STRANGER),
    "invited-either-way": PageToSee("/invitations/by-either-way/", STRANGER),
    "roles": PageToSee("/o/{organization}/people/roles/"),
    "member": PageToSee("/o/{organization}/people/{member}/"),
    "audit": PageToSee("/o/{organization}/audit/"),
    "organization-settings": PageToSee("/o/{organization}/settings/"),
    "organization-delete": PageToSee("/o/{organization}/settings/delete/"),
    "organization-delete-now": PageToSee("/o/{newcomer_organization}/settings/delete/", NEWCOMER),
    "organization-tokens": PageToSee("/o/{organization}/settings/tokens/"),
    "organization-tokens-empty": PageToSee("/o/{newcomer_organization}/settings/tokens/", NEWCOMER),
    "organization-token-new": PageToSee("/o/{organization}/settings/tokens/new/"),
    "organization-new": PageToSee("/organizations/new/"),
    "password": PageToSee("/accounts/password/change/"),
    "security-empty": PageToSee("/accounts/2fa/"),
    "security": PageToSee("/accounts/2fa/", SECURED),
    "second-factor-needed": PageToSee("/o/{strict}/workspaces/", UNSECURED, status=403),
    "second-factor-required": PageToSee("/o/{strict}/settings/", SECURED),
    "app-new": PageToSee("/accounts/2fa/totp/activate/", UNSECURED),
    "app-remove": PageToSee("/accounts/2fa/totp/deactivate/", SECURED),
    "passkeys": PageToSee("/accounts/2fa/webauthn/", SECURED),
    "passkey-new": PageToSee("{named}/accounts/2fa/webauthn/add/", SECURED),
    "passkey-nowhere": PageToSee("/accounts/2fa/webauthn/add/", SECURED),
    "passkey-rename": PageToSee("/accounts/2fa/webauthn/keys/{passkey}/edit/", SECURED),
    "passkey-remove": PageToSee("/accounts/2fa/webauthn/keys/{passkey}/remove/", SECURED),
    "recovery-codes": PageToSee("/accounts/2fa/recovery-codes/", SECURED),
    "recovery-codes-new": PageToSee("/accounts/2fa/recovery-codes/generate/", SECURED),
    "confirm-by-password": PageToSee("/accounts/reauthenticate/", SECURED),
    "confirm-by-code": PageToSee("/accounts/2fa/reauthenticate/", SECURED),
    "confirm-by-passkey": PageToSee("/accounts/2fa/webauthn/reauthenticate/", SECURED),
    "sessions": PageToSee("/accounts/sessions/", SECURED),
    "email": PageToSee("/accounts/email/"),
    "sign-out": PageToSee("/accounts/logout/"),
    "files": PageToSee("/w/{workspace}/files/"),
    "files-empty": PageToSee("/w/{workspace}/files/?path=empty"),
    "files-gone": PageToSee("/w/{workspace}/files/?path=nowhere", status=404),
    "file-edit": PageToSee("/w/{workspace}/files/edit/?path=daily_revenue.py"),
    "clusters": PageToSee("/w/{workspace}/clusters/"),
    "clusters-none-match": PageToSee("/w/{workspace}/clusters/?q=nothing"),
    "clusters-empty": PageToSee("/w/{empty}/clusters/"),
    "clusters-long": PageToSee("/w/{long}/clusters/"),
    "cluster-new": PageToSee("/w/{workspace}/clusters/new/"),
    "cluster": PageToSee("/w/{workspace}/clusters/{cluster}/"),
    "cluster-failed": PageToSee("/w/{workspace}/clusters/{failed_cluster}/"),
    "cluster-deploying": PageToSee("/w/{workspace}/clusters/{deploying_cluster}/"),
    "cluster-long": PageToSee("/w/{long}/clusters/{long_cluster}/"),
    "cluster-edit": PageToSee("/w/{workspace}/clusters/{cluster}/edit/"),
    "jobs": PageToSee("/w/{workspace}/jobs/"),
    "jobs-empty": PageToSee("/w/{empty}/jobs/"),
    "job-new": PageToSee("/w/{workspace}/jobs/new/"),
    "run": PageToSee("/w/{workspace}/jobs/{run}/", ready=COMPLETE),
    "run-wide": PageToSee("/w/{workspace}/jobs/{wide_run}/", ready=COMPLETE),
    "run-running": PageToSee("/w/{workspace}/jobs/{running_run}/", ready="[data-log-note]:text('Live.')"),
    "run-failed": PageToSee("/w/{workspace}/jobs/{failed_run}/", ready="[data-log-note]:text('Nothing was written')"),
    "run-long": PageToSee("/w/{workspace}/jobs/{long_run}/", ready="[data-log-note]:text('Nothing was written')"),
    "job-query": PageToSee("/w/{workspace}/jobs/new/?run={query_run}&step=source"),
    "run-query": PageToSee("/w/{workspace}/jobs/{query_run}/", ready=COMPLETE_EMPTY),
    "run-notebook": PageToSee("/w/{workspace}/jobs/{notebook_run}/", ready=COMPLETE_EMPTY),
    "run-retried": PageToSee("/w/{workspace}/jobs/{retried_run}/", ready=COMPLETE_EMPTY),
    "templates": PageToSee("/w/{workspace}/jobs/templates/"),
    "templates-empty": PageToSee("/w/{empty}/jobs/templates/"),
    "template": PageToSee("/w/{workspace}/jobs/templates/{template}/"),
    "template-new": PageToSee("/w/{workspace}/jobs/templates/new/"),
    "template-source": PageToSee("/w/{workspace}/jobs/templates/{template}/edit/?step=source"),
    "template-options": PageToSee("/w/{workspace}/jobs/templates/{template}/edit/?step=advanced"),
    "template-cluster": PageToSee("/w/{workspace}/jobs/templates/{template}/edit/?step=cluster"),
    "schedules": PageToSee("/w/{workspace}/jobs/schedules/"),
    "schedules-empty": PageToSee("/w/{empty}/jobs/schedules/"),
    "schedule": PageToSee("/w/{workspace}/jobs/schedules/{schedule}/"),
    "schedule-edit": PageToSee("/w/{workspace}/jobs/schedules/{schedule}/edit/"),
    "catalogs": PageToSee("/w/{workspace}/catalogs/"),
    "catalogs-empty": PageToSee("/w/{empty}/catalogs/"),
    "catalogs-long": PageToSee("/w/{long}/catalogs/"),
    "catalog": PageToSee("/w/{workspace}/catalogs/{catalog}/"),
    "catalog-gone": PageToSee("/w/{workspace}/catalogs/{gone_catalog}/"),
    "catalog-failed": PageToSee("/w/{workspace}/catalogs/{snowflake_catalog}/"),
    "catalog-long": PageToSee("/w/{long}/catalogs/{long_catalog}/"),
    "catalog-kind": PageToSee("/w/{workspace}/catalogs/new/"),
    "catalog-new": PageToSee("/w/{workspace}/catalogs/new/?kind=GLUE"),
    "catalog-edit": PageToSee("/w/{workspace}/catalogs/{snowflake_catalog}/edit/"),
    "secrets": PageToSee("/w/{workspace}/secrets/"),
    "secrets-empty": PageToSee("/w/{empty}/secrets/"),
    "secrets-long": PageToSee("/w/{long}/secrets/"),
    "secret-new": PageToSee("/w/{workspace}/secrets/groups/{group}/new/"),
    "secret-edit": PageToSee("/w/{workspace}/secrets/{secret}/edit/"),
    "members": PageToSee("/w/{workspace}/members/"),
    "members-empty": PageToSee("/w/{empty}/members/"),
    "member-add": PageToSee("/w/{workspace}/members/new/"),
    "workspace-member": PageToSee("/w/{workspace}/members/{workspace_member}/"),
    "settings": PageToSee("/w/{workspace}/settings/"),
    "workspace-tokens": PageToSee("/w/{workspace}/settings/tokens/"),
    "workspace-tokens-empty": PageToSee("/w/{empty}/settings/tokens/"),
    "settings-long": PageToSee("/w/{long}/settings/"),
}

DRAWERS: dict[str, tuple[str, str, str]] = {
    "configuration-drawer": ("configurations", "Create configuration", "Validate"),
    "workspace-drawer": ("workspaces", "Create workspace", ""),
    "alarm-drawer": ("alarms", "Create alarm", ""),
    "alarm-edit-drawer": ("alarm", "Edit", ""),
    "invite-drawer": ("people", "Invite people", "Send invitations"),
    "member-add-drawer": ("members", "Add members", "Add members"),
    "workspace-member-drawer": ("members", "Manage Dora Example", ""),
    "member-drawer": ("people", "Manage Bob Example", ""),
    "delete-organization-drawer": ("organization-settings", "Delete organization", ""),
    "token-drawer": ("organization-tokens", "Create token", "Create token"),
    "cluster-drawer": ("clusters", "Create cluster", "Create cluster"),
    "edit-drawer": ("cluster", "Edit", ""),
    "catalog-drawer": ("catalog-failed", "Edit", ""),
    "kind-drawer": ("catalogs", "Create catalog", ""),
    "group-drawer": ("secrets", "Create group", "Create group"),
    "secret-drawer": ("secrets", "Add secret to mail", "Add secret"),
    "job-drawer": ("jobs", "Run job", "Run job"),
}
"""By name: on which page, which link opens it, and which button to press in it, if any."""

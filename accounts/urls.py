"""Addresses of people and organizations."""

from django.urls import path

from accounts import (
    views,
    views_audit,
    views_impersonation,
    views_invitations,
    views_joining,
    views_lockout,
    views_marketplace,
    views_organizations,
    views_people,
    views_security,
    views_signup,
    views_sso,
    views_sso_settings,
    views_tokens,
)

app_name = "accounts"
urlpatterns = [
    path("acting/stop/", views_impersonation.impersonation_stop, name="impersonation_stop"),
    path("terms/", views_signup.terms_page, name="terms"),
    path("activate/", views_signup.send_again, name="send_again"),
    path("activate/<str:activation_key>/", views_signup.activate, name="activate"),
    path("marketplace/register/", views_marketplace.register, name="marketplace_register"),
    path("marketplace/claim/<str:claim_key>/", views_marketplace.claim, name="marketplace_claim"),
    path("marketplace/sign-up/<uuid:registration>/", views_marketplace.sign_up, name="marketplace_sign_up"),
    path("marketplace/sandbox/", views_marketplace.sandbox_page, name="marketplace_sandbox"),
    path("invitations/<str:invitation_key>/", views_joining.invitation, name="invitation"),
    path("invitations/<str:invitation_key>/accept/", views_joining.accept, name="invitation_accept"),
    path("invitations/<str:invitation_key>/decline/", views_joining.decline, name="invitation_decline"),
    path("invitations/<str:invitation_key>/sign-up/", views_joining.sign_up, name="invitation_sign_up"),
    path("organizations/new/", views.organization_new, name="organization_new"),
    path("sessions/<int:session>/end/", views_security.session_end, name="session_end"),
    path("o/<uuid:organization>/people/<int:membership>/unlock/", views_lockout.unlock, name="unlock"),
    path("o/<uuid:organization>/people/", views_people.people, name="people"),
    path("o/<uuid:organization>/people/invitations/", views_invitations.invitations, name="invitations"),
    path("o/<uuid:organization>/people/invitations/new/", views_invitations.invite, name="invite"),
    path(
        "o/<uuid:organization>/people/invitations/<uuid:invitation>/resend/",
        views_invitations.resend,
        name="invitation_resend",
    ),
    path(
        "o/<uuid:organization>/people/invitations/<uuid:invitation>/revoke/",
        views_invitations.revoke,
        name="invitation_revoke",
    ),
    path("o/<uuid:organization>/people/roles/", views_people.roles, name="people_roles"),
    path("o/<uuid:organization>/people/<int:membership>/", views_people.member, name="member"),
    path("o/<uuid:organization>/people/<int:membership>/remove/", views_people.member_remove, name="member_remove"),
    path("o/<uuid:organization>/settings/", views_organizations.settings, name="settings"),
    path("o/<uuid:organization>/settings/name/", views_organizations.rename, name="organization_rename"),
    path(
        "o/<uuid:organization>/settings/second-factor/",
        views_security.second_factor_required,
        name="second_factor_required",
    ),
    path("sso/", views_sso.start, name="sso_start"),
    path("sso/<uuid:tenant>/callback/", views_sso.callback, name="sso_callback"),
    path("o/<uuid:organization>/settings/sso/", views_sso_settings.sso_settings, name="sso"),
    path("o/<uuid:organization>/settings/sso/test/", views_sso_settings.sso_test, name="sso_test"),
    path("o/<uuid:organization>/settings/sso/policy/", views_sso_settings.sso_policy, name="sso_policy"),
    path("o/<uuid:organization>/settings/sso/remove/", views_sso_settings.sso_remove, name="sso_remove"),
    path("o/<uuid:organization>/settings/sso/domains/", views_sso_settings.sso_domain_add, name="sso_domain_add"),
    path(
        "o/<uuid:organization>/settings/sso/domains/<int:domain>/remove/",
        views_sso_settings.sso_domain_remove,
        name="sso_domain_remove",
    ),
    path("o/<uuid:organization>/settings/delete/", views_organizations.delete, name="organization_delete"),
    path("o/<uuid:organization>/leave/", views_people.leave, name="leave"),
    path("o/<uuid:organization>/settings/tokens/", views_tokens.token_list, name="tokens"),
    path("o/<uuid:organization>/settings/tokens/new/", views_tokens.token_new, name="token_new"),
    path(
        "o/<uuid:organization>/settings/tokens/<uuid:api_token>/revoke/", views_tokens.token_revoke, name="token_revoke"
    ),
    path("o/<uuid:organization>/audit/", views_audit.audit_log, name="audit"),
    path("o/<uuid:organization>/audit/export/", views_audit.audit_export_file, name="audit_export"),
    path("o/<uuid:organization>/events/", views.organization_events, name="events"),
]

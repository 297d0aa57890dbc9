"""The operator's pages about people: each module beside this one (``admin_*``) has a subject."""

from __future__ import annotations

from accounts import (
    admin_audit,
    admin_mail,
    admin_marketplace,
    admin_organizations,
    admin_sign_in,
    admin_sign_up,
    admin_sso,
    admin_tokens,
    admin_users,
)

__all__ = [
    "admin_audit",
    "admin_mail",
    "admin_marketplace",
    "admin_organizations",
    "admin_sign_in",
    "admin_sign_up",
    "admin_sso",
    "admin_tokens",
    "admin_users",
]

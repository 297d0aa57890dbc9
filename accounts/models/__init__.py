"""The tables of the accounts app, a module for each subject."""

from accounts.models.audit import AuditEvent, AuditEventQuerySet
from accounts.models.impersonation import Impersonation, ImpersonationQuerySet
from accounts.models.people import (
    Membership,
    MembershipQuerySet,
    Organization,
    OrganizationQuerySet,
    User,
    UserManager,
    UserQuerySet,
)

__all__ = [
    "AuditEvent",
    "AuditEventQuerySet",
    "Impersonation",
    "ImpersonationQuerySet",
    "Membership",
    "MembershipQuerySet",
    "Organization",
    "OrganizationQuerySet",
    "User",
    "UserManager",
    "UserQuerySet",
]

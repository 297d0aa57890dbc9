"""People: who they are, where they belong, how they sign in, and what staff can do for them."""

from __future__ import annotations

from typing import Any

from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.usersessions.models import UserSession
from django.contrib import admin
from django.db.models import Exists, ManyToManyField, OuterRef, Q, QuerySet
from django.forms import ModelMultipleChoiceField
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from accounts import audit, impersonation, lockout, services_impersonation, services_lockout, services_staff
from accounts.admin_base import AuditedAdmin
from accounts.models import Impersonation, Membership, User
from accounts.second_factor import FACTORS
from portal.admin import LookOnlyAdmin, Task, link, link_to_list
from portal.templatetags.marks import moment

SHOWN = 50
"""At most so many organizations or sessions on a person's page; the link beneath leads to the rest."""

CHANGE = "accounts.change_user"


def _deactivate(request: HttpRequest, user: User, reason: str) -> str:
    services_staff.deactivate_user(actor=audit.staff_of(request), user=user, reason=reason)
    return f"{user} is shut out, and signed out everywhere."


def _reactivate(request: HttpRequest, user: User, _: str) -> str:
    services_staff.reactivate_user(actor=audit.staff_of(request), user=user)
    return f"{user} can sign in again."


def _end_sessions(request: HttpRequest, user: User, _: str) -> str:
    ended = services_staff.end_all_sessions(actor=audit.staff_of(request), user=user)
    return f"{user} is signed out of {ended} browser{'' if ended == 1 else 's'}."


def _remove_factors(request: HttpRequest, user: User, reason: str) -> str:
    services_staff.remove_second_factors(actor=audit.staff_of(request), user=user, reason=reason)
    return f"{user} has no second factor any more, and was told by mail."


def _unlock(request: HttpRequest, user: User, _: str) -> str:
    services_lockout.unlock_user(actor=audit.staff_of(request), user=user, organization=None)
    return f"{user} can sign in again, and was told by mail."


def _act_as(request: HttpRequest, user: User, reason: str) -> HttpResponse:
    row = services_impersonation.start_impersonation(actor=audit.staff_of(request), person=user, reason=reason)
    impersonation.begin(request, row)
    return redirect("home")


class LockedFilter(admin.SimpleListFilter):
    """Locked out for not having signed in, or not."""

    title = parameter_name = "locked"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """The choices."""
        return [("yes", "Yes"), ("no", "No")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[User]) -> QuerySet[User]:
        """By the rule itself: whether a sweep has marked it does not matter."""
        locked = Q(pk__in=User.objects.locked().values("pk"))
        return queryset.filter(locked if self.value() == "yes" else ~locked) if self.value() else queryset


class SecondFactorFilter(admin.SimpleListFilter):
    """With or without a second factor."""

    title = parameter_name = "second factor"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """The choices."""
        return [("yes", "Yes"), ("no", "No")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[User]) -> QuerySet[User]:
        """Those that were chosen."""
        has = Exists(Authenticator.objects.filter(user=OuterRef("pk"), type__in=FACTORS))
        return queryset.filter(has if self.value() == "yes" else ~has) if self.value() else queryset


@admin.register(User)
class UserAdmin(AuditedAdmin[User]):
    """People. They come by sign-up and invitation, and are shut out rather than deleted: what they made, and what they
    did, stays."""

    list_display = [
        "email",
        "full_name",
        "belongs_to",
        "last_login",
        "locked",
        "second_factor",
        "is_active",
        "is_staff",
    ]
    list_filter = ["is_active", LockedFilter, SecondFactorFilter, "is_staff", "is_superuser"]
    search_fields = ["email", "first_name", "last_name", "memberships__organization__name"]
    search_help_text = "E-mail address, name, or the name of an organization"
    date_hierarchy = "date_joined"
    ordering = ["email"]
    filter_horizontal = ["user_permissions"]
    facts = ["organizations_and_roles", "lock", "addresses", "second_factors", "sessions"]
    readonly_fields = ["email", "is_active", "last_login", "date_joined", "terms_version", "terms_accepted_at", *facts]
    fieldsets = [
        (None, {"fields": ["email", "first_name", "last_name", "is_active"]}),
        ("Belongs to", {"fields": ["organizations_and_roles"]}),
        ("Sign-in", {"fields": ["last_login", "lock", "addresses", "second_factors", "sessions"]}),
        ("Sign-up", {"fields": ["date_joined", "terms_version", "terms_accepted_at"]}),
        ("Staff", {"fields": ["is_staff", "is_superuser", "user_permissions"], "classes": ["collapse"]}),
    ]
    tasks = [
        Task(
            "unlock",
            "Unlock",
            "They can sign in again, and are told so by mail. Their days without sign-in count from now.",
            _unlock,
            permission=CHANGE,
            offered=lockout.is_locked,
            bulk=True,
        ),
        Task(
            "act-as",
            "Act as this person",
            "You see the portal as they do, for 60 minutes at most. They get a mail with your name and the reason, and "
            "so do the audit logs of their organizations. Their password, addresses, second factors, sessions and API "
            "tokens stay closed to you.",
            _act_as,
            permission=services_impersonation.PERMISSION,
            offered=lambda user: not services_impersonation.closed(user),
            asks="Reason",
            asks_help="For instance the ticket. The person and their organizations read it.",
        ),
        Task(
            "end-sessions",
            "Sign out everywhere",
            "All their browsers are signed out at once. They can sign in again.",
            _end_sessions,
            permission=CHANGE,
        ),
        Task(
            "remove-factors",
            "Remove second factors",
            "For somebody who lost their phone and their recovery codes. Check first that it is them, by a way that "
            "somebody who reads their mail could not use. Afterwards their password alone opens their account; they "
            "are signed out everywhere, and told by mail.",
            _remove_factors,
            permission=CHANGE,
            offered=lambda user: Authenticator.objects.filter(user=user).exists(),
            asks="How was their identity checked?",
            danger=True,
        ),
        Task(
            "deactivate",
            "Deactivate",
            "They are shut out at once: signed out everywhere, and the API tokens that they made are revoked for good. "
            "What else they made stays, and so do their memberships, in case they come back. The only active owner of "
            "an organization is not shut out: make somebody else an owner under Memberships, or delete it.",
            _deactivate,
            permission=CHANGE,
            offered=lambda user: user.is_active,
            asks="Reason",
            danger=True,
        ),
        Task(
            "reactivate",
            "Reactivate",
            "They can sign in again.",
            _reactivate,
            permission=CHANGE,
            offered=lambda user: not user.is_active,
        ),
    ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[User]:
        """With what the list shows of each."""
        factors = Authenticator.objects.filter(user=OuterRef("pk"), type__in=FACTORS)
        return super().get_queryset(request).annotate(has_factor=Exists(factors))

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        """Memberships of all the people on a page at once."""
        changelist = super().get_changelist_instance(request)
        changelist.result_list = changelist.result_list.prefetch_related("memberships__organization")
        return changelist

    def formfield_for_manytomany(
        self, db_field: ManyToManyField[Any, Any], request: HttpRequest, **kwargs: Any
    ) -> ModelMultipleChoiceField[Any] | None:
        """Permissions with the names of their models, in one query."""
        field = super().formfield_for_manytomany(db_field, request, **kwargs)
        if field is not None:
            field.queryset = field.queryset.select_related("content_type")  # type: ignore[union-attr]
        return field

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> list[str]:
        """Who is staff, and what staff may do, is for superusers to say; or anybody could give themselves all."""
        staff = [] if request.user.is_superuser else ["is_staff", "is_superuser", "user_permissions"]
        return [*self.readonly_fields, *staff]

    def has_add_permission(self, request: HttpRequest) -> bool:
        """People sign up, or are invited."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        """Staff is changed by superusers only."""
        return super().has_change_permission(request, obj) and _below(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        """The audit log and the bills name them."""
        return False

    def may(self, request: HttpRequest, task: Task[User], row: User | None = None) -> bool:
        """Nobody does anything to those above them."""
        return super().may(request, task, row) and _below(request, row)

    def record(self, request: HttpRequest, row: User, action: str, **detail: Any) -> None:  # type: ignore[override]
        """In the log of each organization of theirs."""
        audit.record_about(audit.staff_of(request), f"user.{action}", row, **detail)

    @admin.display(description="Name", ordering="first_name")
    def full_name(self, user: User) -> str:
        """First and last name."""
        return f"{user.first_name} {user.last_name}".strip()

    @admin.display(description="Organizations")
    def belongs_to(self, user: User) -> str:
        """The first few."""
        names = sorted(membership.organization.name for membership in user.memberships.all())
        return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")

    @admin.display(description="Second factor", boolean=True)
    def second_factor(self, user: User) -> bool:
        """Whether sign-in asks for one."""
        return bool(getattr(user, "has_factor", False))

    @admin.display(description="Locked", boolean=True)
    def locked(self, user: User) -> bool:
        """Whether dormancy shuts them out."""
        return lockout.is_locked(user)

    @admin.display(description="Lock")
    def lock(self, user: User) -> SafeString:
        """Since when, or from when on without a sign-in."""
        what = "Locked since {}." if lockout.is_locked(user) else "Not locked; will be after {} without a sign-in."
        return format_html(what, moment(user.locked_at or lockout.locks_at(user)))

    @admin.display(description="Organizations and roles")
    def organizations_and_roles(self, user: User) -> str:
        """With the way to each."""
        rows = list(Membership.objects.filter(user=user).select_related("organization")[: SHOWN + 1])
        lines = [(link(row.organization), ": ", link(row, row.get_role_display())) for row in rows[:SHOWN]]
        if len(rows) > SHOWN:
            lines.append((link_to_list(Membership, "all of them", user__id__exact=user.pk), "", ""))
        return _facts(lines) if lines else "None."

    @admin.display(description="E-mail addresses")
    def addresses(self, user: User) -> SafeString:
        """Which are confirmed. They are the person's own to change: who can change them can take the account."""
        rows = EmailAddress.objects.filter(user=user).order_by("-primary", "email")[:SHOWN]
        return _facts([(row.email, ": ", "confirmed" if row.verified else "not confirmed") for row in rows])

    @admin.display(description="Second factors")
    def second_factors(self, user: User) -> str:
        """Their kinds and ages, never what is in them."""
        rows = list(Authenticator.objects.filter(user=user).defer("data").order_by("created_at")[:SHOWN])
        lines = [(row.get_type_display(), ", since ", moment(row.created_at)) for row in rows]
        return _facts(lines) if lines else "None."

    @admin.display(description="Sessions")
    def sessions(self, user: User) -> str:
        """Where they are signed in."""
        rows = list(UserSession.objects.filter(user=user).order_by("-last_seen_at")[: SHOWN + 1])
        lines = [(moment(row.last_seen_at), f" from {row.ip}, ", row.user_agent[:100]) for row in rows[:SHOWN]]
        return _facts(lines) if lines else "None."


def _facts(lines: list[tuple[Any, Any, Any]]) -> SafeString:
    return format_html('<ul class="facts">{}</ul>', format_html_join("", "<li>{}{}{}</li>", lines))


def _below(request: HttpRequest, user: User | None) -> bool:
    """Whether somebody is not above the member of staff who asks."""
    return user is None or request.user.is_superuser or not (user.is_staff or user.is_superuser)


@admin.register(Impersonation)
class ImpersonationAdmin(LookOnlyAdmin[Impersonation]):
    """When staff acted as whom, and why."""

    list_display = ["started_at", "staff", "person", "reason", "expires_at", "ended_at"]
    list_select_related = ["staff", "person"]
    list_filter = [("ended_at", admin.EmptyFieldListFilter)]
    search_fields = ["staff__email", "person__email", "reason"]
    date_hierarchy = "started_at"
    ordering = ["-started_at"]

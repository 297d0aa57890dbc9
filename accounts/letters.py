"""The mails about people and organizations. Posted within the transaction of what they tell about."""

from __future__ import annotations

from django.conf import settings
from django.urls import reverse

from accounts.addresses import shown
from accounts.audit import Actor
from accounts.models import Invitation, MarketplaceSubscription, Organization, SubscriptionState, User
from accounts.permissions import OrganizationRole
from portal import mail


def send(to: str, subject: str, *paragraphs: str) -> None:
    """A letter in the form that all of ours have."""
    mail.post(to=to, subject=subject, text="\n\n".join(["Hello,", *paragraphs, "The Bodo Cloud Platform"]) + "\n")


def invited(*, actor: Actor, invitation: Invitation, token: str) -> None:
    """To an address that may join. The link is as good as a signature: it is in this mail and nowhere else."""
    sender = actor.user.get_full_name() if actor.user else "Somebody"
    send(
        invitation.email,
        f"{sender} invites you to {invitation.workspace or invitation.organization}",
        f"{actor.label} invites you to {invitation.place} on the Bodo Cloud Platform, with the role "
        f"{invitation.role_label}. Open this link to accept or to decline:",
        settings.SITE_URL + reverse("accounts:invitation", args=[token]),
        f"It works once, until {invitation.expires_at:%Y-%m-%d %H:%M} UTC, and for {shown(invitation.email)} alone. "
        "If you did not expect this, do nothing.",
    )


def removed(*, actor: Actor, organization: Organization, user: User) -> None:
    """To somebody whom others removed."""
    send(
        user.email,
        f"You were removed from {organization}",
        f"{actor.label} removed you from the organization {organization}. You no longer see it or its workspaces, and "
        "API tokens that you made there no longer work.",
        "If you think that this is a mistake, ask the person who did it.",
    )


def organization_deleted(*, actor: Actor, organization: Organization, owner: User) -> None:
    """To each owner of an organization that is gone."""
    send(
        owner.email,
        f"The organization {organization} was deleted",
        f"{actor.label} deleted the organization {organization}. Nobody can enter it any more. Its audit log and its "
        "bills are kept by the operators of this portal.",
        "If you think that this is a mistake, tell them soon.",
    )


def domain_approved(*, organization: Organization, domain: str) -> None:
    """To the owners, who have waited for it."""
    for owner in User.objects.filter(memberships__organization=organization, memberships__role=OrganizationRole.OWNER):
        send(
            owner.email,
            f"{domain} is approved for single sign-on",
            f"The operator has approved the domain {domain} for the single sign-on of {organization}. Once it is "
            "switched on, people with an address there can sign in through your provider:",
            settings.SITE_URL + reverse("accounts:sso", args=[organization.pk]),
        )


SUSPENDED = {
    SubscriptionState.FAILED: "AWS Marketplace reports that the payment for the subscription failed.",
    SubscriptionState.CANCELLING: "Its subscription in AWS Marketplace was cancelled.",
    SubscriptionState.ENDED: "Its subscription in AWS Marketplace has ended.",
    SubscriptionState.EXPIRED: "Its contract in AWS Marketplace has expired.",
}
"""Why nothing can be started."""


def subscription_suspended(*, organization: Organization, subscription: MarketplaceSubscription) -> None:
    """To those who pay, before anything is paused."""
    assert subscription.pauses_at
    for payer in _payers(organization):
        send(
            payer.email,
            f"{organization} can start nothing new",
            f"{SUSPENDED[SubscriptionState(subscription.state)]} From now on no cluster of {organization} can be "
            f"started, and at {subscription.pauses_at:%Y-%m-%d %H:%M} UTC those that run are paused: a run that is "
            "under way then ends.",
            "Files, logs, bills and all settings stay as they are and can be read and downloaded. Subscribe again in "
            "AWS Marketplace, and clusters can be started again. What AWS says, and what was reported to it, is here:",
            settings.SITE_URL + reverse("billing:marketplace", args=[organization.pk]),
        )


def subscription_restored(*, organization: Organization) -> None:
    """To those who pay."""
    for payer in _payers(organization):
        send(
            payer.email,
            f"{organization} can start clusters again",
            f"The subscription of {organization} in AWS Marketplace is active. Clusters can be started again; those "
            "that were paused stay so until somebody resumes them.",
            settings.SITE_URL + reverse("billing:marketplace", args=[organization.pk]),
        )


def _payers(organization: Organization) -> list[User]:
    roles = [OrganizationRole.OWNER, OrganizationRole.BILLING]
    members = User.objects.filter(memberships__organization=organization, memberships__role__in=roles)
    return list(members.filter(is_active=True).order_by("email"))

"""Registration of buyers who come from AWS Marketplace.

AWS lets the buyer's browser post a token to us from its own site. Our cookies do not come along (``SameSite=Lax``), and
none may be set there, or it would replace that of somebody who is signed in. So the answer is a redirect with a
one-shot key; the browser that follows it brings its cookies and gets the registration into its session.
"""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

from django.conf import settings
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.csrf import csrf_exempt

from accounts import limits, marketplace, sandbox, services_marketplace, services_subscriptions
from accounts.access import OrganizationRequest, organization_view, public_view
from accounts.audit import Actor, actor_of
from accounts.forms_signup import SandboxForm, SignupForm, SubscribeForm
from accounts.marketplace import AGAIN, TOKEN_FIELD, Purchase
from accounts.models import ActorKind, MarketplaceRegistration, MarketplaceSubscription, Membership, Organization, User
from accounts.permissions import ORGANIZATION_MATRIX, Perm
from portal.errors import UserError, client_address
from portal.forms import form_page, posted

CLAIMED = "marketplace_registrations"
"""In the session: the registrations that belong to this browser, newest last; each tab may have its own."""

MOST_CLAIMED = 10
SANDBOX_TOKENS = "sandbox_tokens"
"""In the session: the last tokens that the sandbox gave to this browser."""

CONSOLE = "https://console.aws.amazon.com/marketplace/home#/subscriptions"


@csrf_exempt
@public_view(("GET", "HEAD", "POST"))
def register(request: HttpRequest) -> HttpResponse:
    """The registration address that AWS Marketplace knows. Looks at no cookie, and sets none."""
    if request.method != "POST":
        return render(request, "marketplace/start.html", _ways_on())
    try:
        refused = limits.refuse(request, "marketplace")
        if refused:
            return refused
        arrival = services_marketplace.register(actor=_buyer(request), token=request.POST.get(TOKEN_FIELD, ""))
    except UserError as error:
        return _refused(request, error)
    return HttpResponseRedirect(reverse("accounts:marketplace_claim", args=[arrival.claim_key]), status=303)


@public_view()
def claim(request: HttpRequest, claim_key: str) -> HttpResponse:
    """Put the registration into the session of the browser that came from ``register``, once."""
    if request.method == "HEAD":
        return redirect("accounts:marketplace_register")  # whoever looks ahead takes nothing
    try:
        registration = services_marketplace.claim(actor=_buyer(request), key=claim_key)
    except UserError as error:
        return _refused(request, error)
    claimed = [*request.session.get(CLAIMED, []), str(registration.pk)]
    request.session[CLAIMED] = claimed[-MOST_CLAIMED:]
    return redirect("accounts:marketplace_sign_up", registration.pk)


@public_view(("GET", "HEAD", "POST"))
def sign_up(request: HttpRequest, registration: UUID) -> HttpResponse:
    """The form: all of it for strangers, only the organization for somebody who is signed in."""
    try:
        found = _claimed(request, registration)
        if isinstance(request.user, User):
            return _subscribe(request, request.user, found)
        form = SignupForm(posted(request))
        if form.is_valid():
            return limits.refuse(request, "signup") or form.sign_up(request, found.subscription)
        return form_page(request, "marketplace/sign_up.html", form, registration=found)
    except UserError as error:
        return _refused(request, error)


@public_view()
def sandbox_page(request: HttpRequest) -> HttpResponse:
    """Plays AWS Marketplace's part: buttons that send tokens to ``register``, a good one and all kinds of bad ones."""
    if settings.PORTAL_MARKETPLACE != "sandbox":
        raise Http404
    form = SandboxForm(request.GET if "account" in request.GET else None)
    account = form.cleaned_data["account"] if form.is_valid() else sandbox.random_account()
    product = form.cleaned_data["product"] if form.is_valid() else marketplace.product_codes()[0]
    purchase = Purchase(product, account, license_arn=sandbox.license_of(account, product))
    token, before = sandbox.token_for(purchase), request.session.get(SANDBOX_TOKENS, [])
    request.session[SANDBOX_TOKENS] = [*before[-4:], token]
    context = {
        "form": form,
        "account": account,
        "product": product,
        "field": TOKEN_FIELD,
        "token": token,
        "subscriptions": _subscriptions_of(request.user) if isinstance(request.user, User) else [],
        "tries": [
            ("Expired token", "Issued an hour ago.", sandbox.token_for(purchase, age=3600)),
            ("Unknown product", "A product that this portal does not offer.", sandbox.token_for(_another(purchase))),
            ("Forged token", "Signed by somebody else.", sandbox.forged_token(purchase)),
            ("Token used before", "The last one that you set up an account with.", services_marketplace.used(before)),
        ],
    }
    return render(request, "marketplace/sandbox.html", context)


@organization_view(Perm.BILLING_MANAGE, ("POST",))
def sandbox_send(request: OrganizationRequest, organization: Organization) -> HttpResponse:
    """The sandbox says something of the organization's subscription, as AWS Marketplace would."""
    name = request.POST.get("notification", "")
    if settings.PORTAL_MARKETPLACE != "sandbox":
        raise Http404
    if name not in sandbox.NOTIFICATIONS:
        raise UserError(
            "NotificationUnknown",
            "The sandbox sent nothing: AWS Marketplace has no such notification.",
            f"Choose one of {', '.join(sandbox.NOTIFICATIONS)}.",
            status=422,
        )
    subscription = MarketplaceSubscription.objects.in_organization(organization).filter(sandbox=True).first()
    if subscription is None:
        raise UserError(
            "NotSubscribed",
            f"{organization} has no subscription in the sandbox.",
            "Set up an account on the sandbox's page first.",
        )
    taken = services_subscriptions.take_notification(
        actor=actor_of(request),
        body=sandbox.notification(subscription, name),
        message_id="",
        sent_at=timezone.now(),
    )
    messages.success(request, f"Sent {name} for {organization}: {taken.get_outcome_display().lower()}.")
    return redirect("accounts:marketplace_sandbox")


def _subscriptions_of(user: User) -> list[tuple[MarketplaceSubscription, list[tuple[str, str]]]]:
    """Of what the sandbox can say something, and what: subscriptions whose billing somebody manages."""
    managed = Membership.objects.of(user).filter(role__in=ORGANIZATION_MATRIX[Perm.BILLING_MANAGE])
    rows = MarketplaceSubscription.objects.filter(sandbox=True, organization__in=managed.values("organization"))
    newest = {row.organization_id: row for row in rows.select_related("organization").order_by("linked_at")}
    return [
        (row, [(name, text) for name, text in sandbox.NOTIFICATIONS.items() if _fits(name, row)])
        for row in sorted(newest.values(), key=lambda row: str(row.organization))
    ]


def _fits(notification: str, subscription: MarketplaceSubscription) -> bool:
    """Only contracts have entitlements."""
    return not notification.startswith("entitlement") or marketplace.is_contract(subscription.product_code)


def _subscribe(request: HttpRequest, user: User, registration: MarketplaceRegistration) -> HttpResponse:
    form = SubscribeForm(posted(request), user=user)
    if form.is_valid():
        try:
            organization = services_marketplace.subscribe(
                actor=actor_of(request),
                owner=user,
                registration=registration,
                organization=form.chosen,
                name=form.cleaned_data["organization"],
            )
        except UserError as error:
            if error.code == "SubscriptionLinked":
                raise
            form.add_error("organization" if error.code == "NameTaken" else "target", f"{error.message} {error.hint}")
        else:
            messages.success(request, f"{organization} is subscribed through AWS Marketplace.")
            return redirect("workspaces:list", organization.pk)
    return form_page(request, "marketplace/subscribe.html", form, registration=registration)


def _claimed(request: HttpRequest, pk: UUID) -> MarketplaceRegistration:
    """A registration of this browser's that can go on. Raises UserError."""
    found = None
    if str(pk) in request.session.get(CLAIMED, []):
        rows = MarketplaceRegistration.objects.select_related("subscription__organization")
        found = rows.filter(pk=pk).first()
    if found is None:
        raise UserError(
            "RegistrationElsewhere",
            "This registration does not belong to this browser, or its session has ended.",
            f"Go on in the browser in which you began. Otherwise: {AGAIN}",
            status=404,
        )
    if found.subscription.organization:
        raise services_marketplace.linked_already(found.subscription)
    if found.expires_at <= timezone.now():
        raise UserError(
            "RegistrationExpired", "This registration was begun too long ago and has expired.", AGAIN, status=410
        )
    return found


def _buyer(request: HttpRequest) -> Actor:
    """Whoever is behind a browser that AWS Marketplace sent here."""
    return Actor(ActorKind.VISITOR, "AWS Marketplace buyer", None, client_address(request))


def _refused(request: HttpRequest, error: UserError) -> HttpResponse:
    return render(request, "marketplace/refused.html", {"error": error, **_ways_on()}, status=error.status)


def _ways_on() -> dict[str, str]:
    """Where a buyer begins again."""
    if settings.PORTAL_MARKETPLACE == "sandbox":
        return {"marketplace_url": reverse("accounts:marketplace_sandbox"), "marketplace_label": "Go to the sandbox"}
    return {"marketplace_url": CONSOLE, "marketplace_label": "Go to AWS Marketplace"}


def _another(purchase: Purchase) -> Purchase:
    return replace(purchase, product_code="another-product")

"""Forms of signing up and in. Most take the place of allauth's, whose views show them (``ACCOUNT_FORMS``).

Apart from ``accounts.forms`` because allauth's forms can be imported only once all apps are loaded.
"""

from __future__ import annotations

from typing import Any

from allauth.account import forms as allauth
from allauth.account.fields import EmailField
from allauth.core import context
from django import forms
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

from accounts import activation, limits, services_signup
from accounts.addresses import clean_email, normal_email
from accounts.audit import person
from accounts.forms import NameField
from accounts.marketplace import product_codes
from accounts.models import MarketplaceSubscription, Membership, Organization, SubscriptionState, User
from accounts.permissions import ORGANIZATION_MATRIX, Perm
from portal.errors import client_address

SENT_TO = "sign_up_sent_to"
"""In the session: the address that somebody signed up with in this browser, for the page that says so."""


class AddressField(EmailField):  # type: ignore[misc]
    """An e-mail address, in its one spelling before anybody compares it."""

    def clean(self, value: object) -> str:
        """Normalise, then validate."""
        if value in self.empty_values:
            return str(super().clean(value))
        return clean_email(str(super().clean(normal_email(str(value)))))


class SignInForm(allauth.LoginForm):  # type: ignore[misc]
    """Signing in."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.fields["login"] = AddressField()
        self.order_fields(["login", "password"])


class AddAddressForm(allauth.AddEmailForm):  # type: ignore[misc]
    """A further address for somebody who is signed in."""

    email = AddressField()


class SignupForm(allauth.SignupForm):  # type: ignore[misc]
    """A person and their organization. Whether the address is known, nothing here looks at."""

    organization = NameField(
        label="Organization name", help_text="Your own account? Use a unique name such as firstname_lastname."
    )
    first_name = NameField(label="First name")
    last_name = NameField(label="Last name")
    email = AddressField()
    accept_terms = forms.BooleanField(label="I accept the terms and conditions")

    field_order = ["organization", "first_name", "last_name", "email", "password1", "accept_terms"]

    def clean_organization(self) -> str:
        """The name must be free."""
        name: str = self.cleaned_data["organization"]
        if Organization.objects.named(name).exists():
            raise ValidationError("An organization of this name exists. Choose another name.", code="taken")
        return name

    def validate_unique_email(self, value: str) -> str:
        """Not here: the answer would tell."""
        return value

    def try_save(self, request: HttpRequest) -> tuple[None, HttpResponse]:
        """As allauth's view expects: no user yet, and where to go."""
        return None, self.sign_up(request)

    def sign_up(self, request: HttpRequest, subscription: MarketplaceSubscription | None = None) -> HttpResponse:
        """Keep what was filled in and say that the link is on its way, or that there were too many."""
        given = self.cleaned_data
        refused = limits.refuse(request, "activation", key=given["email"])
        if refused:
            return refused
        services_signup.sign_up(
            address=client_address(request),
            email=given["email"],
            password=given["password1"],
            first_name=given["first_name"],
            last_name=given["last_name"],
            organization_name=given["organization"],
            subscription=subscription,
        )
        request.session[SENT_TO] = given["email"]
        return redirect("account_email_verification_sent")


class SubscribeForm(forms.Form):
    """For somebody who is signed in: which organization a subscription shall pay for."""

    target = forms.ChoiceField(label="Use the subscription for")
    organization = NameField(label="Name of the new organization", required=False)

    def __init__(self, *arguments: Any, user: User, **options: Any) -> None:
        super().__init__(*arguments, **options)
        memberships = Membership.objects.filter(user=user, role__in=ORGANIZATION_MATRIX[Perm.BILLING_MANAGE])
        unpaid = Organization.objects.of(user).filter(memberships__in=memberships)
        unpaid = unpaid.exclude(marketplace_subscriptions__state=SubscriptionState.ACTIVE)
        self.unpaid = {str(organization.pk): organization for organization in unpaid}
        names = [(pk, organization.name) for pk, organization in self.unpaid.items()]
        target = self.fields["target"]
        assert isinstance(target, forms.ChoiceField)
        target.choices = [("new", "a new organization"), *names]
        if not names:
            target.widget = forms.HiddenInput()
            self.fields["organization"].required = True
        target.initial = "new"

    @property
    def chosen(self) -> Organization | None:
        """One that exists, or None for a new one."""
        return self.unpaid.get(self.cleaned_data["target"])

    def clean(self) -> dict[str, Any]:
        """A new organization needs a name."""
        given: dict[str, Any] = super().clean() or self.cleaned_data
        if given.get("target") == "new" and not given.get("organization") and "organization" not in self.errors:
            self.add_error("organization", "Enter a name for the new organization.")
        return given


class SandboxForm(forms.Form):
    """Who comes from the sandbox marketplace."""

    account = forms.RegexField(
        r"^[0-9]{12}\Z",
        label="AWS account",
        strip=True,
        help_text="Twelve digits. The same account again is the same customer.",
        error_messages={"invalid": "Enter twelve digits."},
    )
    product = forms.ChoiceField(label="Product", choices=lambda: [(code, code) for code in product_codes()])


class TermsForm(forms.Form):
    """The terms of today."""

    accept_terms = forms.BooleanField(label="I accept the terms and conditions")


class SendAgainForm(forms.Form):
    """Where the activation link shall go once more."""

    email = AddressField()


class ResetPasswordForm(allauth.ResetPasswordForm):  # type: ignore[misc]
    """Asking for a new password. Whatever the address, one mail goes to it, which says what there is."""

    email = AddressField()

    def clean_email(self) -> str:
        """Those who may get a link."""
        email: str = self.cleaned_data["email"]
        user = activation.user_of(email)
        self.users = [user] if user and user.is_active else []
        return email

    def save(self, request: HttpRequest, **options: Any) -> str:
        """The link; or for somebody who has signed up only, the activation link."""
        email: str = self.cleaned_data["email"]
        if not self.users:
            services_signup.send_again(email=email)
            return email
        return str(super().save(request, **options))


class NewPasswordForm(allauth.ResetPasswordKeyForm):  # type: ignore[misc]
    """Choosing a new password with the link from the mail. Nobody is signed in by this, and nobody unlocked."""

    def save(self) -> None:
        """Change it, and tell its owner."""
        actor = person(self.user, client_address(context.request))
        services_signup.reset_password(actor=actor, user=self.user, password=self.cleaned_data["password1"])

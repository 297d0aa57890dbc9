"""Pages from the form to the first sign-in: activation, sending its link again, the terms."""

from __future__ import annotations

from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse

from accounts import activation, limits, services_signup, terms
from accounts.access import public_view
from accounts.audit import actor_of, person
from accounts.forms_signup import SENT_TO, SendAgainForm, TermsForm
from accounts.models import User
from portal.errors import UserError, client_address
from portal.forms import form_page, next_path, posted


@public_view(("GET", "HEAD", "POST"))
def activate(request: HttpRequest, activation_key: str) -> HttpResponse:
    """The activation link: asks on GET (programs that read mail open links), activates on POST."""
    try:
        pending = activation.pending_for(activation_key)
        if request.method != "POST":
            context = {"pending": pending, "known": activation.user_of(pending.email) is not None}
            return render(request, "account/activate.html", context)
        done = services_signup.activate(key=activation_key, address=client_address(request))
    except UserError as error:
        return render(request, "account/activation_failed.html", {"error": error}, status=error.status)
    request.session.pop(SENT_TO, None)
    if request.user == done.user:
        return redirect("accounts:organization_new")
    if request.user.is_authenticated:
        messages.success(request, f"{done.user.email} is active. You are still signed in as {request.user}.")
        return redirect("home")
    if done.is_new:
        messages.success(request, "Your account is active. Sign in to begin.")
    else:
        messages.info(request, "You have an account already. Sign in to go on.")
    return redirect("account_login")


@public_view(("GET", "HEAD", "POST"))
def send_again(request: HttpRequest) -> HttpResponse:
    """Send the activation link once more. The answer is the same for every address."""
    form = SendAgainForm(posted(request), initial={"email": request.session.get(SENT_TO, "")})
    if not form.is_valid():
        return form_page(request, "account/send_again.html", form)
    email = form.cleaned_data["email"]
    refused = limits.refuse(request, "activation", key=email)
    if refused:
        return refused
    services_signup.send_again(email=email)
    request.session[SENT_TO] = email
    return redirect(reverse("account_email_verification_sent") + "?again=1")


@public_view(("GET", "HEAD", "POST"))
def terms_page(request: HttpRequest) -> HttpResponseBase:
    """The terms; with the question where somebody has to accept them, in the middle of signing in or after it."""
    stage = terms.waiting_stage(request)
    user = stage.login.user if stage else request.user
    form = TermsForm(posted(request))
    if form.is_valid() and isinstance(user, User):
        if not terms.accepted_by(user):
            actor = person(user, client_address(request)) if stage else actor_of(request)
            services_signup.accept_terms(actor=actor, user=user)
        response: HttpResponseBase = stage.exit() if stage else redirect(next_path(request) or "home")
        return response
    if form.is_valid():
        return redirect("account_login")
    context = {
        "asks": isinstance(user, User) and not terms.accepted_by(user),
        "next": next_path(request),
        "signing_in": stage is not None,
        "accepted_at": user.terms_accepted_at if isinstance(user, User) and terms.accepted_by(user) else None,
        "version": settings.PORTAL_TERMS_VERSION,
        "elsewhere": settings.PORTAL_TERMS_URL,
    }
    return form_page(request, "account/terms.html", form, **context)

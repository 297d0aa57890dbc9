"""Accepting the terms: at sign-up, and at the first sign-in after they have changed."""

from __future__ import annotations

from allauth.account.stages import LoginStage, LoginStageController
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

from accounts.models import User


def accepted_by(user: User) -> bool:
    """Whether somebody has accepted the terms of today."""
    return bool(user.terms_version == settings.PORTAL_TERMS_VERSION)


class TermsStage(LoginStage):  # type: ignore[misc]
    """The last step of signing in, by whatever way: nobody gets further without the terms of today."""

    key = "accept_terms"
    urlname = "accounts:terms"

    def handle(self) -> tuple[HttpResponse | None, bool]:
        """The page to go to, if any; True: the sign-in goes on after it."""
        user = self.login.user
        if user is None or accepted_by(user):
            return None, True
        return redirect(self.urlname), True


def waiting_stage(request: HttpRequest) -> TermsStage | None:
    """The sign-in of this browser that waits for the terms."""
    stage = LoginStageController.enter(request, TermsStage.key)
    return stage if isinstance(stage, TermsStage) and isinstance(stage.login.user, User) else None

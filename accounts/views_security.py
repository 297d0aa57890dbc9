"""What a person does about their own sign-in, beyond allauth's pages."""

from __future__ import annotations

from allauth.usersessions.models import UserSession
from django.contrib import messages
from django.http import HttpRequest, HttpResponse

from accounts import services_security as services
from accounts.access import signed_in_view
from accounts.audit import actor_of
from portal.forms import done


@signed_in_view(("POST",))
def session_end(request: HttpRequest, session: int) -> HttpResponse:
    """Sign out one other browser. One that is gone already is no error: that was the wish."""
    found = UserSession.objects.filter(user=request.user, pk=session).exclude(session_key=request.session.session_key)
    services.end_sessions(actor=actor_of(request), sessions=list(found))
    messages.success(request, "That browser is signed out.")
    return done(request, "usersessions_list")

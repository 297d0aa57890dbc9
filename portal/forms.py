"""How forms are answered: as a page, or as the drawer that htmx asked for."""

from __future__ import annotations

from typing import Any

from django import forms
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect as to
from django.shortcuts import render
from django.utils.http import url_has_allowed_host_and_scheme
from django_htmx.http import HttpResponseClientRedirect


def posted(request: HttpRequest) -> QueryDict | None:
    """What a form is bound to: also an empty POST is a form filled in wrongly, not a form asked for."""
    return request.POST if request.method == "POST" else None


def form_response(request: HttpRequest, template: str, form: forms.Form, **context: Any) -> HttpResponse:
    """Show a form; 422 where it was filled in wrongly, so that nobody takes it for done."""
    if getattr(request, "htmx", False):
        template += "#drawer"
    return form_page(request, template, form, **context)


def form_page(request: HttpRequest, template: str, form: forms.Form, **context: Any) -> HttpResponse:
    """The same for a form that is always a page of its own."""
    status = 422 if form.is_bound and not form.is_valid() else 200
    return render(request, template, {"form": form, **context}, status=status)


def done(request: HttpRequest, address: str, *arguments: Any) -> HttpResponse:
    """Go on to another page after a write."""
    response = to(address, *arguments)
    if getattr(request, "htmx", False):
        return HttpResponseClientRedirect(response.headers["Location"])
    return response


def next_path(request: HttpRequest) -> str:
    """Where a request wants to go on afterwards: within the portal, or nowhere (empty)."""
    path = request.POST.get("next") or request.GET.get("next") or ""
    return path if path.startswith("/") and url_has_allowed_host_and_scheme(path, allowed_hosts=None) else ""

"""Errors that a person can cause, apart from ours: each has a stable code, says what happened and what to do next."""

from __future__ import annotations

from ipaddress import ip_address

from django.http import HttpRequest


class UserError(Exception):
    """Something asked for that cannot be done. ``status`` is the HTTP status of the page that says so."""

    def __init__(self, code: str, message: str, hint: str = "", *, status: int = 409) -> None:
        super().__init__(f"{code}: {message}")
        self.code, self.message, self.hint, self.status = code, message, hint, status


class PermissionNeededError(Exception):
    """A member without the permission: the page names the role that has it and the people who can give it."""

    def __init__(self, *, role_needed: str, who_can: list[str]) -> None:
        super().__init__(role_needed)
        self.role_needed, self.who_can = role_needed, who_can


def client_address(request: HttpRequest) -> str | None:
    """The address that a request came from, for the audit log; None where a proxy or a socket gave none."""
    try:
        return str(ip_address(request.META.get("REMOTE_ADDR", "").partition("%")[0]))
    except ValueError:
        return None

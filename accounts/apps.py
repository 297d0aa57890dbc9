"""The accounts app."""

from django.apps import AppConfig


class AccountsConfig(AppConfig):
    """Users, organizations, memberships, permissions and the audit log."""

    name = "accounts"

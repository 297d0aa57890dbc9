"""``django.contrib.admin`` with our site. Apart from it, because this is loaded before there are models."""

from __future__ import annotations

from django.contrib.admin.apps import AdminConfig


class OperatorPages(AdminConfig):
    """Replaces ``django.contrib.admin`` in INSTALLED_APPS."""

    default_site = "portal.admin_site.OperatorSite"

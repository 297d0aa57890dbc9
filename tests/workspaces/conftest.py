"""The world of two tenants."""

from tests.pages.conftest import tenants

__all__ = ["tenants"]

"""``manage.py aws_template``: print the CloudFormation template that makes what a cloud configuration on AWS needs."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from portal.clouds.aws.template import template


class Command(BaseCommand):
    """Print it."""

    help = "Print the CloudFormation template to publish in S3 (PORTAL_AWS_TEMPLATE_URL)."
    requires_system_checks = ()  # these load every page and form; `make check` runs them

    def handle(self, *args: Any, **options: Any) -> None:
        """To standard output, and nothing else."""
        self.stdout.write(template(), ending="")

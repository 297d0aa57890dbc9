"""Fills the sandbox, in a process of its own with the portal's settings: somebody whose AWS account is connected.

Reads the administrator's keys as JSON, and prints how to get in. The account is connected as people connect it: by the
service behind the form for access keys.
"""

from __future__ import annotations

import json
import sys
import threading

import django

django.setup()

from portal.clouds.aws.session import Keys  # noqa: E402 - what follows needs the settings
from tests.clouds.aws.cloud import REGION  # noqa: E402
from tests.factories import PASSWORD, actor, make_organization, make_user  # noqa: E402
from workspaces import services_configurations as configurations  # noqa: E402
from workspaces.models import ConfigurationStatus, Way  # noqa: E402

NAME = "AWS (moto)"


def main() -> int:
    """Make it, and say how to get in."""
    keys = Keys(**json.load(sys.stdin))
    alice = make_user("alice")
    organization = make_organization(alice, "Sandbox")
    who = actor(alice)
    configuration = configurations.create_aws_configuration(
        actor=who, organization=organization, name=NAME, region=REGION, way=Way.KEYS
    )
    configurations.connect_with_keys(actor=who, configuration=configuration, keys=keys)
    for thread in threading.enumerate():
        if thread.name.startswith("configuration "):
            thread.join(60)
    configuration.refresh_from_db()
    if configuration.status != ConfigurationStatus.READY:
        failed = [f"{check['name']}: {check['detail']}" for check in configuration.checks if not check["passed"]]
        said = f"{configuration.failure_message} {configuration.failure_hint} {' '.join(failed)}"
        sys.stderr.write(f"The account could not be connected: {said}\n")
        return 1
    json.dump({"email": alice.email, "password": PASSWORD}, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())

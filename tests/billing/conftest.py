"""An organization with three clusters that were used in November 2026, as the pages of bills show them."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pytest

from accounts.models import Organization
from billing import metering
from billing.models import Rate
from billing.months import Month
from clusters.models import Cluster
from tests.billing.test_metering import ledger, rate
from tests.factories import make_cluster, make_organization, make_user, make_workspace

NOVEMBER = Month(date(2026, 11, 1))
NOW = datetime(2026, 11, 11, 12, 0, tzinfo=UTC)


@pytest.fixture
def organization(db: None) -> Organization:
    Rate.objects.all().delete()
    rate("0.60", datetime(2026, 1, 1, tzinfo=UTC))
    rate("1.20", datetime(2026, 1, 1, tzinfo=UTC), kind="local.2x")
    return make_organization(make_user("owner"))


@pytest.fixture
def clusters(organization: Organization) -> dict[str, Cluster]:
    """Times are minutes after October 31, 23:00 UTC."""
    alice, bob = make_user("alice"), make_user("bob")
    lab, annex = make_workspace(organization, name="Lab"), make_workspace(organization, name="Annex")
    kinds: dict[str, dict[str, Any]] = {
        "etl": {"workspace": lab, "created_by": alice, "tags": {"team": "data", "cost": "1"}},
        "train": {
            "workspace": lab,
            "created_by": bob,
            "tags": {"team": "ml", "2026": "yes"},
            "instance_type": "local.2x",
        },
        "adhoc": {"workspace": annex, "created_by": None, "tags": {}},
    }
    made = {name: make_cluster(values.pop("workspace"), name=name, **values) for name, values in kinds.items()}
    ledger(made["etl"], (60, "STATUS", "RUNNING", 2), (120, "REQUEST", "PAUSED", 2))
    ledger(made["train"], (60 + 1440, "STATUS", "RUNNING", 1), (60 + 1440 + 30, "REQUEST", "STOPPED", 1))
    ledger(made["adhoc"], (60 + 10 * 1440, "STATUS", "RUNNING", 1))
    stranger = make_cluster(make_workspace(make_organization()))
    ledger(stranger, (60, "STATUS", "RUNNING", 9), (600, "REQUEST", "PAUSED", 9))
    metering.meter()
    return made

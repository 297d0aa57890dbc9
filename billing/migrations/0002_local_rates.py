"""The list prices of instances on this machine, so that a first bill has something to say; the operator changes them in admin."""

from datetime import UTC, datetime
from decimal import Decimal

from django.db import migrations

FROM = datetime(2020, 1, 1, tzinfo=UTC)
RATES = {"local.1x": "0.06", "local.2x": "0.12", "local.4x": "0.24"}


def add(apps, schema_editor):
    rate = apps.get_model("billing", "Rate")
    for instance_type, hourly in RATES.items():
        rate.objects.create(provider="LOCAL", instance_type=instance_type, hourly=Decimal(hourly), valid_from=FROM)


class Migration(migrations.Migration):
    dependencies = [("billing", "0001_initial")]
    operations = [migrations.RunPython(add, migrations.RunPython.noop)]

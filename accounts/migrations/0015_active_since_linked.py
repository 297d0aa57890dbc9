"""What was linked before has been active since then."""

from django.db import migrations
from django.db.models import F


def fill(apps, schema_editor):
    subscriptions = apps.get_model("accounts", "MarketplaceSubscription").objects
    subscriptions.filter(state="ACTIVE").update(active_since=F("linked_at"))


class Migration(migrations.Migration):
    dependencies = [("accounts", "0014_marketplace_states")]
    operations = [migrations.RunPython(fill, migrations.RunPython.noop)]

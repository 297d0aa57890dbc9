"""Clusters that were let go before savings were kept are metered again."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("billing", "0010_savings"), ("clusters", "0005_idleness")]
    operations = [
        migrations.RunSQL(
            "UPDATE billing_meteredcluster SET ledger_length = 0 WHERE cluster_id IN (SELECT cluster_id FROM"
            " clusters_transition WHERE kind = 'REQUEST' AND actor_label IN ('Bodo Cloud Platform (auto-pause)',"
            " 'Bodo Cloud Platform (auto-stop)'))",
            migrations.RunSQL.noop,
        )
    ]

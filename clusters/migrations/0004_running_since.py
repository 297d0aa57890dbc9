"""Clusters that run now count from when they came to."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("clusters", "0003_maximum_lifetime")]
    operations = [
        migrations.RunSQL(
            "UPDATE clusters_cluster SET running_since = status_at WHERE status = 'RUNNING'", migrations.RunSQL.noop
        )
    ]

"""Find runs by a piece of their name without reading all of them."""

import django.contrib.postgres.indexes
import django.db.models.functions
from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("jobs", "0001_initial"), ("portal", "0002_trigrams")]

    operations = [
        migrations.AddIndex(
            model_name="run",
            index=django.contrib.postgres.indexes.GinIndex(
                django.contrib.postgres.indexes.OpClass(django.db.models.functions.Upper("name"), name="gin_trgm_ops"),
                name="run_by_name",
            ),
        ),
    ]

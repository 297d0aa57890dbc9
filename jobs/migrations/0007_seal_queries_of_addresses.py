"""What follows the question mark of an address may be a signature; it moves to what is sealed."""

from django.db import migrations

from portal import crypto

QUERY = "?…"


def seal_queries(apps, schema_editor):
    for name in ("JobTemplate", "Run"):
        model = apps.get_model("jobs", name)
        rows = model.objects.filter(source_location__contains="?").exclude(source_location__endswith=QUERY)
        for row in rows.only("source_location", "source_token").iterator():
            location, _, query = row.source_location.partition("?")
            row.source_location = f"{location}{QUERY}" if query else location
            row.source_token = crypto.seal({**crypto.unseal(row.source_token), "query": query})
            row.save(update_fields=["source_location", "source_token"])


class Migration(migrations.Migration):
    dependencies = [
        ("jobs", "0006_catalogs_of_jobs"),
    ]

    operations = [
        migrations.RunPython(seal_queries, migrations.RunPython.noop),
    ]

"""Seal the events that are older than the seals, in their order."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("accounts", "0006_audit_triggers")]

    operations = [
        migrations.RunSQL(
            """
            INSERT INTO accounts_auditwaiting
            SELECT pg_current_xact_id(), number FROM accounts_auditevent
            WHERE NOT EXISTS (SELECT FROM accounts_auditseal WHERE event_id = number)
            """,
            migrations.RunSQL.noop,
        )
    ]

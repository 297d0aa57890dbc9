from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("accounts", "0015_active_since_linked")]
    operations = [
        migrations.AddConstraint(
            model_name="marketplacesubscription",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        ("active_since", None), ("organization", None), ("state", "PENDING"), ("suspended_at", None)
                    ),
                    models.Q(
                        ("active_since__isnull", False),
                        ("organization__isnull", False),
                        ("state", "ACTIVE"),
                        ("suspended_at", None),
                    ),
                    models.Q(
                        models.Q(("state__in", ["PENDING", "ACTIVE"]), _negated=True), ("suspended_at__isnull", False)
                    ),
                    _connector="OR",
                ),
                name="marketplace_subscription_state_fits",
            ),
        ),
    ]

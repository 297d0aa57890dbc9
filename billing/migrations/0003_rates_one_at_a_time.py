"""Two prices of one type at one time are refused. Where there are such, the later one has counted, and goes on to."""

import django.contrib.postgres.constraints
import django.contrib.postgres.fields.ranges
from django.db import migrations, models

import billing.models


def end_where_the_next_begins(apps, schema_editor):
    following = None
    rates = apps.get_model("billing", "Rate").objects.order_by("provider", "instance_type", "-valid_from", "-pk")
    for rate in rates.iterator():
        kind = (rate.provider, rate.instance_type)
        if following and following[:2] == kind:
            if rate.valid_from == following[2]:
                rate.delete()
                continue
            if rate.valid_to is None or rate.valid_to > following[2]:
                rate.valid_to = following[2]
                rate.save(update_fields=["valid_to"])
        following = (*kind, rate.valid_from)


class Migration(migrations.Migration):
    dependencies = [("billing", "0002_local_rates")]
    operations = [
        migrations.RunPython(end_where_the_next_begins, migrations.RunPython.noop),
        migrations.AddConstraint(
            model_name="rate",
            constraint=django.contrib.postgres.constraints.ExclusionConstraint(
                expressions=[
                    ("provider", "="),
                    ("instance_type", "="),
                    (
                        billing.models.TimeRange(
                            "valid_from", "valid_to", django.contrib.postgres.fields.ranges.RangeBoundary()
                        ),
                        "&&",
                    ),
                ],
                name="rate_one_at_a_time",
                violation_error_message="Another rate of this instance type is in force in a part of that time.",
            ),
        ),
        migrations.AddConstraint(
            model_name="rate",
            constraint=models.CheckConstraint(
                condition=models.Q(("valid_to", None), ("valid_to__gt", models.F("valid_from")), _connector="OR"),
                name="rate_ends_after_start",
            ),
        ),
        migrations.AddConstraint(
            model_name="rate",
            constraint=models.CheckConstraint(condition=models.Q(("hourly__gte", 0)), name="rate_not_negative"),
        ),
    ]

"""Let the database know how often a text occurs in names and addresses, whatever their case.

Without it the search among members takes each word for rare, looks through all people of the platform and asks for the
membership of each: four times as slow for a word that is common (``bench members_5k``).
"""

from django.db import migrations

CREATE = """
    CREATE STATISTICS accounts_user_names ON upper(first_name::text), upper(last_name::text), upper(email::text)
    FROM accounts_user
"""


class Migration(migrations.Migration):
    dependencies = [("accounts", "0012_single_sign_on")]
    operations = [migrations.RunSQL(CREATE, "DROP STATISTICS accounts_user_names")]

"""The extension of PostgreSQL that finds a piece of a name by an index; the owner of a database may create it."""

from django.contrib.postgres.operations import TrigramExtension
from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("portal", "0001_initial")]

    operations = [TrigramExtension()]

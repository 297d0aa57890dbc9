"""The audit log, and the seals that chain its events."""

from __future__ import annotations

import uuid
from functools import cache

from django.apps import apps
from django.contrib.postgres.indexes import GinIndex, OpClass
from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.db.models import F, Func, Q, Value
from django.db.models.functions import Cast, Concat, Left, Upper
from django.utils import timezone

from accounts.audit_detail import Line, lines
from accounts.models.people import Organization, User

SMALL_BLOCK, LARGE_BLOCK = 13, 17
"""The search goes through the log in blocks of 2 ** 13 numbers, then of 2 ** 17; see ``accounts.audit_search``."""

PLATFORM = uuid.UUID(int=0)
"""The chain of the events that belong to no organization."""


_STRINGS = '$.** ? (@.type() == "string")'


@cache
def type_in_words(name: str) -> str:
    """A type of objects as people call it; names of models are run together."""
    named = (model._meta for model in apps.get_models() if model._meta.model_name == name)
    return next((str(meta.verbose_name) for meta in named), name)


class ActorKind(models.TextChoices):
    """Who acts."""

    USER = "user", "Person"
    TOKEN = "token", "API token"
    VISITOR = "visitor", "Visitor"
    SYSTEM = "system", "Platform"
    STAFF = "staff", "Staff"


class AuditEventQuerySet(models.QuerySet["AuditEvent"]):
    """Audit events."""

    def in_organization(self, organization: Organization) -> AuditEventQuerySet:
        """Those of one organization."""
        return self.filter(organization=organization)


class AuditEvent(models.Model):
    """Who did what to which object, from where. Written in the transaction of the write itself, and never changed:
    triggers refuse it.

    ``actor_user`` is the account of whoever really acted. It outlives the account, as a number without a constraint;
    the label says who it was. ``text`` is what a search looks through beside the labels, in upper case.
    """

    number = models.BigAutoField(primary_key=True)
    at = models.DateTimeField(default=timezone.now)
    organization = models.ForeignKey(
        Organization, null=True, on_delete=models.PROTECT, related_name="audit_events", db_index=False
    )
    actor_kind = models.CharField(max_length=10, choices=ActorKind.choices)
    actor_user = models.ForeignKey(
        User, null=True, on_delete=models.DO_NOTHING, db_constraint=False, db_index=False, related_name="+"
    )
    actor_label = models.CharField(max_length=300)
    verb = models.CharField(max_length=60)
    object_type = models.CharField(max_length=40)
    object_id = models.CharField(max_length=40)
    object_label = models.CharField(max_length=300)
    address = models.GenericIPAddressField(null=True)
    detail = models.JSONField(default=dict, encoder=DjangoJSONEncoder)
    text = models.GeneratedField(
        expression=Upper(
            Concat(
                Func("address", function="host", output_field=models.TextField()),
                Value(" "),
                Left(
                    Cast(
                        Func(
                            "detail",
                            Value(_STRINGS),
                            function="jsonb_path_query_array",
                            output_field=models.JSONField(),
                        ),
                        models.TextField(),
                    ),
                    1000,
                ),
                output_field=models.TextField(),
            )
        ),
        output_field=models.TextField(),
        db_persist=True,
    )

    objects = AuditEventQuerySet.as_manager()

    class Meta:
        constraints = [models.CheckConstraint(condition=Q(actor_kind__in=ActorKind.values), name="audit_actor_kind")]
        indexes = [
            models.Index(fields=["organization", "-number"], name="audit_by_organization"),
            models.Index(fields=["organization", "at"], name="audit_by_time"),
            models.Index(fields=["organization", "object_type", "verb"], name="audit_by_verb"),
            GinIndex(
                F("organization"),
                F("number").bitrightshift(SMALL_BLOCK),
                F("number").bitrightshift(LARGE_BLOCK),
                F("verb"),
                F("object_type"),
                F("object_id"),
                OpClass(Upper("actor_label"), name="gin_trgm_ops"),
                OpClass(Upper("object_label"), name="gin_trgm_ops"),
                OpClass(F("text"), name="gin_trgm_ops"),
                name="audit_search",
                gin_pending_list_limit=1024,
            ),
        ]

    def __str__(self) -> str:
        return f"{self.actor_label} {self.verb} {self.object_label}"

    @property
    def lines(self) -> list[Line]:
        """What changed, and what else is known."""
        return lines(self.detail)

    @property
    def object_kind(self) -> str:
        """The type of the object, in words."""
        return type_in_words(self.object_type)

    @property
    def actor_parts(self) -> tuple[str, str]:
        """The actor's name and e-mail address; without the address where there is none, or more than one."""
        name, _, rest = self.actor_label.partition(" <")
        return (name, rest[:-1]) if rest.endswith(">") and rest.count("@") == 1 else (self.actor_label, "")


class AuditSeal(models.Model):
    """The place of an event in the chain of its organization, written by the database itself at the commit.

    ``hash`` is the SHA-256 of ``previous`` followed by the event's canonical text, in hexadecimal. ``sequence`` counts
    from 1 without a gap. ``chain`` is the organization's id, or ``PLATFORM``.
    """

    event = models.OneToOneField(
        AuditEvent, primary_key=True, on_delete=models.DO_NOTHING, db_constraint=False, related_name="seal"
    )
    chain = models.UUIDField()
    sequence = models.BigIntegerField()
    previous = models.CharField(max_length=64)
    hash = models.CharField(max_length=64)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["chain", "sequence"], name="audit_seal_sequence")]

    def __str__(self) -> str:
        return f"{self.sequence}:{self.hash}"

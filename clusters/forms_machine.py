"""The fields that say what machines a cluster has, for every form that asks for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from itertools import groupby
from typing import Any

from django import forms
from django.forms.utils import flatatt
from django.utils.html import escape
from django.utils.safestring import SafeString

from clusters import pricing
from portal.clouds.base import CloudError, Features, InstanceType
from workspaces.clouds import cloud_of
from workspaces.models import InstanceRole, Workspace
from workspaces.offers import OnOffer, on_offer

MANY = 20
"""From so many types on they are grouped by family, and none is chosen before."""

MACHINE_FIELDS = ("instance_type", "release", "spot", "zone", "instance_role")


class MachineSelect(forms.Select):
    """A choice among hundreds, in groups, put together at once: Django's own renders two templates for each option."""

    choices: Any = ()

    def render(self, name: str, value: Any, attrs: Any = None, renderer: Any = None) -> SafeString:
        """The element."""
        chosen = str(value or "")
        parts = []
        for key, label in self.choices:
            if isinstance(label, list | tuple):
                inner = "".join(_option(each, text, chosen) for each, text in label)
                parts.append(f'<optgroup label="{escape(key)}">{inner}</optgroup>')
            else:
                parts.append(_option(key, label, chosen))
        attributes = flatatt(self.build_attrs(self.attrs, {"name": name, **(attrs or {})}))
        return SafeString(f"<select{attributes}>{''.join(parts)}</select>")


def _option(key: object, label: object, chosen: str) -> str:
    return f'<option value="{escape(key)}"{" selected" if key == chosen else ""}>{escape(label)}</option>'


def instance_type_field(**options: Any) -> forms.ChoiceField:
    """Which machines."""
    return forms.ChoiceField(
        label="Instance type", widget=MachineSelect, error_messages={"required": "Choose an instance type."}, **options
    )


def spot_field() -> forms.BooleanField:
    """Whether they may be taken back."""
    return forms.BooleanField(
        required=False,
        label="Use spot instances",
        help_text="They cost the cloud's spot price, and it may take them back. Such a cluster cannot pause.",
    )


def zone_field() -> forms.ChoiceField:
    """Where in the region."""
    return forms.ChoiceField(
        required=False,
        label="Availability zone",
        help_text="Auto Select takes another zone where one has no machines of this type.",
    )


def role_field() -> forms.ModelChoiceField[InstanceRole]:
    """As whom they act in the account."""
    return forms.ModelChoiceField(
        InstanceRole.objects.none(),
        required=False,
        label="Instance role",
        empty_label="The workspace's own",
        help_text="Your own roles are registered in the settings of the workspace.",
    )


def offer_machines(form: forms.Form, workspace: Workspace, kept: Mapping[str, Any] | None = None) -> OnOffer:
    """Fill in what may be chosen, and leave out what the cloud does not have. ``kept`` is what was chosen before, which
    stays a choice. Raises nothing: a list that could not be had is empty, and what is returned says why."""
    offered, kept = on_offer(workspace), kept or {}
    types = list(offered.types)
    rates = pricing.hourly(workspace, [kind.name for kind in types])
    groups = _grouped(types, rates, offered.features)
    if (old := kept.get("instance_type")) and old not in {kind.name for kind in types}:
        groups.insert(0, (old, f"{old} · as before" if offered.fetching else f"{old} · not on offer any more"))
    _choices(form, "instance_type", groups)
    try:
        releases = [release.version for release in cloud_of(workspace.cloud_configuration).releases()]
    except CloudError as error:
        offered, releases = _with_error(offered, error), []
    if (old := kept.get("release")) and old not in releases:
        releases.append(old)
    _choices(form, "release", [(version, f"Bodo {version}") for version in releases])
    _offer_beyond(form, workspace, offered, kept)
    return offered


def _offer_beyond(form: forms.Form, workspace: Workspace, offered: OnOffer, kept: Mapping[str, Any]) -> None:
    """What only some clouds have."""
    features = offered.features
    for name, there in {
        "spot": features.spot,
        "zone": features.zones,
        "instance_role": features.instance_roles,
    }.items():
        if not there:
            del form.fields[name]
    if features.zones:
        zones = [*offered.zones, *({kept.get("zone")} - {"", None, *offered.zones})]
        _choices(form, "zone", [("", "Auto Select"), *((zone, zone) for zone in zones)])
    if features.instance_roles:
        field = form.fields["instance_role"]
        assert isinstance(field, forms.ModelChoiceField)
        field.queryset = InstanceRole.objects.in_workspace(workspace).usable()


def label_of(kind: InstanceType, features: Features, rates: Mapping[str, Decimal | None]) -> str:
    """An instance type as a choice shows it."""
    parts = [kind.name, f"{kind.vcpus} vCPU"] if kind.vcpus != kind.cores else [kind.name]
    parts += [f"{kind.cores} core{'s' if kind.cores != 1 else ''}", f"{round(kind.memory / 1024, 1):g} GiB"]
    if kind.accelerated_networking:
        parts.append(features.fast_network)
    if kind.name in rates:
        rate = rates[kind.name]
        parts.append("no price" if rate is None else f"{rate.normalize():f} USD/h")
    return " · ".join(parts)


def _grouped(types: Sequence[InstanceType], rates: Mapping[str, Decimal | None], features: Features) -> list[Any]:
    labels = [(kind, (kind.name, label_of(kind, features, rates))) for kind in types]
    if len(types) <= MANY:
        return [choice for _, choice in labels]
    labels.sort(key=lambda each: each[0].family)  # stable: within a family the smallest stays first
    families = [(family, [choice for _, choice in group]) for family, group in groupby(labels, lambda x: x[0].family)]
    return [("", "Choose an instance type"), *families]


def _choices(form: forms.Form, name: str, choices: Sequence[Any]) -> None:
    field = form.fields[name]
    assert isinstance(field, forms.ChoiceField)
    field.choices = choices


def _with_error(offered: OnOffer, error: CloudError) -> OnOffer:
    return offered if offered.error else replace(offered, error=error)

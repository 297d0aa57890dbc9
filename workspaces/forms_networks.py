"""Forms of network configurations."""

from __future__ import annotations

import re
from typing import Any

from django import forms

from accounts.forms import NameField
from accounts.models import Organization
from portal.clouds.base import Network
from workspaces.clouds import cloud_of
from workspaces.models import CloudConfiguration


def with_networks(organization: Organization) -> list[CloudConfiguration]:
    """The configurations whose clouds take networks of the customer's own."""
    rows = CloudConfiguration.objects.in_organization(organization).ready()
    return [row for row in rows if cloud_of(row).features.networks]


class IdsField(forms.CharField):
    """Ids of the provider's, one in each line or separated by commas or spaces."""

    def __init__(self, prefix: str, least: int, most: int, **options: Any) -> None:
        attributes = {"rows": 3, "spellcheck": "false", "autocapitalize": "none", "class": "mono"}
        super().__init__(widget=forms.Textarea(attributes), max_length=2000, **options)
        self.prefix, self.least, self.most = prefix, least, most

    def clean(self, value: Any) -> list[str]:
        """The ids, each once, in the order in which they were entered."""
        ids = list(dict.fromkeys(re.split(r"[\s,;]+", super().clean(value).strip())))
        for each in ids:
            if not re.fullmatch(rf"{self.prefix}-[0-9a-f]{{8,17}}", each):
                raise forms.ValidationError(f"“{each[:60]}” is not an id such as {self.prefix}-0123456789abcdef0.")
        if not self.least <= len(ids) <= self.most:
            raise forms.ValidationError(f"Enter {self.least} to {self.most} ids.")
        return ids


def _id(prefix: str, label: str, **options: Any) -> forms.RegexField:
    return forms.RegexField(
        rf"^{prefix}-[0-9a-f]{{8,17}}\Z",
        label=label,
        error_messages={"invalid": f"This is not an id such as {prefix}-0123456789abcdef0."},
        widget=forms.TextInput(
            {"autocomplete": "off", "spellcheck": "false", "placeholder": f"{prefix}-0123456789abcdef0"}
        ),
        **options,
    )


class NetworkForm(forms.Form):
    """A network of the customer's own."""

    name = NameField(label="Name", help_text="Unique in the organization.")
    cloud_configuration = forms.ModelChoiceField(CloudConfiguration.objects.none(), label="Cloud configuration")
    region = forms.ChoiceField(label="Region")
    vpc = _id("vpc", "VPC")
    subnets = IdsField(
        "subnet", 2, 16, label="Subnets", help_text="Two or more, each in a zone of its own. Netmasks /17 to /26."
    )
    security_groups = IdsField(
        "sg", 1, 5, label="Security groups", help_text="One to five, in which machines reach each other by all ports."
    )
    s3 = _id("vpce", "PrivateLink endpoint of S3", required=False)
    ssm = _id("vpce", "PrivateLink endpoint of Systems Manager", required=False)
    platform = _id("vpce", "PrivateLink endpoint of the platform", required=False)

    def __init__(self, *args: Any, organization: Organization, **options: Any) -> None:
        super().__init__(*args, **options)
        offered = with_networks(organization)
        chosen, region = self.fields["cloud_configuration"], self.fields["region"]
        assert isinstance(chosen, forms.ModelChoiceField)
        assert isinstance(region, forms.ChoiceField)
        chosen.queryset = CloudConfiguration.objects.filter(pk__in=[row.pk for row in offered]).order_by("name")
        if offered:
            chosen.initial, region.initial = offered[0], offered[0].settings.get("region")
        regions = sorted({region for row in offered for region in cloud_of(row).regions()})
        region.choices = [(each, each) for each in regions]

    def clean(self) -> dict[str, Any]:
        """The region is one of the configuration's."""
        values = super().clean() or self.cleaned_data
        configuration, region = values.get("cloud_configuration"), values.get("region")
        if configuration and region and region not in cloud_of(configuration).regions():
            self.add_error("region", f"{configuration} has no region {region}.")
        return values

    def network(self) -> Network:
        """What was entered."""
        values = self.cleaned_data
        endpoints = {name: values[name] for name in ("s3", "ssm", "platform") if values[name]}
        return Network(values["vpc"], values["subnets"], values["security_groups"], endpoints)

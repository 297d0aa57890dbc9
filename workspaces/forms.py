"""Forms of the workspaces app."""

from __future__ import annotations

from typing import Any

from django import forms

from accounts.forms import NameField
from accounts.models import Organization
from workspaces.clouds import cloud_of
from workspaces.models import CloudConfiguration, NetworkConfiguration


class WorkspaceForm(forms.Form):
    """A new workspace."""

    name = NameField(label="Name", help_text="Unique in the organization.")
    cloud_configuration = forms.ModelChoiceField(CloudConfiguration.objects.none(), label="Cloud configuration")
    region = forms.ChoiceField(label="Region", required=False, help_text="Where the workspace is deployed.")
    network = forms.ModelChoiceField(
        NetworkConfiguration.objects.none(),
        required=False,
        label="Network",
        empty_label="One of its own",
        help_text="A network that you made. The workspace is in its region then.",
    )

    def __init__(self, *args: Any, organization: Organization, **options: Any) -> None:
        super().__init__(*args, **options)
        configurations = CloudConfiguration.objects.in_organization(organization).ready()
        chosen = self.fields["cloud_configuration"]
        assert isinstance(chosen, forms.ModelChoiceField)
        chosen.queryset = configurations
        chosen.initial = configurations.first()
        self.has_checks = any(cloud_of(each).features.workspace_checks for each in configurations)
        regions = sorted({region for configuration in configurations for region in cloud_of(configuration).regions()})
        networks = NetworkConfiguration.objects.in_organization(organization)
        ours = self.fields["network"]
        assert isinstance(ours, forms.ModelChoiceField)
        ours.queryset = networks
        if not networks:
            del self.fields["network"]
        field = self.fields["region"]
        assert isinstance(field, forms.ChoiceField)
        field.choices = [(region, region) for region in regions]

    def clean(self) -> dict[str, Any]:
        """The region must be one of the configuration's; with one to choose from, it is chosen."""
        values = super().clean() or self.cleaned_data
        configuration, network = values.get("cloud_configuration"), values.get("network")
        if configuration and network:
            values["region"] = network.region
            if network.cloud_configuration_id != configuration.pk:
                self.add_error("network", f"{network} is not a network of {configuration}.")
        elif configuration:
            regions = list(cloud_of(configuration).regions())
            values["region"] = values.get("region") or regions[0]
            if values["region"] not in regions:
                self.add_error("region", f"{configuration} has no region {values['region']}.")
        return values


class WorkspaceSettingsForm(forms.Form):
    """What of a workspace can be changed."""

    name = NameField(label="Name")


class UploadForm(forms.Form):
    """A file for the shared filesystem."""

    path = forms.CharField(required=False, widget=forms.HiddenInput)
    file = forms.FileField(label="File", allow_empty_file=True)


class FolderForm(forms.Form):
    """A new folder."""

    path = forms.CharField(required=False, widget=forms.HiddenInput)
    name = forms.CharField(label="Folder name", max_length=255)


class MoveForm(forms.Form):
    """A new name for a file or folder; a name with slashes moves it."""

    path = forms.CharField(widget=forms.HiddenInput)
    name = forms.CharField(label="New name", max_length=1000)


class PathForm(forms.Form):
    """One path."""

    path = forms.CharField(max_length=4000)


class TextForm(forms.Form):
    """The text of a small file, and the digest of what it was when the editing began."""

    text = forms.CharField(required=False, strip=False, widget=forms.Textarea, label="Text")
    digest = forms.CharField(widget=forms.HiddenInput)

"""Forms of cloud configurations."""

from __future__ import annotations

from typing import Any

from django import forms

from accounts.forms import NameField
from portal.clouds.aws.configuration import REGIONS, Configuration, refuse_misspelt
from portal.clouds.base import CloudError
from workspaces.models import Way

REGION_CHOICES = [(region, region) for region in REGIONS]


class LocalConfigurationForm(forms.Form):
    """A LOCAL cloud configuration."""

    name = NameField(label="Name")
    directory = forms.CharField(
        required=False,
        max_length=1000,
        label="Directory",
        help_text="Where on this machine clusters and files live. Leave it empty for a directory of its own.",
    )


class AwsConfigurationForm(forms.Form):
    """A cloud configuration on AWS, before anything is known of the account."""

    name = NameField(label="Name", help_text="Unique in the organization.")
    region = forms.ChoiceField(
        label="Region",
        choices=REGION_CHOICES,
        help_text="Where the metadata is stored. Workspaces can be in other regions.",
    )
    way = forms.ChoiceField(label="Way", choices=Way.choices, widget=forms.RadioSelect, initial=Way.KEYS)

    def __init__(self, *args: Any, ways: list[tuple[str, str]], **options: Any) -> None:
        super().__init__(*args, **options)
        field = self.fields["way"]
        assert isinstance(field, forms.ChoiceField)
        field.choices = ways


def _bare(label: str, placeholder: str, **options: Any) -> forms.CharField:
    """A field for what AWS calls something."""
    attributes = {"autocomplete": "off", "spellcheck": "false", "autocapitalize": "none", "placeholder": placeholder}
    return forms.CharField(label=label, widget=forms.TextInput(attributes), **options)


class ByHandForm(forms.Form):
    """What somebody made in their account by hand."""

    region = forms.ChoiceField(label="Region", choices=REGION_CHOICES, help_text="That of the bucket and the table.")
    bucket = _bare("S3 bucket", "bodo-platform-metadata", max_length=63)
    table = _bare("DynamoDB table", "bodo-platform-locks", max_length=255)
    role_arn = _bare("Role ARN", "arn:aws:iam::123456789012:role/BodoPlatformUser", max_length=700)

    def clean(self) -> dict[str, Any]:
        """What cannot be right is said beside its field, before AWS is asked."""
        values = super().clean() or self.cleaned_data
        if not self.errors:
            beside = {"InvalidRoleArn": "role_arn", "InvalidBucketName": "bucket", "InvalidTableName": "table"}
            try:
                refuse_misspelt(Configuration(external_id="", **values))
            except CloudError as error:
                self.add_error(beside.get(error.code), f"{error.message} {error.hint}")
        return values


class NeverShown(forms.TextInput):
    """What was entered is not given back: pages are kept by browsers."""

    def __init__(self, input_type: str = "text") -> None:
        super().__init__({"autocomplete": "off", "spellcheck": "false", "autocapitalize": "none"})
        self.input_type = input_type

    def get_context(self, name: str, value: Any, attrs: dict[str, Any] | None) -> dict[str, Any]:
        """Without the value."""
        return super().get_context(name, None, attrs)


def _key(pattern: str, message: str, **options: Any) -> forms.RegexField:
    """A key. Its form is checked because what is no key would stand in the words of an error."""
    return forms.RegexField(pattern, error_messages={"invalid": message}, **options)


class KeysForm(forms.Form):
    """Access keys, which live as long as it takes to make three things with them."""

    access_key_id = _key(
        r"^[A-Z0-9]{16,128}\Z",
        "This is not an access key ID: those are 20 capital letters and digits, and begin with AKIA or ASIA.",
        label="Access key ID",
        widget=NeverShown(),
    )
    secret_access_key = _key(
        r"^[A-Za-z0-9/+=]{16,128}\Z",
        "This is not a secret access key: those are 40 letters, digits, slashes and plus signs.",
        label="Secret access key",
        widget=NeverShown("password"),
    )
    session_token = _key(
        r"^[A-Za-z0-9/+=]{16,4096}\Z",
        "This is not a session token: those are some hundred letters, digits, slashes and plus signs.",
        label="Session token",
        required=False,
        widget=NeverShown("password"),
        help_text="Only where the keys are temporary ones.",
    )


class StackForm(forms.Form):
    """The account in which somebody makes the stack."""

    account = forms.RegexField(
        r"^[0-9]{12}\Z",
        label="AWS account ID",
        error_messages={"invalid": "Enter its twelve digits. The AWS console shows them at the top right."},
        widget=forms.TextInput({"autocomplete": "off", "inputmode": "numeric", "placeholder": "123456789012"}),
        help_text="Twelve digits; the AWS console shows them at the top right.",
    )

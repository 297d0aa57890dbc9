"""Forms of catalogs, one for each kind. Passwords and keys go in and never come out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from django import forms

from accounts.forms import NameField
from workspaces.catalogs import MAX_SECRET, MAX_SETTING, SHAPES, moves_secret, refusal_of
from workspaces.models import Catalog, CatalogKind


class WriteOnlyInput(forms.PasswordInput):
    """Takes a password and never gives it back. Scripts keep what was typed in the page (``hx-preserve``)."""

    def __init__(self) -> None:
        super().__init__({"autocomplete": "new-password", "hx-preserve": "true"}, render_value=False)


class SettingField(forms.CharField):
    """One setting, checked as the service checks it."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"max_length": MAX_SETTING, **options})
        self.widget.attrs |= {"autocomplete": "off", "spellcheck": "false"}


class CatalogForm(forms.Form):
    """What all kinds have. ``catalog`` is the one that is changed, if any."""

    kind: ClassVar[CatalogKind]
    secrets: ClassVar[tuple[str, ...]] = ()

    name = NameField(label="Name", help_text="Unique in the workspace. SQL names the catalog like this.")
    description = forms.CharField(required=False, max_length=1000, label="Description")

    def __init__(self, *args: Any, catalog: Catalog | None = None, **options: Any) -> None:
        initial: dict[str, Any] = {}
        if catalog:
            initial = {"name": catalog.name, "description": catalog.description, **catalog.settings}
        super().__init__(*args, **{"initial": initial, **options})
        self.catalog = catalog
        self.stored = self.secrets if catalog and catalog.sealed else ()
        for name in self.secrets:
            self.fields[name].required = SHAPES[self.kind].secret_needed and not self.stored
            if self.stored:
                self.fields[name].widget.attrs["placeholder"] = "Unchanged"
        self.order_fields([*(name for name in self.fields if name != "description"), "description"])

    @property
    def setting_names(self) -> list[str]:
        """The names of settings among the fields, in order."""
        shape = SHAPES[self.kind]
        return [name for name in self.base_fields if name in shape.needed | shape.possible]

    def clean(self) -> dict[str, Any]:
        """Each setting as the service wants it."""
        values = super().clean() or self.cleaned_data
        for name in self.setting_names:
            refusal = refusal_of(name, values[name]) if values.get(name) else ""
            if refusal:
                self.add_error(name, refusal)
        return values

    @property
    def settings(self) -> dict[str, str]:
        """What was entered, without what was left empty, once the form is valid."""
        return {name: self.cleaned_data[name] for name in self.setting_names if self.cleaned_data[name]}

    @property
    def secret(self) -> Mapping[str, str] | None:
        """The secret that was entered; None to keep the stored one, if there is one."""
        entered = {name: self.cleaned_data[name] for name in self.secrets if self.cleaned_data[name]}
        return entered or None


class FilesystemForm(CatalogForm):
    """A folder of the workspace's files."""

    kind = CatalogKind.FILESYSTEM

    directory = SettingField(
        required=False,
        label="Folder",
        help_text="Within the workspace's files, such as data/sales. Each Parquet file and each folder of Parquet "
        "files below it is a table. Leave it empty for all files.",
    )

    def clean_directory(self) -> str:
        """Without slashes around it."""
        text: str = self.cleaned_data["directory"].rstrip("/")
        return text

    @property
    def settings(self) -> dict[str, str]:
        """The folder is a setting also where it is the whole."""
        return {"directory": self.cleaned_data["directory"]}


class SnowflakeForm(CatalogForm):
    """A database of Snowflake."""

    kind = CatalogKind.SNOWFLAKE
    secrets = ("password",)

    account = SettingField(label="Account identifier", help_text="Such as myorg-account1 or xy12345.eu-central-1.")
    user = SettingField(label="User")
    password = forms.CharField(
        strip=False,
        max_length=MAX_SECRET,
        widget=WriteOnlyInput,
        label="Password",
        help_text="Or a programmatic access token, for users with a second factor. Stored encrypted, never shown.",
    )
    warehouse = SettingField(label="Warehouse")
    database = SettingField(label="Database")
    schema = SettingField(required=False, label="Schema")
    role = SettingField(required=False, label="Role")
    port = SettingField(required=False, label="Port", help_text="443 unless somebody told you another.")

    def clean_account(self) -> str:
        """People paste the address of their account."""
        text: str = self.cleaned_data["account"].strip().lower()
        text = text.removeprefix("https://").split("/")[0]
        for domain in (".snowflakecomputing.com", ".snowflakecomputing.cn"):
            text = text.removesuffix(domain)
        return text

    def clean(self) -> dict[str, Any]:
        """The password again, where the stored one was for somebody else."""
        values = super().clean()
        if (
            self.catalog
            and not values.get("password")
            and not self.errors
            and moves_secret(self.catalog, self.settings)
        ):
            self.add_error("password", "Enter it again: it was stored for another account or user.")
        return values


class GlueForm(CatalogForm):
    """The tables of an AWS account."""

    kind = CatalogKind.GLUE
    secrets = ("access_key_id", "secret_access_key")

    region = SettingField(label="Region", help_text="Such as us-east-1.")
    warehouse = SettingField(
        label="Warehouse", help_text="Where the tables lie, such as s3://bucket/folder; or the id of a catalog."
    )
    access_key_id = forms.CharField(required=False, max_length=MAX_SECRET, widget=WriteOnlyInput, label="Access key ID")
    secret_access_key = forms.CharField(
        required=False,
        max_length=MAX_SECRET,
        widget=WriteOnlyInput,
        label="Secret access key",
        help_text="Both are stored encrypted and never shown. Without them, jobs use AWS_ACCESS_KEY_ID and "
        "AWS_SECRET_ACCESS_KEY from their secrets, or the role of their instances.",
    )
    forget = forms.BooleanField(required=False, label="Forget the stored access key")

    def __init__(self, *args: Any, catalog: Catalog | None = None, **options: Any) -> None:
        super().__init__(*args, catalog=catalog, **options)
        if not self.stored:
            del self.fields["forget"]

    def clean(self) -> dict[str, Any]:
        """Both parts of the key, or none."""
        values = super().clean()
        parts = [name for name in self.secrets if values.get(name)]
        if len(parts) == 1 and not any(name in self.errors for name in self.secrets):
            missing = next(name for name in self.secrets if name not in parts)
            self.add_error(missing, "Enter both parts of the access key.")
        if parts and values.get("forget"):
            self.add_error("forget", "Enter another access key, or forget the stored one; not both.")
        return values

    @property
    def secret(self) -> Mapping[str, str] | None:
        """An empty one where the stored key is to go."""
        return {} if self.cleaned_data.get("forget") else super().secret


FORMS: dict[str, type[CatalogForm]] = {form.kind.value: form for form in (FilesystemForm, SnowflakeForm, GlueForm)}

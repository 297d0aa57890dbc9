"""Forms of notebooks."""

from __future__ import annotations

from typing import Any

from django import forms

from notebooks.models import NotebookServer
from portal.clouds.base import NotebookSize
from workspaces.clouds import cloud_of


class NotebookForm(forms.Form):
    """What a person can change of their server."""

    image = forms.ChoiceField(label="Image", help_text="The version of JupyterLab.")
    size = forms.ChoiceField(label="Size", help_text="What all kernels and terminals may have together.")
    idle_stop_minutes = forms.IntegerField(
        label="Stop when idle for",
        min_value=0,
        max_value=10080,
        help_text="Minutes without a running cell, terminal or save. 0 is never. An open page alone does not count.",
    )

    def __init__(self, *args: Any, server: NotebookServer, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        workspace = server.workspace
        cloud = cloud_of(workspace.cloud_configuration)
        images = [release.version for release in cloud.notebook_images()]
        sizes = list(cloud.notebook_sizes(workspace.region))
        chosen = [("image", [(name, f"JupyterLab {name}") for name in images])]
        chosen += [("size", [(size.name, _label(size)) for size in sizes])]
        for name, choices in chosen:
            field = self.fields[name]
            assert isinstance(field, forms.ChoiceField)
            field.choices = choices
            self.initial.setdefault(name, getattr(server, name))
        self.initial.setdefault("idle_stop_minutes", server.idle_stop_minutes)


def _label(size: NotebookSize) -> str:
    return f"{size.name}: {size.memory / 1024:g} GiB"

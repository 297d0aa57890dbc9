"""Addresses of cloud configurations and workspaces."""

from django.urls import path

from workspaces import (
    views,
    views_catalogs,
    views_configurations,
    views_files,
    views_members,
    views_networks,
    views_orphans,
    views_roles,
    views_secrets,
    views_tokens,
)

app_name = "workspaces"
urlpatterns = [
    path("o/<uuid:organization>/configurations/", views_configurations.configurations, name="configurations"),
    path("o/<uuid:organization>/configurations/new/", views_configurations.configuration_new, name="configuration_new"),
    path(
        "o/<uuid:organization>/configurations/new/aws/",
        views_configurations.configuration_new_aws,
        name="configuration_new_aws",
    ),
    path(
        "o/<uuid:organization>/configurations/<uuid:configuration>/",
        views_configurations.configuration,
        name="configuration",
    ),
    path(
        "o/<uuid:organization>/configurations/<uuid:configuration>/check/",
        views_configurations.configuration_check,
        name="configuration_check",
    ),
    path(
        "o/<uuid:organization>/configurations/<uuid:configuration>/policy/",
        views_configurations.configuration_policy,
        name="configuration_policy",
    ),
    path(
        "o/<uuid:organization>/configurations/<uuid:configuration>/delete/",
        views_configurations.configuration_delete,
        name="configuration_delete",
    ),
    path("o/<uuid:organization>/networks/", views_networks.networks, name="networks"),
    path("o/<uuid:organization>/networks/new/", views_networks.network_new, name="network_new"),
    path("o/<uuid:organization>/networks/<uuid:network>/delete/", views_networks.network_delete, name="network_delete"),
    path(
        "o/<uuid:organization>/configurations/<uuid:configuration>/orphans/",
        views_orphans.orphans,
        name="orphans",
    ),
    path(
        "o/<uuid:organization>/configurations/<uuid:configuration>/orphans/search/",
        views_orphans.orphans_search,
        name="orphans_search",
    ),
    path(
        "o/<uuid:organization>/configurations/<uuid:configuration>/orphans/remove/",
        views_orphans.orphans_remove,
        name="orphans_remove",
    ),
    path(
        "o/<uuid:organization>/configurations/<uuid:configuration>/orphans/<uuid:thing>/adopt/",
        views_orphans.orphan_adopt,
        name="orphan_adopt",
    ),
    path("o/<uuid:organization>/workspaces/", views.workspaces, name="list"),
    path("o/<uuid:organization>/workspaces/new/", views.workspace_new, name="new"),
    path("w/<uuid:workspace>/", views.enter, name="enter"),
    path("w/<uuid:workspace>/row/", views.workspace_row, name="row"),
    path("w/<uuid:workspace>/events/", views.workspace_events, name="events"),
    path("w/<uuid:workspace>/settings/", views.settings, name="settings"),
    path("w/<uuid:workspace>/members/", views_members.members, name="members"),
    path("w/<uuid:workspace>/members/new/", views_members.member_add, name="member_add"),
    path("w/<uuid:workspace>/members/<int:workspace_membership>/", views_members.member, name="member"),
    path(
        "w/<uuid:workspace>/members/<int:workspace_membership>/remove/",
        views_members.member_remove,
        name="member_remove",
    ),
    path("w/<uuid:workspace>/leave/", views_members.leave, name="leave"),
    path(
        "w/<uuid:workspace>/invitations/<uuid:invitation>/resend/",
        views_members.invitation_resend,
        name="invitation_resend",
    ),
    path(
        "w/<uuid:workspace>/invitations/<uuid:invitation>/revoke/",
        views_members.invitation_revoke,
        name="invitation_revoke",
    ),
    path("w/<uuid:workspace>/settings/tokens/", views_tokens.token_list, name="tokens"),
    path("w/<uuid:workspace>/settings/tokens/new/", views_tokens.token_new, name="token_new"),
    path(
        "w/<uuid:workspace>/settings/tokens/<uuid:workspace_token>/revoke/",
        views_tokens.token_revoke,
        name="token_revoke",
    ),
    path("w/<uuid:workspace>/settings/roles/", views_roles.roles, name="instance_roles"),
    path("w/<uuid:workspace>/settings/roles/new/", views_roles.role_new, name="instance_role_new"),
    path("w/<uuid:workspace>/settings/roles/<uuid:instance_role>/row/", views_roles.role_row, name="instance_role_row"),
    path(
        "w/<uuid:workspace>/settings/roles/<uuid:instance_role>/retry/",
        views_roles.role_retry,
        name="instance_role_retry",
    ),
    path(
        "w/<uuid:workspace>/settings/roles/<uuid:instance_role>/delete/",
        views_roles.role_delete,
        name="instance_role_delete",
    ),
    path("w/<uuid:workspace>/delete/", views.delete, name="delete"),
    path("w/<uuid:workspace>/files/", views_files.files, name="files"),
    path("w/<uuid:workspace>/files/upload/", views_files.upload, name="files_upload"),
    path("w/<uuid:workspace>/files/folder/", views_files.folder_new, name="files_folder"),
    path("w/<uuid:workspace>/files/move/", views_files.move, name="files_move"),
    path("w/<uuid:workspace>/files/delete/", views_files.delete, name="files_delete"),
    path("w/<uuid:workspace>/files/download/", views_files.download, name="files_download"),
    path("w/<uuid:workspace>/files/edit/", views_files.edit, name="files_edit"),
    path("w/<uuid:workspace>/secrets/", views_secrets.secrets, name="secrets"),
    path("w/<uuid:workspace>/secrets/groups/new/", views_secrets.group_new, name="secret_group_new"),
    path("w/<uuid:workspace>/secrets/groups/<uuid:group>/edit/", views_secrets.group_edit, name="secret_group_edit"),
    path(
        "w/<uuid:workspace>/secrets/groups/<uuid:group>/delete/", views_secrets.group_delete, name="secret_group_delete"
    ),
    path("w/<uuid:workspace>/secrets/groups/<uuid:group>/new/", views_secrets.secret_new, name="secret_new"),
    path("w/<uuid:workspace>/secrets/<uuid:secret>/edit/", views_secrets.secret_edit, name="secret_edit"),
    path("w/<uuid:workspace>/secrets/<uuid:secret>/delete/", views_secrets.secret_delete, name="secret_delete"),
    path("w/<uuid:workspace>/catalogs/", views_catalogs.catalogs, name="catalogs"),
    path("w/<uuid:workspace>/catalogs/new/", views_catalogs.catalog_new, name="catalog_new"),
    path("w/<uuid:workspace>/catalogs/<uuid:catalog>/", views_catalogs.catalog, name="catalog"),
    path("w/<uuid:workspace>/catalogs/<uuid:catalog>/edit/", views_catalogs.catalog_edit, name="catalog_edit"),
    path("w/<uuid:workspace>/catalogs/<uuid:catalog>/test/", views_catalogs.catalog_test, name="catalog_test"),
    path("w/<uuid:workspace>/catalogs/<uuid:catalog>/delete/", views_catalogs.catalog_delete, name="catalog_delete"),
]

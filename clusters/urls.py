"""Addresses of clusters."""

from django.urls import path

from clusters import views, views_idle

app_name = "clusters"
urlpatterns = [
    path("w/<uuid:workspace>/clusters/", views.clusters, name="list"),
    path("w/<uuid:workspace>/clusters/new/", views.new, name="new"),
    path("w/<uuid:workspace>/clusters/<uuid:cluster>/", views.detail, name="detail"),
    path("w/<uuid:workspace>/clusters/<uuid:cluster>/row/", views.row, name="row"),
    path("w/<uuid:workspace>/clusters/<uuid:cluster>/live/", views.live, name="live"),
    path("w/<uuid:workspace>/clusters/<uuid:cluster>/edit/", views.edit, name="edit"),
    path("w/<uuid:workspace>/clusters/<uuid:cluster>/scale/", views.scale, name="scale"),
    path("w/<uuid:workspace>/clusters/<uuid:cluster>/snooze/", views_idle.snooze, name="snooze"),
    path("w/<uuid:workspace>/clusters/<uuid:cluster>/snooze/end/", views_idle.snooze_end, name="snooze_end"),
    path("snooze/<str:snooze_key>/", views_idle.snooze_link, name="snooze_link"),
    path("w/<uuid:workspace>/clusters/<uuid:cluster>/<slug:action>/", views.action, name="action"),
]

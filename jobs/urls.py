"""Addresses of runs."""

from django.urls import path

from jobs import views

app_name = "jobs"
urlpatterns = [
    path("w/<uuid:workspace>/jobs/", views.runs, name="list"),
    path("w/<uuid:workspace>/jobs/new/", views.new, name="new"),
    path("w/<uuid:workspace>/jobs/<uuid:run>/", views.detail, name="detail"),
    path("w/<uuid:workspace>/jobs/<uuid:run>/row/", views.row, name="row"),
    path("w/<uuid:workspace>/jobs/<uuid:run>/live/", views.live, name="live"),
    path("w/<uuid:workspace>/jobs/<uuid:run>/cancel/", views.cancel, name="cancel"),
    path("w/<uuid:workspace>/jobs/<uuid:run>/log/", views.log, name="log"),
    path("w/<uuid:workspace>/jobs/<uuid:run>/log/download/", views.log_download, name="log_download"),
]

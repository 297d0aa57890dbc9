"""Addresses of notebooks on the portal. Those on the notebooks' host are in ``notebooks.proxy``."""

from django.urls import path

from notebooks import views

app_name = "notebooks"
urlpatterns = [
    path("w/<uuid:workspace>/notebook/", views.mine, name="mine"),
    path("w/<uuid:workspace>/notebook/live/", views.live, name="live"),
    path("w/<uuid:workspace>/notebook/start/", views.start, name="start"),
    path("w/<uuid:workspace>/notebook/restart/", views.restart, name="restart"),
    path("w/<uuid:workspace>/notebook/stop/", views.stop, name="stop"),
    path("w/<uuid:workspace>/notebook/stay/", views.stay, name="stay"),
    path("w/<uuid:workspace>/notebook/open/", views.open, name="open"),
    path("w/<uuid:workspace>/settings/notebook/", views.settings, name="settings"),
]

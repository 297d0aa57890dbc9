"""All addresses of the portal, one include per app."""

import allauth.urls
from django.contrib import admin
from django.urls import include, path

from accounts.access import public_view
from accounts.limits import too_many
from accounts.signin_events import one_transaction
from accounts.views import home
from portal import views

urlpatterns = [
    path("", home, name="home"),
    path("", include("accounts.urls")),
    path("", include("workspaces.urls")),
    path("", include("clusters.urls")),
    path("", include("jobs.urls")),
    path("", include("notebooks.urls")),
    path("", include("billing.urls")),
    path("accounts/", include(one_transaction(allauth.urls.urlpatterns))),
    path("admin/", admin.site.urls),
    path("healthz", public_view()(views.healthz), name="healthz"),
]

handler400 = views.bad_request
handler403 = views.forbidden
handler404 = views.not_found
handler429 = too_many  # allauth's, too
handler500 = views.server_error

"""Addresses of people and organizations."""

from django.urls import path

from accounts import views, views_impersonation, views_lockout, views_security

app_name = "accounts"
urlpatterns = [
    path("acting/stop/", views_impersonation.impersonation_stop, name="impersonation_stop"),
    path("organizations/new/", views.organization_new, name="organization_new"),
    path("sessions/<int:session>/end/", views_security.session_end, name="session_end"),
    path("o/<uuid:organization>/people/", views.people, name="people"),
    path("o/<uuid:organization>/people/<int:membership>/unlock/", views_lockout.unlock, name="unlock"),
    path("o/<uuid:organization>/audit/", views.audit_log, name="audit"),
    path("o/<uuid:organization>/events/", views.organization_events, name="events"),
]

"""Addresses of billing."""

from django.urls import path

from billing import views

app_name = "billing"
urlpatterns = [
    path("o/<uuid:organization>/billing/", views.billing, name="dashboard"),
    path("o/<uuid:organization>/billing/export/", views.export, name="export"),
    path("o/<uuid:organization>/billing/intervals/", views.intervals, name="intervals"),
    path("o/<uuid:organization>/billing/intervals/<int:interval>/", views.interval, name="interval"),
]

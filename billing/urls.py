"""Addresses of billing."""

from django.urls import path

from billing import views, views_statements

app_name = "billing"
urlpatterns = [
    path("o/<uuid:organization>/billing/", views.billing, name="dashboard"),
    path("o/<uuid:organization>/billing/export/", views.export, name="export"),
    path("o/<uuid:organization>/billing/intervals/", views.intervals, name="intervals"),
    path("o/<uuid:organization>/billing/intervals/<int:interval>/", views.interval, name="interval"),
    path("o/<uuid:organization>/billing/statements/", views_statements.statements, name="statements"),
    path("o/<uuid:organization>/billing/statements/<str:month>/", views_statements.statement, name="statement"),
    path("o/<uuid:organization>/billing/statements/<str:month>/file/", views_statements.file, name="statement_file"),
]

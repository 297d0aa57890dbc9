"""Addresses of billing."""

from django.urls import path

from billing import (
    views,
    views_alarm_links,
    views_alarms,
    views_budgets,
    views_marketplace,
    views_savings,
    views_statements,
)

app_name = "billing"
_ALARMS = "o/<uuid:organization>/configurations/<uuid:configuration>/alarms/"
_ALARM = _ALARMS + "<uuid:alarm>/"
_BUDGETS = "o/<uuid:organization>/billing/budgets/"
_BUDGET = _BUDGETS + "<uuid:budget>/"
urlpatterns = [
    path(_BUDGETS, views_budgets.budgets, name="budgets"),
    path(_BUDGETS + "new/", views_budgets.new, name="budget_new"),
    path(_BUDGET, views_budgets.budget, name="budget"),
    path(_BUDGET + "edit/", views_budgets.edit, name="budget_edit"),
    path(_BUDGET + "delete/", views_budgets.delete, name="budget_delete"),
    path(_BUDGET + "lift/", views_budgets.lift, name="budget_lift"),
    path(_BUDGET + "lift/end/", views_budgets.end_lift, name="budget_end_lift"),
    path("o/<uuid:organization>/billing/", views.billing, name="dashboard"),
    path("o/<uuid:organization>/billing/export/", views.export, name="export"),
    path("o/<uuid:organization>/billing/marketplace/", views_marketplace.marketplace, name="marketplace"),
    path("o/<uuid:organization>/billing/intervals/", views.intervals, name="intervals"),
    path("o/<uuid:organization>/billing/intervals/<int:interval>/", views.interval, name="interval"),
    path("o/<uuid:organization>/billing/saved/", views_savings.saved, name="saved"),
    path("o/<uuid:organization>/billing/statements/", views_statements.statements, name="statements"),
    path("o/<uuid:organization>/billing/statements/<str:month>/", views_statements.statement, name="statement"),
    path("o/<uuid:organization>/billing/statements/<str:month>/file/", views_statements.file, name="statement_file"),
    path(_ALARMS, views_alarms.alarms, name="alarms"),
    path(_ALARMS + "new/", views_alarms.alarm_new, name="alarm_new"),
    path(_ALARM, views_alarms.alarm, name="alarm"),
    path(_ALARM + "edit/", views_alarms.alarm_edit, name="alarm_edit"),
    path(_ALARM + "retry/", views_alarms.alarm_retry, name="alarm_retry"),
    path(_ALARM + "delete/", views_alarms.alarm_delete, name="alarm_delete"),
    path(_ALARM + "endpoints/", views_alarms.endpoint_add, name="alarm_endpoint_add"),
    path(_ALARM + "endpoints/<uuid:endpoint>/resend/", views_alarms.endpoint_resend, name="alarm_endpoint_resend"),
    path(_ALARM + "endpoints/<uuid:endpoint>/remove/", views_alarms.endpoint_remove, name="alarm_endpoint_remove"),
    path("alarms/confirm/<str:confirm_key>/", views_alarm_links.alarm_confirm, name="alarm_confirm"),
    path("alarms/unsubscribe/<str:unsubscribe_key>/", views_alarm_links.alarm_unsubscribe, name="alarm_unsubscribe"),
]

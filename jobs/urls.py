"""Addresses of runs, templates and schedules."""

from django.urls import path

from jobs import views, views_logs, views_schedules, views_templates

app_name = "jobs"
_JOBS = "w/<uuid:workspace>/jobs/"
_TEMPLATE = f"{_JOBS}templates/<uuid:template>/"
_SCHEDULE = f"{_JOBS}schedules/<uuid:schedule>/"
_RUN = f"{_JOBS}<uuid:run>/"
urlpatterns = [
    path(_JOBS, views.runs, name="list"),
    path(f"{_JOBS}new/", views.new, name="new"),
    path(f"{_JOBS}templates/", views_templates.templates, name="templates"),
    path(f"{_JOBS}templates/new/", views_templates.new, name="template_new"),
    path(_TEMPLATE, views_templates.detail, name="template"),
    path(f"{_TEMPLATE}edit/", views_templates.edit, name="template_edit"),
    path(f"{_TEMPLATE}run/", views_templates.run, name="template_run"),
    path(f"{_TEMPLATE}delete/", views_templates.delete, name="template_delete"),
    path(f"{_JOBS}schedules/", views_schedules.schedules, name="schedules"),
    path(f"{_JOBS}schedules/new/", views_schedules.new, name="schedule_new"),
    path(_SCHEDULE, views_schedules.detail, name="schedule"),
    path(f"{_SCHEDULE}edit/", views_schedules.edit, name="schedule_edit"),
    path(f"{_SCHEDULE}switch/", views_schedules.switch, name="schedule_switch"),
    path(f"{_SCHEDULE}run/", views_schedules.run_now, name="schedule_run"),
    path(f"{_SCHEDULE}delete/", views_schedules.delete, name="schedule_delete"),
    path(_RUN, views.detail, name="detail"),
    path(f"{_RUN}row/", views.row, name="row"),
    path(f"{_RUN}live/", views.live, name="live"),
    path(f"{_RUN}cancel/", views.cancel, name="cancel"),
    path(f"{_RUN}log/", views_logs.log, name="log"),
    path(f"{_RUN}log/search/", views_logs.log_search, name="log_search"),
    path(f"{_RUN}log/download/", views_logs.log_download, name="log_download"),
    path(f"{_RUN}output/", views_logs.output, name="output"),
]

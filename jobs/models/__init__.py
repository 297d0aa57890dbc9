"""The tables of the jobs app, a module for each subject."""

from jobs.models.runs import (
    MAX_QUEUED,
    TRANSITIONS,
    Run,
    RunAttempt,
    RunAttemptQuerySet,
    RunQuerySet,
    RunReason,
    RunStatus,
    RunTarget,
    find_queue_positions,
)
from jobs.models.schedules import (
    CatchUp,
    FireOutcome,
    JobSchedule,
    JobScheduleQuerySet,
    ScheduleFire,
    ScheduleFireQuerySet,
)
from jobs.models.templates import JobTemplate, JobTemplateQuerySet

__all__ = [
    "MAX_QUEUED",
    "TRANSITIONS",
    "CatchUp",
    "FireOutcome",
    "JobSchedule",
    "JobScheduleQuerySet",
    "JobTemplate",
    "JobTemplateQuerySet",
    "Run",
    "RunAttempt",
    "RunAttemptQuerySet",
    "RunQuerySet",
    "RunReason",
    "RunStatus",
    "RunTarget",
    "ScheduleFire",
    "ScheduleFireQuerySet",
    "find_queue_positions",
]

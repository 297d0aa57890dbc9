"""What the portal promises about speed and size, measured: ``make bench``, or ``make bench ONLY=name``."""

from bench import (
    accounts,
    audit,
    aws_engine,
    aws_memory,
    billing,
    jobs,
    lists,
    logs,
    people,
    queueing,
    schedules,
    stack,
)
from bench.measure import Benchmark

BENCHMARKS: dict[str, Benchmark] = {
    benchmark.name: benchmark
    for benchmark in (
        Benchmark("list_clusters_10k", "ms", 50, lists.clusters),
        Benchmark("list_runs_100k", "ms", 50, lists.runs),
        Benchmark("runs_filter_50k", "ms", 50, lists.filtered_runs),
        Benchmark("signin_page", "ms", 50, accounts.sign_in_page),
        Benchmark("members_5k", "ms", 50, people.members),
        Benchmark("audit_search_1m", "ms", 100, audit.search),
        Benchmark("audit_write_cost", "ms", 2, audit.write_cost),
        Benchmark("metering_pass_100k", "s", 5, billing.metering_pass),
        Benchmark("statement_1m", "s", 2, billing.statement),
        Benchmark("export_1m_rss", "MB", 100, billing.export_memory),
        Benchmark("dashboard_1m", "ms", 200, billing.dashboard_page),
        Benchmark("job_start_latency", "ms", 150, jobs.start_latency),
        Benchmark("job_end_to_page", "ms", 300, jobs.end_to_page),
        Benchmark("queue_overhead_per_run", "ms", 250, queueing.overhead_per_run),
        Benchmark("scheduler_pass_10k", "s", 1, schedules.scheduler_pass),
        Benchmark("log_open_1gb", "ms", 200, logs.open_page),
        Benchmark("aws_engine_steps", "ms", 100, aws_engine.engine_steps),
        Benchmark("worker_rss_200_clusters", "MB", 300, aws_memory.worker_memory),
        Benchmark("idle_rss", "MB", 500, stack.idle_memory),
        Benchmark("boot_to_first_page", "s", 10, stack.boot_to_first_page),
    )
}

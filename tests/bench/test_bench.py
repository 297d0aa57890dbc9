"""The benchmarks themselves are run by ``make bench``; here only what they promise, and the line they print."""

from __future__ import annotations

import json

import pytest

from bench import BENCHMARKS
from bench.__main__ import main
from bench.measure import Benchmark, Measurement, percentile


def test_every_promise_has_its_benchmark() -> None:
    promises = {name: (benchmark.limit, benchmark.unit) for name, benchmark in BENCHMARKS.items()}
    assert promises == {
        "job_start_latency": (150, "ms"),
        "job_end_to_page": (300, "ms"),
        "runs_filter_50k": (50, "ms"),
        "queue_overhead_per_run": (250, "ms"),
        "scheduler_pass_10k": (1, "s"),
        "log_open_1gb": (200, "ms"),
        "signin_page": (50, "ms"),
        "members_5k": (50, "ms"),
        "audit_search_1m": (100, "ms"),
        "audit_write_cost": (2, "ms"),
        "metering_pass_100k": (5, "s"),
        "dashboard_1m": (200, "ms"),
        "statement_1m": (2, "s"),
        "export_1m_rss": (100, "MB"),
        "list_clusters_10k": (50, "ms"),
        "list_runs_100k": (50, "ms"),
        "aws_engine_steps": (100, "ms"),
        "worker_rss_200_clusters": (300, "MB"),
        "idle_rss": (500, "MB"),
        "boot_to_first_page": (10, "s"),
    }


def test_a_line_says_the_median_and_the_ratio_to_the_bare_cost() -> None:
    benchmark = Benchmark("speed", "ms", 50, lambda: Measurement([]))
    measurement = Measurement([30.0, 10.0, 20.0], [4.0, 6.0])
    assert json.loads(benchmark.line(measurement)) == {
        "name": "speed",
        "value": 20.0,
        "unit": "ms",
        "n": 3,
        "p95": 30.0,
        "floor": 5.0,
        "ratio": 4.0,
        "limit": 50,
    }
    assert not benchmark.exceeded(measurement)
    assert benchmark.exceeded(Measurement([50.0]))


def test_without_a_bare_cost_there_is_no_ratio() -> None:
    line = json.loads(Benchmark("size", "MB", 500, lambda: Measurement([])).line(Measurement([1.0])))
    assert line["floor"] is None
    assert line["ratio"] is None


def test_the_95th_percentile_is_a_sample() -> None:
    assert percentile([float(value) for value in range(1, 101)], 95) == 95
    assert percentile([1.0, 2.0, 3.0], 95) == 3


def test_an_unknown_name_is_refused_with_those_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["speed_of_light"]) == 2
    assert "There is no benchmark speed_of_light. There are list_clusters_10k" in capsys.readouterr().err

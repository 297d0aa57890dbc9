"""Run all benchmarks, or the named ones: one JSON line each on stdout, sentences for people on stderr.

The exit status is 0 if all ran, whatever they measured.
"""

from __future__ import annotations

import os
import subprocess
import sys

from bench import BENCHMARKS


def main(names: list[str]) -> int:
    """One benchmark runs here; several run in a process each, because settings are read once."""
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        print(f"There is no benchmark {unknown[0]}. There are {', '.join(BENCHMARKS)}.", file=sys.stderr)
        return 2
    if len(names) != 1:
        codes = [subprocess.run([sys.executable, "-m", "bench", name]).returncode for name in names or BENCHMARKS]
        return max(codes)
    benchmark = BENCHMARKS[names[0]]
    before = os.getloadavg()[0]
    measurement = benchmark.run()
    print(benchmark.line(measurement), flush=True)
    for note in measurement.notes:
        print(f"  {note}", file=sys.stderr)
    load = f"load {before:.1f} before, {os.getloadavg()[0]:.1f} after, on {os.cpu_count()} cores"
    verdict = "EXCEEDS its limit" if benchmark.exceeded(measurement) else "is within its limit"
    print(f"  {benchmark.name} {verdict} of {benchmark.limit:g} {benchmark.unit} ({load})", file=sys.stderr, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

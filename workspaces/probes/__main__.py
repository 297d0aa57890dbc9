"""The question as JSON on standard input, the checks as JSON on standard output."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict

from workspaces.probes.findings import Question


def main() -> None:
    """Each kind imports what only it needs."""
    question = Question(**json.load(sys.stdin))
    if question.kind == "SNOWFLAKE":
        from workspaces.probes.snowflake import probe
    else:
        from workspaces.probes.glue import probe
    json.dump([asdict(check) for check in probe(question)], sys.stdout)


if __name__ == "__main__":
    main()

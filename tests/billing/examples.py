"""The worked examples of docs/billing.md: indented lines under a rule, which is the bold beginning of a paragraph."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from django.conf import settings

PAGE = Path(settings.BASE_DIR) / "docs" / "billing.md"


@dataclass
class Example:
    """A rule, and the lines of its example."""

    rule: str
    lines: list[str] = field(default_factory=list)


def examples(*sections: str) -> list[Example]:
    """Those in the sections of these headings; indented lines before the first rule have an empty one."""
    found: list[Example] = []
    section = rule = ""
    for line in PAGE.read_text().splitlines():
        if line.startswith("## "):
            section, rule = line[3:], ""
        elif bold := re.match(r"\*\*(.+?)\*\*", line):
            rule = bold[1]
        elif line.startswith("    ") and section in sections:
            if not found or found[-1].rule != rule:
                found.append(Example(rule))
            found[-1].lines.append(line.strip())
    assert found, sections
    return found


def sections() -> list[str]:
    """The headings of the page."""
    return re.findall("^## (.+)", PAGE.read_text(), re.MULTILINE)

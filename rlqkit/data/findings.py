"""One row of a data set's report, and what mends a data set with problems."""

from __future__ import annotations

from rlqkit.data.imageset import Benchmark
from rlqkit.data.published.load import LAYOUTS
from rlqkit.files import RENEW

MOST = 20
"""Findings of one kind that are listed one by one; the rest is counted."""
Finding = dict[str, object]
"""One row of a report, see `finding`."""


def remedy(benchmark: Benchmark) -> str:
    """What mends a data set with problems: the shipped one is restored, a user's own fetched."""
    if benchmark.name in LAYOUTS:
        return (
            "copy the files named in the table anew from the archive that the data set's authors "
            f"sent you (docs/datasets/{benchmark.name}.md)"
        )
    return RENEW


def finding(check: str, subject: str, found: object, expected: object, ok: bool = True) -> Finding:
    """One row of the report; found and expected as text, so that the columns stay plain."""
    values = {"found": str(found), "expected": str(expected)}
    return {"check": check, "subject": subject, **values, "ok": ok}


def listed(check: str, rows: list[tuple[str, str, str]], ok: bool = False) -> list[Finding]:
    """Findings (subject, found, expected), the first MOST one by one, the rest as a number."""
    findings = [finding(check, *row, ok=ok) for row in rows[:MOST]]
    if len(rows) > MOST:
        more = len(rows) - MOST
        findings.append(finding(check, f"{more} more", rows[MOST][1], rows[MOST][2], ok=ok))
    return findings

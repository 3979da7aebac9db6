"""Render the verdict of a law as one HTML file that needs nothing else, neither a network nor a server."""

from collections.abc import Mapping, Sequence

from ansatzlab.laws.judge import Finding, overall
from ansatzlab.laws.law import Law
from ansatzlab.report.figures.exhibits import Shown
from ansatzlab.report.live.records import Live
from ansatzlab.report.templates import render
from ansatzlab.report.verdicts import MARKS, counting, group_by_claim, tally


def render_page(
    law: Law,
    findings: Sequence[Finding],
    shown: Sequence[Shown],
    facts: Mapping[str, str],
    live: Live | None = None,
) -> str:
    """Render the verdict table, the live section, the figures and the provenance of one verification.

    Conventions: findings of one claim stand together, in the order in which the claims first appear. Everything that
    comes from the records is escaped, and a content security policy in the page forbids it to load anything.

    Args:
        law: The law that was judged.
        findings: Its findings.
        shown: The figures and tables, each with the command that redoes it.
        facts: Provenance, name to value, in the order to be shown: versions, data, the command that redoes it.
        live: What follows the exponent; None if the runs hold no spectra.

    Returns:
        A whole HTML document, to be written as UTF-8.

    Raises:
        InputError: If a figure's columns or cells do not fit together.

    Cost:
        About 5 MB with figures, nearly all of it Plotly.
    """
    return render(
        "page.html",
        shown=shown,
        facts=facts,
        live=live,
        law=law,
        outcome=overall(findings),
        tally=tally(findings),
        groups=group_by_claim(findings),
        MARKS=MARKS,
        counting=counting,
    )

"""Render the verdict of a law as one HTML file that needs nothing else, neither a network nor a server."""

from collections.abc import Mapping, Sequence

from ansatzlab.laws.law import Figure, Finding, Law, overall
from ansatzlab.report.templates import render
from ansatzlab.report.verdicts import MARKS, counting, group_by_claim, tally


def render_page(law: Law, findings: Sequence[Finding], figures: Sequence[Figure], facts: Mapping[str, str]) -> str:
    """Render the verdict table, the figures and the provenance of one verification.

    Conventions: findings of one claim stand together, in the order in which the claims first appear. Everything that
    comes from the records is escaped, and a content security policy in the page forbids it to load anything.

    Args:
        law: The law that was judged.
        findings: Its findings.
        figures: What to draw; Plotly is put into the page once, and not at all without figures.
        facts: Provenance, name to value, in the order to be shown: versions, data, the command that redoes it.

    Returns:
        A whole HTML document, to be written as UTF-8.

    Raises:
        InputError: If a figure's curve has columns of different lengths or only one of low and high.

    Cost:
        About 5 MB with figures, nearly all of it Plotly.
    """
    return render(
        "page.html",
        figures=figures,
        facts=facts,
        law=law,
        outcome=overall(findings),
        tally=tally(findings),
        groups=group_by_claim(findings),
        MARKS=MARKS,
        counting=counting,
    )

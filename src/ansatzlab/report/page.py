"""Render the verdict of a law as one HTML file that needs nothing else, neither a network nor a server."""

from collections.abc import Mapping, Sequence

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from ansatzlab.laws.law import Figure, Finding, Law, overall
from ansatzlab.report.figures import count_undrawn, to_plotly
from ansatzlab.report.verdicts import MARKS, MISSING, counting, format_spread, format_value, group_by_claim, tally


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
    plots = [{"figure": figure, "json": to_plotly(figure), "undrawn": count_undrawn(figure)} for figure in figures]
    return (
        _environment()
        .get_template("page.html")
        .render(
            law=law,
            outcome=overall(findings),
            tally=tally(findings),
            groups=group_by_claim(findings),
            plots=plots,
            facts=dict(facts),
            plotly=Markup(get_plotlyjs()) if figures else "",
        )
    )


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("ansatzlab.report", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False}
    environment.filters["number"] = format_value
    environment.globals.update(MARKS=MARKS, MISSING=MISSING, counting=counting, spread=format_spread)
    return environment

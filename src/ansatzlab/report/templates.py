"""What every HTML page shares: the template environment, the figures in it and Plotly's script."""

from collections.abc import Mapping, Sequence

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from ansatzlab.laws.law import Figure
from ansatzlab.report.figures import count_undrawn, to_plotly
from ansatzlab.report.verdicts import MISSING, format_spread, format_value


def render(template: str, *, figures: Sequence[Figure], facts: Mapping[str, str], **values: object) -> str:
    """Render a template that extends ``base.html`` as one HTML document that needs nothing else.

    Conventions: everything that comes from records is escaped, and a content security policy in the page forbids it to
    load anything.

    Args:
        template: The template's file name.
        figures: What to draw; Plotly is put into the page once, and not at all without figures.
        facts: Provenance, name to value, in the order to be shown.
        values: What else the template names.

    Returns:
        A whole HTML document, to be written as UTF-8.

    Raises:
        InputError: If a figure's curve has columns of different lengths or only one of low and high.

    Cost:
        About 5 MB with figures, nearly all of it Plotly.
    """
    plots = [{"figure": figure, "json": to_plotly(figure), "undrawn": count_undrawn(figure)} for figure in figures]
    plotly = Markup(get_plotlyjs()) if figures else ""
    return _environment().get_template(template).render(plots=plots, facts=dict(facts), plotly=plotly, **values)


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
    environment.globals.update(MISSING=MISSING, spread=format_spread)
    return environment

"""What every HTML page shares: the template environment, the figures in it and Plotly's script."""

from collections.abc import Mapping, Sequence

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from ansatzlab.report.exhibits import Shown
from ansatzlab.report.verdicts import MISSING, format_spread, format_value


def render(template: str, *, shown: Sequence[Shown], facts: Mapping[str, str], **values: object) -> str:
    """Render a template that extends ``base.html`` as one HTML document that needs nothing else.

    Conventions: everything that comes from records is escaped, and a content security policy in the page forbids it to
    load anything.

    Args:
        template: The template's file name.
        shown: The figures and tables; Plotly is put into the page once, and not at all where nothing is drawn.
        facts: Provenance, name to value, in the order to be shown.
        values: What else the template names.

    Returns:
        A whole HTML document, to be written as UTF-8.

    Raises:
        InputError: If a figure's columns or cells do not fit together.

    Cost:
        About 5 MB with figures, nearly all of it Plotly.
    """
    plotly = Markup(get_plotlyjs()) if any(each.table is None for each in shown) else ""
    return _environment().get_template(template).render(shown=shown, facts=dict(facts), plotly=plotly, **values)


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

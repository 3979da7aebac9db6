"""What every HTML page shares: the template environment, the figures in it and Plotly's script."""

from collections.abc import Mapping, Sequence
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from ansatzlab.report.figures.exhibits import Shown
from ansatzlab.report.live.records import Live
from ansatzlab.report.live.view import view
from ansatzlab.report.verdicts import MISSING, format_spread, format_value

LIVE_SCRIPTS = ("live/numbers.js", "live/figures.js", "live/section.js")
"""What computes the live section, in the order in which the scripts need each other."""


def render(
    template: str,
    *,
    shown: Sequence[Shown],
    facts: Mapping[str, str],
    live: Live | None = None,
    **values: object,
) -> str:
    """Render a template that extends ``base.html`` as one HTML document that needs nothing else.

    Conventions: everything that comes from records is escaped, and a content security policy in the page forbids it to
    load anything.

    Args:
        template: The template's file name.
        shown: The figures and tables; Plotly is put into the page once, and not at all where nothing is drawn.
        facts: Provenance, name to value, in the order to be shown.
        live: What follows the exponent, if anything does.
        values: What else the template names.

    Returns:
        A whole HTML document, to be written as UTF-8.

    Raises:
        InputError: If a figure's columns or cells do not fit together.

    Cost:
        About 5 MB with figures, nearly all of it Plotly.
    """
    drawn = any(each.table is None for each in shown)
    names = [*(["plots.js"] if drawn or live else []), *(LIVE_SCRIPTS if live else [])]
    folder = files("ansatzlab.report")
    scripts = [Markup((folder / name).read_text(encoding="utf-8")) for name in names]
    return (
        _environment()
        .get_template(template)
        .render(
            shown=shown,
            facts=dict(facts),
            live=view(live),
            scripts=[Markup(get_plotlyjs()), *scripts] if scripts else [],
            **values,
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
    environment.globals.update(MISSING=MISSING, spread=format_spread)
    return environment

"""What the report shows of the counterexamples."""

from collections.abc import Sequence

import numpy as np

from ansatzlab.counterexamples.rare_firing import supremum
from ansatzlab.counterexamples.registry import FAMILIES
from ansatzlab.laws.figure import Curve, Exhibit, Figure, TextTable
from ansatzlab.laws.runs import Run, RunTable, median_curve
from ansatzlab.laws.tansley2025nfa.counterexamples.claims import RANK, highest, is_trained, label, option
from ansatzlab.laws.tansley2025nfa.counterexamples.design import JITTERED, SEARCH, ZOO

ALPHAS = np.geomspace(0.01, 4.0, 60)


def figures(table: RunTable) -> tuple[Exhibit, ...]:
    """Draw the zoo: its scores against the exponent, the reversed spectrum against R, and all numbers as a table.

    Args:
        table: The runs.

    Returns:
        The figures; those without runs are left out.
    """
    zoo = [run for run in table.runs(ZOO) if not run.failure]
    searched = [run for run in table.runs(SEARCH) if not run.failure]
    jittered = [run for run in table.runs(JITTERED) if not run.failure]
    reverse = [run for run in zoo if _family(run) == "reversed_spectrum"]
    return (
        *((_table(zoo, jittered, searched), _exponents(zoo, searched)) if zoo or searched else ()),
        *((_reversed(reverse),) if reverse else ()),
    )


def _family(run: Run) -> str:
    return str(run.spec["options"].get("family", ""))


def _grouped(runs: Sequence[Run]) -> dict[str, list[Run]]:
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(label(run), []).append(run)
    return groups


def _exponents(zoo: Sequence[Run], searched: Sequence[Run]) -> Figure:
    reached = [run for run in zoo if is_trained(run)]
    strongest = {
        (family, name): max((option(run, name) for run in reached if _family(run) == family), default=0.0)
        for family, name in (("interference", "m"), ("reversed_spectrum", "R"))
    }
    shown = [
        run
        for run in reached
        if all(_family(run) != family or option(run, name) == top for (family, name), top in strongest.items())
    ]
    curves = [_against_exponent(name, runs, snapshot=0) for name, runs in _grouped(shown).items()]
    for name, runs in _grouped(searched).items():
        curves.append(_against_exponent(f"search: {name}", runs, snapshot=1))
        if runs[0].spec["options"]["balanced"]:
            curves.append(_against_exponent("plainly trained", runs, snapshot=0))
    return Figure(
        key="exponents",
        title="No exponent helps: the counterexamples at every α",
        caption="Cosine of W₁ᵀW₁ and AGOP^α in the first layer against α: median, least and largest over seeds. All "
        "networks fit their data. Interference tends to 1 as α → 0 only because its weights are flat: it is judged "
        "at ½.",
        x_label="exponent α",
        y_label="cosine",
        curves=tuple(curves),
        y_log=False,
    )


def _against_exponent(name: str, runs: Sequence[Run], *, snapshot: int) -> Curve:
    spectra = [run.spectra()[snapshot] for run in runs]
    return median_curve(name, ALPHAS, [np.array([each.alignment(float(a)) for a in ALPHAS]) for each in spectra])


def _reversed(runs: Sequence[Run]) -> Figure:
    strengths = sorted({option(run, "R") for run in runs})
    cosines = [[highest(run) for run in runs if option(run, "R") == R] for R in strengths]
    grid = np.geomspace(strengths[0], max(strengths[-1], 1.01 * strengths[0]), 40)
    return Figure(
        key="reversed",
        title="The best cosine over all exponents tends to the smallest possible",
        caption="Largest cosine over all α > 0 of W = diag(√R, 1, …, 1), the strong neuron firing R^{-5/2} times as "
        "often, against R. Dashed: the closed form, and 1/√rank.",
        x_label="strength R of the rare neuron",
        y_label="largest cosine over α > 0",
        y_log=False,
        curves=(
            Curve(
                "measured",
                x=tuple(strengths),
                y=tuple(float(np.median(each)) for each in cosines),
                low=tuple(map(min, cosines)),
                high=tuple(map(max, cosines)),
            ),
            Curve("closed form", tuple(grid), tuple(supremum(float(R), RANK) for R in grid), dashed=True),
            Curve("1/√rank", (float(grid[0]), float(grid[-1])), (RANK**-0.5, RANK**-0.5), dashed=True),
        ),
    )


def _table(zoo: Sequence[Run], jittered: Sequence[Run], searched: Sequence[Run]) -> TextTable:
    rows = [_row(name, runs, -1) for name, runs in _grouped(zoo).items()]
    rows += [_row(f"{name}, on jittered inputs", runs, -1) for name, runs in _grouped(jittered).items()]
    for name, runs in _grouped(searched).items():
        rows += [_row(f"{name}, {kind}", runs, place) for place, kind in enumerate(("plainly trained", "found"))]
    told = " ".join(f"{family.title}: {family.statement}" for family in FAMILIES.values())
    return TextTable(
        key="zoo",
        title="The zoo",
        caption=f"Medians over seeds, first layer. Loss: square loss; of a search, cross-entropy. z: how many standard "
        f"deviations the residual at ½ lies below that of the structural null, 3 are wanted. {told}",
        header=("network", "loss", "largest error", "cos at ½", "residual at ½", "cos at 1", "best cos", "α → 0", "z"),
        rows=tuple(rows),
    )


def _row(name: str, runs: Sequence[Run], place: int) -> tuple[str, ...]:
    def median(column: str) -> float:
        return float(np.median([run.column(column)[place] for run in runs]))

    scores = (median(column) for column in ("cosine_half", "residual_half", "cosine_one", "best_cosine", "floor"))
    return (
        name,
        f"{median('loss'):.1e}",
        _written(median("largest_residual"), ".1e"),
        *(_written(score, ".3f") for score in scores),
        _written(median("null_z"), ".1f"),
    )


def _written(value: float, form: str) -> str:
    return "–" if np.isnan(value) else format(value, form)

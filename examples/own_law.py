"""A law of one's own: claims about runs that a sweep makes and a judge reads. Run `python examples/own_law.py`."""

import math
import tempfile

import pyarrow as pa
import torch
from rich.console import Console

from ansatzlab.laws.comparison import planted_row
from ansatzlab.laws.judge import Finding, controls, judge
from ansatzlab.laws.law import Chapter, Claim, Law, Sample, Threshold
from ansatzlab.laws.runs import Run, runs_of
from ansatzlab.linalg.spectrum import ansatz_spectrum
from ansatzlab.store.parquet import Store
from ansatzlab.store.schema import to_table
from ansatzlab.sweeps.spec import DataSpec, Frozen, InitSpec, ModelSpec, RunSpec
from ansatzlab.sweeps.sweep import sweep
from ansatzlab.training.dynamics import SharpnessRate, named_dynamics

EXPERIMENT, RATE = "decay", SharpnessRate(fraction=0.5)


class Design(Frozen):
    """What a caller may change."""

    seeds: tuple[int, ...] = (0, 1, 2)
    steps: int = 2000
    weight_decay: float = 0.05


def plan(design: Design, data: str) -> tuple[RunSpec, ...]:
    """Return the runs: gradient descent with decay from random weights."""
    descent = named_dynamics("gd", learning_rate=RATE, steps=design.steps, weight_decay=design.weight_decay)
    what = {"data": DataSpec.of(data), "model": ModelSpec(hidden=(16,)), "init": InitSpec(scheme="gaussian")}
    return tuple(RunSpec(experiment=EXPERIMENT, seed=seed, dynamics=descent, **what) for seed in design.seeds)


def improvement(run: Run) -> float:
    """Return how much smaller the residual of the ansatz is at the end than at the start."""
    residuals = [] if run.failure else [spectrum.residual(1 / run.depth) for spectrum in run.spectra(layer=1)]
    return residuals[0] / residuals[-1] if residuals else math.nan


def samples(table: pa.Table) -> list[Sample]:
    """Read the statistic of every run out of the table."""
    return [Sample(run.condition, run.seed, improvement(run), run.failure) for run in runs_of(table, EXPERIMENT)]


def planted(truth: bool) -> pa.Table:
    """Return a table in which the claim is true, or false, by construction: it tests the judging."""
    W = torch.diag(torch.tensor([3.0, 1.0], dtype=torch.float64))
    near = ansatz_spectrum(W, gram=W @ W + 0.1 * torch.eye(2)).columns()  # the AGOP is nearly (WᵀW)²
    far = ansatz_spectrum(W, gram=torch.eye(2, dtype=torch.float64)).columns()  # the AGOP is WᵀW
    moments = enumerate((far, near) if truth else (near, far))
    found = [(seed, *moment, {"optimizer": "gd"}) for moment in moments for seed in range(3)]
    return to_table([planted_row(EXPERIMENT, seed, t, 1, what, depth=2, **row) for seed, t, row, what in found])


CLAIM = Claim(
    key="decay.improves",
    statement="Gradient descent with weight decay brings a linear network to the ansatz from random weights.",
    statistic="residual of W₁ᵀW₁ ∝ AGOP^{1/L} at the start over that at the end",
    threshold=Threshold(low=2.0),
    samples=samples,
)
CHAPTER = Chapter("decay", "What decay does", (CLAIM,), {"quick": Design()}, plan, lambda _: (), planted)
LAW = Law("mine2026decay", "Decay makes the ansatz", "Me", "nowhere yet", "", "Decay makes the ansatz.", (CHAPTER,))


def main(data: str = "digits", **settings: object) -> tuple[Finding, ...]:
    """Run the experiment and judge it, and the planted tables beside it."""
    with tempfile.TemporaryDirectory() as folder:
        table = sweep(LAW.plan("quick", data, settings), store=Store.open(folder))
    return *judge(LAW, table), *controls(LAW)


if __name__ == "__main__":
    for each in main():
        Console().print(f"{each.outcome:12} {each.claim} ({each.condition}): {each.value:.3g}, wanted {each.threshold}")

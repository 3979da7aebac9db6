"""A law of one's own: claims about runs that a sweep makes and a judge reads. Run `python examples/own_law.py`."""

import tempfile

import pyarrow as pa
import torch
from rich.console import Console

from ansatzlab.laws.judge import Finding, controls, judge
from ansatzlab.laws.law import Chapter, Claim, Law, Threshold
from ansatzlab.laws.planting import planted_table
from ansatzlab.laws.reading import each_run
from ansatzlab.laws.runs import Run, RunTable
from ansatzlab.linalg.spectrum import ansatz_spectrum
from ansatzlab.store.parquet import Store
from ansatzlab.sweeps.spec import DataSpec, Frozen, InitSpec, ModelSpec, RunSpec
from ansatzlab.sweeps.sweep import sweep
from ansatzlab.training.dynamics import SharpnessRate, named_dynamics

RATE = SharpnessRate(fraction=0.5)


class Design(Frozen):
    """What a user may change with --set."""

    seeds: tuple[int, ...] = (0, 1, 2)
    steps: int = 2000
    weight_decay: float = 0.05


def plan(design: Design, data: str) -> tuple[RunSpec, ...]:
    """Return the runs: gradient descent with decay from random weights."""
    descent = named_dynamics("gd", learning_rate=RATE, steps=design.steps, weight_decay=design.weight_decay)
    what = {"data": DataSpec.of(data), "model": ModelSpec(hidden=(16,)), "init": InitSpec(scheme="gaussian")}
    return tuple(RunSpec(experiment="decay", seed=seed, dynamics=descent, **what) for seed in design.seeds)


def improvement(run: Run) -> float:
    """Return the statistic: how much smaller the residual of the ansatz is at the end than at the start."""
    start, *_, end = (spectrum.residual(1 / run.depth) for spectrum in run.spectra(layer=1))
    return start / end


def planted(truth: bool) -> pa.Table:
    """Return what the store would hold if the claim were true, or false: it tests the judging."""
    W = torch.diag(torch.tensor([3.0, 1.0], dtype=torch.float64))
    near = ansatz_spectrum(W, gram=W @ W + 0.1 * torch.eye(2)).columns()  # the AGOP is nearly (WᵀW)²
    far = ansatz_spectrum(W, gram=torch.eye(2, dtype=torch.float64)).columns()  # the AGOP is flat
    rows = [{"snapshot": t, "layer_index": 1, **row} for t, row in enumerate((far, near) if truth else (near, far))]
    return planted_table(plan(Design(), "digits"), lambda _: rows)


CLAIM = Claim(
    key="decay.improves",
    statement="Gradient descent with weight decay brings a linear network to the ansatz from random weights.",
    statistic="residual of W₁ᵀW₁ ∝ AGOP^{1/L} at the start over that at the end",
    threshold=Threshold(low=2.0),
    samples=each_run("decay", improvement),
)
CHAPTER = Chapter("decay", "What decay does", (CLAIM,), {"quick": Design()}, plan, lambda _: (), planted)
LAW = Law("mine2026decay", "Decay makes the ansatz", "Me", "nowhere yet", "", "Decay makes the ansatz.", (CHAPTER,))


def main(data: str = "digits", **settings: object) -> tuple[Finding, ...]:
    """Run the experiment and judge it, and the planted tables beside it."""
    with tempfile.TemporaryDirectory() as folder:
        runs = RunTable(sweep(LAW.plan("quick", data, settings), store=Store.open(folder)))
    return *judge(LAW, runs), *controls(LAW)


if __name__ == "__main__":
    for each in main():
        Console().print(f"{each.outcome:12} {each.claim} ({each.condition}): {each.value:.3g}, wanted {each.threshold}")

"""Every registered law and every executor keeps the shipped contract."""

from dataclasses import replace

import pytest

from ansatzlab.errors import WorkerLostError
from ansatzlab.laws.law import Law
from ansatzlab.laws.registry import LAWS
from ansatzlab.sweeps.batch import Batch
from ansatzlab.sweeps.executors import serial
from ansatzlab.sweeps.processes import Processes
from ansatzlab.sweeps.spec import DataSpec, ModelSpec, RunSpec
from ansatzlab.testing.contracts import check_executor, check_law
from ansatzlab.training.dynamics import GradientFlow

SPECS = [
    RunSpec(
        experiment="contract",
        data=DataSpec(name="linnerud"),
        model=ModelSpec(hidden=(2,)),
        dynamics=GradientFlow(flow_time=1.0),
        seed=seed,
    )
    for seed in range(3)
]


@pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)
def test_every_law_keeps_the_contract(law: Law):
    check_law(law)


@pytest.mark.parametrize(
    ("executor", "has_workers"), [(serial, False), (Processes(2), True)], ids=["serial", "processes"]
)
def test_every_executor_keeps_the_contract(executor, has_workers):
    check_executor(executor, SPECS, has_workers=has_workers)


def test_the_law_contract_has_teeth():
    law = LAWS["tansley2025nfa"]
    first, *others = law.chapters
    blind = replace(first.claims[0], samples=lambda _: [])

    def check(**changes):
        check_law(replace(law, chapters=(replace(first, **changes), *others)))

    with pytest.raises(AssertionError, match="planted truth"):
        check(claims=(blind, *first.claims[1:]))
    with pytest.raises(AssertionError, match="claims share a key"):
        check(claims=(first.claims[0], *first.claims))
    with pytest.raises(AssertionError, match="chapters share a key"):
        check_law(replace(law, chapters=(first, replace(first, claims=(), figures=lambda _: ()), *others)))
    with pytest.raises(AssertionError, match="plans a run twice"):
        check(plan=lambda design, data: 2 * first.plan(design, data))
    with pytest.raises(AssertionError, match="lacks a chapter"):
        check(designs={"quick": first.designs["quick"]})
    with pytest.raises(AssertionError, match="no figure"):
        check(figures=lambda _: ())
    assert first.claims[0].key == "A.error"
    with pytest.raises(AssertionError, match=r"do not name the claims \['A.err'\]"):
        check(claims=(replace(first.claims[0], key="A.err"), *first.claims[1:]))


def changed(change):
    """An executor that does as `serial` does, but for a change of every result."""

    def executor(work, batches):
        for batch, result in serial(work, batches):
            yield from change(batch, result)

    return executor


def deaf(work, batches):
    """An executor that takes an interrupt for a failure."""
    for batch in batches:
        try:
            yield from serial(work, [batch])
        except KeyboardInterrupt as interrupt:
            yield batch, RuntimeError(repr(interrupt))


def unclosable(work, batches):
    return Endless(serial(work, batches))


class Endless:
    def __init__(self, results):
        self.results = results

    def __iter__(self):
        return self.results

    def __next__(self):
        return next(self.results)

    def close(self):
        pass


def first(batch):
    return len(batch.specs) == 2


@pytest.mark.parametrize(
    ("executor", "message"),
    [
        (changed(lambda batch, result: [] if first(batch) else [(batch, result)]), "these did not at all"),
        (changed(lambda batch, result: [(batch, result)] * 2), "exactly once; 6 did of 3"),
        (
            changed(lambda batch, result: [(batch, result if first(batch) else [])]),
            "must come back as its batch's result",
        ),
        (changed(lambda batch, result: [(batch, result[:1] if first(batch) else result)]), "must give its rows"),
        (
            changed(lambda batch, result: [(batch, ValueError("x") if isinstance(result, Exception) else result)]),
            "another error came back: ValueError: x",
        ),
        (deaf, "an interrupt in the work must pass"),
        (unclosable, "must be able to be closed"),
        (lambda work, batches: serial(work, batches or [Batch((SPECS[0],))]), "must accept no batches"),
    ],
)
def test_the_executor_contract_has_teeth(executor, message):
    with pytest.raises(AssertionError, match=message):
        check_executor(executor, SPECS, has_workers=False)


def forgiving(work, batches):
    """An executor without workers that pretends to try again until it works."""
    for batch in batches:
        dies = batch.specs[0].experiment.startswith("die")
        yield from [(batch, given(batch))] if dies else serial(work, [batch])


def impatient(work, batches):
    """An executor without workers that pretends to give up what lost one."""
    for batch in batches:
        dies = batch.specs[0].experiment.startswith("die")
        yield from [(batch, WorkerLostError("gone"))] if dies else serial(work, [batch])


def given(batch):
    return [{"run_id": spec.run_id, "seed": spec.seed} for spec in batch.specs]


@pytest.mark.parametrize(
    ("executor", "message"),
    [(forgiving, "a batch that kills its workers must be lost"), (impatient, "must be tried once more")],
)
def test_the_executor_contract_asks_for_one_more_try_and_only_one(executor, message):
    with pytest.raises(AssertionError, match=message):
        check_executor(executor, SPECS)

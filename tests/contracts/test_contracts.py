"""Every registered law and every executor keeps the shipped contract."""

from dataclasses import replace

import pytest

from ansatzlab.laws.law import Law
from ansatzlab.laws.registry import LAWS
from ansatzlab.sweeps.executors import serial
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


@pytest.mark.parametrize("executor", [serial], ids=["serial"])
def test_every_executor_keeps_the_contract(executor):
    check_executor(executor, SPECS)


def test_the_law_contract_has_teeth():
    law = LAWS["tansley2025nfa"]
    blind = replace(law.claims[0], samples=lambda _: [])
    with pytest.raises(AssertionError, match="planted truth"):
        check_law(replace(law, claims=(blind, *law.claims[1:])))
    with pytest.raises(AssertionError, match="share a key"):
        check_law(replace(law, claims=(law.claims[0], *law.claims)))
    with pytest.raises(AssertionError, match="unknown setting"):
        check_law(replace(law, plan=lambda budget, data, _: law.plan(budget, data, {})))
    with pytest.raises(AssertionError, match="no figure"):
        check_law(replace(law, figures=lambda _: ()))


def test_the_executor_contract_has_teeth():
    with pytest.raises(AssertionError, match="exactly once"):
        check_executor(lambda work, batches: iter([(batch, work(batch)) for batch in batches[1:]]), SPECS)

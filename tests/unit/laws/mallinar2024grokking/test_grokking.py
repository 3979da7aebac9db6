"""Grokking: what is planned, what is measured against the definitions, and how it is judged."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from ansatzlab.data.modular import modular
from ansatzlab.errors import InputError, UnknownNameError
from ansatzlab.laws.figure import Figure, TextTable
from ansatzlab.laws.judge import controls, judge_claim
from ansatzlab.laws.mallinar2024grokking import claims
from ansatzlab.laws.mallinar2024grokking.design import DESIGNS, GROKKING, PUBLISHED, Design, plan
from ansatzlab.laws.mallinar2024grokking.law import LAW
from ansatzlab.laws.mallinar2024grokking.training import LAYER, off_diagonal, train_modular
from ansatzlab.laws.reading import Absent
from ansatzlab.laws.runs import RunTable
from ansatzlab.measurement.run import measure
from ansatzlab.models.init import initialize
from ansatzlab.models.mlp import MLP
from ansatzlab.store.schema import to_table
from ansatzlab.testing.contracts import check_law

TRUTH = LAW.planted(True)
TINY = {"prime": 5, "width": 12, "epochs": 2, "batch_size": 4, "snapshots": 4, "draws": 3}


def test_the_law_keeps_the_contract():
    check_law(LAW)


def test_the_planted_tables_are_judged_as_planted():
    assert [finding.outcome for finding in controls(LAW)] == ["HOLDS"] * 3


def test_every_operation_is_planned_with_every_seed():
    specs = plan(DESIGNS["full"], "digits")
    assert {(spec.options["operation"], spec.seed) for spec in specs} == {(o, s) for o in PUBLISHED for s in range(3)}
    assert {spec.options["prime"] for spec in specs} == {61}


def test_an_unknown_operation_is_refused():
    with pytest.raises(UnknownNameError, match="unknown operation 'pow'"):
        plan(Design(operations=("pow",)), "digits")


def test_a_modulus_that_is_not_a_prime_is_refused():
    with pytest.raises(InputError, match="got prime=60; wanted a prime number"):
        plan(Design(prime=60), "digits")


def test_off_the_diagonal_is_as_the_published_code_has_it():
    model = MLP([10, 7, 5], activation="quadratic", bias=False)
    initialize(model, "pytorch_default", seed=0)
    inputs = torch.eye(10, dtype=torch.float64)[:6] + torch.eye(10, dtype=torch.float64)[4:]
    layer = measure(model, [inputs], layers=LAYER)[LAYER]
    found = off_diagonal(layer, draws=5)

    J = torch.func.vmap(torch.func.jacrev(model))(inputs).detach()
    values, vectors = torch.linalg.eigh(torch.einsum("nci,ncj->ij", J, J) / len(J))
    root = (vectors * values.clamp(min=0).sqrt()) @ vectors.mT
    W = model.layers[0].weight.detach()
    pair = torch.stack([(m - torch.diag(m.diagonal())).flatten() for m in (W.mT @ W, root)])
    assert found["off_value"] == pytest.approx(float(torch.corrcoef(pair)[0, 1]), abs=1e-6)
    assert found["off_null"] < found["off_value"] + 5 * found["off_null_sd"]


def test_a_small_table_is_learnt_and_told_from_what_was_not_seen():
    rows = list(train_modular(seed=0, **(TINY | {"epochs": 150}), operation="mul"))
    assert rows[-1]["accuracy"] > 0.9 > rows[0]["accuracy"]
    assert rows[-1]["epoch"] == 150
    assert ["pearson_value" in row for row in rows] == [True, False, True, True]
    assert all(0 <= row["test_accuracy"] <= 1 for row in rows)


def test_the_pearson_column_is_the_correlation_of_the_definitions():
    model = MLP([10, 12, 5], activation="quadratic", bias=False, dtype=torch.float32)
    initialize(model, "pytorch_default", seed=3)
    first = next(train_modular(seed=3, **TINY))
    inputs = modular(seed=3, prime=5).inputs[:12].float()
    J = torch.func.vmap(torch.func.jacrev(model))(inputs).detach().double()
    values, vectors = torch.linalg.eigh(torch.einsum("nci,ncj->ij", J, J) / len(J))
    root = (vectors * values.clamp(min=0).sqrt()) @ vectors.mT
    W = model.layers[0].weight.detach().double()
    wanted = float(torch.corrcoef(torch.stack([(W.mT @ W).flatten(), root.flatten()]))[0, 1])
    assert first["pearson_value"] == pytest.approx(wanted, abs=1e-4)


def test_only_the_published_modulus_is_compared_with_what_is_published():
    run = RunTable(TRUTH).runs(GROKKING)[0]
    assert claims.published(run) == PUBLISHED[claims.operation_of(run)]
    other = replace(run, spec={"options": {**run.spec["options"], "prime": 31}})
    assert math.isnan(claims.published(other))


def test_the_delay_is_the_ratio_of_two_interpolated_epochs():
    run = RunTable(TRUTH).runs(GROKKING)[0]
    # The training pairs are known at epoch 10; the others pass ½ between 5 % at 10 and 100 % at 100.
    assert claims.delay(run) == pytest.approx(10 ** (0.45 / 0.95))
    never = replace(run, layers=(tuple(row | {"accuracy": 0.5} for row in run.layers[0]),))
    assert claims.delay(never) == Absent("not reached within the training")


@pytest.mark.parametrize(
    ("shares", "level", "epoch"),
    [
        ([0.0, 0.0, 1.0], 0.5, 2.0),
        ([0.0, 0.5, 1.0], 0.5, 1.0),
        ([0.6, 0.0, 0.0], 0.5, 0.0),
        ([0.0, 0.6, 0.7], 0.5, 1.0),
    ],
)
def test_a_level_is_reached_on_a_straight_line_in_the_logarithm(shares, level, epoch):
    assert claims.when(np.array([0.0, 1.0, 4.0]), np.array(shares), level) == pytest.approx(epoch)


def test_a_score_above_what_is_published_fails_as_one_below():
    rows = [row | {"pearson_value": row["pearson_value"] + 0.02} for row in TRUTH.to_pylist()]
    claim = next(claim for claim in LAW.claims if claim.key == "K.published")
    assert {finding.outcome for finding in judge_claim(claim, RunTable(to_table(rows)))} == {"FAILS"}


def test_figures_show_each_operation_beside_its_null():
    table, *figures = LAW.chapters[0].figures(RunTable(TRUTH))
    assert isinstance(table, TextTable)
    assert [row[0] for row in table.rows] == sorted(PUBLISHED)
    assert all(isinstance(figure, Figure) for figure in figures)
    labels = [curve.label for curve in figures[0].curves]
    assert "correlation, null" in labels
    assert "published" in labels

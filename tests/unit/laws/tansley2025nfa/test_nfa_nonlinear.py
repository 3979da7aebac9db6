"""Nonlinear networks: what is planned, what is measured against the definitions, and how it is judged."""

from dataclasses import replace
from pydoc_data.topics import topics

import numpy as np
import pytest
import torch

from ansatzlab.data.dataset import Dataset
from ansatzlab.errors import InputError, UnknownNameError
from ansatzlab.laws.figure import HeatMap, TextTable
from ansatzlab.laws.judge import judge_claim
from ansatzlab.laws.runs import RunTable
from ansatzlab.laws.tansley2025nfa.nonlinear import claims, design, training
from ansatzlab.laws.tansley2025nfa.nonlinear.chapter import CHAPTER
from ansatzlab.laws.tansley2025nfa.nonlinear.design import CONVOLUTIONS, DESIGNS, PERCEPTRON, Design, plan
from ansatzlab.laws.tansley2025nfa.nonlinear.objective import CHUNK, SampleLoss, share_right
from ansatzlab.laws.tansley2025nfa.nonlinear.reading import WORDS
from ansatzlab.laws.tansley2025nfa.nonlinear.recipe import PerceptronRecipe
from ansatzlab.linalg.psd import gram_eigensystem, psd_power
from ansatzlab.linalg.similarity import cosine, residual
from ansatzlab.models.init import initialize
from ansatzlab.models.mlp import MLP
from ansatzlab.store.schema import to_table
from ansatzlab.sweeps.spec import DataSpec
from ansatzlab.training.objective import NetworkLoss, square_loss

TRUTH = CHAPTER.planted(True)
TINY = {"data": "digits", "size": 120, "epochs": 2, "batch_size": 30, "snapshots": 4, "probe": 40, "draws": 4}


def outcomes(table):
    return {claim.key: {finding.outcome for finding in judge_claim(claim, RunTable(table))} for claim in CHAPTER.claims}


def planted_layer(index=1, **end):
    """A hidden layer of a planted run, with other values at its end."""
    run = RunTable(TRUTH).runs(PERCEPTRON)[0]
    rows = run.layers[index - 1]
    changed = (*rows[:-1], rows[-1] | end)
    return claims.Layer(replace(run, layers=tuple(changed if r is rows else r for r in run.layers)), index)


def test_planted_tables_are_judged_as_planted():
    assert set(map(frozenset, outcomes(TRUTH).values())) == {frozenset({"HOLDS"})}
    assert all("FAILS" in found for found in outcomes(CHAPTER.planted(False)).values())
    assert set(map(frozenset, outcomes(TRUTH.slice(0, 0)).values())) == {frozenset({"INCONCLUSIVE"})}


def test_the_full_plan_covers_depths_activations_optimisers_and_decays(monkeypatch):
    monkeypatch.setattr(design, "has_mnist", lambda: True)
    specs = [spec for spec in plan(DESIGNS["full"], "digits") if spec.experiment == PERCEPTRON]
    options = [spec.options for spec in specs]
    assert {each["data"] for each in options} == {"mnist"}
    assert {each["depth"] for each in options} == {2, 3, 4, 5, 6}
    assert len({spec.run_id for spec in specs}) == len(specs) == 3 * (4 * (4 + 5) + 2)
    compared = {(each["optimizer"], each["weight_decay"] > 0) for each in options if each["depth"] == 3}
    assert compared == {("sgd", False), ("sgd", True), ("adam", False), ("adam", True), ("adamw", True)}


@pytest.mark.parametrize(("fashion", "mnist", "data"), [(True, True, "fashion_mnist"), (False, True, "mnist")])
def test_the_convolutions_see_what_is_installed(fashion, mnist, data, monkeypatch):
    monkeypatch.setattr(design, "has_fashion_mnist", lambda: fashion)
    monkeypatch.setattr(design, "has_mnist", lambda: mnist)
    specs = plan(DESIGNS["full"], "digits")
    assert {spec.options["data"] for spec in specs if spec.experiment == CONVOLUTIONS} == {data}


def test_without_images_the_perceptrons_see_the_data_asked_for_and_nothing_is_convolved(monkeypatch, tmp_path):
    monkeypatch.setattr(design, "has_fashion_mnist", lambda: False)
    monkeypatch.setattr(design, "has_mnist", lambda: False)
    path = str(tmp_path / "wine.npz")
    np.savez(path, inputs=np.eye(3), targets=np.eye(3))
    specs = plan(DESIGNS["full"], path)
    assert {spec.options["data"] for spec in specs} == {path, "text"}
    assert {spec.options.get("digest") for spec in specs} == {DataSpec.of(path).digest, None}
    with pytest.raises(UnknownNameError, match="unknown data set 'nope'"):
        plan(DESIGNS["full"], "nope")


def test_a_changed_file_is_read_again_and_not_taken_for_the_one_that_was_planned(tmp_path):
    path = tmp_path / "mine.npz"
    digests = []
    for scale in (1.0, 2.0):
        np.savez(path, inputs=scale * np.eye(3), targets=np.eye(3))
        digests.append(DataSpec.of(str(path)).digest)
        inputs, _ = training.examples(str(path), 3, digests[-1])
        assert inputs.max() == scale
    tiny = TINY | {"data": str(path), "digest": digests[0], "size": 2}
    with pytest.raises(InputError, match="the file changed since the run was planned"):
        next(training.train_measured(seed=0, **tiny, depth=2))


@pytest.mark.parametrize(
    ("field", "what"), [("nonlinear_activations", "activation"), ("nonlinear_optimizers", "optimiser")]
)
def test_an_unknown_name_is_refused(field, what):
    with pytest.raises(UnknownNameError, match=f"unknown {what}.*'rellu'"):
        plan(Design(**{field: ("rellu",)}), "digits")


@pytest.mark.parametrize("examples", [7, CHUNK, 2 * CHUNK + 3])
def test_the_loss_is_that_of_the_objective_on_all_examples_and_on_a_batch(examples):
    generator = torch.Generator().manual_seed(0)
    data = Dataset("d", *(torch.randn(examples, k, generator=generator, dtype=torch.float64) for k in (3, 2)), "")
    model = MLP([3, 5, 2], activation="gelu")
    initialize(model, "he", seed=0)
    parameters = [parameter.detach() for parameter in model.parameters()]
    ours, theirs = SampleLoss(model, data.inputs, data.targets, square_loss), NetworkLoss(model, data, square_loss)
    for rows in (None, torch.tensor([5, 1, 1])):
        (loss, gradients), (wanted, wanted_gradients) = ours(parameters, rows), theirs(parameters, rows)
        assert loss == pytest.approx(wanted, rel=1e-12)
        torch.testing.assert_close(gradients, wanted_gradients, rtol=1e-12, atol=1e-14)


def test_share_right_counts_every_position():
    tokens = torch.tensor([[0, 1], [2, 2]])
    one_hot = torch.nn.Embedding.from_pretrained(torch.eye(3))
    assert share_right(one_hot, tokens, torch.tensor([[0, 1], [2, 0]])) == 0.75


def brute_force(model, inputs, index, exponent):
    """Cosine and residual from Jacobians by the layer's input, in double precision."""
    double = MLP([64, 8, 8, 10], activation="relu", bias=False)
    double.load_state_dict(model.state_dict())
    double.requires_grad_(False)
    h = inputs.double()
    for layer in double.layers[: index - 1]:
        h = layer(h).relu()

    def rest(h):
        for place, layer in enumerate(double.layers[index - 1 :]):
            h = layer(h.relu() if place else h)
        return h

    J = torch.func.vmap(torch.func.jacrev(rest))(h)
    G = torch.einsum("nci,ncj->ij", J, J) / len(J)
    W = double.layers[index - 1].weight
    power = psd_power(gram_eigensystem(G), exponent)
    return cosine(W.mT @ W, power), residual(W.mT @ W, power)


def test_the_scores_are_those_of_the_definitions():
    recipe = PerceptronRecipe(**TINY, depth=3, width=8)
    inputs, targets = training.examples("digits", 120)
    model = MLP([64, 8, 8, 10], activation="relu", bias=False, dtype=torch.float32)
    initialize(model, "he", seed=1)
    subject = training.Subject(model, inputs, targets.argmax(1), SampleLoss(model, inputs, targets, square_loss))
    rows = list(training.measured_along(subject, recipe, seed=1))
    last = [row for row in rows if row["step"] == 8]
    assert [row["layer"] for row in last] == ["layers.0", "layers.1", "layers.2"]
    for row in last:
        index = row["layer_index"]
        for name, exponent in (("half", 0.5), ("law", 1 / (4 - index))):
            wanted = brute_force(model, inputs[:40], index, exponent)
            assert (row[f"{name}_value"], row[f"{name}_residual"]) == pytest.approx(wanted, abs=1e-4)
    assert WORDS[int(last[2]["half_verdict"])] == "tautological"
    assert last[0]["weight_norm"] == pytest.approx(float(model.layers[0].weight.detach().norm()))


def test_a_perceptron_is_trained_and_its_nulls_are_drawn_at_every_other_snapshot():
    rows = list(training.train_measured(seed=0, **(TINY | {"epochs": 60}), depth=2, width=16, activation="tanh"))
    first = [row for row in rows if row["layer_index"] == 1]
    assert first[-1]["accuracy"] > 0.8 > first[0]["accuracy"]
    assert ["half_null" in row for row in first] == [True, False, True, True]
    assert ["law_null" in row for row in first] == [False, False, False, True]
    assert first[-1]["half_z"] == first[-1]["law_z"]  # in layer L − 1 both exponents are ½
    assert 0 < first[-1]["exponent_low"] <= first[-1]["exponent"] <= first[-1]["exponent_high"]
    assert first[0]["loss"] > first[-1]["loss"]


def test_the_seed_decides_everything():
    def run(seed):
        return list(training.train_measured(seed=seed, **TINY, depth=2, width=4))

    assert run(0) == run(0)
    assert run(0) != run(1)


def test_convolutions_want_images():
    with pytest.raises(InputError, match=r"got 64 inputs in 'digits'; wanted images of 28 × 28"):
        next(training.train_convolutions(seed=0, **TINY))


def test_convolutions_are_measured_in_their_chain(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(12, 784, generator=generator)
    monkeypatch.setattr(training, "examples", lambda _, size, __: (images[:size], torch.eye(3)[torch.arange(12) % 3]))
    tiny = TINY | {"data": "mnist", "size": 12, "batch_size": 6, "probe": 4, "snapshots": 2}
    rows = list(training.train_convolutions(seed=0, **tiny, width=2))
    assert [row["layer"] for row in rows[-3:]] == ["conv1", "conv2", "classifier"]
    assert all("law_value" in row and "half_verdict" in row for row in rows[-3:])


def test_a_transformer_has_no_exponent_by_depth():
    tiny = {"size": 12, "batch_size": 6, "probe": 4, "epochs": 1, "snapshots": 2, "draws": 2}
    rows = list(training.train_transformer(seed=0, **tiny, width=8, heads=2, context=6, depth=1))
    assert [row["layer"] for row in rows[-7:]] == [
        *(f"blocks.0.{n}" for n in ("q", "k", "v", "out", "fc1", "fc2")),
        "head",
    ]
    assert all("half_value" in row and "law_value" not in row for row in rows)


def test_windows_are_pieces_of_the_text():
    text = "\n".join(topics[name] for name in sorted(topics))
    tokens, size = training.windows(50, 5)
    alphabet = sorted(set(text))
    assert (tokens.shape, size) == ((5, 50), len(alphabet))
    assert all("".join(alphabet[place] for place in window) in text for window in tokens.tolist())


def test_an_unknown_option_is_refused():
    with pytest.raises(UnknownNameError, match="unknown setting of train_measured 'widht'"):
        next(training.train_measured(seed=0, **TINY, depth=2, widht=3))


@pytest.mark.parametrize(
    ("end", "exposed"),
    [
        ({"half_value": 0.9, "half_z": 1.0, "law_value": 0.1}, True),
        ({"half_value": 0.1, "law_value": 0.9, "law_z": 1.0}, True),
        ({"half_value": 0.9, "half_z": 9.0, "law_value": 0.9, "law_z": 9.0}, False),
        ({"half_value": 0.7, "half_z": 1.0, "law_value": 0.7, "law_z": 1.0}, False),
        ({"half_value": 0.9, "half_z": 9.0, "law_value": 0.7, "law_z": 1.0}, False),
    ],
)
def test_a_layer_is_exposed_by_one_high_score_that_its_own_null_reaches(end, exposed):
    assert claims.exposed(planted_layer(**end)) is exposed


def test_last_and_collapsed_layers_say_nothing():
    run = RunTable(TRUTH).runs(PERCEPTRON)[0]
    assert [layer.index for layer in claims.hidden(run)] == [1, 2]
    assert planted_layer(weight_norm=1e-4).word == "collapsed"
    assert [layer.index for layer in claims.hidden(planted_layer(weight_norm=1e-4).run)] == [2]


def test_a_failed_run_is_told_and_gives_no_value():
    rows = TRUTH.to_pylist()
    lost = rows[0]["run_id"]
    broken = to_table([row | {"status": "failed", "error": "boom"} if row["run_id"] == lost else row for row in rows])
    claim = next(claim for claim in CHAPTER.claims if claim.key == "N.exposed")
    (finding,) = judge_claim(claim, RunTable(broken))
    assert finding.outcome == "INCONCLUSIVE"
    assert "boom" in finding.reason


def test_figures_have_a_row_for_each_layer_and_a_mark_for_each_cell():
    table, by_depth, *_ = CHAPTER.figures(RunTable(TRUTH))
    assert isinstance(table, TextTable)
    assert len(table.rows) == 3 * (2 * 2 + 1)  # layers × (activations × decays, and the transformer)
    assert all(len(row) == len(table.header) for row in table.rows)
    assert isinstance(by_depth, HeatMap)
    (panel,) = by_depth.panels
    assert (panel.columns, panel.marks) == (("relu", "tanh"), (("✓", "✓"), ("✓", "✓")))
    assert CHAPTER.figures(RunTable(TRUTH.slice(0, 0))) == ()

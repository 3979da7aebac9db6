from collections.abc import Mapping
from itertools import product

import numpy as np
import pytest

from ansatzlab.errors import InputError, UnknownNameError
from ansatzlab.sweeps.grid import expand, grid
from ansatzlab.sweeps.spec import DataSpec, InitSpec, ModelSpec, RunSpec
from ansatzlab.training.dynamics import GradientFlow, Optimizer, SharpnessRate

ADAM = {"name": "adam", "learning_rate": 0.1, "steps": 5}
FLOW = {"name": "gradient_flow", "flow_time": 2}
BASE: dict[str, object] = {"data": "linnerud", "depth": 2, "width": 4, "optimizer": ADAM}


def with_base(**changes: object) -> tuple[RunSpec, ...]:
    return grid(**{**BASE, **changes})


# --- products, zips, mappings ------------------------------------------------------------------------------------


def test_a_grid_is_the_product_of_its_axes_in_their_order_whatever_the_order_they_were_written_in():
    axes = {"seed": range(2), "weight_decay": np.array([0.0, 0.1]), "depth": (2, 3), "init": ["balanced", "gaussian"]}
    specs = with_base(**axes)
    by_hand = [
        RunSpec(
            experiment="sweep",
            data=DataSpec(name="linnerud"),
            model=ModelSpec(hidden=(4,) * (depth - 1)),
            init=InitSpec(scheme=init),
            dynamics=Optimizer(name="Adam", learning_rate=0.1, steps=5, weight_decay=decay),
            seed=seed,
        )
        for depth, init, decay, seed in product((2, 3), ("balanced", "gaussian"), (0.0, 0.1), (0, 1))
    ]
    assert list(specs) == by_hand
    assert with_base(**dict(reversed(axes.items()))) == specs


def test_every_axis_reaches_its_field():
    (spec,) = grid(
        experiment="e",
        data={"name": "low_rank_linear", "size": 30, "seed": 4, "options": {"noise": 0.1, "spectrum": [1.0, 0.5]}},
        model={"kind": "mlp", "activation": "tanh", "bias": True},
        depth=3,
        width=7,
        init={"scheme": "gaussian", "scale": 0.5},
        optimizer={"name": "heavy_ball", "options": {"momentum": 0.8}},
        learning_rate=0.02,
        weight_decay=0.3,
        decay="decoupled",
        batch_size=6,
        schedule="cosine",
        steps=9,
        loss="square",
        snapshots=4,
        observe=["ansatz"],
        probe_examples=11,
        seed=2,
    )
    assert spec == RunSpec(
        experiment="e",
        data=DataSpec(name="low_rank_linear", size=30, seed=4, options={"noise": 0.1, "spectrum": (1.0, 0.5)}),
        model=ModelSpec(kind="mlp", hidden=(7, 7), activation="tanh", bias=True),
        init=InitSpec(scheme="gaussian", scale=0.5),
        dynamics=Optimizer(
            name="SGD",
            learning_rate=0.02,
            weight_decay=0.3,
            decay="decoupled",
            batch_size=6,
            schedule="cosine",
            steps=9,
            options={"momentum": 0.8},
        ),
        loss="square",
        snapshots=4,
        observe=("ansatz",),
        probe_examples=11,
        seed=2,
    )


def test_a_mapping_wins_over_the_axes_and_null_unsets_them():
    flow = {**FLOW, "steps": None, "learning_rate": None}
    specs = with_base(optimizer=["gd", {"name": "gd", "steps": 7}, flow], steps=[10, 20], learning_rate=0.1)
    assert [getattr(spec.dynamics, "steps", None) for spec in specs] == [10, 20, 7, None]
    assert specs[-1].dynamics == GradientFlow(flow_time=2)


def test_hidden_widths_of_their_own():
    (spec,) = grid(data="linnerud", optimizer=ADAM, model={"kind": "deep_linear", "hidden": [5, 3]})
    assert spec.model == ModelSpec(hidden=(5, 3))


def test_a_learning_rate_may_be_a_rule():
    (spec,) = with_base(optimizer="gd", steps=5, learning_rate={"kind": "sharpness", "fraction": 0.5})
    assert spec.dynamics == Optimizer(learning_rate=SharpnessRate(fraction=0.5), steps=5)


def test_zipped_axes_advance_together_and_the_others_do_not():
    specs = with_base(
        optimizer=["gd", "adam"], learning_rate=[0.1, 0.01], steps=3, seed=[0, 1], zip=[["learning_rate", "optimizer"]]
    )
    assert [(spec.dynamics.name, spec.dynamics.learning_rate, spec.seed) for spec in specs] == [
        ("SGD", 0.1, 0),
        ("SGD", 0.1, 1),
        ("Adam", 0.01, 0),
        ("Adam", 0.01, 1),
    ]


def test_zipped_axes_may_repeat_a_value_of_one_of_them():
    specs = with_base(depth=[2, 3, 2], width=[4, 4, 5], zip=[["depth", "width"]])
    assert [spec.model.hidden for spec in specs] == [(4,), (4, 4), (5,)]


# --- conditions --------------------------------------------------------------------------------------------------


def kept(**rules: object) -> list[tuple[int, float, int]]:
    specs = with_base(depth=[2, 3], weight_decay=[0, 0.1], seed=[0, 1], **rules)
    return [(spec.model.depth, spec.dynamics.weight_decay, spec.seed) for spec in specs]


ALL = list(product((2, 3), (0.0, 0.1), (0, 1)))


@pytest.mark.parametrize(
    ("rules", "holds"),
    [
        ({"skip": [{"depth": 3, "weight_decay": 0.1}]}, lambda d, w, _: not (d == 3 and w == 0.1)),
        ({"skip": [{"depth": 3}, {"seed": [1]}]}, lambda d, _, s: d == 2 and s == 0),
        ({"only": [{"depth": [3, 7]}]}, lambda d, *_: d == 3),
        ({"only": [{"depth": 3}, {"weight_decay": 0.1}]}, lambda d, w, _: d == 3 or w == 0.1),
        ({"only": [{"depth": 3}], "skip": [{"seed": 0.0}]}, lambda d, _, s: d == 3 and s == 1),
        ({"where": lambda point: point["depth"] + point["seed"] < 4}, lambda d, _, s: d + s < 4),
        ({"skip": [{"optimizer": "adam", "depth": 2}]}, lambda d, *_: d == 3),
        ({"skip": [{"optimizer": {"name": "adam", "steps": 5}, "seed": 1}]}, lambda *point: point[2] == 0),
        ({"only": [{"batch_size": None, "seed": 0}]}, lambda *point: point[2] == 0),
    ],
    ids=range(9),
)
def test_conditions_keep_what_they_say(rules: dict[str, object], holds):
    assert kept(**rules) == [point for point in ALL if holds(*point)]


def test_a_condition_sees_every_setting_by_name_and_none_where_it_is_not_set():
    seen: list[Mapping[str, object]] = []

    def see(point: Mapping[str, object]) -> bool:
        seen.append(point)
        return True

    with_base(init={"scheme": "gaussian", "scale": 0.5}, where=see)
    assert {"optimizer": "adam", "steps": 5, "init": "gaussian", "init.scale": 0.5, "loss": None}.items() <= seen[
        0
    ].items()


def test_a_skipped_combination_need_not_be_possible():
    specs = with_base(
        optimizer=["adam", "adamw"], learning_rate=0.1, steps=2, decay=["coupled", "decoupled"],
        skip=[{"optimizer": "adamw", "decay": "coupled"}],
    )  # fmt: skip
    assert [(spec.dynamics.name, spec.dynamics.decay) for spec in specs] == [
        ("Adam", "coupled"),
        ("Adam", "decoupled"),
        ("AdamW", "decoupled"),
    ]


# --- what is refused ---------------------------------------------------------------------------------------------

RULE = {"kind": "sharpness", "fraction": 0.5}
WITH_STEPS = {"optimizer": "gd", "steps": 5}

BAD: list[tuple[dict[str, object], str]] = [
    ({"dept": 3}, r"unknown axis of grid 'dept'; did you mean 'depth'\? Known: activation, batch_size"),
    ({"depth": "three"}, "grid: got depth = 'three'; wanted a number; change it"),
    ({"depth": 1.5}, "grid: got depth = 1.5; wanted an integer of at least 1"),
    ({"depth": float("inf")}, "grid: got depth = inf; wanted an integer of at least 1"),
    ({"width": 0}, "grid: got width = 0; wanted an integer of at least 1"),
    ({"depth": None}, "grid: depth is missing; wanted depth and width, or model"),
    ({"seed": True}, "grid: got seed = True; wanted a number"),
    ({"seed": -1}, "grid: got seed = -1; wanted greater than or equal to 0"),
    ({"seed": []}, r"grid: got seed = \[\]; wanted at least one value; add one or leave seed out"),
    ({"seed": [0, 1, 0.0]}, "grid: got seed = 0.0 twice; wanted each once"),
    ({"snapshots": 1}, "grid: got snapshots = 1; wanted greater than or equal to 2"),
    ({"bias": 1}, "grid: got bias = 1; wanted true or false"),
    ({"experiment": 3}, "grid: got experiment = 3; wanted a name; change"),
    ({"observe": ["ansatz", 3]}, r"grid: got observe = \['ansatz', 3\]; wanted a name or a list of them"),
    ({"observe": ["ansatz", "balanc"]}, "unknown observe in grid 'balanc'; did you mean 'balance'"),
    ({"loss": "squar"}, "unknown loss in grid 'squar'; did you mean 'square'"),
    (
        {"activation": "relu"},
        "got activation = 'relu' for a deep_linear model, to which it does not apply; write it inside",
    ),
    ({"model": "mlp", "activation": "rely"}, "unknown activation in grid 'rely'; did you mean 'relu'"),
    ({"model": {"kind": "mlp", "hidden": [3]}}, "got depth = 2 for a model with hidden widths of its own"),
    ({"model": {"kind": "mlp", "hidden": [0]}, "depth": None, "width": None}, "grid: model: got hidden.0 = 0; wanted"),
    ({"init": "gausian"}, "unknown init in grid 'gausian'; did you mean 'gaussian'"),
    ({"init": {"scale": 2}}, r"grid: got init = \{'scale': 2\}; scheme is missing; add it"),
    ({"init": {"scheme": "gaussian", "scale": -1}}, "grid: init: got scale = -1; wanted greater than 0"),
    ({"init": {"scheme": "gaussian", "singular_values": [1]}}, "only 'balanced' takes them"),
    (
        {"init": ["balanced", {"scheme": "balanced", "scale": 1}]},
        r"\{'init.scale': None\} and \{'init.scale': 1\} are the same run",
    ),
    ({"optimizer": None}, "grid: optimizer is missing; wanted one, for example optimizer: adam"),
    ({"optimizer": "adm"}, "unknown optimizer in grid 'adm'; did you mean 'adam'"),
    ({"optimizer": "adam"}, "grid: adam: learning_rate is missing; wanted a value for it; add it"),
    ({"optimizer": 3}, "grid: got optimizer = 3; wanted a name"),
    ({**WITH_STEPS, "learning_rate": -0.1}, "grid: gd: got learning_rate = -0.1; wanted greater than 0"),
    ({**WITH_STEPS, "learning_rate": float("nan")}, "grid: gd: got learning_rate = nan; wanted a finite number"),
    (
        {**WITH_STEPS, "learning_rate": {**RULE, "fraction": -1}},
        "gd: got learning_rate.fraction = -1; wanted greater than 0",
    ),
    ({**WITH_STEPS, "learning_rate": {"fracton": 1}}, "with fracton; wanted only kind, fraction"),
    ({**WITH_STEPS, "learning_rate": {**RULE, "kind": "flat"}}, "got learning_rate.kind = 'flat'; wanted 'sharpness'"),
    (
        {**WITH_STEPS, "model": "mlp", "learning_rate": RULE},
        "the sharpness rule knows deep linear networks without biases",
    ),
    ({"optimizer": "adam", "steps": 5, "learning_rate": RULE}, "adam: no theory gives Adam a rate by the curvature"),
    ({"optimizer": {**ADAM, "learning_rate": -0.1}}, "adam: got optimizer.learning_rate = -0.1; wanted greater than 0"),
    ({"optimizer": {**ADAM, "learning_rate": [0.1]}}, "wanted a number; a list is an axis only outside of a mapping"),
    ({"optimizer": {**ADAM, "rate": 0.1}}, "unknown setting of optimizer in grid 'rate'"),
    ({"optimizer": {"steps": 3}}, r"got optimizer = \{'steps': 3\}; name is missing"),
    ({"optimizer": {**ADAM, "options": {"momentun": 3}}}, "refuses learning rate 0.1 with the options .'momentun'"),
    ({"optimizer": {**ADAM, "name": "adamw", "decay": "coupled"}}, "AdamW is Adam with decoupled decay"),
    (
        {"optimizer": {**ADAM, "name": "sgd"}},
        "got batch_size = 32 for the 20 examples of linnerud; wanted at most that many",
    ),
    (
        {"optimizer": [FLOW, ADAM], "weight_decay": -1},
        "grid: gradient_flow: got weight_decay = -1; wanted greater than or",
    ),
    (
        {"optimizer": [FLOW, "gd"], "steps": 5},
        "got steps = 5 for optimizer gradient_flow, to which it does not apply; write it",
    ),
    ({"optimizer": {**FLOW, "decay": "coupled"}}, "got optimizer.decay = 'coupled' for optimizer gradient_flow"),
    (
        {**WITH_STEPS, "learning_rate": 0.1, "flow_time": 5},
        "got flow_time = 5 for optimizer gd, to which it does not apply",
    ),
    ({"optimizer": FLOW, "observe": "discrete_balance"}, "got observe = discrete_balance for a gradient_flow"),
    (
        {"optimizer": [{**ADAM, "name": "gd", "batch_size": 8}, {**ADAM, "name": "sgd", "batch_size": 8}]},
        r"\{'optimizer': 'gd'\} and \{'optimizer': 'sgd'\} are the same run",
    ),
    ({"steps": [10, 20]}, r"got steps = \[10, 20\], which optimizer.steps wins over in every combination"),
    ({"data": None}, "grid: data is missing; wanted a data set"),
    ({"data": 3}, "grid: got data = 3; wanted a name"),
    ({"data": "digitz"}, "unknown data in grid 'digitz'; did you mean 'digits'"),
    ({"data": "none.npz"}, r"grid: data: none.npz: cannot be read \(No such file or directory\)"),
    ({"data": {"name": "linnerud", "size": 21}}, "grid: data set 'linnerud': got size 21; wanted between 1 and the 20"),
    ({"data": {"name": "linnerud", "size": -1}}, "grid: data: got size = -1; wanted greater than 0"),
    ({"data": {"name": "multi_index", "options": {"dim": 3}}}, r"data set 'multi_index': got the options \['dim'\]"),
    ({"zip": "depth"}, "grid: got zip = 'depth'; wanted a list of lists of two or more axes"),
    ({"zip": [["depth"]]}, r"grid: got zip = \[\['depth'\]\]; wanted a list of lists of two"),
    ({"zip": [["widht", "depth"]]}, "unknown axis of zip in grid 'widht'; did you mean 'width'"),
    ({"zip": [["depth", "width"]]}, "grid: got depth in zip without a list of values"),
    (
        {"depth": [2, 3], "width": [3, 4, 5], "zip": [["depth", "width"]]},
        "zip: depth has 2, width has 3 values; wanted equally",
    ),
    (
        {"depth": [2, 3], "width": [3, 4], "seed": [0, 1], "zip": [["depth", "width"], ["seed", "width"]]},
        "grid: got width in zip twice",
    ),
    ({"depth": [2, 2], "width": [3, 3], "zip": [["depth", "width"]]}, "grid: got depth, width = .2, 3. twice"),
    ({"skip": {"depth": 2}}, r"grid: got skip = \{'depth': 2\}; wanted a list of mappings"),
    ({"only": [{}]}, r"grid: got only = \[\{\}\]; wanted a list of mappings"),
    ({"skip": [{"depht": 2}]}, "unknown setting of skip in grid 'depht'; did you mean 'depth'"),
    ({"skip": [{"depth": 3}]}, r"grid: skip: \{'depth': 3\} matches none of 1 combinations"),
    ({"only": [{"optimizer": "sgd"}]}, r"grid: only: \{'optimizer': 'sgd'\} matches none of 1 combinations"),
    ({"bias": True, "only": [{"bias": 1}]}, r"grid: only: \{'bias': 1\} matches none of 1 combinations"),
    (
        {"depth": [2, 3, 4], "width": [2, 3, 4], "zip": [["depth", "width"]], "skip": [{"seed": 9}]},
        r"grid: skip: \{'seed': 9\} matches none of 3 combinations",
    ),
    ({"skip": [{"depth": 2}]}, "grid: none of 1 combinations is left; wanted at least one; check skip, only and where"),
]


@pytest.mark.parametrize(("changes", "told"), BAD, ids=[str(changes) for changes, _ in BAD])
def test_what_cannot_be_run_is_refused_in_one_line_before_anything_runs(changes: dict[str, object], told: str):
    with pytest.raises(InputError, match=told) as caught:
        expand({**BASE, **changes}, "grid")
    assert "\n" not in str(caught.value)


def test_a_data_set_that_is_not_installed_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("ansatzlab.data.shipped.find_spec", lambda _: None)
    with pytest.raises(InputError, match=r"grid: data set 'flights': got no file .*; run: pip install"):
        with_base(data=["linnerud", "flights"])


def test_an_empty_grid_by_a_callable_is_refused():
    with pytest.raises(InputError, match="none of 1 combinations is left"):
        with_base(where=lambda _: False)


def test_an_unknown_axis_is_a_name_error_too():
    with pytest.raises(UnknownNameError):
        with_base(optimiser="adam")


def test_a_changed_file_makes_other_runs(tmp_path):
    path = tmp_path / "mine.npz"
    ids = set()
    for scale in (1.0, 2.0):
        np.savez(path, inputs=scale * np.eye(4), targets=np.ones((4, 2)))
        ids |= {spec.run_id for spec in with_base(data=str(path))}
    assert len(ids) == 2

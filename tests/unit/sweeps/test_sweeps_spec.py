import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pytest
import torch
from pydantic import Field, PositiveFloat, ValidationError
from torch.testing import assert_close

from ansatzlab.errors import InputError, UnknownNameError
from ansatzlab.models.deep_linear import DeepLinear
from ansatzlab.models.mlp import MLP
from ansatzlab.sweeps.spec import DataSpec, Frozen, InitSpec, ModelSpec, RunSpec, refusal
from ansatzlab.training.dynamics import GradientFlow, Optimizer

SPEC = RunSpec(
    experiment="try",
    data=DataSpec(name="low_rank_linear", size=20, options={"input_dim": 4, "noise": 0.5, "spectrum": (1.0, 0.5)}),
    model=ModelSpec(hidden=(5, 6)),
    init=InitSpec(scheme="balanced", singular_values=(0.5, 0.3)),
    dynamics=Optimizer(learning_rate=0.1, steps=7, weight_decay=0.01, options={"momentum": 0.9, "nesterov": True}),
)

CHANGED = {
    "experiment": "other",
    "data.name": "multi_index",
    "data.seed": 1,
    "data.size": 21,
    "data.options": {"input_dim": 5},
    "data.digest": "abc",
    "model.kind": "mlp",
    "model.hidden": [5, 7],
    "model.activation": "tanh",
    "model.bias": True,
    "init.scheme": "gaussian",
    "init.scale": 2.0,
    "init.singular_values": [0.5, 0.4],
    "dynamics.kind": {"kind": "flow", "flow_time": 0.7, "weight_decay": 0.01},
    "dynamics.name": "Adam",
    "dynamics.learning_rate": 0.2,
    "dynamics.steps": 8,
    "dynamics.schedule": "cosine",
    "dynamics.weight_decay": 0.02,
    "dynamics.decay": "decoupled",
    "dynamics.batch_size": 5,
    "dynamics.options": {"momentum": 0.8},
    "loss": "cross_entropy",
    "seed": 1,
    "snapshots": 41,
    "observe": ["balance"],
    "probe_examples": 33,
}
"""One other value for every field."""


def fields(values: dict[str, object]) -> Iterator[str]:
    for name, value in values.items():
        if name in ("data", "model", "init", "dynamics"):
            assert isinstance(value, dict)
            yield from (f"{name}.{inner}" for inner in value)
        else:
            yield name


def changed(path: str) -> RunSpec:
    values = SPEC.model_dump(mode="json")
    section, _, field = path.partition(".")
    if path == "dynamics.kind":
        values["dynamics"] = CHANGED[path]
    elif field:
        values[section][field] = CHANGED[path]
    else:
        values[section] = CHANGED[path]
    return RunSpec.model_validate(values)


# --- canonical form and id ---------------------------------------------------------------------------------------


def test_the_canonical_form_is_compact_sorted_json_from_which_the_spec_comes_back() -> None:
    text = SPEC.canonical()
    assert text == json.dumps(json.loads(text), sort_keys=True, separators=(",", ":"))
    again = RunSpec.model_validate_json(text)
    assert again == SPEC
    assert (again.canonical(), again.run_id) == (text, SPEC.run_id)


def test_the_id_does_not_depend_on_the_order_of_the_fields() -> None:
    def backwards(value: object) -> object:
        if isinstance(value, dict):
            return {key: backwards(value[key]) for key in reversed(list(value))}
        return value

    values = SPEC.model_dump(mode="json")
    reversed_values = backwards(values)
    assert list(reversed_values) != list(values)
    assert RunSpec.model_validate(reversed_values).run_id == SPEC.run_id


def test_the_id_does_not_depend_on_defaults_being_written_out_or_numbers_being_whole() -> None:
    short = RunSpec(experiment="e", data=DataSpec(name="digits"), model=ModelSpec(hidden=(3,)), dynamics=flow(1))
    long = RunSpec(
        experiment="e",
        data=DataSpec(name="digits", seed=0, size=None, options={}, digest=""),
        model=ModelSpec(kind="deep_linear", hidden=(3,), bias=False),
        init=InitSpec(),
        dynamics=flow(1.0),
        loss="square",
    )
    assert short.run_id == long.run_id


def flow(time: object) -> GradientFlow:
    return GradientFlow.model_validate({"flow_time": time})


@pytest.mark.parametrize("path", CHANGED)
def test_the_id_changes_with_every_field(path: str) -> None:
    other = changed(path)
    assert other != SPEC
    assert other.run_id != SPEC.run_id


def test_no_field_is_forgotten_in_the_test_above() -> None:
    assert set(fields(SPEC.model_dump(mode="json"))) == set(CHANGED)


def test_all_changed_ids_are_distinct_and_name_files() -> None:
    ids = {SPEC.run_id, *(changed(path).run_id for path in CHANGED)}
    assert len(ids) == len(CHANGED) + 1
    assert all(len(run_id) == 20 and set(run_id) <= set("0123456789abcdef") for run_id in ids)


def test_the_id_of_a_known_spec_is_what_it_was() -> None:
    """Written by hand from the fields' defaults: the ids of stored runs must not change by accident."""
    spec = RunSpec(experiment="e", data=DataSpec(name="digits"), model=ModelSpec(hidden=(3,)), dynamics=flow(1.0))
    assert spec.canonical() == (
        '{"data":{"digest":"","name":"digits","options":{},"seed":0,"size":null},'
        '"dynamics":{"flow_time":1.0,"kind":"flow","tolerance":1e-12,"weight_decay":0.0},'
        '"experiment":"e","init":{"scale":1.0,"scheme":"balanced","singular_values":null},"loss":"square",'
        '"model":{"activation":"relu","bias":false,"hidden":[3],"kind":"deep_linear"},'
        '"observe":["ansatz","balance"],"probe_examples":32,"seed":0,"snapshots":40}'
    )


def test_specs_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        SPEC.seed = 3


# --- what a person wrote -----------------------------------------------------------------------------------------


class Settings(Frozen):
    widths: tuple[Annotated[int, Field(ge=2)], ...] = (3,)
    rate: PositiveFloat = 0.1
    scheme: Literal["one", "other"] = "one"


def parse_error(values: dict[str, object]) -> InputError:
    with pytest.raises(InputError) as caught:
        Settings.parse(values, where="the law")
    assert "\n" not in str(caught.value), "one line"
    return caught.value


def test_an_unknown_setting_is_named_with_its_neighbour() -> None:
    error = parse_error({"width": [2]})
    assert isinstance(error, UnknownNameError)
    assert str(error) == "unknown setting of the law 'width'; did you mean 'widths'? Known: rate, scheme, widths."


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"widths": [2, 1]}, "the law: got widths.1 = 1; wanted greater than or equal to 2; change it."),
        ({"widths": "wide"}, "the law: got widths = 'wide'; wanted a valid tuple; change it."),
        ({"rate": -1.0}, "the law: got rate = -1.0; wanted greater than 0; change it."),
        ({"rate": "a\nb"}, "the law: got rate = 'a\\nb'; wanted a valid number"),
        ({"scheme": "onne"}, "the law: got scheme = 'onne'; wanted 'one' or 'other'; change it."),
    ],
)
def test_an_unusable_value_is_named_with_what_was_wanted(values: dict[str, object], message: str) -> None:
    assert message in str(parse_error(values))


def test_of_several_errors_the_first_is_told() -> None:
    assert "rate" in str(parse_error({"rate": 0.0, "scheme": "none"}))


def test_parse_takes_what_is_right() -> None:
    assert Settings.parse({"widths": [2, 3]}, where="x").widths == (2, 3)


# --- data and models ---------------------------------------------------------------------------------------------


def write_npz(path: Path, scale: float) -> None:
    np.savez(path, inputs=scale * np.arange(12.0).reshape(4, 3), targets=np.ones((4, 2)))


def test_a_files_content_is_part_of_the_id(tmp_path: Path) -> None:
    path = tmp_path / "mine.npz"
    write_npz(path, 1.0)
    first = DataSpec.of(str(path))
    assert DataSpec.of(str(path)) == first
    write_npz(path, 2.0)
    second = DataSpec.of(str(path))
    assert second != first
    ids = {SPEC.model_copy(update={"data": data}).canonical() for data in (first, second)}
    assert len(ids) == 2
    assert_close(second.load().inputs[1, 0].item(), 6.0)
    with pytest.raises(InputError, match=r"mine\.npz: the file changed since the run was planned; start the command"):
        first.load()


def test_a_file_that_is_gone_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.npz"
    with pytest.raises(InputError, match=r"mine\.npz: cannot be read \(No such file or directory\); wanted an \.npz"):
        DataSpec.of(str(path))
    write_npz(path, 1.0)
    spec = DataSpec.of(str(path))
    path.unlink()
    with pytest.raises(InputError, match=r"mine\.npz: cannot be read"):
        spec.load()


def test_named_data_have_no_digest_and_take_options() -> None:
    assert DataSpec.of("digits").digest == ""
    assert SPEC.data.load().inputs.shape == (20, 4)


def test_a_model_gets_its_outer_widths_from_the_data() -> None:
    linear = SPEC.model.build(4, 3)
    assert isinstance(linear, DeepLinear)
    assert [tuple(p.shape) for p in linear.parameters()] == [(5, 4), (6, 5), (3, 6)]
    assert SPEC.model.depth == 3
    perceptron = ModelSpec(kind="mlp", hidden=(5,), activation="tanh", bias=True).build(4, 3)
    assert isinstance(perceptron, MLP)
    assert perceptron.activation == "tanh"
    assert [tuple(p.shape) for p in perceptron.parameters()] == [(5, 4), (5,), (3, 5), (3,)]
    assert {p.dtype for p in perceptron.parameters()} == {torch.float64}


# --- one line for what pydantic finds ----------------------------------------------------------------------------


class Inner(Frozen):
    kind: Literal["inner"] = "inner"
    size: PositiveFloat


class Outer(Frozen):
    part: float | Inner
    count: int


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"part": 1.0}, "the law: count is missing; wanted a value for it; add it."),
        ({"part": {"size": -1}, "count": 1}, "the law: got part.size = -1; wanted greater than 0; change it."),
        ({"part": {"size": 1, "kind": "x"}, "count": 1}, "the law: got part.kind = 'x'; wanted 'inner'; change it."),
        (
            {"part": "x", "count": 1},
            "the law: got part = 'x'; wanted a valid number, unable to parse string as a number",
        ),
    ],
)
def test_the_deepest_place_of_the_first_error_is_told(values: dict[str, object], told: str) -> None:
    with pytest.raises(InputError) as caught:
        Outer.parse(values, where="the law")
    assert told in str(caught.value)


def test_what_a_validator_says_is_told_as_it_is_and_a_field_by_the_name_it_was_written_with() -> None:
    settings = {"name": "AdamW", "learning_rate": 0.1, "steps": 3}
    with pytest.raises(ValidationError) as caught:
        Optimizer.model_validate(settings)
    assert str(refusal(caught.value, settings, "here", settings)).startswith("here: AdamW is Adam with decoupled decay")
    settings["learning_rate"] = -1
    with pytest.raises(ValidationError) as caught:
        Optimizer.model_validate(settings)
    told = refusal(caught.value, settings, "here", settings, {"learning_rate": "optimizer.learning_rate"})
    assert str(told) == "here: got optimizer.learning_rate = -1; wanted greater than 0; change it."

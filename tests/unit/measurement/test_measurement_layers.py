import pytest
from torch import nn

from ansatzlab.errors import InputError, ModelError, UnknownNameError
from ansatzlab.measurement.layers import select_layers


def network() -> nn.Module:
    body = nn.Sequential(nn.Linear(4, 3), nn.LayerNorm(3), nn.ReLU(), nn.Linear(3, 3))
    return nn.ModuleDict({"body": body, "head": nn.Linear(3, 2)})


def test_by_default_every_layer_with_a_kind_is_chosen_and_the_rest_has_a_reason():
    chosen, skipped = select_layers(network(), None)
    assert list(chosen) == ["body.0", "body.3", "head"]
    assert skipped == {"body.1": "LayerNorm scales each feature by itself: a diagonal, not a linear map of features"}


@pytest.mark.parametrize(
    ("selector", "names"),
    [
        ("head", ["head"]),
        (["head", "body.0"], ["body.0", "head"]),
        (lambda name, _: name.startswith("body"), ["body.0", "body.3"]),
        (lambda _, module: module.out_features == 2, ["head"]),
    ],
)
def test_layers_are_chosen_by_name_names_or_predicate(selector, names):
    chosen, skipped = select_layers(network(), selector)
    assert list(chosen) == names
    assert {name for name, reason in skipped.items() if reason == "not selected"} == {"body.0", "body.3", "head"} - {
        *names
    }


def test_a_layer_knows_its_weight_and_its_name_in_the_state_dict():
    model = network()
    layer = select_layers(model, "body.3")[0]["body.3"]
    assert layer.parameter is model["body"][3].weight
    assert layer.parameter_name == "body.3.weight"
    assert select_layers(nn.Linear(2, 2), None)[0][""].parameter_name == "weight"


def test_the_maps_of_a_module_are_layers_of_their_own_and_its_name_stands_for_all():
    model = nn.ModuleDict({"attend": nn.MultiheadAttention(4, 2), "read": nn.LSTM(4, 3), "head": nn.Linear(3, 2)})
    maps = ["attend.q_proj", "attend.k_proj", "attend.v_proj", "attend.out_proj"]
    gates = ["read.weight_ih_l0", "read.weight_hh_l0"]
    chosen, skipped = select_layers(model, None)
    assert (list(chosen), skipped) == ([*maps, *gates, "head"], {})
    assert [chosen[name].parameter_name for name in maps] == [*["attend.in_proj_weight"] * 3, "attend.out_proj.weight"]
    assert list(select_layers(model, ["attend", "read.weight_hh_l0"])[0]) == [*maps, gates[1]]
    assert list(select_layers(model, "attend.out_proj")[0]) == ["attend.out_proj"]
    assert list(chosen["read.weight_ih_l0"].map.parts) == ["i", "f", "g", "o"]
    assert list(chosen["attend.q_proj"].map.parts) == ["head0", "head1"]


@pytest.mark.parametrize(
    ("selector", "error", "told"),
    [
        ("heat", UnknownNameError, "unknown layer 'heat'; did you mean 'head'?"),
        ("body.1", InputError, "layer 'body.1' cannot be measured: LayerNorm scales"),
        ([], InputError, "got no name"),
        ("body.2", InputError, "layer 'body.2' cannot be measured: ReLU is not a linear map of features known here"),
        (lambda *_: False, InputError, "chose none of the 3 layers"),
    ],
)
def test_a_wrong_choice_is_refused_with_the_right_ones(selector, error, told):
    with pytest.raises(error, match=r"(?s)" + told.replace("?", r"\?").replace("(", r"\(")):
        select_layers(network(), selector)


def test_a_model_without_layers_is_refused():
    with pytest.raises(ModelError, match=r"BatchNorm1d has no layer to measure .it holds 6 param.*BatchNorm1d scales"):
        select_layers(nn.BatchNorm1d(3), None)

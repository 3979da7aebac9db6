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
    assert skipped == {"body.1": "LayerNorm is not a linear map of features known here"}


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
    assert layer.weight is model["body"][3].weight
    assert layer.weight_name == "body.3.weight"
    assert select_layers(nn.Linear(2, 2), None)[0][""].weight_name == "weight"


@pytest.mark.parametrize(
    ("selector", "error", "told"),
    [
        ("heat", UnknownNameError, "unknown layer 'heat'; did you mean 'head'?"),
        ("body.1", InputError, "layer 'body.1' cannot be measured: LayerNorm is not"),
        ([], InputError, "got no name"),
        (lambda *_: False, InputError, "chose none of the 3 layers"),
    ],
)
def test_a_wrong_choice_is_refused_with_the_right_ones(selector, error, told):
    with pytest.raises(error, match=r"(?s)" + told.replace("?", r"\?").replace("(", r"\(")):
        select_layers(network(), selector)


def test_a_model_without_layers_is_refused():
    with pytest.raises(ModelError, match=r"BatchNorm1d has no layer to measure .it holds 6 parameters"):
        select_layers(nn.BatchNorm1d(3), None)

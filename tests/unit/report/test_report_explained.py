import pytest
import torch
from torch import nn

from ansatzlab.measurement.attribution import attribute
from ansatzlab.measurement.outputs import Outputs
from ansatzlab.measurement.run import measure
from ansatzlab.report.looks.explained import MOST_BARS, Chosen, explained_looks
from ansatzlab.testing.cases import normal


def seen(model, data, number=0, *, mean=True, shapes=None, tokens=(), **options):
    measurement = measure(model, data, **options)
    baseline = data.mean(0, keepdim=True) if mean else None
    chosen = Chosen(number, data[number : number + 1], baseline)
    return explained_looks(measurement, model, chosen, shapes or {}, tokens), measurement


def dense(inputs):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(inputs, 6), nn.Tanh(), nn.Linear(6, 2)).double()


def test_a_table_row_has_its_inputs_of_largest_size_first():
    data = normal(20, 40)
    (look,), measurement = seen(dense(40), data, 3)
    truth = attribute(measurement["0"], data[3], 1.0, data.mean(0))
    order = truth.values.abs().argsort(descending=True)[:MOST_BARS]
    assert [bar.label for bar in look.bars] == [f"input {place}" for place in order]
    lengths = truth.values[order] / truth.values.abs().max()
    assert [bar.length for bar in look.bars] == pytest.approx(lengths.tolist())
    assert min(bar.length for bar in look.bars) < 0  # some pull against the others
    assert abs(look.bars[0].length) == 1
    assert f"Example 3 less the mean input is δ. δᵀGδ = {truth.total:.3g}, how far a step of δ" in look.caption
    assert f"The {MOST_BARS} largest of 40 inputs are shown." in look.caption
    assert "not why this example got its label" in look.caption


def test_without_a_mean_the_example_itself_is_the_step():
    (look,), measurement = seen(dense(5), normal(20, 5), mean=False)
    total = attribute(measurement["0"], normal(20, 5)[0]).total
    assert look.caption.startswith(f"Example 0 is x. xᵀGx = {total:.3g}, how far a step of x moves")
    assert "are shown" not in look.caption


def test_an_image_is_shown_beside_the_mean_and_its_attribution():
    (look,), _ = seen(dense(64), normal(20, 64), 2, shapes={"0": (1, 8, 8)})
    assert [picture.key for picture in look.pictures] == ["example", "mean", "attribution"]
    assert look.pictures[2].alt.startswith("Attribution of example 2: largest at row ")
    assert "split over the pixels" in look.caption
    assert "patches" not in look.caption
    (bare,), _ = seen(dense(64), normal(20, 64), 2, mean=False, shapes={"0": (1, 8, 8)})
    assert [picture.key for picture in bare.pictures] == ["example", "attribution"]


@pytest.mark.parametrize(("channels", "groups", "shape"), [(3, 1, (3, 3, 3)), (4, 4, (1, 3, 3))])
def test_the_image_of_a_convolution_is_summed_over_patches_and_channels(channels, groups, shape):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(channels, 4, 3, groups=groups), nn.Tanh(), nn.Flatten(), nn.LazyLinear(2)).double()
    data = normal(6, channels, 6, 6)
    model(data)
    (look,), _ = seen(model, data, shapes={"0": shape})
    assert [picture.key for picture in look.pictures] == ["example", "mean", "attribution"]
    assert "summed over patches" in look.caption


def test_a_sequence_of_numbers_has_a_bar_for_each_position():
    torch.manual_seed(0)
    model = nn.TransformerEncoderLayer(8, nhead=2, dim_feedforward=16, batch_first=True).double().eval()
    data = normal(6, 40, 8)
    (look,), measurement = seen(model, data, output=Outputs(positions="mean"))
    truth = attribute(measurement["self_attn.q_proj"], data[0], 1.0, data.mean(0)).values.sum(-1)
    assert look.layer == "self_attn.q_proj"
    assert [bar.label for bar in look.bars] == [f"position {place}" for place in range(MOST_BARS)]
    assert [bar.length for bar in look.bars] == pytest.approx((truth / truth.abs().max())[:MOST_BARS].tolist())
    assert f"The first {MOST_BARS} of 40 are shown." in look.caption


def test_tokens_stand_in_their_order_with_their_names():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(9, 4), nn.Flatten(), nn.Linear(12, 2)).double()
    data = torch.tensor([[8, 0, 3], [1, 2, 3]])
    (look,), measurement = seen(model, data, mean=False, tokens=["a", "b", "c", " d", "e"])
    assert [bar.label for bar in look.bars] == ["#8", "a", "␣d"]
    values = measurement["0"].agop().diagonal()[data[0]]
    assert [bar.length for bar in look.bars] == pytest.approx((values / values.max()).tolist())


def test_what_has_no_reading_is_not_shown():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv1d(2, 3, 3), nn.Flatten(), nn.Linear(12, 2)).double()
    assert seen(model, normal(5, 2, 6))[0] == ()


def test_the_layer_that_the_example_enters_is_explained_whatever_is_defined_first():
    class Backwards(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.out, self.into = nn.Linear(6, 2), nn.Linear(5, 6)

        def forward(self, rows):
            return self.out(torch.tanh(self.into(rows)))

    torch.manual_seed(0)
    data = normal(20, 5)
    (look,), measurement = seen(Backwards().double(), data)
    assert look.layer == "into"
    assert f"{attribute(measurement['into'], data[0], 1.0, data.mean(0)).total:.3g}" in look.caption


def test_a_layer_that_sees_several_images_is_not_shown():
    class Twins(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.eye, self.head = nn.Conv2d(1, 2, 3), nn.Linear(32, 2)

        def forward(self, images):
            return self.head(torch.tanh(self.eye(images) + self.eye(images.flip(-1))).flatten(1))

    torch.manual_seed(0)
    assert seen(Twins().double(), normal(5, 1, 6, 6), shapes={"eye": (1, 3, 3)})[0] == ()

from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from ansatzlab.measurement.layer import LayerMeasurement
from ansatzlab.measurement.layers import select_layers
from ansatzlab.measurement.run import measure
from ansatzlab.report.looks.directions import MOST_GROUPS, directions, first_layer, image_shapes, leading, signed
from ansatzlab.report.looks.pictures import picture_png, place_of_largest
from ansatzlab.testing.cases import normal


def pixels(png):
    """The picture's colours, one a cell: its cells are squares of whole pixels."""
    return np.asarray(Image.open(BytesIO(png)).convert("RGB")).astype(int)


def cells(png, height, width):
    image = pixels(png)
    side = len(image) // height
    assert image.shape == (side * height, side * width, 3)
    return image[side // 2 :: side, side // 2 :: side]


# which layers see an image


@pytest.mark.parametrize(
    ("module", "example", "wanted"),
    [
        (nn.Linear(64, 3), (64,), (1, 8, 8)),
        (nn.Linear(192, 3), (192,), (3, 8, 8)),
        (nn.Linear(49, 3), (49,), None),  # 7 × 7 may as well be a row of a table
        (nn.Linear(65, 3), (65,), None),
        (nn.Sequential(nn.Flatten(), nn.Linear(20, 3)), (4, 5), (1, 4, 5)),
        (nn.Sequential(nn.Flatten(), nn.Linear(60, 3)), (3, 4, 5), (3, 4, 5)),
        (nn.Sequential(nn.Flatten(), nn.Linear(40, 3)), (2, 4, 5), None),
        (nn.Linear(64, 3), (10, 64), None),  # tokens
        (nn.Conv2d(3, 2, 5), (3, 9, 9), (3, 5, 5)),
        (nn.Conv2d(1, 2, (3, 4)), (1, 9, 9), (1, 3, 4)),
        (nn.Conv2d(4, 4, 3, groups=4), (4, 9, 9), (1, 3, 3)),
        (nn.Conv2d(4, 2, 3), (4, 9, 9), None),
        (nn.Conv2d(3, 2, 1), (3, 9, 9), None),
        (nn.GRU(64, 3), (5, 64), None),
    ],
)
def test_an_image_is_known_by_its_size(module, example, wanted):
    layers, _ = select_layers(module, None)
    found = image_shapes(module, torch.ones(1, *example), layers)
    assert list(found.values()) == ([] if wanted is None else [wanted])


def test_only_the_networks_first_layer_sees_the_image():
    model = nn.Sequential(nn.Linear(64, 64), nn.Linear(64, 64))
    example = torch.ones(1, 64)
    assert list(image_shapes(model, example, {"0": None, "1": None})) == ["0"]
    assert image_shapes(model, example, {"1": None}) == {}  # as wide as an image, and none
    assert image_shapes(model, example.long(), {"0": None}) == {}
    assert image_shapes(model, (example, torch.ones(1)), {"0": None}) == {"0": (1, 8, 8)}


class Backwards(nn.Module):
    """Its layers are defined in another order than they are called in."""

    def __init__(self) -> None:
        super().__init__()
        self.out, self.into, self.drop = nn.Linear(64, 64), nn.Linear(64, 64), nn.Dropout()

    def forward(self, image):
        return self.out(torch.tanh(self.drop(self.into(image))))


def test_the_first_layer_is_the_one_that_is_called_first():
    model = Backwards()
    state = torch.random.get_rng_state()
    assert first_layer(model, {"image": torch.ones(1, 64)}) == "into"
    assert image_shapes(model, torch.ones(1, 64), {"out": None}) == {}
    assert list(image_shapes(model, {"image": torch.ones(1, 64)}, {"out": None, "into": None})) == ["into"]
    assert model.training
    assert torch.equal(torch.random.get_rng_state(), state)


# drawing


def test_signs_are_red_and_blue_and_zero_is_white():
    values = torch.tensor([[[0.0, 2.0], [-4.0, 1.0]]])
    (white, red), (blue, pink) = cells(picture_png(values), 2, 2).tolist()
    assert min(white) >= 245
    assert red[0] > 200 > red[2]
    assert blue[2] > blue[0] + 60
    assert pink[0] > pink[2]
    assert max(blue) < max(red)  # the entry of largest size has the darkest end


def test_strength_goes_from_dark_to_bright_and_an_image_from_black_to_white():
    values = torch.tensor([[[0.0, 1.0, 2.0]]])
    strength = cells(picture_png(values, "strength"), 1, 3)[0].sum(1)
    assert strength[0] < strength[1] < strength[2]
    assert cells(picture_png(values - 5, "image"), 1, 3)[0].tolist() == [[0] * 3, [128] * 3, [255] * 3]
    on_a_wider_scale = cells(picture_png(values, "image", (0.0, 4.0)), 1, 3)[0, :, 0]
    assert on_a_wider_scale.tolist() == pytest.approx([0, 64, 128], abs=1)
    assert cells(picture_png(torch.ones(1, 1, 1), "image"), 1, 1).tolist() == [[[128] * 3]]


def test_three_channels_are_red_green_and_blue():
    values = torch.zeros(3, 2, 2)
    values[1, 0, 1] = 2.0
    found = cells(picture_png(values), 2, 2)
    assert found[0, 1].tolist() == [127, 255, 127]
    assert found[1, 0].tolist() == [127, 127, 127]
    assert cells(picture_png(values, "strength"), 2, 2)[0].tolist() == [[0, 0, 0], [0, 255, 0]]
    assert place_of_largest(values) == "row 1, column 2 of green"


@pytest.mark.parametrize("scale", ["signed", "strength", "image"])
def test_zeros_are_drawn(scale):
    assert len(np.unique(pixels(picture_png(torch.zeros(1, 2, 2), scale)).reshape(-1, 3), axis=0)) == 1


# what is drawn


def test_the_pictures_of_a_network_that_reads_one_pixel_are_that_pixel():
    model = nn.Sequential(nn.Linear(64, 2), nn.Tanh(), nn.Linear(2, 2)).double()
    with torch.no_grad():
        model[0].weight.zero_()
        model[0].weight[:, 19] = torch.tensor([-1.0, -2.0])  # row 3, column 4
    measurement = measure(model, normal(30, 64))
    (look,) = directions(measurement, {"0": (1, 8, 8)})
    assert look.layer == "0"
    assert "8 × 8" in look.caption
    diagonal, vector = look.pictures  # rank 1
    assert (diagonal.label, vector.label) == ("diagonal", "1: 100 %")
    assert diagonal.alt == "Diagonal of the AGOP of 0: largest, 100 % of the trace, at row 3, column 4"
    assert vector.alt == "Eigenvector 1 of the AGOP of 0, 100 % of the trace: largest at row 3, column 4"
    found = cells(vector.png, 8, 8)
    red = found[..., 0] - found[..., 2]
    assert np.unravel_index(red.argmax(), red.shape) == (2, 3)
    assert (np.abs(np.delete(red.ravel(), 19)) < 8).all()  # the others are white
    assert red.max() > 60  # the largest entry is positive whatever the eigenvector's sign
    bright = cells(diagonal.png, 8, 8).sum(-1)
    assert bright.argmax() == 19
    assert len(np.unique(np.delete(bright.ravel(), 19))) == 1


def test_the_shares_and_the_diagonal_are_those_of_the_agop():
    torch.manual_seed(0)
    measurement = measure(nn.Sequential(nn.Linear(64, 9), nn.Tanh(), nn.Linear(9, 3)).double(), normal(30, 64))
    (look,) = directions(measurement, {"0": (1, 8, 8)}, count=3)
    gram = measurement["0"].agop()
    shares = torch.linalg.eigvalsh(gram).flip(0)[:3] / gram.trace()
    told = [float(picture.label.split(": ")[1].removesuffix(" %")) for picture in look.pictures[1:]]
    assert told == pytest.approx((100 * shares).tolist(), rel=5e-3)
    brightest = cells(look.pictures[0].png, 8, 8).sum(-1).argmax()
    assert brightest == gram.diagonal().argmax()


def test_groups_have_a_diagonal_each_and_share_the_top_eigenvectors():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 4, 3, groups=2), nn.Tanh(), nn.Flatten(), nn.Linear(36, 2)).double()
    with torch.no_grad():
        model[0].weight[2:] *= 3  # the second group is heard louder
    measurement = measure(model, normal(12, 2, 5, 5))
    (look,) = directions(measurement, {"0": (1, 3, 3)}, count=3)
    assert [picture.label for picture in look.pictures[:2]] == ["diagonal, group 1", "diagonal, group 2"]
    assert len({picture.key for picture in look.pictures}) == len(look.pictures) == 5
    values, vectors = torch.linalg.eigh(measurement["0"].agop())
    for place, (value, group, vector) in enumerate(leading(measurement["0"], 3), start=1):
        assert value == pytest.approx(float(values[-place]), rel=1e-10)
        whole = torch.zeros(18, dtype=torch.float64)
        whole[9 * group : 9 * group + 9] = vector
        assert abs(float(whole @ vectors[:, -place])) == pytest.approx(1, abs=1e-8)
    assert leading(measurement["0"], 1)[0][1] == 1
    assert ", group 2: " in look.pictures[2].label


def test_of_many_groups_the_first_are_drawn_and_it_is_said():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(9, 9, 2, groups=9), nn.Flatten(), nn.Linear(36, 2)).double()
    (look,) = directions(measure(model, normal(6, 9, 3, 3)), {"0": (1, 2, 2)})
    assert sum(picture.label.startswith("diagonal") for picture in look.pictures) == MOST_GROUPS
    assert f"Of 9 groups the first {MOST_GROUPS}." in look.caption


def test_three_channels_are_told_in_the_caption():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(36, 2)).double()
    (look,) = directions(measure(model, normal(6, 3, 5, 5)), {"0": (3, 3, 3)}, count=1)
    assert "A patch, 3 × 3 pixels of 3 channels." in look.caption
    assert "zero is grey" in look.caption
    assert "red positive" not in look.caption
    assert look.pictures[1].alt.endswith((" of red", " of green", " of blue"))


def test_a_layer_that_is_heard_by_nothing_is_left_out():
    model = nn.Sequential(nn.Linear(64, 2), nn.ReLU(), nn.Linear(2, 2)).double()
    with torch.no_grad():
        model[0].bias.fill_(-1e3)
    assert directions(measure(model, normal(5, 64)), {"0": (1, 8, 8)}) == ()


def test_gradients_too_coarse_for_eigenvectors_leave_the_diagonal():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(1024, 4), nn.Tanh(), nn.Linear(4, 2)).bfloat16()
    measurement = measure(model, normal(6, 1024).bfloat16(), check="never")
    (look,) = directions(measurement, {"0": (1, 32, 32)})
    assert [picture.label for picture in look.pictures] == ["diagonal"]


def test_no_matrix_over_the_inputs_is_formed(monkeypatch):
    torch.manual_seed(0)
    measurement = measure(nn.Sequential(nn.Linear(64, 3), nn.Tanh(), nn.Linear(3, 2)).double(), normal(5, 64))
    monkeypatch.setattr(LayerMeasurement, "agop", None)
    monkeypatch.setattr(LayerMeasurement, "weight_gram", None)
    assert directions(measurement, {"0": (1, 8, 8)})


def test_an_eigenvectors_largest_entry_is_turned_positive():
    assert signed(torch.tensor([1.0, -3.0])).tolist() == [-1.0, 3.0]
    assert signed(torch.tensor([-1.0, 3.0])).tolist() == [-1.0, 3.0]

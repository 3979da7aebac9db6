import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.testing import assert_close

from ansatzlab.errors import InputError
from ansatzlab.models.conv import small_cnn, vgg11


def images(*shape):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def conv_widths(model):
    return [module.out_channels for module in model if isinstance(module, nn.Conv2d)]


def test_vgg11_has_the_published_convolutions():
    model = vgg11(dtype=torch.float32)
    assert conv_widths(model) == [64, 128, 256, 256, 512, 512, 512, 512]
    assert sum(p.numel() for p in model.parameters()) == 9_220_480 + 5_130  # torchvision's features, a 512-10 map


def test_the_activations_are_in_place():
    for model in (vgg11(width=2), small_cnn(width=2)):
        activations = [module for module in model if isinstance(module, nn.ReLU)]
        assert len(activations) == len(conv_widths(model))
        assert all(module.inplace for module in activations)


def test_vgg11_forward_is_the_formula():
    torch.manual_seed(0)
    model = vgg11(classes=7, in_channels=2, width=3)
    x = images(4, 2, 32, 32)
    h = x
    for number in range(1, 9):
        layer = model.get_submodule(f"conv{number}")
        h = functional.conv2d(h, layer.weight, layer.bias, padding=1).relu()
        if number in (1, 2, 4, 6, 8):
            h = h.unflatten(-1, (-1, 2)).unflatten(-3, (-1, 2)).amax((-1, -3))
    expected = h.reshape(4, 24) @ model.classifier.weight.mT + model.classifier.bias
    assert_close(model(x), expected)


def test_small_cnn_forward_is_the_formula():
    torch.manual_seed(0)
    model = small_cnn(classes=5, in_channels=2, width=3)
    x = images(4, 2, 28, 28)
    h = x
    for number in (1, 2):
        layer = model.get_submodule(f"conv{number}")
        h = functional.conv2d(h, layer.weight, layer.bias, padding=1).relu()
        h = h.unflatten(-1, (-1, 2)).unflatten(-3, (-1, 2)).amax((-1, -3))
    expected = h.reshape(4, 7 * 7 * 6) @ model.classifier.weight.mT + model.classifier.bias
    assert_close(model(x), expected)


@pytest.mark.parametrize("build", [vgg11, small_cnn])
def test_parameters_are_float64_unless_asked_otherwise(build):
    assert {p.dtype for p in build(width=1).parameters()} == {torch.float64}
    assert {p.dtype for p in build(width=1, dtype=torch.float32).parameters()} == {torch.float32}


@pytest.mark.parametrize("build", [vgg11, small_cnn])
@pytest.mark.parametrize("size", ["classes", "in_channels", "width"])
@pytest.mark.parametrize("wrong", [0, -2])
def test_unusable_sizes_are_refused(build, size, wrong):
    with pytest.raises(InputError, match=rf"{build.__name__}: got {{'{size}': {wrong}}}; wanted positive integers"):
        build(**{size: wrong})

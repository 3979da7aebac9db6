"""One example as the AGOP of the network's first layer weighs it: a picture, or a number for each input or token."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

from torch import Tensor, nn

from ansatzlab.measurement.attribution import Attribution
from ansatzlab.measurement.explanation import explain
from ansatzlab.measurement.outputs import Batch
from ansatzlab.measurement.result import Measurement
from ansatzlab.report.looks.directions import ImageShape, first_layer
from ansatzlab.report.looks.pictures import picture_png, place_of_largest
from ansatzlab.report.looks.records import Bar, Look, Picture, format_entry
from ansatzlab.report.looks.tokens import SMALLEST_VOCABULARY, named_embeddings, vocabulary_sizes
from ansatzlab.report.looks.vocabulary import token_name

TITLE = "One example in the AGOP of"

MOST_BARS = 32
"""So many inputs or positions are shown: of inputs those of largest size, of positions the first."""


@dataclass(frozen=True)
class Chosen:
    """An example to be explained.

    Attributes:
        number: Its number in the data, from 0 on.
        example: A batch of it alone.
        baseline: A batch of the mean input alone; None where inputs are not numbers that have a mean.
    """

    number: int
    example: Batch
    baseline: Batch | None = None


def explained_looks(
    measurement: Measurement,
    model: nn.Module,
    chosen: Chosen,
    shapes: Mapping[str, ImageShape],
    tokens: Sequence[str] = (),
) -> tuple[Look, ...]:
    """Show how the AGOP of the layers that the network's input enters weighs one example.

    Conventions:
        Of an image a picture; of other numbers the inputs of largest size, or a number for each position; of tokens a
        number for each. See `ansatzlab.measurement.attribution.attribute`. Nothing of a layer that sees several images.

    Args:
        measurement: The measurement.
        model: The network.
        chosen: The example and its baseline.
        shapes: The layers whose input is an image (see `ansatzlab.report.looks.directions.image_shapes`).
        tokens: The names of the tokens.

    Returns:
        What to show: the layer that the network calls first, and every embedding of at least 8 rows. Nothing of a
        convolution whose input is no image.

    Raises:
        InputError: As `ansatzlab.measurement.explanation.explain`.
    """
    rows = vocabulary_sizes(measurement)
    named = named_embeddings(rows, len(tokens))
    first = first_layer(model, chosen.example)
    names = [
        name
        for name, layer in measurement.items()
        if rows.get(name, 0) >= SMALLEST_VOCABULARY
        or (name == first and (name in shapes or not layer.kind.startswith(("conv", "embedding"))))
    ]
    found = explain(model, measurement, chosen.example, baseline=chosen.baseline, layers=names) if names else {}
    looks = []
    for name, each in found.items():
        if name in rows:
            looks.append(_tokens(each, chosen, tokens if name in named else ()))
        elif name not in shapes:
            looks.append(_numbers(each, chosen))
        elif each.inputs.ndim == 4 or each.inputs.numel() == prod(shapes[name]):
            looks.append(_image(each, chosen, shapes[name]))
    return tuple(looks)


def _caption(attribution: Attribution, chosen: Chosen, parts: str, places: str, rest: str) -> str:
    """Say what was split over which parts, summed over which places, if over several."""
    what, step = f"Example {chosen.number} is x", "x"
    if attribution.baseline is not None:
        what, step = f"Example {chosen.number} less the mean input is δ", "δ"
    meaning = (
        f"summed over {places}"
        if places
        else f"how far a step of {step} moves the outputs, squared and to first order, on average over the data"
    )
    return (
        f"{what}. {step}ᵀG{step} = {attribution.total:.3g}, {meaning}, is split over {parts}, which add up to it. "
        f"{rest}The AGOP says what the outputs listen to on average, not why this example got its label."
    )


def _image(attribution: Attribution, chosen: Chosen, shape: ImageShape) -> Look:
    """Show an image: as it is, the mean, and its attribution, the channels of a pixel added."""
    convolved = attribution.inputs.ndim == 4

    def image(values: Tensor) -> Tensor:
        found = values[0] if convolved else values.reshape(shape)
        return found if len(found) in (1, 3) else found.mean(0, keepdim=True)

    example = image(attribution.inputs)
    values = attribution.values.reshape(-1, *example.shape[1:]).sum(0, keepdim=True)
    span = (float(example.min()), float(example.max()))
    named = f"example {chosen.number}"
    alt = f"Attribution of {named}: largest at {place_of_largest(values)}"
    pictures = [Picture("example", named, f"Example {chosen.number} as it enters", picture_png(example, "image"))]
    if attribution.baseline is not None:
        mean = picture_png(image(attribution.baseline), "image", span)
        pictures.append(Picture("mean", "mean input", "The mean input, on the same scale", mean))
    pictures.append(Picture("attribution", "attribution", alt, picture_png(values)))
    rest = "Red adds to it, blue takes from it, white is nothing; the strongest pixel has the full colour. "
    caption = _caption(attribution, chosen, "the pixels", "patches" if convolved else "", rest)
    return Look(TITLE, attribution.layer, caption, tuple(pictures))


def _numbers(attribution: Attribution, chosen: Chosen) -> Look:
    """Show the inputs of largest size; where the layer is used at several positions, each of these."""
    width = attribution.values.shape[-1]
    if attribution.values.numel() == width:
        values = attribution.values.flatten()
        order = values.abs().argsort(descending=True, stable=True)[:MOST_BARS].tolist()
        labels, parts, places = [f"input {place}" for place in order], "the inputs", ""
        rest = f"The {MOST_BARS} largest of {width} inputs are shown. " if width > MOST_BARS else ""
    else:
        values = attribution.values.sum(-1).flatten()
        order, parts, places = list(range(min(len(values), MOST_BARS))), "the positions", "positions"
        labels, rest = [f"position {place}" for place in order], _first_of(len(values))
    bars = _bars([float(values[place]) for place in order], labels)
    return Look(TITLE, attribution.layer, _caption(attribution, chosen, parts, places, rest), bars=bars)


def _tokens(attribution: Attribution, chosen: Chosen, tokens: Sequence[str]) -> Look:
    """Show a number for each token, in the order in which they stand."""
    numbers = attribution.inputs.flatten()[:MOST_BARS].tolist()
    values = attribution.values.flatten()
    labels = [token_name(number, tokens) for number in numbers]
    same = "A token has the same number wherever it stands: its entry on the AGOP's diagonal. "
    caption = _caption(attribution, chosen, "the tokens", "positions", _first_of(len(values)) + same)
    return Look(TITLE, attribution.layer, caption, bars=_bars(values[:MOST_BARS].tolist(), labels))


def _first_of(count: int) -> str:
    return f"The first {MOST_BARS} of {count} are shown. " if count > MOST_BARS else ""


def _bars(values: Sequence[float], labels: Sequence[str]) -> tuple[Bar, ...]:
    peak = max(map(abs, values), default=0.0) or 1.0
    return tuple(Bar(label, format_entry(value), value / peak) for label, value in zip(labels, values, strict=True))

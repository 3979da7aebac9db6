"""What a page computes by itself: scores at whatever exponent its reader asks for, from stored spectra."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from ansatzlab.linalg.spectrum import Spectrum
from ansatzlab.report.labels import Label

Score = Literal["cosine", "pearson", "traceless", "residual"]

SCORES: dict[Score, str] = {
    "cosine": "cosine",
    "pearson": "Pearson correlation",
    "traceless": "traceless cosine",
    "residual": "residual (scale-free)",
}
"""What the page can compute, and what it is called."""


@dataclass(frozen=True)
class Moment:
    """A layer at one moment of a training.

    Attributes:
        step: The step; nan where there is none.
        flow_time: The time along the flow; nan where there is none.
        spectrum: The layer's spectrum.
    """

    step: float
    flow_time: float
    spectrum: Spectrum


@dataclass(frozen=True)
class Series:
    """One layer of one network.

    Attributes:
        run: Which network.
        labels: What it is told apart by, and filtered by; ``layer`` is one of them.
        own: Its own exponent; nan where it has none.
        tautological: Whether exponent 1 fits whatever the weights.
        spectrum: Its spectrum, of a training at the end.
        start: That before training, or at the first snapshot.
        draws: Those with the output gradients turned at random; none where there is no structural null.
        moments: The layer along the training; none where that is not shown.
    """

    run: str
    labels: Mapping[str, Label]
    own: float
    tautological: bool
    spectrum: Spectrum
    start: Spectrum | None = None
    draws: tuple[Spectrum, ...] = ()
    moments: tuple[Moment, ...] = ()


@dataclass(frozen=True)
class Live:
    """Everything that the live section of a page is made of.

    Attributes:
        series: The layers.
        names: What each label is called, in the order of the filters; ``layer`` first.
        presets: Exponents with a button of their own: text and value.
        own: What the button for each layer's own exponent says; empty for no such button.
        exponent: The exponent at which the page opens; None for each layer's own.
        score: The score with which it opens.
        compare_by: The label by which it compares at first.
        chosen: Labels of which only some values are chosen at first.
        structural: Whether the null is drawn; else it is that of a random rotation of the input, in closed form.
        start: What the start is called.
        notes: What was left out, sampled or rounded, in sentences.
        command: The command that makes these data again; empty if the page says so elsewhere.
    """

    series: tuple[Series, ...]
    names: Mapping[str, str]
    presets: tuple[tuple[str, float], ...]
    own: str
    exponent: float | None
    score: Score
    compare_by: str
    chosen: Mapping[str, tuple[Label, ...]]
    structural: bool
    start: str
    notes: tuple[str, ...]
    command: str = ""

"""What is claimed of nonlinear networks, and how it is read out of the table."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ansatzlab.laws.law import Claim, Reader, Threshold
from ansatzlab.laws.reading import Absent, Choice, Condition, Value, each_family, every
from ansatzlab.laws.runs import Run
from ansatzlab.laws.tansley2025nfa.nonlinear.design import EXPERIMENTS, TRANSFORMER
from ansatzlab.laws.tansley2025nfa.nonlinear.reading import WORDS
from ansatzlab.measurement.verdict import COLLAPSED, Criteria, Word

HIGH = 0.8
"""A cosine from which on plain reporting calls an alignment high."""

ALLOWED, BEYOND = Criteria().largest_residual, Criteria().least_z
"""As in a measurement's verdict: the largest residual that *holds*, and how far beyond the null it must be."""

LEARNT = 0.8
"""The share of right answers from which on a classifier of ten classes counts as trained."""

TAUTOLOGY = 1e-6
"""What rounding may leave of the residual of a last layer at exponent 1."""


@dataclass(frozen=True)
class Layer:
    """A layer of a run.

    Attributes:
        run: The run.
        index: Its place, from 1.
    """

    run: Run
    index: int

    @property
    def name(self) -> str:
        """Its name in the network."""
        return str(self.run.layers[self.index - 1][0]["layer"])

    @property
    def word(self) -> Word:
        """The verdict at ½, at the end."""
        return word_of(self.end("half_verdict"), self.end("weight_norm") / self.start("weight_norm"))

    def end(self, column: str) -> float:
        """Return a column at the last snapshot; nan where there is nothing."""
        return float(self.run.column(column, self.index)[-1])

    def start(self, column: str) -> float:
        """Return a column at the first snapshot."""
        return float(self.run.column(column, self.index)[0])


def word_of(code: float, remaining: float) -> Word:
    """Return a verdict's word; a layer whose weights shrank below a thousandth has collapsed whatever was measured."""
    return "collapsed" if remaining < COLLAPSED else WORDS[int(code)]


def option(run: Run, name: str) -> str:
    """Return an option of a run's task; empty where it has none."""
    return str(run.options.get(name, ""))


def hidden(run: Run) -> Iterator[Layer]:
    """Yield the layers of which something can be said: not the last, where the ansatz is a tautology."""
    for index in range(1, len(run.layers) + 1):
        layer = Layer(run, index)
        if layer.word in ("holds", "aligned", "no better than null"):
            yield layer


def readings(layer: Layer) -> list[tuple[float, float, float]]:
    """Return cosine, residual and z at the end, at ½ and, where it is defined, at 1/(L − l + 1)."""
    found = [tuple(layer.end(f"{name}_{key}") for key in ("value", "residual", "z")) for name in ("half", "law")]
    return [(value, residual, z) for value, residual, z in found if not math.isnan(value)]


def exposed(layer: Layer) -> bool:
    """Whether a layer has a score that plain reporting would call high and the structural null reaches too."""
    return any(value >= HIGH and not z >= BEYOND for value, _, z in readings(layer))


def by_data(run: Run) -> str:
    """Return the condition of a kind of network on a data set."""
    return f"{run.data}, {run.experiment.removeprefix('nonlinear-')}"


def by_activation(run: Run) -> str:
    """Return the condition of an activation in a kind of network on a data set."""
    return f"{by_data(run)}, {option(run, 'activation')}"


def read(statistic: Callable[[Sequence[Run]], Value], condition: Condition, choice: Choice = every) -> Reader:
    """Return the reader of a statistic over the runs of one seed under each condition."""
    return each_family(EXPERIMENTS, statistic, condition, choice)


def over_layers(
    value: Callable[[Layer], float], worst: Callable[[Iterable[float]], float]
) -> Callable[[Sequence[Run]], Value]:
    """Return the statistic that is the worst value over hidden layers."""

    def statistic(runs: Sequence[Run]) -> Value:
        values = [found for run in runs for layer in hidden(run) if not math.isnan(found := value(layer))]
        return worst(values) if values else Absent("no layer of which it can be said")

    return statistic


def count_exposed(runs: Sequence[Run]) -> float:
    """Return how many hidden layers are exposed."""
    return float(sum(exposed(layer) for run in runs for layer in hidden(run)))


def accuracy(runs: Sequence[Run]) -> float:
    """Return the smallest share of right answers at the end."""
    return min(float(run.column("accuracy")[-1]) for run in runs)


def last_residual(runs: Sequence[Run]) -> float:
    """Return the largest residual of a last layer at exponent 1."""
    return max(Layer(run, len(run.layers)).end("law_residual") for run in runs)


def gain(layer: Layer) -> float:
    """Return by how much training raised the cosine at ½."""
    return layer.end("half_value") - layer.start("half_value")


def law_error(layer: Layer) -> float:
    """Return ``|α* − 1/(L − l + 1)|``."""
    return abs(layer.end("exponent") - 1 / (len(layer.run.layers) - layer.index + 1))


def in_chain(run: Run) -> bool:
    """Whether a run's layers form a chain, in which 1/(L − l + 1) is defined."""
    return run.experiment != TRANSFORMER


CLAIMS = (
    Claim(
        key="N.fitted",
        statement="The classifiers are trained: what is said of them is said of networks that learnt their task.",
        statistic="smallest share of right answers at the end, over trainings",
        threshold=Threshold(low=LEARNT),
        samples=read(accuracy, by_data, in_chain),
    ),
    Claim(
        key="N.exposed",
        statement="A score that plain reporting would call high need not mean anything: somewhere the same weights "
        "score as high with output gradients that are turned at random.",
        statistic=f"hidden layers with a cosine ≥ {HIGH:g} at ½ or 1/(L − l + 1) less than {BEYOND:g} sd beyond the "
        "structural null, at the end",
        threshold=Threshold(low=1.0),
        samples=read(count_exposed, by_data, in_chain),
    ),
    Claim(
        key="N.untrained",
        statement="A score that plain reporting would call high is there before any training.",
        statistic="largest cosine at ½ of a hidden layer at the start",
        threshold=Threshold(low=HIGH),
        samples=read(over_layers(lambda layer: layer.start("half_value"), max), by_data, in_chain),
    ),
    Claim(
        key="N.half",
        statement="The ansatz with ½ holds in every hidden layer: theory says nothing of it.",
        statistic="largest residual at ½ over hidden layers, at the end",
        threshold=Threshold(high=ALLOWED),
        samples=read(over_layers(lambda layer: layer.end("half_residual"), max), by_activation),
        role="control",
    ),
    Claim(
        key="N.law",
        statement="The linear network's exponent 1/(L − l + 1) holds in every hidden layer: theory says nothing of it.",
        statistic="largest residual at 1/(L − l + 1) over hidden layers, at the end",
        threshold=Threshold(high=ALLOWED),
        samples=read(over_layers(lambda layer: layer.end("law_residual"), max), by_activation, in_chain),
        role="control",
    ),
    Claim(
        key="N.best",
        statement="The exponent that fits best is that of linear networks: theory says nothing of it.",
        statistic="largest |α* − 1/(L − l + 1)| over hidden layers, at the end",
        threshold=Threshold(high=0.05),
        samples=read(over_layers(law_error, max), by_activation, in_chain),
        role="control",
    ),
    Claim(
        key="N.beyond",
        statement="Every hidden layer fits ½ better than with turned output gradients.",
        statistic="least distance of the residual at ½ from the structural null, in its sd, at the end",
        threshold=Threshold(low=BEYOND),
        samples=read(over_layers(lambda layer: layer.end("half_z"), min), by_activation),
        role="control",
    ),
    Claim(
        key="N.gain",
        statement="Training raises the score of hidden layers.",
        statistic="median over hidden layers of the cosine at ½, end less start",
        threshold=Threshold(low=0.0),
        samples=read(over_layers(gain, lambda values: float(np.median(list(values)))), by_activation),
        role="control",
    ),
    Claim(
        key="N.last",
        statement="In a last layer exponent 1 fits whatever was learnt.",
        statistic="largest residual at 1, last layer, at the end",
        threshold=Threshold(high=TAUTOLOGY),
        samples=read(last_residual, by_data, in_chain),
        role="tautology",
    ),
)

"""What a run is, completely: a frozen, hashable record from which it can be repeated."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PositiveFloat,
    PositiveInt,
    ValidationError,
)

from ansatzlab.data.dataset import Dataset
from ansatzlab.data.registry import load
from ansatzlab.errors import InputError, UnknownNameError
from ansatzlab.models.deep_linear import DeepLinear
from ansatzlab.models.init import initialize
from ansatzlab.models.mlp import MLP
from ansatzlab.training.dynamics import Dynamics, GradientFlow, SharpnessRate

T = TypeVar("T", bound="Frozen")
Observable = Literal["ansatz", "balance", "discrete_balance", "stationarity", "null"]


def _as_tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list | tuple) else (value,)


Seed = Annotated[int, Field(ge=0, lt=2**31)]
ONE_OR_MORE = (BeforeValidator(_as_tuple), Field(min_length=1))
"""Metadata of a tuple field that a person may also write as a single value, and that must not be empty."""


class Frozen(BaseModel):
    """A record that refuses unknown fields and changes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @classmethod
    def parse(cls: type[T], values: Mapping[str, object], where: str) -> T:
        """Build the record from values that a person wrote.

        Args:
            values: The fields by name.
            where: What they are, for the message.

        Returns:
            The record.

        Raises:
            InputError: If a field is unknown or has a value it cannot have; the message names the first of them.
        """
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            raise refusal(error, values, where, cls.model_fields) from error


def refusal(
    error: ValidationError,
    values: Mapping[str, object],
    where: str,
    known: Iterable[str],
    written: Mapping[str, str] | None = None,
) -> InputError:
    """Return what pydantic found as one line, about the first field that is not right.

    Args:
        error: What pydantic raised.
        values: The fields by name, as they were given to it.
        where: What they are, for the message.
        known: The fields that there are.
        written: How a person wrote the name of a field, where that is not its name.

    Returns:
        The error to raise.
    """
    found = error.errors()
    rivals = [each for each in found if each["loc"][:1] == found[0]["loc"][:1]]  # a union tells one for every member
    path, first = max(((_path(each["loc"], values), each) for each in rivals), key=lambda pair: len(pair[0]))
    field = ".".join([(written or {}).get(part, part) for part in path[:1]] + path[1:])
    if first["type"] == "extra_forbidden" and len(path) == 1:
        return UnknownNameError(f"setting of {where}", field, known)
    if first["type"] == "missing":
        return InputError(f"{where}: {field} is missing; wanted a value for it; add it.")
    if first["type"] == "value_error":
        return InputError(f"{where}: {first['msg'].removeprefix('Value error, ')}.")
    wanted = first["msg"].replace("Input should be", "wanted")
    return InputError(f"{where}: got {field} = {first['input']!r}; {wanted}; change it.")


def _path(loc: tuple[int | str, ...], values: Mapping[str, object]) -> list[str]:
    """Return the place of an error without the names of union members that pydantic puts into it."""
    path: list[str] = []
    here: object = values
    for part in loc:
        if isinstance(here, Mapping) and (part in here or not path):
            here = here.get(part)
        elif isinstance(part, int):  # a single value may stand for a list of one
            here = here[part] if isinstance(here, list | tuple) else here
        else:
            continue
        path.append(str(part))
    return path


class DataSpec(Frozen):
    """A data set by name.

    Attributes:
        name: A name of `ansatzlab.data.registry.SOURCES`, or the path of an ``.npz`` file.
        seed: Its seed.
        size: How many examples; None for all.
        options: Further keywords of a generator.
        digest: The hash of a file's content, so that a changed file is another run; empty for named data.
    """

    name: str
    seed: Seed = 0
    size: PositiveInt | None = None
    options: dict[str, float | int | str | tuple[float, ...]] = {}
    digest: str = ""

    @classmethod
    def of(cls, name: str) -> "DataSpec":
        """Return the spec of a whole data set by name; of a file, with its content's hash.

        Raises:
            InputError: If the file cannot be read.
        """
        if not name.endswith(".npz"):
            return cls(name=name)
        return cls(name=name, digest=_digest(name))

    def load(self) -> Dataset:
        """Load the data set.

        Raises:
            InputError: If it is unknown, not usable, or a file that changed since the spec was made.
        """
        if self.digest and _digest(self.name) != self.digest:
            raise InputError(f"{self.name}: the file changed since the run was planned; start the command again.")
        return load(self.name, seed=self.seed, size=self.size, **self.options)


class ModelSpec(Frozen):
    """A network, but for its input and output widths, which the data give.

    Attributes:
        kind: Deep linear or multilayer perceptron.
        hidden: The hidden widths; the depth L is one more than their number.
        activation: The activation of an MLP.
        bias: Whether layers have biases.
    """

    kind: Literal["deep_linear", "mlp"] = "deep_linear"
    hidden: tuple[PositiveInt, ...]
    activation: str = "relu"
    bias: bool = False

    @property
    def depth(self) -> int:
        """The number of weight matrices, L."""
        return len(self.hidden) + 1

    def build(self, inputs: int, outputs: int) -> DeepLinear | MLP:
        """Build the network in float64.

        Raises:
            InputError: If the widths or the activation are not valid.
        """
        widths = [inputs, *self.hidden, outputs]
        if self.kind == "deep_linear":
            return DeepLinear(widths, bias=self.bias)
        return MLP(widths, activation=self.activation, bias=self.bias)


class InitSpec(Frozen):
    """Initial weights (see `ansatzlab.models.init.initialize`).

    Attributes:
        scheme: The scheme's name.
        scale: Its scale.
        singular_values: For ``balanced``, the singular values; None for the default grid.
    """

    scheme: str = "balanced"
    scale: PositiveFloat = 1.0
    singular_values: tuple[PositiveFloat, ...] | None = None


class Spec(Frozen, ABC):
    """What a run is, whatever kind of run.

    Attributes:
        experiment: What the run is for; runs of one experiment are judged together.
        seed: Its seed.
    """

    experiment: str
    seed: Seed = 0

    def canonical(self) -> str:
        """Return the spec as canonical JSON: sorted keys, no spaces."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))

    @property
    def run_id(self) -> str:
        """The first 20 hexadecimal digits of the hash of the canonical JSON."""
        return hashlib.sha256(self.canonical().encode()).hexdigest()[:20]

    @abstractmethod
    def identity(self) -> dict[str, object]:
        """Return what the run is, in the store's columns data, dynamics, depth, weight_decay and learning_rate."""


class RunSpec(Spec):
    """One training with its measurements.

    Attributes:
        experiment: What the run is for; runs of one experiment are judged together.
        seed: Seed of the initial weights and of the batches.
        data: The data.
        model: The network.
        init: Its initial weights.
        dynamics: How it is trained.
        loss: The loss, a name of `ansatzlab.training.objective.LOSSES`.
        snapshots: How many moments are looked at (more than the steps: every step).
        observe: What is looked at.
        probe_examples: On how many examples (the first ones) the AGOP is measured. For a linear network it is the same
            on any.
    """

    data: DataSpec
    model: ModelSpec
    init: InitSpec = InitSpec()
    dynamics: Annotated[Dynamics, Field()]
    loss: str = "square"
    snapshots: Annotated[int, Field(ge=2)] = 40
    observe: Annotated[tuple[Observable, ...], Field(min_length=1)] = ("ansatz", "balance")
    probe_examples: PositiveInt = 32

    def start(self, data: Dataset) -> DeepLinear | MLP:
        """Build the network for a data set, with its initial weights.

        Raises:
            InputError: If the widths, the activation or the initial weights are not valid.
        """
        model = self.model.build(data.inputs.shape[1], data.targets.shape[1])
        init = self.init
        initialize(model, init.scheme, seed=self.seed, scale=init.scale, singular_values=init.singular_values)
        return model

    def identity(self) -> dict[str, object]:
        """Return what the run is, in the store's columns (see `Spec`); a rate by a rule is None."""
        dynamics = self.dynamics
        rate = dynamics.learning_rate
        return {
            "data": self.data.name,
            "dynamics": dynamics.kind if isinstance(dynamics, GradientFlow) else dynamics.name,
            "depth": self.model.depth,
            "weight_decay": dynamics.weight_decay,
            "learning_rate": None if isinstance(rate, SharpnessRate) else rate,
        }


def _digest(path: str) -> str:
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); wanted an .npz file; check the path.") from error

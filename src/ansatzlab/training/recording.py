"""What was recorded of a training: rows of the store, what failed, what it cost."""

import json
import math
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import final

import pyarrow as pa

from ansatzlab.errors import InputError, StoreError
from ansatzlab.linalg.exponent import fit_exponent
from ansatzlab.measurement.convention import Convention
from ansatzlab.measurement.layer import LayerMeasurement
from ansatzlab.measurement.result import Measurement
from ansatzlab.store.schema import BASE_SCHEMA, to_table
from ansatzlab.training.failures import Failure
from ansatzlab.training.overhead import Overhead

Row = dict[str, object]

SCALARS = {
    "alignment": "recorded_alignment",
    "alignment_init_removed": "recorded_alignment_init_removed",
    "best_exponent": "best_exponent",
}
"""What is logged of every layer, and the column that it comes from."""


@final
@dataclass(frozen=True)
class Moment:
    """One step that was to be measured.

    Attributes:
        step: The step.
        loss: The loss that was given for it.
        layers: What was read out of each measured layer; empty if the measurement failed.
        wall_seconds: From the first call of the recorder to the end of this measurement.
        recording_seconds: What this one took.
        failure: Why nothing was measured.
    """

    step: int
    loss: float | None = None
    layers: tuple[Row, ...] = ()
    wall_seconds: float = 0.0
    recording_seconds: float = 0.0
    failure: str = ""


@final
@dataclass(frozen=True)
class Order:
    """Where layers stand in their network.

    Attributes:
        places: The number of each layer, from 1, among all that could be measured.
        depth: The number of weight matrices of a network that is a chain of them; 0 if that is not known.
    """

    places: Mapping[str, int] = field(default_factory=dict)
    depth: int = 0


@final
@dataclass(frozen=True, eq=False)
class Recording:
    """What a recorder has recorded.

    Attributes:
        run_id: Its id in the store.
        rows: The rows of the store, one per measured step and layer; of a measurement that failed one without numbers.
        measurements: The measurements that were kept, by step: the first and the last, unless all were to be.
        failures: What was not measured or not written.
        overhead: What it cost.
        initial_step: The step whose weights W₀ is; None if W₀ was given, or there never were weights.
    """

    run_id: str
    rows: tuple[Row, ...]
    measurements: Mapping[int, Measurement]
    failures: tuple[Failure, ...]
    overhead: Overhead
    initial_step: int | None = None

    def table(self) -> pa.Table:
        """Return the rows as a table with the columns of the store (see `ansatzlab.store.schema.to_table`)."""
        return to_table(self.rows)


@final
@dataclass(frozen=True)
class Identity:
    """What a recording is of.

    Attributes:
        run_id: Its id in the store.
        name: Its name, the store's ``experiment``.
        recorder: How it was recorded, as JSON has it.
        settings: What the training was, as far as its maker said.
    """

    run_id: str
    name: str
    recorder: Mapping[str, object]
    settings: Mapping[str, object]

    @classmethod
    def of(cls, name: str, recorder: Mapping[str, object], settings: Mapping[str, object]) -> "Identity":
        """Check that the store can hold it.

        Raises:
            InputError: If it cannot.
        """
        made = cls("", name, recorder, dict(settings)).renewed()
        try:
            to_table([{**made.columns(0), "status": "finished"}])
        except (StoreError, TypeError, ValueError) as error:
            raise InputError(
                f"Recorder(name={name!r}, settings={dict(settings)!r}): cannot be stored ({error}); wanted text, "
                "numbers, lists and maps, and what their columns hold of data, optimizer, depth, weight_decay, "
                "learning_rate and seed."
            ) from error
        return made

    def renewed(self) -> "Identity":
        """Return the same with another id, which no other recording has."""
        stem = re.sub(r"[^A-Za-z0-9]+", "-", self.name).strip("-")[:100] or "recording"
        return replace(self, run_id=f"{stem}-{secrets.token_hex(4)}")

    def told(self) -> Row:
        """Return what a side file of the store says of it."""
        return {"name": self.name, "recorder": self.recorder, "settings": self.settings}

    def columns(self, depth: int) -> Row:
        """Return the columns of the store that all rows share.

        Settings named data, optimizer, depth, weight_decay, learning_rate and seed fill the columns of these names.

        Args:
            depth: That of the network, 0 if it is not known; a depth among the settings goes before it.
        """
        settings = self.settings
        seed = settings.get("seed", 0)
        spec = {
            "experiment": self.name,
            "seed": seed,
            "task": "recording",
            "options": self.settings,
            "recorder": self.recorder,
        }
        return {
            **dict.fromkeys(BASE_SCHEMA.names),
            "run_id": self.run_id,
            "experiment": self.name,
            "spec": json.dumps(spec, sort_keys=True, separators=(",", ":"), allow_nan=False),
            "data": settings.get("data", ""),
            "dynamics": settings.get("optimizer", ""),
            "depth": settings.get("depth", depth),
            "seed": seed,
            "weight_decay": settings.get("weight_decay", 0.0),
            "learning_rate": settings.get("learning_rate"),
        }

    def rows(self, moments: Mapping[int, Moment], order: Order) -> tuple[Row, ...]:
        """Return the rows of the store.

        Args:
            moments: What was recorded, by step, in order.
            order: Where the layers stand in the network.
        """
        shared, places = self.columns(order.depth), order.places
        return tuple(
            {**shared, **_shared_columns(snapshot, moment), **layer, "layer_index": places.get(str(layer.get("layer")))}
            for snapshot, moment in enumerate(moments.values())
            for layer in moment.layers or ({},)
        )


def _shared_columns(snapshot: int, moment: Moment) -> Row:
    return {
        "status": "failed" if moment.failure else "finished",
        "error": moment.failure or None,
        "snapshot": snapshot,
        "step": moment.step,
        "loss": moment.loss,
        "wall_seconds": moment.wall_seconds,
        "recording_seconds": moment.recording_seconds,
    }


@final
@dataclass(frozen=True)
class Reading:
    """What is read out of a measured layer, besides the spectrum from which all else follows.

    Attributes:
        convention: How the alignment is read.
        init_removed: Whether it is also read with W − W₀ for W.
    """

    convention: Convention
    init_removed: bool = True

    def columns(self, layer: LayerMeasurement) -> Row:
        """Read a layer out as a row of the store.

        Definition:
            The columns of `Spectrum.columns`, ``tautological``, the best exponent, the number of examples, and under
            names with ``recorded_`` what the convention asks for.

        Args:
            layer: The layer.

        Returns:
            The columns; None for a number that does not exist. Where the gradients are too coarse to resolve a spectrum
            the row has no numbers, its status is ``failed`` and its error says so.
        """
        try:
            spectrum = layer.spectrum()
        except InputError as error:
            return {"layer": layer.name, "status": "failed", "error": str(error)}
        return {
            "layer": layer.name,
            **spectrum.columns(),
            "tautological": float(layer.tautological),
            "best_exponent": _number(fit_exponent(spectrum).value),
            "examples": float(layer.sums.examples),
            "recorded_exponent": self.convention.exponent,
            **self._recorded(layer),
        }

    def _recorded(self, layer: LayerMeasurement) -> Row:
        convention, removed = self.convention, None
        if layer.initial is not None and self.init_removed:
            spectrum = layer.spectrum(centered=convention.centered, init_removed=True)
            removed = _number(spectrum.alignment(convention.exponent, convention.comparator))
        if convention.init_removed and layer.initial is None:  # at the start there is no W − W₀
            return {}
        alignment = layer.read(convention)
        return {
            "recorded_alignment": _number(alignment.value),
            "recorded_alignment_error": _number(alignment.error),
            "recorded_residual": _number(alignment.residual),
            "recorded_alignment_init_removed": removed,
        }


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def scalars(moment: Moment) -> dict[str, float]:
    """Return what is logged of a step: for every layer the numbers of `SCALARS` that exist.

    Returns:
        The numbers by names such as ``ansatz/blocks.0.fc1/alignment``.
    """
    return {
        f"ansatz/{layer['layer']}/{name}": value
        for layer in moment.layers
        for name, column in SCALARS.items()
        if isinstance(value := layer.get(column), float)
    }


def described(setting: object) -> object:
    """Return a setting as JSON has it: a record by its kind and fields, a function by its name."""
    if is_dataclass(setting) and not isinstance(setting, type):
        named = {field.name: described(getattr(setting, field.name)) for field in fields(setting)}
        return {"kind": type(setting).__name__, **named}
    if callable(setting):
        return getattr(setting, "__qualname__", type(setting).__name__)
    if isinstance(setting, tuple | list):
        return [described(part) for part in setting]
    return setting if isinstance(setting, str | int | float | bool | None) else str(setting)

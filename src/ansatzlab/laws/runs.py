"""Reading a table of runs: one run at a time, one layer at a time."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from ansatzlab.laws.figure import Curve
from ansatzlab.linalg.spectrum import Spectrum

Row = dict[str, object]


@dataclass(frozen=True)
class Run:
    """The rows of one run.

    Attributes:
        experiment: What it was for.
        data: Its data set.
        depth: L.
        seed: Its seed.
        weight_decay: λ.
        learning_rate: η; nan for a flow.
        failure: Why it did not finish, in words; empty if it did.
        spec: Its spec as JSON has it.
        layers: The rows of each layer, from the first layer to the last, in the order of the snapshots.
        whole: The rows of no layer, which say something of the whole network, in the order of the snapshots.
    """

    experiment: str
    data: str
    depth: int
    seed: int
    weight_decay: float
    learning_rate: float
    failure: str
    spec: Mapping[str, Any]
    layers: tuple[tuple[Row, ...], ...]
    whole: tuple[Row, ...] = ()

    @property
    def options(self) -> Mapping[str, Any]:
        """The options of its task; none if it is the training of a `RunSpec`."""
        found: Mapping[str, Any] = self.spec.get("options", {})
        return found

    @property
    def condition(self) -> str:
        """The depth and, where there is one, the decay: what runs are grouped by."""
        return f"L = {self.depth}" + (f", λ = {self.weight_decay:g}" if self.weight_decay else "")

    def column(self, name: str, layer: int = 1) -> np.ndarray:
        """Return a column of one layer (counted from 1) over the snapshots, nan where it is null."""
        return _column(self.layers[layer - 1], name)

    def last(self, name: str, layer: int | None = 1) -> float:
        """Return a column of a layer (counted from 1; None: of the network) at the last snapshot; nan without a row."""
        found = self.network(name) if layer is None else self.column(name, layer)
        return float(found[-1]) if len(found) else math.nan

    def network(self, name: str) -> np.ndarray:
        """Return a column of the rows of no layer over the snapshots, nan where it is null."""
        return _column(self.whole, name)

    def spectra(self, layer: int = 1) -> list[Spectrum]:
        """Return the spectra of one layer (counted from 1) over the snapshots."""
        return [spectrum_of(row) for row in self.layers[layer - 1]]


class RunTable:
    """The runs of a table; those of an experiment are read out of it once, when they are first asked for.

    Args:
        table: Rows as the store returns them; may be empty.
    """

    def __init__(self, table: pa.Table) -> None:
        """Keep the table."""
        self._table = table
        self._found: dict[str, list[Run]] = {}

    def runs(self, *experiments: str) -> list[Run]:
        """Return the runs of some experiments, one experiment after the other; none where the table has none.

        Those of one experiment are in the order of depth, decay, learning rate, the task's options, seed.

        Args:
            experiments: Their names.
        """
        return [run for name in experiments for run in self._runs_of(name)]

    def _runs_of(self, experiment: str) -> list[Run]:
        if experiment not in self._found:
            rows_by_run: dict[str, list[Row]] = {}
            for row in self._table.filter(pc.equal(self._table["experiment"], experiment)).to_pylist():
                rows_by_run.setdefault(row["run_id"], []).append(row)
            self._found[experiment] = sorted((_run(rows) for rows in rows_by_run.values()), key=_place)
        return self._found[experiment]


def spectrum_of(row: Row) -> Spectrum:
    """Rebuild a layer's spectrum from its columns."""
    return Spectrum(
        eigenvalues=_vector(row["eigenvalues"]),
        energies=_vector(row["energies"]),
        off_energy=_number(row["off_energy"]),
        sums=_vector(row["sums"]),
        trace=_number(row["trace"]),
        total=_number(row["total"]),
        dimension=int(_number(row["dimension"])),
        cut=_number(row["cut"]),
    )


def median_curve(label: str, x: Sequence[float] | np.ndarray, per_seed: Sequence[np.ndarray]) -> Curve:
    """Return the median over seeds with the smallest and largest value as its spread.

    Args:
        label: The curve's name.
        x: The abscissae, which all seeds share.
        per_seed: For each seed its ordinates.

    Returns:
        The curve.
    """
    stacked = np.stack(per_seed)
    return Curve(
        label=label,
        x=_floats(x),
        y=_floats(np.median(stacked, axis=0)),
        low=_floats(stacked.min(axis=0)),
        high=_floats(stacked.max(axis=0)),
    )


def _place(run: Run) -> tuple[object, ...]:
    """Return where a run stands among those of its experiment; numbers come before words, and in their order."""
    options = [
        (name, not isinstance(value, int | float), value if isinstance(value, int | float) else json.dumps(value))
        for name, value in sorted(run.options.items())
    ]
    return run.depth, run.weight_decay, float(np.nan_to_num(run.learning_rate)), options, run.seed


def _column(rows: Sequence[Row], name: str) -> np.ndarray:
    values = [row.get(name) for row in rows]
    return np.array([math.nan if value is None else value for value in values], dtype=float)


def _floats(values: Sequence[float] | np.ndarray) -> tuple[float, ...]:
    return tuple(float(value) for value in values)


def _vector(column: object) -> torch.Tensor:
    return torch.tensor(column, dtype=torch.float64)


def _number(column: object) -> float:
    assert isinstance(column, float)
    return column


def _run(rows: list[Row]) -> Run:
    first = rows[0]
    by_layer: dict[int, list[Row]] = {}
    whole: list[Row] = []
    for row in rows:
        index = row["layer_index"]
        if isinstance(index, int):
            by_layer.setdefault(index, []).append(row)
        elif row["snapshot"] is not None:
            whole.append(row)
    rate = first["learning_rate"]
    return Run(
        experiment=str(first["experiment"]),
        data=str(first["data"]),
        depth=int(str(first["depth"])),
        seed=int(str(first["seed"])),
        weight_decay=float(str(first["weight_decay"])),
        learning_rate=math.nan if rate is None else float(str(rate)),
        failure="" if first["status"] == "finished" else f"{first['status']}: {first['error']}",
        spec=json.loads(str(first["spec"])),
        layers=tuple(tuple(by_layer[index]) for index in sorted(by_layer)),
        whole=tuple(whole),
    )

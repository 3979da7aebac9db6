"""A measurement as a table that the kinds of figures take."""

import json
from collections.abc import Mapping

import pyarrow as pa

from ansatzlab.errors import InputError
from ansatzlab.laws.runs import Row
from ansatzlab.measurement.convention import Convention
from ansatzlab.measurement.layer import LayerMeasurement
from ansatzlab.measurement.result import Measurement
from ansatzlab.measurement.verdict import judge
from ansatzlab.report.figures.kinds.tracks import READING
from ansatzlab.report.readout import describe_convention

RUN = "measurement"


def measured_table(measurement: Measurement, conventions: Mapping[str, Convention], *, nulls: bool = False) -> pa.Table:
    """Return a measurement as a table: a row a layer, and another before it where the network's start was measured.

    Args:
        measurement: The measurement.
        conventions: How each layer is read, by name; layers without one are left out.
        nulls: Whether each layer's structural null is drawn, for the figure ``layers``.

    Returns:
        The columns of a store that a spectrum is rebuilt from, those that say which layer, and: ``exponent``,
        ``comparator``, what of the convention is not usual in words, the eigenvalues of WᵀW, standard errors, nulls.
        Layers whose gradients are too coarse to be read are left out.

    Raises:
        InputError: If no layer can be read, or a convention takes W₀ out and the measurement has none.

    Cost:
        One decomposition a layer; with nulls 20 more.

    Example:
        >>> import torch, ansatzlab
        >>> from torch import nn
        >>> m = ansatzlab.measure(nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 2)), [torch.eye(3)])
        >>> measured_table(m, dict.fromkeys(m, Convention(0.5))).select(["layer", "exponent"]).to_pylist()
        [{'layer': '0', 'exponent': 0.5}, {'layer': '1', 'exponent': 0.5}]
    """
    rows = []
    for place, (name, layer) in enumerate(measurement.items(), start=1):
        if name not in conventions:
            continue
        known = {"layer": name, "layer_index": place}
        moments = [layer] if layer.start is None or conventions[name].init_removed else [layer.start, layer]
        for snapshot, moment in enumerate(moments):
            rows += [row | known | {"snapshot": snapshot} for row in _rows(moment, conventions[name], nulls=nulls)]
    if not rows:
        raise InputError("measured_table: no layer has a spectrum that can be read; wanted one; measure in float64.")
    return pa.Table.from_pylist(rows)


def _rows(layer: LayerMeasurement, convention: Convention, *, nulls: bool) -> list[Row]:
    """Return the row of a layer, or none if its gradients are too coarse to be read."""
    reading = {"centered": convention.centered, "init_removed": convention.init_removed}
    weights = layer.weights(init_removed=convention.init_removed).double()
    layer.refuse_centering(convention.centered)
    try:
        spectrum, alignment = layer.spectrum(**reading), layer.read(convention)
    except InputError:
        return []
    null = judge(layer, convention).null if nulls else None
    words = describe_convention(Convention(1.0, "cosine", **reading)).removeprefix("exponent 1, cosine").strip(", ")
    return [
        {
            "run_id": RUN,
            "spec": json.dumps({}),
            "status": "finished",
            **spectrum.columns(),
            "weight_eigenvalues": weights.svd().S.square().flatten().sort(descending=True).values.tolist(),
            "tautological": float(layer.tautological),
            "exponent": convention.exponent,
            "comparator": convention.comparator,
            READING: words,
            "alignment_error": alignment.error,
            "residual_error": alignment.residual_error,
            "null_alignment": None if null is None else null.mean,
            "null_alignment_sd": None if null is None else null.sd,
            "null_residual": None if null is None else null.residual_mean,
            "null_residual_sd": None if null is None else null.residual_sd,
        }
    ]

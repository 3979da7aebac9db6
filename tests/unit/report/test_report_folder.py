import json
import math
from pathlib import Path
from shutil import copytree

import pytest
import torch
from torch import nn

from ansatzlab.errors import StoreError
from ansatzlab.measurement.convention import Convention
from ansatzlab.measurement.run import measure
from ansatzlab.report.folder import rebuild_folder, write_folder
from ansatzlab.report.looks.pictures import picture_png
from ansatzlab.report.looks.records import Bar, Look, Picture, TokenRow
from ansatzlab.report.readout import Readout, read_layers

LOOKS = (
    Look("A", "0", "c", pictures=(Picture("one", "label", "alt", picture_png(torch.ones(1, 2, 2))),)),
    Look("B", "0", "c", tokens=(TokenRow("first", "40 %", (("the", "0.5"),), (("a", "−0.2"),)),)),
    Look("C", "2", "c", bars=(Bar("x", "1.0", 1.0), Bar("y", "−0.5", -0.5))),
)


@pytest.fixture(scope="module")
def measured():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)).double()
    measurement = measure(model, [torch.randn(20, 6, dtype=torch.float64)])
    return measurement, read_layers(measurement, dict.fromkeys(measurement, (Convention(0.5), Convention(1.0))))


@pytest.fixture(scope="module")
def written(measured, tmp_path_factory):
    measurement, rows = measured
    out = tmp_path_factory.mktemp("written") / "out"
    facts = {"network": "nets.py:make", "command": "ansatz measure"}
    record = {"rows": [row.to_dict() for row in rows], "provenance": facts}
    write_folder(out, measurement, rows, LOOKS, record=record, facts=facts, title="the title")
    return out


@pytest.fixture
def folder(written, tmp_path):
    return Path(copytree(written, tmp_path / "out"))


def test_rows_come_back_from_json_as_they_were(measured):
    for row in measured[1]:
        again = Readout.from_dict(json.loads(json.dumps(row.to_dict(), allow_nan=False)))
        assert again.to_dict() == row.to_dict()
        assert again.convention == row.convention
    assert any(math.isnan(Readout.from_dict(row.to_dict()).start) for row in measured[1])


def test_the_page_is_made_again_as_it_was_and_the_rest_is_left(folder):
    before = {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    (folder / "report.html").unlink()
    assert rebuild_folder(folder) == folder / "report.html"
    after = {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert after.keys() == before.keys()
    for name in before:
        if not name.endswith(".png") or name.startswith("look-"):
            assert after[name] == before[name], name


def test_a_folder_of_an_earlier_version_is_made_without_what_it_does_not_tell(folder):
    record = json.loads((folder / "measurement.json").read_text())
    del record["title"], record["looks"]
    (folder / "measurement.json").write_text(json.dumps(record))
    html = rebuild_folder(folder).read_text(encoding="utf-8")
    assert "How nets.py:make stands to its AGOP" in html
    assert "What the layers look at" not in html


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda record: record.pop("rows"), r"measurement\.json: cannot be used \(KeyError: 'rows'\); measure again"),
        (lambda record: record["rows"][0].pop("value"), r"cannot be used \(KeyError: 'value'\)"),
        (lambda record: record["rows"][0].update(layer="nosuch"), r"its rows are not of measurement\.safetensors"),
        (lambda record: record.update(provenance=[]), r"cannot be used \(AttributeError"),
        (lambda record: record["looks"][0]["pictures"][0].update(key="gone"), r"cannot be used \(FileNotFoundError"),
    ],
)
def test_a_damaged_record_is_one_line(folder, damage, told):
    record = json.loads((folder / "measurement.json").read_text())
    damage(record)
    (folder / "measurement.json").write_text(json.dumps(record))
    with pytest.raises(StoreError, match=told):
        rebuild_folder(folder)


def test_a_missing_measurement_is_refused_by_name(folder):
    (folder / "measurement.safetensors").unlink()
    with pytest.raises(StoreError, match=r"measurement\.safetensors"):
        rebuild_folder(folder)

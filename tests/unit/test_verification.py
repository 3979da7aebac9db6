import json

import numpy as np
import pytest

from ansatzlab.errors import InputError, StoreError
from ansatzlab.store.parquet import Store
from ansatzlab.verification import rebuild, verify

SMALL = {
    "seeds": 0,
    "depths": 2,
    "unbalanced_depths": 2,
    "weight_decays": 0.2,
    "width": 3,
    "snapshots": 20,
    "flow_time": 2,
    "descent_time": 1,
}


@pytest.fixture(scope="module")
def own_data(tmp_path_factory):
    """A user's own regression data, with more targets than the law's networks are wide."""
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(40, 5))
    path = tmp_path_factory.mktemp("own") / "mine.npz"
    np.savez(path, inputs=inputs, targets=inputs @ rng.normal(size=(5, 4)))
    return path


@pytest.fixture(scope="module")
def report(own_data, tmp_path_factory):
    return verify(
        "tansley2025nfa",
        data=str(own_data),
        out=tmp_path_factory.mktemp("out") / "mine",
        settings=SMALL,
        only=["linear"],
    )


def test_everything_is_written_beside_the_runs(report):
    names = {path.name for path in report.folder.iterdir()}
    assert {"store.json", "verification.json", "verdicts.json", "report.html", "runs", "figures"} == names
    verdicts = json.loads((report.folder / "verdicts.json").read_text())
    assert verdicts["outcome"] == report.outcome == "INCONCLUSIVE"  # one seed shows no spread
    assert len(verdicts["findings"]) == len(report.findings)
    runs = {row["run_id"]: row["wall_seconds"] for row in report.table.to_pylist()}
    cost = verdicts["chapters"]["linear"]
    assert (cost["runs"], cost["seconds"]) == (len(runs), pytest.approx(sum(runs.values())))
    figures = {path.name for path in (report.folder / "figures").iterdir()}
    assert {"exponent.png", "balanced.png", "decay.png", "drift.png"} <= figures
    page = report.page.read_text(encoding="utf-8")
    assert "mine.npz" in page
    assert "--set" in page
    start = page.index('id="live-data">') + len('id="live-data">')
    live = json.loads(page[start : page.index("</script>", start)])
    assert live["count"] > 0  # layers of runs that follow the exponent
    assert page.index('id="verdicts"') < start < page.index("Figure 1.")


def test_the_report_is_made_again_from_the_folder_alone(report):
    again = rebuild(report.folder)
    assert again.findings == report.findings
    assert again.table.equals(report.table)


def test_the_report_of_an_interrupted_verification_is_inconclusive_and_not_wrong(report, tmp_path):
    store = Store.open(tmp_path / "partial")
    store.write_json("verification", json.loads((report.folder / "verification.json").read_text()))
    assert rebuild(tmp_path / "partial").outcome == "INCONCLUSIVE"


def test_a_folder_of_something_else_is_refused(tmp_path):
    with pytest.raises(StoreError, match="there is no such folder"):
        rebuild(tmp_path / "nowhere")
    Store.open(tmp_path / "empty")
    with pytest.raises(StoreError, match="is not an output folder"):
        rebuild(tmp_path / "empty")


def test_a_damaged_request_is_one_line(tmp_path):
    Store.open(tmp_path).write_json("verification", {"law": "tansley2025nfa"})
    with pytest.raises(InputError, match=r"verification\.json: budget is missing"):
        rebuild(tmp_path)


def test_nothing_is_written_for_a_request_that_cannot_be_met(tmp_path):
    for changes in ({"law": "nosuch"}, {"data": "nosuch"}, {"settings": {"depths": [1]}}):
        with pytest.raises(InputError):
            verify(**{"law": "tansley2025nfa", "out": tmp_path / "out", **changes})
    assert not (tmp_path / "out").exists()

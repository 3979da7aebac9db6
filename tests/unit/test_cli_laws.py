"""`ansatz laws`: the matrix of claims, one law in full, and what to cite."""

import json
import os
import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from ansatzlab import cli
from ansatzlab.laws.citation import DATA, law_bibtex
from ansatzlab.laws.registry import LAWS, get_law
from ansatzlab.report.matrix import find_verifications, matrix
from ansatzlab.store.parquet import Store
from ansatzlab.store.schema import BASE_SCHEMA

ROOT = Path(__file__).parents[2]
LAW = get_law("boixadsera2025fact")


def ansatz(monkeypatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["ansatz", *arguments])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    return caught.value.code or 0


def finding(claim, outcome, **changes):
    definition = {"statement": claim.statement, "statistic": claim.statistic, "threshold": str(claim.threshold)}
    return {"claim": claim.key, **definition, "outcome": outcome, **changes}


def verification(folder, findings, *, law=LAW, chapter=0, budget="quick", when=None):
    """Write of one chapter what `verify` writes and the matrix reads."""
    folder.mkdir(parents=True)
    chapters = {law.chapters[chapter].key: {"runs": 9, "seconds": 12.4}}
    record = {"law": law.key, "data": "digits", "findings": findings, "chapters": chapters}
    (folder / "verdicts.json").write_text(json.dumps(record), encoding="utf-8")
    (folder / "verification.json").write_text(json.dumps({"budget": budget}), encoding="utf-8")
    if when is not None:
        os.utime(folder / "verdicts.json", (when, when))


def judged(outcomes, claims=LAW.claims):
    """For each claim a finding for each of its outcomes."""
    return [finding(claim, word) for claim, words in zip(claims, outcomes, strict=False) for word in words]


def entries_of(law, root):
    found, skipped = find_verifications(root)
    assert not skipped
    return matrix([law], found)


def test_the_matrix_has_every_claim_of_every_law_once(monkeypatch, capsys, tmp_path):
    assert ansatz(monkeypatch, "laws", "--runs", str(tmp_path), "--json") == 0
    entries = json.loads(capsys.readouterr().out)
    wanted = [
        (law.key, chapter.key, claim.key)
        for law in LAWS.values()
        for chapter in law.chapters
        for claim in chapter.claims
    ]
    assert [(entry["law"], entry["chapter"], entry["claim"]) for entry in entries] == wanted
    assert {entry["verdict"] for entry in entries} == {"not run"}


def test_the_matrix_shows_the_worst_verdict_over_conditions_and_the_cost(monkeypatch, capsys, tmp_path):
    outcomes = [["HOLDS", "HOLDS"], ["HOLDS", "INCONCLUSIVE"], ["FAILS", "INCONCLUSIVE"]]
    verification(tmp_path / "fact", judged(outcomes))
    entries = entries_of(LAW, tmp_path)
    assert [(each.verdict, each.holding, each.conditions) for each in entries[:4]] == [
        ("HOLDS", 2, 2),
        ("INCONCLUSIVE", 1, 2),
        ("FAILS", 0, 2),
        ("not run", 0, 0),
    ]
    assert {(entry.runs, entry.seconds, entry.folder) for entry in entries} == {(9, 12.4, str(tmp_path / "fact"))}
    assert {(entry.data, entry.budget) for entry in entries} == {("digits", "quick")}
    assert ansatz(monkeypatch, "laws", "--runs", str(tmp_path)) == 0
    shown = capsys.readouterr().out
    assert f"(quick, digits, 9 runs, 12 s of computing: {tmp_path / 'fact'})" in shown
    assert "✓ HOLDS 2/2" in shown


def test_the_newest_verification_counts(tmp_path):
    verification(tmp_path / "a", judged([["HOLDS"]]), when=2)
    verification(tmp_path / "b", judged([["FAILS"]]), when=1)
    assert entries_of(LAW, tmp_path)[0].verdict == "HOLDS"


def test_a_newer_verification_of_one_chapter_does_not_hide_the_others(tmp_path):
    law = get_law("tansley2025nfa")
    (one, other), claims = (chapter.claims for chapter in law.chapters[:2]), law.claims
    verification(tmp_path / "a", [finding(one[0], "HOLDS")], law=law, chapter=0, budget="full", when=1)
    verification(tmp_path / "b", [finding(other[0], "FAILS")], law=law, chapter=1, when=2)
    entries = {entry.claim: entry for entry in entries_of(law, tmp_path)}
    assert (entries[one[0].key].verdict, entries[one[0].key].budget) == ("HOLDS", "full")
    assert (entries[other[0].key].verdict, entries[other[0].key].budget) == ("FAILS", "quick")
    untouched = next(claim.key for claim in claims if claim not in (*one, *other))
    assert (entries[untouched].verdict, entries[untouched].runs) == ("not run", None)


@pytest.mark.parametrize("part", ["statement", "statistic", "threshold"])
def test_a_claim_that_has_changed_since_is_not_run(tmp_path, part):
    verification(tmp_path / "fact", [finding(LAW.claims[0], "HOLDS", **{part: "another"})])
    first, second, *_ = entries_of(LAW, tmp_path)
    assert (first.verdict, first.conditions, second.verdict) == ("not run (changed)", 0, "not run")
    assert first.runs == 9


@pytest.mark.parametrize(
    "content",
    ["{", "[]", "7", '{"law": "x", "data": "y", "findings": [{"claim": "A"}], "chapters": {}}', '{"chapters": {}}'],
)
def test_a_file_that_is_no_verification_is_skipped_with_a_note(monkeypatch, capsys, tmp_path, content):
    verification(tmp_path / "fact", judged([["HOLDS"]]))
    verification(tmp_path / "foreign", [])
    (tmp_path / "foreign" / "verdicts.json").write_text(content, encoding="utf-8")
    found, (line,) = find_verifications(tmp_path)
    assert "verdicts.json: is not what `ansatz verify` writes" in line
    assert matrix([LAW], found)[0].verdict == "HOLDS"
    assert ansatz(monkeypatch, "laws", "--runs", str(tmp_path), "--json") == 0
    out, err = capsys.readouterr()
    assert json.loads(out)
    assert err.startswith(f"skipped: {tmp_path / 'foreign' / 'verdicts.json'}")


def test_one_law_in_full(monkeypatch, capsys):
    assert ansatz(monkeypatch, "laws", "tansley2025nfa") == 0
    out = capsys.readouterr().out
    assert "B.rate" in out
    assert "unbalanced_depths = [2, 3, 4]" in out
    assert ansatz(monkeypatch, "laws", "tansley2025nfa", "--json") == 0
    described = json.loads(capsys.readouterr().out)
    assert "A.error" in described["claims"]
    assert "grid" in described["chapters"]
    assert ansatz(monkeypatch, "laws", "nfa") == 3
    assert "unknown law 'nfa'" in capsys.readouterr().err


def runs(folder, law, *data, asked="digits"):
    """Write a verification whose runs were on the given data."""
    store = Store.open(folder)
    request = {"law": law, "budget": "quick", "data": asked, "settings": {}, "runs": []}
    store.write_json("verification", request)
    for place, name in enumerate(data):
        row = dict.fromkeys(BASE_SCHEMA.names) | {"run_id": f"run-{place}", "data": name, "status": "finished"}
        row |= {"experiment": "e", "spec": "{}", "dynamics": "gd", "depth": 2, "seed": 0, "weight_decay": 0.0}
        store.write([f"run-{place}"], [row])


def cited(capsys):
    return re.findall(r"@\w+\{(\w+),", capsys.readouterr().out)


@pytest.mark.parametrize("entry", [*map(law_bibtex, LAWS.values()), *DATA.values()], ids=[*LAWS, *DATA])
def test_entries_are_bibtex(entry):
    assert re.match(r"@\w+\{[\w-]+,\n", entry)
    assert entry.count("{") == entry.count("}")
    assert re.search(r"\n  title = \{\{.+\}\},\n", entry)
    assert re.search(r"\n  author = \{.+\},\n", entry)
    assert re.search(r"\n  year = \{\d{4}\},\n", entry)


def test_cite_prints_what_a_report_used_once(monkeypatch, capsys, tmp_path):
    runs(tmp_path / "fact", LAW.key, "digits", "signs")
    assert ansatz(monkeypatch, "laws", "cite", str(tmp_path / "fact"), LAW.key) == 0
    assert cited(capsys) == [LAW.key, "alpaydin1998optical", "ansatzlab"]


def test_cite_prints_no_data_that_no_run_used(monkeypatch, capsys, tmp_path):
    runs(tmp_path / "synthetic", "liu2022nesterov", "", asked="digits")
    assert ansatz(monkeypatch, "laws", "cite", str(tmp_path / "synthetic")) == 0
    assert cited(capsys) == ["liu2022nesterov", "ansatzlab"]


def test_cite_knows_the_report_of_a_users_own_law(monkeypatch, capsys, tmp_path):
    runs(tmp_path / "mine", f"{ROOT / 'examples' / 'own_law.py'}:LAW", "digits")
    assert ansatz(monkeypatch, "laws", "cite", str(tmp_path / "mine")) == 0
    assert cited(capsys) == ["mine2026decay", "alpaydin1998optical", "ansatzlab"]
    runs(tmp_path / "gone", "nowhere2025law", "digits")
    assert ansatz(monkeypatch, "laws", "cite", str(tmp_path / "gone")) == 3
    assert "unknown law 'nowhere2025law'" in capsys.readouterr().err


def test_cite_takes_a_name_for_the_law_and_not_for_a_folder_of_that_name(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / LAW.key).mkdir()
    assert ansatz(monkeypatch, "laws", "cite", LAW.key) == 0
    assert cited(capsys) == [LAW.key, "ansatzlab"]
    assert ansatz(monkeypatch, "laws", "cite", f"./{LAW.key}") == 3
    assert "wanted an output folder of `ansatz verify` or `ansatz merge`" in capsys.readouterr().err


def test_cite_knows_a_merge(monkeypatch, capsys, tmp_path):
    (tmp_path / "merge.json").write_text("{}", encoding="utf-8")
    assert ansatz(monkeypatch, "laws", "cite", str(tmp_path)) == 0
    assert cited(capsys) == ["kuzborskij2025lowrank", "ansatzlab"]


def test_what_bibtex_reads_is_escaped_but_in_addresses():
    odd = replace(LAW, title="50 % of W_1 & more \\& #2", source="Journal A&B", url="https://x.org/a_b#c%20")
    entry = law_bibtex(odd)
    assert r"title = {{50 \% of W\_1 \& more \& \#2}}" in entry
    assert r"howpublished = {Journal A\&B}" in entry
    assert "url = {https://x.org/a_b#c%20}" in entry
    assert "url" not in law_bibtex(replace(LAW, url=""))

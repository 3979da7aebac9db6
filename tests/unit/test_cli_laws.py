"""`ansatz laws`: the matrix of claims, one law in full, and what to cite."""

import json
import os
import re
import sys

import pytest

from ansatzlab import cli
from ansatzlab.laws.citation import DATA, law_bibtex
from ansatzlab.laws.registry import LAWS, get_law
from ansatzlab.report.matrix import find_verifications, matrix

LAW = get_law("boixadsera2025fact")


def ansatz(monkeypatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["ansatz", *arguments])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    return caught.value.code or 0


def finding(claim, outcome, **changes):
    return {"claim": claim.key, "statement": claim.statement, "outcome": outcome, **changes}


def verification(folder, outcomes, law=LAW):
    """Write what `verify` writes of a law with one chapter: for each claim the outcomes under its conditions."""
    folder.mkdir(parents=True)
    findings = [finding(claim, word) for claim, words in zip(law.claims, outcomes, strict=False) for word in words]
    chapters = {law.chapters[0].key: {"runs": 9, "seconds": 12.4}}
    record = {"law": law.key, "data": "digits", "folder": str(folder), "findings": findings, "chapters": chapters}
    (folder / "verdicts.json").write_text(json.dumps(record), encoding="utf-8")


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
    verification(tmp_path / "fact", [["HOLDS", "HOLDS"], ["HOLDS", "INCONCLUSIVE"], ["FAILS", "INCONCLUSIVE"]])
    entries = matrix([LAW], find_verifications(tmp_path))
    assert [(each.verdict, each.holding, each.conditions) for each in entries[:4]] == [
        ("HOLDS", 2, 2),
        ("INCONCLUSIVE", 1, 2),
        ("FAILS", 0, 2),
        ("not run", 0, 0),
    ]
    assert (entries[0].runs, entries[0].seconds, entries[0].folder) == (9, 12.4, str(tmp_path / "fact"))
    assert ansatz(monkeypatch, "laws", "--runs", str(tmp_path)) == 0
    shown = capsys.readouterr().out
    assert "9 runs, 12 s of computing" in shown
    assert "✓ HOLDS 2/2" in shown


def test_the_newest_verification_counts_and_a_damaged_one_does_not(tmp_path):
    verification(tmp_path / "old", [["FAILS"]])
    verification(tmp_path / "new", [["HOLDS"]])
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "verdicts.json").write_text("{", encoding="utf-8")
    os.utime(tmp_path / "old" / "verdicts.json", (1, 1))
    assert matrix([LAW], find_verifications(tmp_path))[0].verdict == "HOLDS"


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


@pytest.mark.parametrize("entry", [*map(law_bibtex, LAWS.values()), *DATA.values()], ids=[*LAWS, *DATA])
def test_entries_are_bibtex(entry):
    assert re.match(r"@\w+\{[\w-]+,\n", entry)
    assert entry.count("{") == entry.count("}")
    assert re.search(r"\n  title = \{\{.+\}\},\n", entry)
    assert re.search(r"\n  author = \{.+\},\n", entry)
    assert re.search(r"\n  year = \{\d{4}\},\n", entry)


def test_cite_prints_what_a_report_used_once(monkeypatch, capsys, tmp_path):
    verification(tmp_path / "fact", [])
    assert ansatz(monkeypatch, "laws", "cite", str(tmp_path / "fact"), LAW.key) == 0
    out = capsys.readouterr().out
    assert re.findall(r"@\w+\{(\w+),", out) == [LAW.key, "alpaydin1998optical", "ansatzlab"]
    assert ansatz(monkeypatch, "laws", "cite", str(tmp_path)) == 3
    assert "wanted an output folder of `ansatz verify`" in capsys.readouterr().err

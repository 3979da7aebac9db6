import math

import pytest
from rich.console import Console

from ansatzlab.laws.judge import Finding
from ansatzlab.report.verdicts import (
    MARKS,
    counting,
    format_spread,
    format_value,
    group_by_claim,
    tally,
    verdict_notes,
    verdict_table,
)


def finding(**changes):
    fields = {
        "claim": "A.error",
        "statement": "The error is small.",
        "statistic": "‖a − b‖",
        "condition": "L = 2",
        "outcome": "HOLDS",
        "role": "claim",
        "counts": True,
        "value": 2.5e-9,
        "low": 1e-9,
        "high": 4e-9,
        "seeds": 5,
        "threshold": "≤ 1e-06",
        "reason": "all 5 seeds within",
    }
    return Finding(**(fields | changes))


def printed(findings, width=80):
    console = Console(width=width, color_system=None)
    with console.capture() as capture:
        console.print(verdict_table(findings))
    return capture.get()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (math.nan, "–"),
        (math.inf, "∞"),
        (-math.inf, "-∞"),
        (0.0, "0"),
        (-0.0, "0"),
        (1.0, "1.0000"),
        (0.98765, "0.98765"),
        (0.99999, "0.99999"),
        (-0.5, "-0.50000"),
        (12.34, "12.340"),
        (999.64, "999.64"),
        (9990.0, "9990.0"),
        (9999.0, "9999.0"),
        (12345.0, "1.23e+04"),
        (0.001, "0.0010000"),
        (0.000999, "9.99e-04"),
        (3.421e-11, "3.42e-11"),
        (1.5e300, "1.50e+300"),
    ],
)
def test_numbers_have_five_digits_or_three_and_an_exponent(value, text):
    assert format_value(value) == text


def test_a_spread_is_an_interval_or_a_dash():
    assert format_spread(0.9, 1.1) == "[0.90000, 1.1000]"
    assert format_spread(math.nan, 1.0) == format_spread(1.0, math.nan) == "–"


@pytest.mark.parametrize(
    ("role", "counts", "word"),
    [
        ("claim", True, "counts"),
        ("claim", False, "not counted"),
        ("control", False, "control"),
        ("tautology", False, "tautology"),
    ],
)
def test_what_does_not_count_is_called_by_its_name(role, counts, word):
    assert counting(finding(role=role, counts=counts)) == word


HOLDS, FAILS, OPEN = finding(), finding(outcome="FAILS"), finding(outcome="INCONCLUSIVE")
CONTROL = finding(role="control", counts=False)


@pytest.mark.parametrize(
    ("findings", "words"),
    [
        ([], "nothing was judged"),
        ([HOLDS], "1 of 1 counted verdict holds"),
        ([HOLDS] * 3, "3 of 3 counted verdicts hold"),
        ([HOLDS, FAILS], "1 of 2 counted verdicts hold, 1 fails"),
        ([HOLDS, FAILS, FAILS, OPEN], "1 of 4 counted verdicts hold, 2 fail, 1 is inconclusive"),
        ([OPEN, OPEN], "0 of 2 counted verdicts hold, 2 are inconclusive"),
        (
            [CONTROL],
            "no verdict counts; 1 further row does not count (controls, tautologies, claims that do not apply)",
        ),
        (
            [HOLDS, CONTROL, CONTROL],
            "1 of 1 counted verdict holds; 2 further rows do not count (controls, tautologies, claims that do not "
            "apply)",
        ),
    ],
)
def test_the_verdicts_are_counted_in_words(findings, words):
    assert tally(findings) == words


def test_findings_of_a_claim_stand_together_in_the_order_of_the_claims():
    first, second, third = finding(), finding(claim="B", outcome="FAILS"), finding(counts=False)
    groups = group_by_claim([first, second, third])
    assert [(group.key, group.findings) for group in groups] == [("A.error", (first, third)), ("B", (second,))]
    assert [(group.holding, group.counted, group.outcome) for group in groups] == [(1, 1, "HOLDS"), (0, 1, "FAILS")]
    assert group_by_claim([]) == ()


def test_claims_that_share_only_their_key_stay_apart():
    assert len(group_by_claim([finding(), finding(statement="Another."), finding(statistic="another")])) == 3


@pytest.mark.parametrize("outcome", ["HOLDS", "FAILS", "INCONCLUSIVE"])
def test_a_row_has_mark_word_numbers_and_threshold(outcome):
    text = printed([finding(outcome=outcome)])
    for part in (MARKS[outcome], outcome, "A.error", "L = 2", "2.50e-09", "[1.00e-09, 4.00e-09]", "≤ 1e-06", "5"):
        assert part in text


def test_the_table_of_nothing_renders():
    assert "verdict" in printed([])


def test_missing_values_are_dashes():
    text = printed([finding(condition="", value=math.nan, low=math.nan, high=math.nan)])
    assert text.count("–") == 3
    assert "nan" not in text


def test_a_claim_that_does_not_count_says_so_in_its_heading():
    assert "(control)" in printed([CONTROL])
    assert "(" not in printed([finding()])


def test_a_note_says_why_a_finding_does_not_hold():
    assert verdict_notes([finding(), CONTROL]) == ()
    reason = "not identifiable: rank one"
    assert verdict_notes([finding(outcome="INCONCLUSIVE", counts=False, reason=reason)]) == (
        f"? A.error: {reason} (not counted): L = 2",
    )
    assert verdict_notes([finding(outcome="FAILS", reason="2 of 5 seeds outside", condition="")]) == (
        "✗ A.error: 2 of 5 seeds outside: no condition",
    )


def test_notes_with_one_reason_are_one_line():
    failing = [finding(outcome="FAILS", reason="far off", condition=f"L = {depth}") for depth in (2, 3)]
    assert verdict_notes(failing) == ("✗ A.error: far off: L = 2; L = 3",)


@pytest.mark.parametrize("width", [80, 120])
def test_the_table_fits_the_terminal_and_loses_nothing(width):
    long = finding(
        outcome="INCONCLUSIVE", condition="width 64, four layers, digits", reason="collapsed: all weights zero"
    )
    text = printed([finding(threshold="in [0.9, 1.1]"), long], width)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    assert all(word in text for word in long.condition.split())


def test_markup_and_control_characters_in_the_records_are_shown_and_not_obeyed():
    text = printed([finding(claim="[red]A[/red]", condition="[/nope] :smile:", threshold="\x1b[31m≤ 1")], 200)
    assert "[red]A[/red]" in text
    assert "[/nope] :smile:" in text
    assert "\x1b" not in text
    assert "�[31m≤ 1" in text

"""What is claimed of stationary points; tolerances are those of the law's specification."""

from ansatzlab.laws.kuzborskij2025lowrank.reading import at_stationary_point
from ansatzlab.laws.kuzborskij2025lowrank.stationary import statistics
from ansatzlab.laws.kuzborskij2025lowrank.stationary.design import (
    COLLAPSE,
    LINEAR,
    RATE,
    RATE_UNDECAYED,
    RELU,
    SQUARES,
    UNDECAYED,
)
from ansatzlab.laws.kuzborskij2025lowrank.stationary.statistics import has_average, of_depth, told
from ansatzlab.laws.law import Claim, Threshold
from ansatzlab.laws.reading import each_pair, each_run

CLAIMS = (
    Claim(
        key="S.aligned",
        statement="At a stationary point of a linear network the weights are parallel to the negative gradient of the "
        "data loss.",
        statistic="1 − cos(θ, −∂L/∂θ)",
        threshold=Threshold(high=1e-8),
        samples=each_run(LINEAR, at_stationary_point(statistics.misalignment, 1e-8), told),
    ),
    Claim(
        key="S.norms",
        statement="All its matrices have one norm, which the margins tell: 2λ‖W_k‖² = (1/n) Σ m/(1 + e^m).",
        statistic="largest |2λ‖W_k‖²/S − 1| over layers",
        threshold=Threshold(high=1e-4),
        samples=each_run(LINEAR, at_stationary_point(statistics.euler, 1e-4), told),
    ),
    Claim(
        key="S.rank-one",
        statement="All its matrices have rank one.",
        statistic="largest stable rank over layers",
        threshold=Threshold(high=1.01),
        samples=each_run(LINEAR, at_stationary_point(statistics.rank, 0.01), told),
    ),
    Claim(
        key="S.averaged",
        statement="With ReLU the weights are parallel to the negative gradient averaged over the last steps.",
        statistic="cos(θ, −mean of ∂L/∂θ)",
        threshold=Threshold(low=0.999),
        samples=each_run(RELU, at_stationary_point(statistics.averaged_cosine, 1e-3), told, has_average),
    ),
    Claim(
        key="S.instant",
        statement="Not to the gradient of the last step: at the kinks of ReLU alignment holds for an element of the "
        "subdifferential and not for the one that is computed.",
        statistic="1 − cos(θ, −∂L/∂θ)",
        threshold=Threshold(low=1e-3),
        samples=each_run(RELU, at_stationary_point(statistics.misalignment), told),
        role="control",
    ),
    Claim(
        key="S.relu-norms",
        statement="With ReLU, too, all matrices have one norm.",
        statistic="largest less smallest ‖W_k‖², over the largest",
        threshold=Threshold(high=1e-3),
        samples=each_run(RELU, at_stationary_point(statistics.spread, 1e-3), told),
    ),
    Claim(
        key="S.relu-euler",
        statement="And the margins tell it.",
        statistic="largest |2λ‖W_k‖²/S − 1| over layers",
        threshold=Threshold(high=1e-3),
        samples=each_run(RELU, at_stationary_point(statistics.euler, 1e-3), told),
    ),
    Claim(
        key="S.low-rank",
        statement="Decay lowers the stable ranks of the hidden layers of a ReLU network.",
        statistic="largest ratio of a hidden layer's stable ranks with and without decay",
        threshold=Threshold(high=0.5),
        samples=each_pair((RELU, UNDECAYED), at_stationary_point(statistics.rank_ratio), told, lambda run: run.depth),
    ),
    Claim(
        key="S.rate",
        statement="On the way there ‖W_k‖² − ‖W_{k+1}‖² falls as e^(−4λt), whatever the data.",
        statistic="fitted rate over 4λ, of the pair of layers where it is furthest from 1",
        threshold=Threshold(0.99, 1.01),
        samples=each_run(RATE, statistics.rate, told),
    ),
    Claim(
        key="S.rate-undecayed",
        statement="Without decay it stays.",
        statistic="what is left of it at the end, of the pair of layers where it is furthest from 1",
        threshold=Threshold(0.99, 1.01),
        samples=each_run(RATE_UNDECAYED, statistics.remaining, told),
        role="control",
    ),
    Claim(
        key="S.squares",
        statement="Behind squared ReLU a layer counts twice: ‖W_k‖²/p_k is what all layers share.",
        statistic="‖W_1‖²/‖W_2‖² of two layers with squared ReLU",
        threshold=Threshold(2 - 1e-4, 2 + 1e-4),
        samples=each_run(SQUARES, at_stationary_point(statistics.square_ratio, 1e-4), told),
    ),
    Claim(
        key="S.rank-bound",
        statement="The product of the stable ranks is at most (Π ‖W_k‖ · min ‖x‖/|f(x)|)², in any network at any time.",
        statistic="largest product over bound, over all snapshots",
        threshold=Threshold(high=1.0),
        samples=each_run((LINEAR, RELU, UNDECAYED), statistics.rank_excess, told),
        role="tautology",
    ),
    Claim(
        key="S.collapse",
        statement="Too large a decay drives all weights to zero; this is reported, and no alignment.",
        statistic="1 if it is",
        threshold=Threshold(low=1.0),
        samples=each_run(COLLAPSE, statistics.collapsed, of_depth),
        role="control",
    ),
)

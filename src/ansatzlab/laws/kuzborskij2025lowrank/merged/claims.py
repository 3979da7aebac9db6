"""What is claimed of merged networks; tolerances are those of the law's specification."""

from ansatzlab.laws.kuzborskij2025lowrank.merged import statistics
from ansatzlab.laws.kuzborskij2025lowrank.merged.design import (
    ALL_LAYERS,
    LINEAR,
    MIXED,
    ORTHOGONAL,
    TWINS,
    UNDECAYED,
)
from ansatzlab.laws.kuzborskij2025lowrank.merged.statistics import described, linear_told, told
from ansatzlab.laws.kuzborskij2025lowrank.reading import at_stationary_point
from ansatzlab.laws.law import Claim, Threshold
from ansatzlab.laws.reading import each_family, each_pair, each_run

CLAIMS = (
    Claim(
        key="M.decay",
        statement="Two networks with one hidden ReLU layer and a shared readout, trained with decay on tasks with "
        "orthogonal inputs, can be merged by the sum of their weights: what it changes falls as (1 − 2ηλ)^t.",
        statistic="slope of log max|f_merged − f_own| in steps, over log(1 − 2ηλ)",
        threshold=Threshold(0.9, 1.1),
        samples=each_run(ORTHOGONAL, statistics.slope, told),
    ),
    Claim(
        key="M.undecayed",
        statement="Without decay the start is not forgotten, and merging is not exact.",
        statistic="max|f_merged − f_own| without decay over that with decay",
        threshold=Threshold(low=100.0),
        samples=each_pair((ORTHOGONAL, UNDECAYED), statistics.deviation_ratio, told, lambda run: run.options["scale"]),
        role="control",
    ),
    Claim(
        key="M.undecayed-lost",
        statement="Without decay and from large initial weights right answers are lost.",
        statistic="largest share of a task's examples whose right answer became wrong, initial weights × more than 1",
        threshold=Threshold(low=0.01),
        samples=each_run(UNDECAYED, statistics.lost, told, lambda run: float(str(run.options["scale"])) > 1),
        role="control",
    ),
    Claim(
        key="M.bound",
        statement="An output is moved by at most ‖u‖ ‖W_B x‖, and by at most what the start and the inputs of the "
        "other network foretell.",
        statistic="largest |f_merged − f_own| over either bound, over examples and time",
        threshold=Threshold(high=1.0),
        samples=each_run((ORTHOGONAL, UNDECAYED, MIXED), statistics.bound_share, described),
        role="tautology",
    ),
    Claim(
        key="M.span",
        statement="Off the inputs of its task a first layer keeps (1 − 2ηλ)^t of its start, along any descent.",
        statistic="largest difference from it, relative to it, over time",
        threshold=Threshold(high=1e-6),
        samples=each_run((ORTHOGONAL, UNDECAYED, MIXED), statistics.span_error, described),
        role="tautology",
    ),
    Claim(
        key="M.linear",
        statement="Where the inputs are orthogonal but for a share ε, what merging changes is proportional to ε.",
        statistic="growth of max|f_merged − f_own| between the two smallest ε, over that of ε",
        threshold=Threshold(0.8, 1.2),
        samples=each_family(MIXED, statistics.linearity, told),
    ),
    Claim(
        key="M.monotone",
        statement="It grows with ε all the way from orthogonal inputs to inputs in one space.",
        statistic="smallest ratio of max|f_merged − f_own| for successive ε",
        threshold=Threshold(low=1.0),
        samples=statistics.growth,
    ),
    Claim(
        key="M.mixed-lost",
        statement="On inputs in one space right answers are lost.",
        statistic="largest share of a task's examples whose right answer became wrong, ε = 1",
        threshold=Threshold(low=0.01),
        samples=each_run(MIXED, statistics.lost, told, lambda run: statistics.mixing_of(run) == 1),
        role="control",
    ),
    Claim(
        key="M.all-layers",
        statement="With readouts that are trained, too, orthogonal inputs are not enough: the other's readout reads "
        "the hidden layer.",
        statistic="max|f_merged − f_own|/max|f_own|, over that with a shared readout",
        threshold=Threshold(low=100.0),
        samples=each_pair((ORTHOGONAL, ALL_LAYERS), statistics.relative_ratio, told, lambda run: run.options["scale"]),
        role="control",
    ),
    Claim(
        key="M.overlap",
        statement="What merging changes in deep linear networks of rank one is what their singular vectors say: an "
        "identity.",
        statistic="difference of max|f_merged − f_own|/max|f_own| from (s_B/s_A)·overlap, or from its like for K > 2",
        threshold=Threshold(high=0.02),
        samples=each_run(LINEAR, at_stationary_point(statistics.foretold_error, 0.02), linear_told),
        role="tautology",
    ),
    Claim(
        key="M.overlap-bare",
        statement="Deep linear networks with two layers merge up to the overlap of their hidden directions.",
        statistic="difference of max|f_merged − f_own|/max|f_own| from the overlap, K = 2",
        threshold=Threshold(high=0.02),
        samples=each_run(
            LINEAR, at_stationary_point(statistics.overlap_error, 0.02), linear_told, lambda run: run.depth == 2
        ),
    ),
    Claim(
        key="M.overlap-size",
        statement="Independent starts make the overlap small, of order 1/√width.",
        statistic="largest overlap of a hidden layer times √width; two random directions have 1 in root mean square",
        threshold=Threshold(high=4.0),
        samples=each_run(LINEAR, statistics.overlap_size, linear_told),
    ),
    Claim(
        key="M.twins",
        statement="Networks that started from the same weights share directions, and merging moves their outputs more.",
        statistic="max|f_merged − f_own|/max|f_own| of the same start, over that of independent ones",
        threshold=Threshold(low=1.0),
        samples=each_pair(
            (LINEAR, TWINS), statistics.relative_ratio, linear_told, lambda run: (run.depth, run.options["width"])
        ),
        role="control",
    ),
)

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
from ansatzlab.laws.kuzborskij2025lowrank.reading import compare, option, read
from ansatzlab.laws.law import Claim, Threshold

CLAIMS = (
    Claim(
        key="M.decay",
        statement="Two networks with one hidden ReLU layer and a shared readout, trained with decay on tasks with "
        "orthogonal inputs, can be merged by the sum of their weights: what it changes falls as (1 − 2ηλ)^t.",
        statistic="slope of log max|f_merged − f_own| in steps, over log(1 − 2ηλ)",
        threshold=Threshold(0.9, 1.1),
        samples=read((ORTHOGONAL,), statistics.slope, told),
    ),
    Claim(
        key="M.undecayed",
        statement="Without decay the start is not forgotten, and merging is not exact.",
        statistic="max|f_merged − f_own| without decay over that with decay",
        threshold=Threshold(low=100.0),
        samples=compare((ORTHOGONAL, UNDECAYED), statistics.deviation_ratio, told, lambda run: option(run, "scale")),
        role="control",
    ),
    Claim(
        key="M.bound",
        statement="An output is moved by at most ‖u‖ ‖W_B x‖, and by at most what the start and the inputs of the "
        "other network foretell.",
        statistic="largest |f_merged − f_own| over either bound, over examples and time",
        threshold=Threshold(high=1.0),
        samples=read((ORTHOGONAL, UNDECAYED, MIXED), statistics.bound_share, described),
        role="tautology",
    ),
    Claim(
        key="M.span",
        statement="Off the inputs of its task a first layer keeps (1 − 2ηλ)^t of its start, along any descent.",
        statistic="largest difference from it, relative to it, over time",
        threshold=Threshold(high=1e-6),
        samples=read((ORTHOGONAL, UNDECAYED, MIXED), statistics.span_error, described),
        role="tautology",
    ),
    Claim(
        key="M.linear",
        statement="Where the inputs are orthogonal but for a share ε, what merging changes is proportional to ε.",
        statistic="growth of max|f_merged − f_own| between the two smallest ε, over that of ε",
        threshold=Threshold(0.8, 1.2),
        samples=statistics.linearity,
    ),
    Claim(
        key="M.monotone",
        statement="It grows with ε all the way from orthogonal inputs to inputs in one space.",
        statistic="smallest ratio of max|f_merged − f_own| for successive ε",
        threshold=Threshold(low=1.0),
        samples=statistics.growth,
    ),
    Claim(
        key="M.all-layers",
        statement="With readouts that are trained, too, orthogonal inputs are not enough: the other's readout reads "
        "the hidden layer.",
        statistic="max|f_merged − f_own|/max|f_own|, over that with a shared readout",
        threshold=Threshold(low=100.0),
        samples=compare((ORTHOGONAL, ALL_LAYERS), statistics.relative_ratio, told, lambda run: option(run, "scale")),
        role="control",
    ),
    Claim(
        key="M.overlap",
        statement="Deep linear networks merge up to the overlap of their hidden directions, which independent starts "
        "make small, of order 1/√width.",
        statistic="difference of max|f_merged − f_own|/max|f_own| from (s_B/s_A)·overlap, or from its like for K > 2",
        threshold=Threshold(high=0.02),
        samples=read((LINEAR,), statistics.foretold_error, linear_told),
    ),
    Claim(
        key="M.overlap-bare",
        statement="The overlap alone says it, where both networks are equally strong.",
        statistic="difference of max|f_merged − f_own|/max|f_own| from the overlap, K = 2",
        threshold=Threshold(high=0.02),
        samples=read((LINEAR,), statistics.overlap_error, linear_told, lambda run: run.depth == 2),
        role="control",
    ),
    Claim(
        key="M.twins",
        statement="Networks that started from the same weights share directions, and merging moves their outputs more.",
        statistic="max|f_merged − f_own|/max|f_own| of the same start, over that of independent ones",
        threshold=Threshold(low=1.0),
        samples=compare(
            (LINEAR, TWINS), statistics.relative_ratio, linear_told, lambda run: (run.depth, option(run, "width"))
        ),
        role="control",
    ),
)

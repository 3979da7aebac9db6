"""What is claimed of two tasks of real data; tolerances are those of the law's specification."""

from ansatzlab.laws.kuzborskij2025lowrank.merge_warnings import NEARLY_ORTHOGONAL
from ansatzlab.laws.kuzborskij2025lowrank.merged.statistics import deviation, deviation_ratio, lost, slope
from ansatzlab.laws.kuzborskij2025lowrank.reading import at_stationary_point
from ansatzlab.laws.kuzborskij2025lowrank.real.design import AS_THEY_ARE, DISJOINT, LINEAR, RELU, UNDECAYED
from ansatzlab.laws.kuzborskij2025lowrank.stationary import statistics
from ansatzlab.laws.law import Claim, Threshold
from ansatzlab.laws.reading import Absent, Value, each_pair, each_run
from ansatzlab.laws.runs import Run


def classes_of(run: Run) -> str:
    """Say which classes a network was trained on."""
    one, other = option_list(run)
    return f"{run.data}, {{{one}, {other}}}"


def option_list(run: Run) -> list[object]:
    """Return the classes of a run, or the pairs of classes."""
    found = run.options["classes"]
    assert isinstance(found, list)
    return found


def pairs_of(run: Run) -> str:
    """Say which classes the two networks were trained on."""
    one, other = ("{" + ", ".join(map(str, pair)) + "}" for pair in run.options["classes"])
    return f"{run.data}, {one} and {other}"


def lost_where_orthogonal(run: Run) -> Value:
    """Return it where the inputs of the tasks are nearly orthogonal; where they are not, nothing is promised."""
    alike, share = run.last("coherence"), lost(run)
    if alike <= NEARLY_ORTHOGONAL:
        return share
    margin = min(run.last(f"least_margin_{letter}") for letter in "ab")
    return Absent(
        f"the assumption is not met: coherence {alike:.2f}, not {NEARLY_ORTHOGONAL:g} (outputs move by "
        f"{deviation(run):.2g}, least margin {margin:.2g}, {share:.1%} of answers lost)",
        applies=False,
    )


CLAIMS = (
    Claim(
        key="R.aligned",
        statement="On real classes, too, a linear network's weights become parallel to the negative gradient.",
        statistic="1 − cos(θ, −∂L/∂θ)",
        threshold=Threshold(high=1e-8),
        samples=each_run(LINEAR, at_stationary_point(statistics.misalignment, 1e-8), classes_of),
    ),
    Claim(
        key="R.norms",
        statement="All its matrices have one norm, which the margins tell.",
        statistic="largest |2λ‖W_k‖²/S − 1| over layers",
        threshold=Threshold(high=1e-4),
        samples=each_run(LINEAR, at_stationary_point(statistics.euler, 1e-4), classes_of),
    ),
    Claim(
        key="R.rank-one",
        statement="All its matrices have rank one.",
        statistic="largest stable rank over layers",
        threshold=Threshold(high=1.01),
        samples=each_run(LINEAR, at_stationary_point(statistics.rank, 0.01), classes_of),
    ),
    Claim(
        key="R.averaged",
        statement="A ReLU network's weights become parallel to the negative gradient averaged over the last steps.",
        statistic="cos(θ, −mean of ∂L/∂θ)",
        threshold=Threshold(low=0.999),
        samples=each_run(RELU, at_stationary_point(statistics.averaged_cosine, 1e-3), classes_of),
    ),
    Claim(
        key="R.relu-norms",
        statement="All its matrices have one norm.",
        statistic="largest less smallest ‖W_k‖², over the largest",
        threshold=Threshold(high=1e-3),
        samples=each_run(RELU, at_stationary_point(statistics.spread, 1e-3), classes_of),
    ),
    Claim(
        key="R.low-rank",
        statement="Decay lowers the stable ranks of its hidden layers.",
        statistic="largest ratio of a hidden layer's stable ranks with and without decay",
        threshold=Threshold(high=0.5),
        samples=each_pair((RELU, UNDECAYED), at_stationary_point(statistics.rank_ratio), classes_of, option_list),
    ),
    Claim(
        key="R.disjoint",
        statement="Where each task is seen by its own half of the inputs, what merging changes falls as (1 − 2ηλ)^t.",
        statistic="slope of log max|f_merged − f_own| in steps, over log(1 − 2ηλ)",
        threshold=Threshold(0.9, 1.1),
        samples=each_run(DISJOINT, slope, pairs_of),
    ),
    Claim(
        key="R.kept",
        statement="There no right answer is lost.",
        statistic="largest share of a task's examples whose right answer became wrong",
        threshold=Threshold(high=0.0),
        samples=each_run(DISJOINT, lost, pairs_of),
    ),
    Claim(
        key="R.as-they-are",
        statement="The same of the tasks as they are. Their inputs are not orthogonal, so nothing is promised.",
        statistic="largest share of a task's examples whose right answer became wrong, where inputs are orthogonal",
        threshold=Threshold(high=0.0),
        samples=each_run(AS_THEY_ARE, lost_where_orthogonal, pairs_of),
        role="control",
    ),
    Claim(
        key="R.overlapping",
        statement="On inputs that overlap merging is not exact.",
        statistic="max|f_merged − f_own| as they are over that on disjoint inputs",
        threshold=Threshold(low=100.0),
        samples=each_pair((DISJOINT, AS_THEY_ARE), deviation_ratio, pairs_of, option_list),
        role="control",
    ),
)

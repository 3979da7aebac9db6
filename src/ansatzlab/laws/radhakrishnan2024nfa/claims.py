"""What is claimed of the ansatz, and how it is read from a table of runs."""

import numpy as np

from ansatzlab.laws.comparison import EXPONENTS, at, beyond, column, described, least
from ansatzlab.laws.law import Claim, Threshold
from ansatzlab.laws.radhakrishnan2024nfa.design import TRAINED
from ansatzlab.laws.reading import each_run
from ansatzlab.laws.runs import Run

MOVED = column("c-nfc", "cosine", 1.0)
MOVED_CENTERED = column("c-nfc-centered", "cosine", 1.0)
WHOLE = tuple(column("nfa", "cosine", exponent) for exponent in EXPONENTS)


def score(run: Run) -> float:
    """Return the lowest score of the hidden layers at the end, in the paper's convention, centred or not."""
    return least(run, lambda layer: float(np.min([at(run, name, layer) for name in (MOVED, MOVED_CENTERED)])))


def lead_over_initial(run: Run) -> float:
    """Return by how much more what was learnt resembles the AGOP than it resembles the initial Gram matrix."""
    return least(run, lambda layer: at(run, MOVED, layer) - at(run, "initial-gram_cosine", layer))


def gain(run: Run) -> float:
    """Return by how much the score of the whole weights rose in training, the least of hidden layers and exponents."""
    return least(run, lambda layer: float(np.min([at(run, name, layer) - at(run, name, layer, 0) for name in WHOLE])))


def beyond_null(run: Run) -> float:
    """Return by how many sd the score of the whole weights is beyond its null, the least of layers and exponents."""
    return least(run, lambda layer: float(np.min([beyond(run, name, layer) for name in WHOLE])))


def moved_beyond_null(run: Run) -> float:
    """Return the same for what was learnt, W − W₀, at exponent 1."""
    return least(run, lambda layer: beyond(run, MOVED, layer))


def at_start(run: Run) -> float:
    """Return the lowest score of the whole weights before training, at exponent ½."""
    return least(run, lambda layer: at(run, WHOLE[0], layer, 0))


CLAIMS = (
    Claim(
        key="R.above-initial",
        statement="The AGOP tells what was learnt better than the initial weights do.",
        statistic="least cos(M̄, AGOP of W − W₀) − cos(M̄, W₀ᵀW₀) over hidden layers, M̄ = (W − W₀)ᵀ(W − W₀)",
        threshold=Threshold(low=0.0),
        samples=each_run(TRAINED, lead_over_initial, described),
    ),
    Claim(
        key="R.above-start",
        statement="Training brings WᵀW and the powers ½ and 1 of the AGOP closer together.",
        statistic="least rise of their cosine over hidden layers and both exponents",
        threshold=Threshold(low=0.0),
        samples=each_run(TRAINED, gain, described),
    ),
    Claim(
        key="R.beyond-null",
        statement="After training they are closer than the same weights with turned output gradients.",
        statistic="least (cosine − null)/sd of the null over hidden layers and both exponents",
        threshold=Threshold(low=3.0),
        samples=each_run(TRAINED, beyond_null, described),
    ),
    Claim(
        key="R.high",
        statement="Plainly reported, the score is high in the paper's convention: power 1, W − W₀, centred and not.",
        statistic="least cosine over hidden layers and both centrings, end of training",
        threshold=Threshold(low=0.8),
        samples=each_run(TRAINED, score, described),
        role="control",
    ),
    Claim(
        key="R.moved-beyond-null",
        statement="In the paper's convention too the score is beyond what turned output gradients give.",
        statistic="least (cosine − null)/sd of the null over hidden layers, W − W₀, power 1",
        threshold=Threshold(low=3.0),
        samples=each_run(TRAINED, moved_beyond_null, described),
        role="control",
    ),
    Claim(
        key="R.start",
        statement="Random weights already score high.",
        statistic="least cosine of WᵀW and AGOP^½ over hidden layers, before training",
        threshold=Threshold(low=0.7),
        samples=each_run(TRAINED, at_start, described),
        role="control",
    ),
)

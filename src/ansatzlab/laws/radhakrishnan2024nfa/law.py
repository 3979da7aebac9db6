"""The law: radhakrishnan2024nfa."""

from ansatzlab.laws.law import Chapter, Law
from ansatzlab.laws.radhakrishnan2024nfa.claims import CLAIMS
from ansatzlab.laws.radhakrishnan2024nfa.design import DESIGNS, plan
from ansatzlab.laws.radhakrishnan2024nfa.figures import figures
from ansatzlab.laws.radhakrishnan2024nfa.planted import planted

LAW = Law(
    key="radhakrishnan2024nfa",
    title="Mechanism for feature learning in neural networks and backpropagation-free machine learning models",
    authors="Adityanarayanan Radhakrishnan, Daniel Beaglehole, Parthe Pandit, Mikhail Belkin",
    source="Science 383, 1461–1467 (2024)",
    url="https://doi.org/10.1126/science.adi5639",
    summary="What the layers of trained networks select, WᵀW, is given by the average gradient outer product of the "
    "network by what goes into the layer, up to a power.",
    chapters=(
        Chapter(
            key="trained",
            title="Trained fully connected ReLU networks, beside their start and their nulls",
            claims=CLAIMS,
            designs=DESIGNS,
            plan=plan,
            figures=figures,
            planted=planted,
        ),
    ),
)

"""The law: beaglehole2024alignment."""

from ansatzlab.laws.beaglehole2024alignment.claims import CLAIMS
from ansatzlab.laws.beaglehole2024alignment.design import DESIGNS, plan
from ansatzlab.laws.beaglehole2024alignment.figures import figures
from ansatzlab.laws.beaglehole2024alignment.planted import planted
from ansatzlab.laws.law import Chapter, Law

LAW = Law(
    key="beaglehole2024alignment",
    title="Feature learning as alignment: a structural property of gradient descent in non-linear neural networks",
    authors="Daniel Beaglehole, Ioannis Mitliagkas, Atish Agarwala",
    source="Transactions on Machine Learning Research (2024); arXiv 2402.05271",
    url="https://arxiv.org/abs/2402.05271",
    summary="WᵀW and the AGOP become correlated because what gradient descent adds to W is aligned with the second "
    "moment of the output gradients: the correlation with W − W₀ for W (C-NFC) drives the one with W (UC-NFC).",
    chapters=(
        Chapter(
            key="descent",
            title="Gradient descent from small and large initial weights",
            claims=CLAIMS,
            designs=DESIGNS,
            plan=plan,
            figures=figures,
            planted=planted,
        ),
    ),
)

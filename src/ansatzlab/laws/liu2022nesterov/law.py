"""The law: liu2022nesterov."""

from ansatzlab.laws.law import Chapter, Law
from ansatzlab.laws.liu2022nesterov.claims import CLAIMS
from ansatzlab.laws.liu2022nesterov.design import DESIGNS, plan
from ansatzlab.laws.liu2022nesterov.figures import figures
from ansatzlab.laws.liu2022nesterov.planted import planted

LAW = Law(
    key="liu2022nesterov",
    title="A convergence analysis of Nesterov's accelerated gradient method in training deep linear neural networks",
    authors="Xin Liu, Wei Tao, Zhisong Pan",
    source="arXiv 2204.08306 (2022), Information Sciences 612, 898–925",
    url="https://arxiv.org/abs/2204.08306",
    summary="A wide deep linear network or ResNet is trained by Nesterov's descent at a rate 1 − Θ(1/√κ) a step, by "
    "gradient descent at 1 − Θ(1/κ), κ the condition number of the data.",
    chapters=(
        Chapter(
            key="rates",
            title="Deep linear networks and ResNets: rates of gradient descent, heavy ball and Nesterov's descent",
            claims=CLAIMS,
            designs=DESIGNS,
            plan=plan,
            figures=figures,
            planted=planted,
        ),
    ),
)

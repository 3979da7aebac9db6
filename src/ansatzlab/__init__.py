"""ansatzlab: a PyTorch laboratory for the laws of feature learning."""

from ansatzlab.measurement.reference import reference_agop
from ansatzlab.measurement.result import LayerMeasurement, Measurement
from ansatzlab.measurement.run import measure
from ansatzlab.measurement.seeds import Exact
from ansatzlab.sweeps.run import sweep
from ansatzlab.verification import Report, verify

__version__ = "0.1.0"

__all__ = [
    "Exact",
    "LayerMeasurement",
    "Measurement",
    "Report",
    "__version__",
    "measure",
    "reference_agop",
    "sweep",
    "verify",
]

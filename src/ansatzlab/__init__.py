"""ansatzlab: a PyTorch laboratory for the laws of feature learning."""

from ansatzlab.measurement.attribution import attribute
from ansatzlab.measurement.explanation import explain
from ansatzlab.measurement.layer import LayerMeasurement
from ansatzlab.measurement.outputs import Outputs
from ansatzlab.measurement.reference import reference_agop
from ansatzlab.measurement.result import Measurement
from ansatzlab.measurement.rivals import rivals
from ansatzlab.measurement.run import measure
from ansatzlab.measurement.seeds import Exact, LossGradient, Output, Signs
from ansatzlab.sweeps.grid import grid
from ansatzlab.sweeps.spec import RunSpec
from ansatzlab.sweeps.sweep import sweep
from ansatzlab.sweeps.task import TaskSpec
from ansatzlab.training.account import BalanceAccount
from ansatzlab.training.moments import AtLossLevels, Every, LogSpaced
from ansatzlab.training.recorder import Recorder
from ansatzlab.verification import Report, verify

__version__ = "0.1.0"

__all__ = [
    "AtLossLevels",
    "BalanceAccount",
    "Every",
    "Exact",
    "LayerMeasurement",
    "LogSpaced",
    "LossGradient",
    "Measurement",
    "Output",
    "Outputs",
    "Recorder",
    "Report",
    "RunSpec",
    "Signs",
    "TaskSpec",
    "__version__",
    "attribute",
    "explain",
    "grid",
    "measure",
    "reference_agop",
    "rivals",
    "sweep",
    "verify",
]

"""Shape aliases and their letters.

``n`` examples, ``s`` positions, ``i`` layer inputs, ``o`` layer outputs, ``c`` network outputs, ``r`` kept rank,
``k`` the smaller side of a weight matrix, ``p`` rows of a factor ``F`` that stands for the Gram matrix ``FᵀF``.
"""

from jaxtyping import Float
from torch import Tensor

Weight = Float[Tensor, "o i"]
"""A layer's weight matrix: outputs by inputs."""

OutputGram = Float[Tensor, "o o"]
"""A second moment of output gradients."""

OutputFactor = Float[Tensor, "p o"]
"""A factor ``R`` of an output Gram matrix ``RᵀR``."""

InputGram = Float[Tensor, "i i"]
"""A symmetric matrix on a layer's inputs, such as ``WᵀW`` or the AGOP."""

Eigenvalues = Float[Tensor, " r"]
"""The kept eigenvalues of a positive semi-definite matrix, descending."""

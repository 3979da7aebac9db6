"""Shape aliases and their letters.

``n`` examples, ``s`` positions, ``i`` layer inputs, ``o`` layer outputs, ``c`` network outputs, ``r`` kept rank,
``k`` the smaller side of a weight matrix. A tensor of either floating precision is ``Float``.
"""

from jaxtyping import Float
from torch import Tensor

Vector = Float[Tensor, " r"]
Square = Float[Tensor, "i i"]
Weight = Float[Tensor, "o i"]

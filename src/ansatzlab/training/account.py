"""`BalanceAccount`: follow the imbalance of a network's layers through a training of the user's own."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ansatzlab.errors import InputError
from ansatzlab.training.chain import Joint, Reading, joints, read
from ansatzlab.training.ledger import Ledger, RecentMean
from ansatzlab.training.statement import Balance, conclusion, statement
from ansatzlab.training.update import Update, read_update


class BalanceAccount:
    """The books of a training: how balanced its layers are, why, and what that means for the ansatz.

    Definition:
        For consecutive linear layers ``D_l = W_{l+1}ᵀW_{l+1} − W_l W_lᵀ (− b_l b_lᵀ)``, behind a homogeneous activation
        of degree k only ``k a_j² − |w_j|²`` of each neuron, j = 1 … m_l. A step of descent with decay λ changes it to
        ``(1−ηλ)² D + η² (g_{l+1}ᵀg_{l+1} − g_l g_lᵀ)``, exactly and for any loss and batch; behind another activation
        ``−2η(1−ηλ) Σ (∂loss/∂h_j)(σ(z_j) − σ'(z_j) z_j)`` comes in. Both are read off the weights' gradients:
        the last sum is ``(W_{l+1}ᵀg_{l+1})_jj − (g_l W_lᵀ)_jj``.

    Conventions:
        The penalty is (λ/2)‖θ‖². What stands between two layers is found out from the gradients, batch by batch: a pair
        counts as linear, then as homogeneous, until a gradient refutes it. What leaves a layer must go into the next
        one and nowhere else: behind a skip connection the exchange is that of everything that stands there.

    Args:
        model: The network; it is only read.
        optimizer: The torch optimiser that trains it, whose rate and decay are read at every step, so that schedules
            are followed; or, for a loop of one's own, an `Update`.
        layers: The names of linear layers in the order in which they are used; None to find them.
        penalty: λ of a penalty (λ/2)‖θ‖² that is part of the loss which is differentiated.

    Raises:
        UnknownNameError: If a name in ``layers`` is not in the model.
        InputError: If the model has no chain of linear layers, or the optimiser's steps cannot be told.

    Precision:
        Computed in float64 whatever the network (except where the device has none): the prediction is off by the
        rounding of the network's own steps, 1e-14 of ‖W_l W_lᵀ‖ in float64 after hundreds of steps, 1e-6 in float32.

    Cost:
        A few products of the layers' sizes and a copy of their gradients a step; memory for five copies of the layers'
        parameters in float64.

    Source:
        Derived in docs/devdocs/balance.md.

    Example:
        >>> generator = torch.manual_seed(0)
        >>> model = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 1)).double()
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.05, weight_decay=0.05)
        >>> account = BalanceAccount(model, optimizer)
        >>> x = torch.randn(64, 5, dtype=torch.float64)
        >>> for _ in range(100):
        ...     optimizer.zero_grad()
        ...     loss = (model(x) - x[:, :1].abs()).square().mean()
        ...     loss.backward()
        ...     account.record()
        ...     optimizer.step()
        >>> account.balances[0].kind, account.balances[0].unexplained < 1e-12
        ('homogeneous', True)
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer | Update,
        *,
        layers: Sequence[str] | None = None,
        penalty: float = 0.0,
    ) -> None:
        """Find the layers."""
        self._joints = joints(model, layers)
        self._optimizer, self._penalty = optimizer, penalty
        for joint in self._joints:
            self._update(joint)
        eps = max(torch.finfo(joint.below.weight.dtype).eps for joint in self._joints)
        self._tolerance = eps**0.5
        self._ledgers = [Ledger(self._tolerance) for _ in self._joints]
        self._slopes = [RecentMean() for _ in self._joints]
        self._last: list[_Step] = []
        self._records = 0

    @property
    def balances(self) -> tuple[Balance, ...]:
        """How each pair of layers stands as of the last record."""
        if not self._last:
            raise InputError("balance account: nothing was recorded; wanted record() before every optimizer.step().")
        books = zip(self._joints, self._ledgers, self._slopes, self._last, strict=True)
        return tuple(self._balance(*each) for each in books)

    def statement(self) -> str:
        """Return in words how each pair of layers stands, and what is to be expected of the ansatz.

        Raises:
            InputError: If nothing was recorded.
        """
        balances = self.balances
        lines = [f"{each.lower} → {each.upper} ({_named(each)}): {statement(each)}" for each in balances]
        return "\n".join([*lines, conclusion(balances)])

    @torch.no_grad()
    def record(self) -> None:
        """Book one step: call it after ``loss.backward()`` and before ``optimizer.step()``, every time.

        Conventions:
            The gradients must be those that the step will use: after unscaling and clipping.

        Raises:
            InputError: If a layer has no gradient or the optimiser's steps cannot be told.
            DivergedError: If a weight or a gradient is not finite.
        """
        books = zip(self._joints, self._ledgers, self._slopes, strict=True)
        self._last = [self._record(*each) for each in books]
        self._records += 1

    def _update(self, joint: Joint) -> Update:
        if isinstance(self._optimizer, Update):
            return self._optimizer
        return read_update(self._optimizer, joint.weights, joint.biases, penalty=self._penalty)

    def _record(self, joint: Joint, ledger: Ledger, slopes: RecentMean) -> "_Step":
        update = self._update(joint)
        weights, gradients = read(joint), read(joint, gradients=True)
        if self._penalty:
            above, below = (g - self._penalty * w for g, w in zip(gradients.parts, weights.parts, strict=True))
            gradients = Reading(above, below, gradients.biased)
        ledger.record(self._records, weights, gradients, update)
        decay = torch.cat([update.weight_decay * part.flatten() for part in weights.parts])
        slope = decay + torch.cat([part.flatten() for part in gradients.parts])
        slopes.add(slope)
        return _Step(update, decay, slope)

    def _balance(self, joint: Joint, ledger: Ledger, slopes: RecentMean, last: "_Step") -> Balance:
        update = last.update
        (D, gram), (opening, exchange, noise) = ledger.now, ledger.parts
        level, predicted = ledger.levels(update)
        return Balance(
            lower=joint.lower,
            upper=joint.upper,
            kind=ledger.kind,
            degree=ledger.degree,
            update=update,
            records=self._records,
            flow_time=ledger.flow_time,
            clock=ledger.clock,
            first=_relative(*ledger.start),
            current=_relative(D, gram),
            opening=_relative(opening, gram),
            exchange=_relative(exchange, gram),
            noise=_relative(noise, gram),
            unexplained=float(ledger.unexplained),
            tolerance=self._tolerance,
            level=_relative(level, gram),
            predicted_level=_relative(predicted, gram),
            level_error=_relative(level - predicted, level),
            window=ledger.recent.count,
            # a single batch is too noisy, a mean may be too old
            stationarity=min(_relative(each, last.decay) for each in (last.slope, *slopes.mean())),
        )


@dataclass(frozen=True)
class _Step:
    """Of the step recorded last: the optimiser's settings, λW, and the gradient g + λW of the penalised loss."""

    update: Update
    decay: Tensor
    slope: Tensor


def _relative(part: Tensor, whole: Tensor) -> float:
    """Return ``‖part‖/‖whole‖``, and nan where the whole is zero."""
    size = float(whole.norm())
    return float(part.norm()) / size if size else math.nan


def _named(balance: Balance) -> str:
    kinds = {"linear": "linear", "homogeneous": f"homogeneous of degree {balance.degree}", "general": "not homogeneous"}
    return f"{kinds[balance.kind]}, {balance.records} steps"

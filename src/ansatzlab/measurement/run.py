"""`measure`: every layer of a network in one pass over the data."""

from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from typing import Any, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ansatzlab.errors import InputError, ModelError, UnknownNameError
from ansatzlab.measurement.gram import Accumulation
from ansatzlab.measurement.hooks import undisturbed
from ansatzlab.measurement.kinds import Blocks
from ansatzlab.measurement.layer import LayerMeasurement
from ansatzlab.measurement.layers import InitialWeights, Layer, Selector, detached_copy, select_layers
from ansatzlab.measurement.outputs import Batch, OutputPicker, as_batches, batch_size
from ansatzlab.measurement.result import Measurement
from ansatzlab.measurement.seeds import Exact, Seeds
from ansatzlab.measurement.selfcheck import refuse_unfit_modules
from ansatzlab.measurement.subject import Backend, Subject

Check = Literal["first", "every", "never"]


def measure(
    model: nn.Module,
    batches: Iterable[Batch] | Batch,
    *,
    layers: Selector = None,
    seeds: Seeds = Exact(),  # noqa: B008 - frozen and empty
    output: OutputPicker = None,
    initial: Mapping[str, Any] | nn.Module | None = None,
    example_weights: Float[Tensor, " n"] | None = None,
    accumulation: Accumulation = "gram",
    backend: Backend = "hooks",
    check: Check = "first",
) -> Measurement:
    """Measure how every layer's weights stand to its average gradient outer product (AGOP).

    Definition:
        For each layer with weights W (o, i), the sums of ``b bᵀ``, b the gradient of one network output at the layer's
        own output, over outputs, positions and examples. The AGOP is ``Wᵀ K W`` with their mean K, exactly.

    Conventions:
        Mean over examples; sum over outputs, positions and the uses of a module. The gradient is that of the network's
        *outputs*, not of a loss, unless ``seeds`` asks for it. Outputs of more than two dimensions count every entry
        after the first as one output; `Outputs` chooses among positions.

    Args:
        model: Any network; neither it nor its gradients, mode, buffers or random state are changed.
        batches: An iterable of tensors, of tuples whose first item is the input, or of dicts passed as keywords; a
            single tensor or dict is one batch. Examples in the first dimension.
        layers: A layer name, several, a predicate ``(name, module) -> bool``, or None for all that can be measured.
        seeds: Which directions in output space are differentiated: `Exact`, `Signs`, `Output` or `LossGradient`.
        output: Picks the output tensor from what the model returns: a function, a key, an index, or `Outputs`.
        initial: The network before training, or its state dict. From a whole one the untrained network is measured
            beside the trained one, on the same examples; from the weights alone, only ``W − W₀`` can be read.
        example_weights: A weight ≥ 0 per example, in the order of the batches, shape (n,).
        accumulation: ``"gram"`` sums ``b bᵀ``. ``"factor"`` keeps a triangular factor of the stacked b, which resolves
            eigenvalues of the AGOP down to eps² of the largest, for twice the arithmetic of the sums.
        backend: ``"hooks"`` differentiates by the layers' own outputs; ``"probes"`` by zeros added to them.
        check: On which batches the measurement checks itself (see `ansatzlab.measurement.selfcheck`): ``"first"`` and,
            if that has one example only, the first with several; ``"every"`` or ``"never"``.

    Returns:
        The measurement: a mapping from layer names, with the skipped modules and their reasons.

    Raises:
        InputError: If the batches are empty, hold numbers that are not finite, or do not fit an argument.
        UnknownNameError: If a layer is not in the model.
        ModelError: If the network cannot be measured as it is; the message names the layer.

    Precision:
        Gradients in the model's own dtype; sums in float64. `Signs` adds a sampling error, which the standard errors
        include.

    Cost:
        One forward and c backward passes per batch (the first twice), O(n c o²) for each layer's sums. Memory: the
        activations of one batch and one gradient per layer, however many batches.

    Source:
        tansley2025nfa; the identity is derived in docs/devdocs/identity.md.

    Example:
        >>> import torch
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Tanh(), torch.nn.Linear(3, 2)).double()
        >>> m = measure(model, [torch.ones(5, 4, dtype=torch.float64)])
        >>> list(m), m["0"].agop().shape, m["2"].tautological
        (['0', '2'], torch.Size([4, 4]), True)
    """
    _check_choices(accumulation=(accumulation, Accumulation), check=(check, Check), backend=(backend, Backend))
    if example_weights is not None:
        _check_weights(example_weights)
    chosen, skipped = select_layers(model, layers)
    start, twin = _initial(model, initial, chosen)

    def subject(network: nn.Module, found: Mapping[str, Layer], weights: Mapping[str, Blocks]) -> Subject:
        refuse_unfit_modules(network)
        return Subject(network, dict(found), weights, seeds, output, accumulation, backend, may_drop=layers is None)

    subjects = [subject(model, chosen, start)]
    if twin is not None:
        subjects.append(subject(twin, select_layers(twin, list(chosen))[0], {}))
    seen, alone = 0, True
    with ExitStack() as stack:
        for measured in subjects:
            stack.enter_context(undisturbed(measured.model))
        for index, batch in enumerate(as_batches(batches)):
            size = batch_size(batch, index)
            weights = None if example_weights is None else _weights_of(example_weights, seen, size)
            due = check == "every" or (check == "first" and (not seen or (alone and size > 1)))
            alone &= size == 1
            for measured in subjects:
                measured.measure(batch, size, index, weights, check=due)
            seen += size
    if seen == 0:
        raise InputError("measure(batches=): got no batch; wanted at least one; an iterator may be used up already.")
    if example_weights is not None and len(example_weights) != seen:
        raise InputError(
            f"measure(example_weights=): got {len(example_weights)} weights for {seen} examples; wanted one each."
        )
    before = _results(subjects[1], {}) if twin is not None else {}
    return Measurement(
        layers=_results(subjects[0], before),
        skipped={**skipped, **subjects[0].skipped},
        outputs=subjects[0].outputs,
    )


def _results(subject: Subject, before: Mapping[str, LayerMeasurement]) -> dict[str, LayerMeasurement]:
    found = {}
    for name, sums in subject.finish().items():
        layer = subject.layers[name]
        blocks, initial = subject.weight(name)
        found[name] = LayerMeasurement(
            name=name,
            kind=layer.map.kind,
            blocks=blocks,
            initial=initial,
            sums=sums,
            seeds=subject.seeds,
            gradient_dtype=subject.coarsest,
            height=layer.blocks.shape[0] * layer.blocks.shape[1],
            ranges=layer.map.parts,
            is_last=name in subject.last,
            start=before.get(name),
        )
    return found


def _initial(
    model: nn.Module, initial: Mapping[str, Any] | nn.Module | None, layers: Mapping[str, Layer]
) -> tuple[dict[str, Blocks], nn.Module | None]:
    """Return W₀ of each layer and, where the whole state is given, the untrained network."""
    if initial is None:
        return {}, None
    state = initial.state_dict() if isinstance(initial, nn.Module) else initial
    if not isinstance(state, InitialWeights) and set(model.state_dict()) <= set(state):
        parameters = dict(model.named_parameters(remove_duplicate=False))
        for name, value in model.state_dict().items():
            if isinstance(value, Tensor):
                _refuse_unfit(name, state[name], value, finite=name in parameters)
        _refuse_hooked_weights(layers)
        twin = detached_copy(model)
        twin.load_state_dict({name: state[name] for name in model.state_dict()})
        twins, _ = select_layers(twin, list(layers))
        return {name: layer.blocks for name, layer in twins.items()}, twin
    found = {}
    for name, layer in layers.items():
        _refuse_unfit(layer.parameter_name, state.get(layer.parameter_name), layer.parameter)
        found[name] = layer.map.matrix(state[layer.parameter_name].detach())
    return found, None


def _refuse_hooked_weights(layers: Mapping[str, Layer]) -> None:
    for name, layer in layers.items():
        computed = any(nn.utils.parametrize.is_parametrized(module) for module in layer.module.modules())
        if not isinstance(layer.parameter, nn.Parameter) and not computed:
            raise ModelError(
                f"measure(initial=): the weight of layer {name!r} is set by a hook when the model runs, so it cannot "
                "be read from a state dict; use torch.nn.utils.parametrizations, or leave the layer out with layers=."
            )


def _refuse_unfit(name: str, got: Tensor | None, wanted: Tensor, *, finite: bool = True) -> None:
    """Refuse another shape, and weights that are not finite; a buffer, such as a mask, may hold infinities."""
    if got is None or got.shape != wanted.shape or (finite and not bool(torch.isfinite(got).all())):
        raise InputError(
            f"measure(initial=): got {'nothing' if got is None else f'shape {tuple(got.shape)}'} for {name!r}; wanted "
            f"{'finite ' * finite}numbers of shape {tuple(wanted.shape)}; pass the state dict of the same network "
            "before training."
        )


def _check_choices(**choices: tuple[str, object]) -> None:
    for argument, (got, literal) in choices.items():
        if got not in get_args(literal):
            raise UnknownNameError(f"{argument}= of measure", str(got), get_args(literal))


def _check_weights(weights: Tensor) -> None:
    if not isinstance(weights, Tensor) or weights.ndim != 1:
        raise InputError(
            f"measure(example_weights=): got a {type(weights).__name__}; wanted a tensor with one weight per example."
        )
    if not bool((torch.isfinite(weights) & (weights >= 0)).all()) or not bool(weights.any()):
        raise InputError(
            "measure(example_weights=): got weights that are negative, not finite or all zero; wanted one finite "
            "weight ≥ 0 per example, not all zero."
        )


def _weights_of(weights: Float[Tensor, " n"], start: int, size: int) -> Float[Tensor, " m"]:
    if start + size > len(weights):
        raise InputError(
            f"measure(example_weights=): got {len(weights)} weights for at least {start + size} examples; wanted one "
            "each."
        )
    return weights[start : start + size]

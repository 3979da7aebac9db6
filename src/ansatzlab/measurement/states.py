"""A network's weights from a file, without running anything that the file holds."""

import pickle
import re
import warnings
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.serialization import get_unsafe_globals_in_checkpoint

from ansatzlab.errors import InputError, ModelError

WRAPPERS = ("state_dict", "model", "model_state_dict", "module")
"""Keys under which training scripts keep a network's weights beside the optimizer's state and the like."""

PREFIXES = ("_orig_mod.", "module.")
"""What `torch.compile` and `DataParallel` put before every name."""

_SHOWN = 4


@dataclass(frozen=True)
class State:
    """The weights that a file holds.

    Attributes:
        tensors: The tensors by name.
        key: The key of the file's dictionary that they were taken from; empty if the file holds nothing else.
    """

    tensors: Mapping[str, Tensor]
    key: str = ""


def load_state(path: Path | str) -> State:
    """Read the weights of a network.

    Conventions:
        ``.safetensors``, or a file of ``torch.save`` (``.pt``, ``.pth``, ``.bin``) that holds tensors only. A file may
        keep them under one of the keys ``state_dict``, ``model``, ``model_state_dict``, ``module``; that is accepted
        where exactly one of these holds tensors, and the record says which.

    Args:
        path: The file.

    Returns:
        The tensors, on the CPU, in the dtype of the file.

    Raises:
        InputError: If the file is missing or damaged, has another suffix, holds anything but tensors, or is a pickle
            that would run code.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     torch.save({"epoch": 3, "state_dict": nn.Linear(2, 1).state_dict()}, f"{folder}/net.pt")
        ...     state = load_state(f"{folder}/net.pt")
        >>> list(state.tensors), state.key
        (['weight', 'bias'], 'state_dict')
    """
    held = read_tensors(path)
    if not isinstance(held, Mapping):
        raise InputError(f"weights {path}: got a {type(held).__name__}; wanted the state dict of a network.")
    if _is_state(held):
        return State(dict(held))
    wrapped = [key for key in WRAPPERS if isinstance(held.get(key), Mapping) and _is_state(held[key])]
    if len(wrapped) == 1:
        return State(dict(held[wrapped[0]]), wrapped[0])
    raise InputError(
        f"weights {path}: got a dictionary of {_few(map(str, held))}; wanted tensors by name, or exactly one of "
        f"{', '.join(WRAPPERS)} that holds them; save model.state_dict() alone."
    )


def fit_state(model: nn.Module, state: State, path: Path | str) -> tuple[dict[str, Tensor], str]:
    """Match weights with a network's own names and shapes.

    Conventions:
        The prefixes ``module.`` (DataParallel) and ``_orig_mod.`` (torch.compile) are taken off when that makes
        everything fit, and only then. A name that the file lacks is filled from one that shares its tensor in the
        network (tied weights, which safetensors stores once).

    Args:
        model: The network; it is not changed.
        state: The weights.
        path: The file they came from, for the message.

    Returns:
        The weights under the network's names, and in words what was done to make them fit (empty: nothing).

    Raises:
        ModelError: If names are missing or too many, or shapes differ.
    """
    wanted = model.state_dict()
    for removed in ("", *PREFIXES, "".join(PREFIXES), "".join(reversed(PREFIXES))):
        if not all(name.startswith(removed) for name in state.tensors):
            continue
        renamed = {name.removeprefix(removed): tensor for name, tensor in state.tensors.items()}
        filled = _with_tied(wanted, renamed)
        if not _misfits(wanted, filled):
            done = [f"taken from {state.key!r}"] * bool(state.key) + [f"prefix {removed!r} taken off"] * bool(removed)
            return filled, ", ".join(done)
    misfits = _misfits(wanted, _with_tied(wanted, state.tensors))
    raise ModelError(
        f"weights {path}: do not fit {type(model).__name__}: {'; '.join(misfits)}; wanted the state dict of this very "
        "network; check that MODEL builds the network that was saved."
    )


def apply_state(model: nn.Module, state: State, path: Path | str) -> str:
    """Load weights into a network, all of them or none.

    Args:
        model: The network, changed in place.
        state: The weights.
        path: The file they came from, for the message.

    Returns:
        In words what was done to make them fit; empty if nothing.

    Raises:
        ModelError: If names are missing or too many, or shapes differ; the network is then as it was.
    """
    fitted, done = fit_state(model, state, path)
    model.load_state_dict(fitted)
    return done


def read_tensors(path: Path | str) -> object:
    """Return what a ``.safetensors`` or ``torch.save`` file holds, refusing whatever would run code.

    Raises:
        InputError: If the file is missing or damaged, has another suffix, or is a pickle of more than tensors.
    """
    file = Path(path)
    if not file.is_file():
        raise InputError(f"{file}: there is no such file; check the path.")
    if file.suffix not in (".safetensors", ".pt", ".pth", ".bin"):
        raise InputError(
            f"{file}: got the suffix {file.suffix!r}; wanted .safetensors, or .pt, .pth or .bin from torch.save."
        )
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        with warnings.catch_warnings(action="ignore"):  # torch warns of pickles that it then refuses by an error
            return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError(_unsafe(file, str(error))) from None
    except Exception as error:  # damaged bytes make torch's reader raise whatever they happen to mean
        kind = "a .safetensors file" if file.suffix == ".safetensors" else "a file of torch.save"
        raise InputError(f"{file}: cannot be read as {kind} ({_first_line(error)}); write it again.") from error


def _unsafe(file: Path, told: str) -> str:
    """Say what a refused pickle would run; it was only looked at."""
    names = re.findall(r"GLOBAL ([\w.]+\w)", told)
    with suppress(Exception):
        names = get_unsafe_globals_in_checkpoint(file) or names
    would = f"calling {_few(names)}" if names else "more than tensors"
    convert = (
        f"import torch; from safetensors.torch import save_file; save_file(torch.load({file.name!r}, "
        f"weights_only=False).state_dict(), {file.with_suffix('.safetensors').name!r})"
    )
    return (
        f"{file}: refused: it is a pickle, and reading it means {would}, which can run anything on this machine; "
        "wanted tensors only. If you trust who made it, convert it once, where its classes can be imported (leave out "
        f'.state_dict() if it holds a dictionary of tensors): python -c "{convert}"'
    )


def _is_state(held: Mapping[object, object]) -> bool:
    return bool(held) and all(isinstance(name, str) and isinstance(value, Tensor) for name, value in held.items())


def _with_tied(wanted: Mapping[str, Tensor], got: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Add the names that the file lacks but whose tensor in the network also has a name that it holds."""
    places = {(tensor.data_ptr(), tensor.shape): got[name] for name, tensor in wanted.items() if name in got}
    tied = {
        name: places[tensor.data_ptr(), tensor.shape]
        for name, tensor in wanted.items()
        if name not in got and tensor.numel() and (tensor.data_ptr(), tensor.shape) in places
    }
    return {**got, **tied}


def _misfits(wanted: Mapping[str, Tensor], got: Mapping[str, Tensor]) -> list[str]:
    missing = [name for name in wanted if name not in got]
    unexpected = [name for name in got if name not in wanted]
    shapes = [
        f"{name} is {tuple(got[name].shape)}, wanted {tuple(tensor.shape)}"
        for name, tensor in wanted.items()
        if name in got and isinstance(tensor, Tensor) and got[name].shape != tensor.shape
    ]
    told = {"missing": missing, "unexpected": unexpected, "of another shape": shapes}
    return [f"{len(names)} {what} ({_few(names)})" for what, names in told.items() if names]


def _few(names: Iterable[str]) -> str:
    listed = list(names)
    more = f" and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else ""
    return ", ".join(listed[:_SHOWN]) + more


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]

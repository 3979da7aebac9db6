"""Somebody else's code, named by text: ``package.module:callable`` or ``path.py:callable``."""

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import Any

from ansatzlab.errors import InputError, ModelError


def resolve(text: str, what: str, keep: type) -> object:
    """Import ``place:name`` and call it.

    Args:
        text: ``package.module:callable`` or ``path.py:callable``; the callable takes no argument.
        what: What it stands for, for messages.
        keep: What is wanted; where the name already is one, it is returned and not called.

    Returns:
        What the callable returned.

    Raises:
        InputError: If the text is not of this form, nothing of that name can be imported, or it is no callable
            without arguments.
        ModelError: If the callable fails.
    """
    place, colon, name = text.rpartition(":")
    if not colon or not place or not name:
        raise InputError(
            f"{what} {text}: wanted package.module:callable or path.py:callable, for example train.py:make_model."
        )
    is_file = place.endswith(".py")
    with _importable(Path(place).resolve().parent if is_file else Path.cwd()):
        found: Any = _import_file(Path(place), what) if is_file else _import_module(place, what)
        for part in name.split("."):
            if not hasattr(found, part):
                raise InputError(f"{what} {text}: {place} has no {name!r}{_nearest(part, found)}")
            found = getattr(found, part)
        if isinstance(found, keep):
            return found
        return _call(found, text, what)


def _call(function: object, text: str, what: str) -> object:
    if not callable(function):
        raise InputError(f"{what} {text}: got a {type(function).__name__}; wanted a callable without arguments.")
    try:
        needed = [
            name
            for name, parameter in inspect.signature(function).parameters.items()
            if parameter.default is parameter.empty
            and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        ]
    except (TypeError, ValueError):  # some built-in callables have no signature
        needed = []
    if needed:
        raise InputError(
            f"{what} {text}: needs the arguments {', '.join(needed)}; wanted a callable without any; write a small "
            "function that fills them in."
        )
    try:
        return function()
    except Exception as error:
        raise ModelError(f"{what} {text}: calling it failed: {describe_error(error)}") from error


def describe_error(error: BaseException) -> str:
    """Describe somebody else's exception in one line: its class, its words, and the line that raised it."""
    words = " ".join(str(error).split())
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = "" if trace is None else f" ({Path(trace.tb_frame.f_code.co_filename).name}, line {trace.tb_lineno})"
    return f"{type(error).__name__}{': ' if words else ''}{words}{where}"


def _import_module(name: str, what: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            raise InputError(
                f"{what} {name}: there is no module {error.name!r} here; wanted an installed one or one in the current "
                "folder; check the name, or give the file as path.py:callable."
            ) from None
        raise InputError(f"{what} {name}: importing it failed: {describe_error(error)}") from error
    except Exception as error:
        raise InputError(f"{what} {name}: importing it failed: {describe_error(error)}") from error


def _import_file(path: Path, what: str) -> ModuleType:
    """Run a file once, under a name that no other module has, however often it is asked for."""
    if not path.is_file():
        raise InputError(f"{what} {path}: there is no such file; check the path.")
    name = f"{path.stem}_{sha256(str(path.resolve()).encode()).hexdigest()[:12]}"
    if name in sys.modules:
        return sys.modules[name]
    specification = importlib.util.spec_from_file_location(name, path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[name] = module  # dataclasses and pickles look their own module up
    try:
        specification.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise InputError(f"{what} {path}: importing it failed: {describe_error(error)}") from error
    return module


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Let imports find a folder's modules, as ``python`` does for the script's own."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


def _nearest(name: str, holder: object) -> str:
    public = [known for known in vars(holder) if not known.startswith("_")] if hasattr(holder, "__dict__") else []
    near = get_close_matches(name, public, n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(near)}?" if near else "; check the name."

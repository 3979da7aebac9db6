"""Grids in files: YAML and TOML."""

import re
import tomllib
from pathlib import Path

import yaml

from ansatzlab.errors import InputError, UnknownNameError

SUFFIXES = (".yaml", ".yml", ".toml")


def read_axes(path: Path) -> dict[str, object]:
    r"""Return what a file says of a grid: its axes, and ``zip``, ``skip`` and ``only``, unchecked.

    Conventions:
        YAML as people write it: ``1e-3`` is a number (YAML 1.1 would take it for text), and a key that is given
        twice is refused. TOML has no null.

    Args:
        path: A ``.yaml``, ``.yml`` or ``.toml`` file.

    Returns:
        The values by their keys.

    Raises:
        InputError: If there is no such file, it cannot be read, is not valid or holds no keys.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "sweep.yaml"
        ...     _ = path.write_text("data: digits\nweight_decay: [0, 1e-3]")
        ...     read_axes(path)
        {'data': 'digits', 'weight_decay': [0, 0.001]}
    """
    if path.suffix not in SUFFIXES:
        raise UnknownNameError(f"kind of file for the grid {path}:", path.suffix, SUFFIXES)
    try:
        text = path.read_text(encoding="utf-8")
        found = tomllib.loads(text) if path.suffix == ".toml" else yaml.load(text, Loader=_Loader)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is not UTF-8 text"
        raise InputError(f"{path}: cannot be read ({reason}); wanted a YAML or TOML file; check the path.") from error
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path}: is not valid TOML ({error}); correct it.") from error
    except (yaml.YAMLError, RecursionError) as error:
        raise InputError(f"{path}: is not valid YAML ({_problem(error)}); correct it.") from error
    if not isinstance(found, dict) or not found:
        raise InputError(f"{path}: got {_kind(found)}; wanted axes, one `name: value` a line; see docs/sweep.md.")
    return {str(key): value for key, value in found.items()}


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """PyYAML's safe loader, with numbers as YAML 1.2 has them and without silent repeats of keys."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[object, object]:
        """Return a mapping, each key once."""
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value} is given twice", key.start_mark
                )
            if isinstance(key.value, str):
                seen.add(key.value)
        return super().construct_mapping(node, deep)  # type: ignore[no-any-return]


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+"), list("-+.0123456789")
)


def _problem(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    place = "" if mark is None else f" in line {mark.line + 1}, column {mark.column + 1}"
    return f"{getattr(error, 'problem', None) or 'nested too deeply'}{place}"


def _kind(found: object) -> str:
    return "nothing" if not found else f"a {type(found).__name__}"

"""The laws that can be verified. Adding one adds its folder and a line here."""

from importlib import import_module

from ansatzlab.errors import InputError, UnknownNameError
from ansatzlab.laws.law import Law
from ansatzlab.measurement.callables import resolve

KEYS = (
    "tansley2025nfa",
    "boixadsera2025fact",
    "radhakrishnan2024nfa",
    "beaglehole2024alignment",
    "mallinar2024grokking",
    "kuzborskij2025lowrank",
    "liu2022nesterov",
)
"""Their folders, in the order in which they are listed; each has its law as ``LAW`` in ``law.py``."""

LAWS: dict[str, Law] = {key: import_module(f"ansatzlab.laws.{key}.law").LAW for key in KEYS}


def get_law(key: str) -> Law:
    """Return a law by its key, or one of a user's own by where it is: ``path.py:LAW`` or ``package.module:LAW``.

    Raises:
        UnknownNameError: If there is no such law.
        InputError: If nothing can be imported from there, or it is no law.
        ModelError: If it is a function that fails.
    """
    if ":" in key:
        found = resolve(key, "law", keep=Law)
        if not isinstance(found, Law):
            raise InputError(f"law {key}: got a {type(found).__name__}; wanted a Law, or a function that returns one.")
        return found
    if key not in LAWS:
        raise UnknownNameError("law", key, LAWS)
    return LAWS[key]

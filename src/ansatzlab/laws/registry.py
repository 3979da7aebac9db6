"""The laws that can be verified. Adding one adds its folder and a line here."""

from ansatzlab.errors import UnknownNameError
from ansatzlab.laws.law import Law
from ansatzlab.laws.tansley2025nfa import law as tansley2025nfa

LAWS: dict[str, Law] = {module.LAW.key: module.LAW for module in (tansley2025nfa,)}


def get_law(key: str) -> Law:
    """Return a law by its key.

    Raises:
        UnknownNameError: If there is no such law.
    """
    if key not in LAWS:
        raise UnknownNameError("law", key, LAWS)
    return LAWS[key]

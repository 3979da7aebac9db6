"""The laws that can be verified. Adding one adds its folder and a line here."""

from ansatzlab.errors import UnknownNameError
from ansatzlab.laws.beaglehole2024alignment import law as beaglehole2024alignment
from ansatzlab.laws.boixadsera2025fact import law as boixadsera2025fact
from ansatzlab.laws.law import Law
from ansatzlab.laws.mallinar2024grokking import law as mallinar2024grokking
from ansatzlab.laws.radhakrishnan2024nfa import law as radhakrishnan2024nfa
from ansatzlab.laws.tansley2025nfa import law as tansley2025nfa

LAWS: dict[str, Law] = {
    module.LAW.key: module.LAW
    for module in (
        tansley2025nfa,
        boixadsera2025fact,
        radhakrishnan2024nfa,
        beaglehole2024alignment,
        mallinar2024grokking,
    )
}


def get_law(key: str) -> Law:
    """Return a law by its key.

    Raises:
        UnknownNameError: If there is no such law.
    """
    if key not in LAWS:
        raise UnknownNameError("law", key, LAWS)
    return LAWS[key]

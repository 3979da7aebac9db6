"""The laws that can be verified. Adding one adds its folder and a line here."""

from ansatzlab.errors import InputError, UnknownNameError
from ansatzlab.laws.beaglehole2024alignment import law as beaglehole2024alignment
from ansatzlab.laws.boixadsera2025fact import law as boixadsera2025fact
from ansatzlab.laws.kuzborskij2025lowrank import law as kuzborskij2025lowrank
from ansatzlab.laws.law import Law
from ansatzlab.laws.liu2022nesterov import law as liu2022nesterov
from ansatzlab.laws.mallinar2024grokking import law as mallinar2024grokking
from ansatzlab.laws.radhakrishnan2024nfa import law as radhakrishnan2024nfa
from ansatzlab.laws.tansley2025nfa import law as tansley2025nfa
from ansatzlab.measurement.callables import resolve

LAWS: dict[str, Law] = {
    module.LAW.key: module.LAW
    for module in (
        tansley2025nfa,
        boixadsera2025fact,
        radhakrishnan2024nfa,
        beaglehole2024alignment,
        mallinar2024grokking,
        kuzborskij2025lowrank,
        liu2022nesterov,
    )
}


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

"""Settings changed on the command line."""

import json

from ansatzlab.errors import InputError


def read_setting(change: str) -> tuple[str, object]:
    """Read NAME=VALUE; a value is JSON, a comma-separated list of it, or else text.

    Raises:
        InputError: If there is no name or no equals sign.

    Example:
        >>> read_setting("depths=2,3"), read_setting("data=digits")
        (('depths', [2, 3]), ('data', 'digits'))
    """
    name, equals, text = change.partition("=")
    if not equals or not name:
        raise InputError(f"--set {change}: wanted NAME=VALUE, for example --set depths=2,3.")
    for candidate in (text, f"[{text}]"):
        try:
            return name, json.loads(candidate)
        except ValueError:
            continue
    return name, text

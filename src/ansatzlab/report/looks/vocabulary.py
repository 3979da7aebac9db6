"""The names of an embedding's tokens: read from a file, and made readable."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ansatzlab.errors import InputError

WANTED = "wanted one token a line, or a JSON file: a list of tokens, tokens with their numbers, or a tokenizer.json"


def read_tokens(path: str | Path) -> tuple[str, ...]:
    r"""Read a vocabulary.

    Conventions:
        ``.json`` is a list of tokens, a ``vocab.json`` of tokens with their numbers, or a ``tokenizer.json`` of Hugging
        Face, its added tokens included; anything else has one token a line, the first one's number 0. A vocabulary of
        byte-level tokens, as GPT-2's, is turned into text (see `decode_bytes`). Nothing in the file is run.

    Args:
        path: The file.

    Returns:
        The tokens by their number; one that has no token is named by it.

    Raises:
        InputError: If the file cannot be read or is no vocabulary.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = Path(f"{folder}/vocab.txt").write_text("[PAD]\nthe\n##ing\n")
        ...     read_tokens(f"{folder}/vocab.txt")
        ('[PAD]', 'the', '##ing')
    """
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"tokens {file}: there is no such file; check the path.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"tokens {file}: cannot be read as UTF-8 ({error}); {WANTED}.") from error
    if file.suffix == ".json":
        try:
            tokens = _numbered(json.loads(text))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise InputError(f"tokens {file}: is no vocabulary ({type(error).__name__} {error}); {WANTED}.") from error
    else:
        tokens = tuple(text.removesuffix("\n").split("\n")) if text else ()
    if not tokens:
        raise InputError(f"tokens {file}: holds no token; {WANTED}.")
    return decode_bytes(tokens) if {"Ġ", "Ċ"} <= set(tokens) else tokens


def _numbered(held: Any) -> tuple[str, ...]:  # noqa: ANN401 - whatever the file holds
    """Put the tokens of a JSON file in the order of their numbers."""
    if isinstance(held, dict) and "model" in held:
        vocabulary, added = held["model"]["vocab"], held.get("added_tokens") or []
    else:
        vocabulary, added = held, []
    if isinstance(vocabulary, list):  # tokens, or pairs of a token and its score
        numbers = {number: token if isinstance(token, str) else token[0] for number, token in enumerate(vocabulary)}
    else:
        numbers = {number: token for token, number in vocabulary.items()}
    numbers.update((each["id"], each["content"]) for each in added)
    for number, token in numbers.items():
        if not isinstance(token, str) or type(number) is not int or not 0 <= number < 2 * len(numbers):
            raise ValueError(f"{token!r} with the number {number!r} among {len(numbers)} tokens")
    return tuple(numbers.get(number, f"#{number}") for number in range(max(numbers, default=-1) + 1))


def decode_bytes(tokens: Sequence[str]) -> tuple[str, ...]:
    r"""Turn byte-level tokens, in which each byte is written as one visible character, into text.

    Conventions:
        Visible Latin-1 characters stand for themselves, the others in order for the characters from U+0100 on. Bytes
        that are no whole UTF-8 character are written as ``\xe2``; a token with other characters stays as it is.

    Args:
        tokens: The tokens as they stand in the vocabulary.

    Returns:
        As many texts.

    Example:
        >>> decode_bytes(["Ġthe", "Ċ", "âĤ", "<pad>"])
        (' the', '\n', '\\xe2\\x82', '<pad>')
    """
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(0x100) if byte not in visible]
    known = {chr(byte): byte for byte in visible} | {chr(0x100 + place): byte for place, byte in enumerate(hidden)}
    return tuple(
        bytes(known[character] for character in token).decode("utf-8", "backslashreplace")
        if known.keys() >= set(token)
        else token
        for token in tokens
    )


def readable(token: str) -> str:
    r"""Write a token so that all of it is seen: spaces as ``␣``, and what is not printable escaped.

    Example:
        >>> [readable(token) for token in (" the", "\n", "\u202e", "")]
        ['␣the', '\\n', '\\u202e', '(empty)']
    """
    shown = (
        "␣" if character == " " else character if character.isprintable() else repr(character)[1:-1]
        for character in token
    )
    return "".join(shown) or "(empty)"


def token_name(number: int, tokens: Sequence[str] = ()) -> str:
    """Return a token as it is shown: its name, or its number where it has none.

    Example:
        >>> token_name(1, ["a", " b"]), token_name(7, ["a", " b"])
        ('␣b', '#7')
    """
    return readable(tokens[number]) if number < len(tokens) else f"#{number}"

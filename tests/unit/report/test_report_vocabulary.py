import json

import pytest

from ansatzlab.errors import InputError
from ansatzlab.report.looks.vocabulary import decode_bytes, read_tokens, readable, token_name

BYTES = ["!", "a", "Ġ", "Ċ", "Ġthe", "Ã©", "Ã", "<|end|>"]


def written(tmp_path, name, content):
    path = tmp_path / name
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("name", "content", "wanted"),
    [
        ("vocab.txt", "[PAD]\nthe\n##s\n", ("[PAD]", "the", "##s")),
        ("vocab.txt", "a\r\nb", ("a", "b")),
        ("chars.txt", " \na\n\n", (" ", "a", "")),  # spaces and empty lines are tokens, too
        ("odd.txt", "a\u2028b\x0cc\n\x85", ("a\u2028b\x0cc", "\x85")),  # only a line feed ends a line
        ("list.json", ["a", "b"], ("a", "b")),
        ("vocab.json", {"b": 1, "a": 0}, ("a", "b")),
        ("vocab.json", {"c": 2, "a": 0}, ("a", "#1", "c")),
        ("tokenizer.json", {"model": {"type": "Unigram", "vocab": [["▁a", -1.0], ["b", -2]]}}, ("▁a", "b")),
        (
            "tokenizer.json",
            {"model": {"vocab": {"a": 0, "b": 1}}, "added_tokens": [{"id": 2, "content": "<s>", "special": True}]},
            ("a", "b", "<s>"),
        ),
    ],
)
def test_vocabularies_are_read(tmp_path, name, content, wanted):
    assert read_tokens(written(tmp_path, name, content)) == wanted


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_byte_level_vocabulary_becomes_text(tmp_path, form):
    name, content = ("vocab.txt", "\n".join(BYTES)) if form == "text" else ("vocab.json", BYTES)
    found = read_tokens(written(tmp_path, name, content))
    assert found == ("!", "a", " ", "\n", " the", "é", "\\xc3", "<|end|>")
    assert read_tokens(written(tmp_path, name, content.replace("Ċ\n", "") if form == "text" else BYTES[4:])) != found


def test_every_byte_has_a_character_of_its_own():
    """GPT-2's table, from the other side: the 256 characters, decoded one by one, are the 256 bytes."""
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    characters = [chr(code) for code in visible] + [chr(0x100 + place) for place in range(256 - len(visible))]
    found = []
    for text in decode_bytes(characters):
        found.append(int(text[2:], 16) if text.startswith("\\x") else ord(text))
    assert sorted(found) == list(range(256))
    assert decode_bytes(["âĤ¬"]) == ("€",)


def test_tokens_are_shown_whole():
    assert readable(" a\tb") == "␣a\\tb"
    assert readable("\u202egnp.exe") == "\\u202egnp.exe"  # what turns the text round is seen, and does nothing
    assert readable("日本") == "日本"
    assert token_name(2, ["a"]) == "#2"


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("vocab.json", "{", "is no vocabulary"),
        ("vocab.json", {"a": "b"}, "is no vocabulary"),
        ("vocab.json", {"a": True}, "is no vocabulary"),
        ("vocab.json", {"a": -1}, "is no vocabulary"),
        ("vocab.json", {"a": 10**12}, "is no vocabulary"),  # and no list of that length is made
        ("vocab.json", [1, 2], "is no vocabulary"),
        ("vocab.json", 3, "is no vocabulary"),
        ("tokenizer.json", {"model": {}}, "is no vocabulary"),
        ("vocab.json", {}, "holds no token"),
        ("vocab.json", "[" * 100_000, "is no vocabulary"),
        ("vocab.txt", "", "holds no token"),
    ],
)
def test_what_is_no_vocabulary_is_refused(tmp_path, name, content, told):
    with pytest.raises(InputError, match=told) as caught:
        read_tokens(written(tmp_path, name, content))
    assert "wanted one token a line" in str(caught.value)


def test_what_cannot_be_read_is_refused(tmp_path):
    with pytest.raises(InputError, match="there is no such file"):
        read_tokens(tmp_path / "none.txt")
    (tmp_path / "latin.txt").write_bytes(b"\xe9")
    with pytest.raises(InputError, match="cannot be read as UTF-8"):
        read_tokens(tmp_path / "latin.txt")
    with pytest.raises(InputError, match="cannot be read"):
        read_tokens(tmp_path)

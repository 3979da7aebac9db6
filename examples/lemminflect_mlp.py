"""lemminflect's perceptron 252-64-34, from a word form to the rule that gives its lemma, on its own dictionary."""

import gzip
import io
import pickle
from functools import cache

import torch
from installed import package_file
from table import print_table
from torch import Tensor, nn

from ansatzlab.errors import InputError

CLASSES = ("noun", "verb", "adj", "adv")
LETTERS, ALPHABET = 8, 28
ARRAYS = {("numpy.core.multiarray", "_reconstruct"), ("numpy", "ndarray"), ("numpy", "dtype")}


class ArrayUnpickler(pickle.Unpickler):
    """Reads arrays and plain containers; whatever else a pickle might call is refused."""

    def find_class(self, module: str, name: str) -> object:
        """Return what rebuilds an array."""
        if (module, name) not in ARRAYS:
            raise InputError(f"lemminflect's weight file asks for {module}.{name}; wanted arrays only; reinstall it.")
        return super().find_class(module, name)


@cache
def held() -> dict:
    """Return the weight file: the weights, and for each output the rule that it stands for."""
    packed = package_file("lemminflect", "resources/model_lemma.pkl.gz").read_bytes()
    return ArrayUnpickler(io.BytesIO(gzip.decompress(packed))).load()


def model() -> nn.Module:
    """Return the trained network, without its softmax."""
    network = nn.Sequential(nn.Linear((1 + LETTERS) * ALPHABET, 64), nn.ReLU(), nn.Linear(64, 34))
    weights = (torch.tensor(array.T) for array in held()["weights"])
    network.load_state_dict(dict(zip(network.state_dict(), weights, strict=True)))
    return network.eval()


def forms() -> list[list[str]]:
    """Return the dictionary, in alphabetical order: word form, word class, and the lemmas between slashes."""
    lines = gzip.decompress(package_file("lemminflect", "resources/lemma_lu.csv.gz").read_bytes()).decode().splitlines()
    return [form for form in (line.split(",") for line in lines) if form[1] in CLASSES]


def encode(words: list[list[str]]) -> Tensor:
    """Return the word class and the last eight letters from the end, each one-hot, shape (n, 252)."""
    inputs = torch.zeros(len(words), 1 + LETTERS, ALPHABET)
    for row, (word, kind, _) in enumerate(words):
        letters = [ord(letter) - 95 if "a" <= letter <= "z" else 1 for letter in reversed(word.lower()[-LETTERS:])]
        inputs[row, range(1 + len(letters)), [CLASSES.index(kind), *letters]] = 1
    return inputs.flatten(1)


def data() -> list[Tensor]:
    """Return every eighth word form, in batches."""
    return list(encode(forms()[::8]).split(1024))


def accuracy(step: int = 1) -> float:
    """Return the share of the word forms, or of every step-th, whose lemma the network tells."""
    words, rules = forms()[::step], [rule.split(",") for rule in held()["meta"]["output_enum"]]
    with torch.no_grad():
        chosen = model()(encode(words)).argmax(1).tolist()
    right = 0
    for (word, _, lemmas), (ending, added, doubled) in zip(words, (rules[index] for index in chosen), strict=True):
        lemma = word[: len(word) - len(ending)] + added
        right += (lemma[:-1] if doubled == "True" else lemma) in lemmas.split("/")
    return right / len(words)


if __name__ == "__main__":
    print_table("lemminflect: from word forms to lemmas", model(), data())

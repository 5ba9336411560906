"""Texts to vectors: tokens, batches, onnxruntime.

A long list is worked off in steps of a bounded size, so that memory is bounded too, and so that whoever runs the steps can stop between
them or let another list's step go first.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from forebay.engines.embeddings.weights import INSTALL_RUNTIME, cache_folder, find_weights, onnx_model
from forebay.runtime.errors import ForebayError

DIMENSIONS = 384

MAX_TOKENS = 256
"""Of one text, its two marks included; what is longer is cut off. The length that the model was trained for."""

_MAX_CHARACTERS = 16_384
"""Of one text, before it is split into tokens: far more than 256 tokens need, and little enough to split quickly."""

_STEP_TOKENS = 4096
"""Of one step, padding included: some 50 MB of attention."""

Array = Any


class Model:
    """A loaded model. Steps may run in any thread, one at a time."""

    def __init__(self, tokenizer: Any, session: Any) -> None:
        self.tokenizer = tokenizer
        self.session = session


class Job:
    """One list of texts on its way through the model. `step` until it says that it is done; then read `vectors` and `tokens`."""

    def __init__(self, model: Model, texts: list[str]) -> None:
        self._model = model
        self._texts = [text[:_MAX_CHARACTERS] for text in texts]
        self._groups: list[list[int]] | None = None
        self._ids: list[list[int]] = []
        self.tokens = 0
        self.vectors: list[Array] = [None] * len(texts)
        """One float32 array of 384 numbers, of unit length, for each text."""

    def step(self) -> int:
        """Computes the next group of texts, in a thread that may be blocked; returns how many texts are still to do."""
        if self._groups is None:
            self._ids = [encoding.ids for encoding in self._model.tokenizer.encode_batch_fast(self._texts)]
            self._groups = groups_of([len(ids) for ids in self._ids])
            self.tokens = sum(map(len, self._ids))
        group = self._groups.pop()
        for index, vector in zip(group, self._infer([self._ids[index] for index in group]), strict=True):
            self.vectors[index] = vector
        return sum(map(len, self._groups))

    def _infer(self, rows: list[list[int]]) -> Array:
        import numpy as np

        ids = np.zeros((len(rows), max(map(len, rows))), np.int64)
        mask = np.zeros_like(ids)
        for row, tokens in enumerate(rows):
            ids[row, : len(tokens)] = tokens
            mask[row, : len(tokens)] = 1
        return self._model.session.run(["embedding"], {"input_ids": ids, "attention_mask": mask})[0]


def groups_of(lengths: list[int]) -> list[list[int]]:
    """Indexes of texts, put together by like length so that little is padded, each group within the bound of one step."""
    groups: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True):
        # The first of a group is its longest, and all are padded to it.
        if groups and (len(groups[-1]) + 1) * lengths[groups[-1][0]] <= _STEP_TOKENS:
            groups[-1].append(index)
        else:
            groups.append([index])
    return groups


def load(weights: Path | None, precision: str, threads: int, cache: Path | None = None) -> Model:
    """The model, ready to run.

    Raises:
        ForebayError: weights or libraries are missing; the message says how to install them.
    """
    # One process is one replica with so many threads; the tokenizer's own pool would come on top of them.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        import numpy  # noqa: F401
        import onnxruntime
        from tokenizers import Tokenizer
    except ImportError as error:
        raise ForebayError(f"{error.name} is not installed: {INSTALL_RUNTIME}") from error
    found = find_weights(weights)
    tokenizer = Tokenizer.from_buffer(found.member("tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(MAX_TOKENS)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Threads that spin while there is nothing to do take the CPU from whatever else runs on the machine.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    graph = onnx_model(found, precision, cache or cache_folder())
    return Model(tokenizer, onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"]))

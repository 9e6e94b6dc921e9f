"""LeRobot's own loader on a dataset, in its own environment: samples per second. Prints one JSON line."""

from __future__ import annotations

import json
import sys
import time

import torch

_register = torch.library.register_fake


def _tolerant(name, *arguments, **settings):
    """Torchvision's wheel and this torch may not know each other's operators; none of them is used here."""

    def decorate(function):
        try:
            return _register(name, *arguments, **settings)(function)
        except RuntimeError:
            return function

    return decorate


torch.library.register_fake = _tolerant


def main() -> None:
    import lerobot
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    folder, count, chunk = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    torch.set_num_threads(1)
    begin, cpu = time.perf_counter(), time.process_time()
    probe = LeRobotDataset("local/benchmark", root=folder)
    steps = [i / probe.fps for i in range(chunk)]
    dataset = LeRobotDataset("local/benchmark", root=folder, delta_timestamps={"action": steps})
    opened = time.process_time() - cpu
    rounds = []
    for part in range(2):
        rows = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(part))[:count].tolist()
        begin, cpu = time.perf_counter(), time.process_time()
        for row in rows:
            dataset[row]
        rounds.append((count / (time.process_time() - cpu), count / (time.perf_counter() - begin)))
    row = {"version": lerobot.__version__, "open_cpu_s": opened, "per_cpu_s": rounds[-1][0], "per_s": rounds[-1][1]}
    print(json.dumps({**row, "first_per_cpu_s": rounds[0][0], "backend": dataset.video_backend}))


if __name__ == "__main__":
    main()

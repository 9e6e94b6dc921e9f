"""PPO learns to reach with the expert reward, on every seed."""

from __future__ import annotations

import pytest
from tiny import only_run

from embodied.commands.main import main

pytestmark = pytest.mark.learning


@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_reach_by_ppo_with_the_expert_reward(seed, tmp_path):
    words = ["task=reach", "reward=expert", "trainer=ppo", f"seed={seed}", "evaluation.episodes=50", "video.episodes=0"]
    assert main(["train", *words, f"runs_dir={tmp_path}"]) == 0
    result = only_run(tmp_path).result
    assert result["success"]["episodes"] == 50
    assert result["success"]["rate"] >= 0.9
    assert result["baselines"]["random"]["rate"] <= 0.2

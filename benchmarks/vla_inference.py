"""Milliseconds per chunk: ours on a CPU against LeRobot's Diffusion Policy of the same size; DiffusionVLA at the
shape of Qwen2-VL-2B on a GPU.

`python benchmarks/vla_inference.py [--quick] [--gpu]`; `LEROBOT_PYTHON=<python of its environment>` names the peer. On
a GPU the weights are random: the time does not depend on them. Actions per second are those of a chunk of 16 with the
reasoning spoken anew (8 tokens) or kept from the last chunk; the paper has 82 Hz on an A6000 (with vLLM).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import yaml
from common import Metric, finish

from embodied.core.assets import conf_dir
from embodied.core.build import build
from embodied.policies import vocabulary
from embodied.policies.diffusion_vla import DiffusionVLA

SENTENCES = ["Open the drawer by its handle.", "First I reach for the handle."]
PAPER_HZ = 82.0
TWO_B = {
    "model_type": "qwen2_vl",
    "text_config": {
        "model_type": "qwen2_vl_text",
        "hidden_size": 1536,
        "intermediate_size": 8960,
        "num_hidden_layers": 28,
        "num_attention_heads": 12,
        "num_key_value_heads": 2,
        "vocab_size": 151936,
        "max_position_embeddings": 32768,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]},
        "tie_word_embeddings": True,
    },
    "vision_config": {
        "depth": 32,
        "embed_dim": 1280,
        "hidden_size": 1536,
        "num_heads": 16,
        "mlp_ratio": 4,
        "patch_size": 14,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
    },
    "tie_word_embeddings": True,
}


def part(name: str) -> dict[str, Any]:
    return yaml.safe_load((conf_dir() / f"{name}.yaml").read_text(encoding="utf-8"))


def model_of(
    backbone: torch.nn.Module, head: dict[str, Any], sizes: tuple[int, int, int], reasoning: bool
) -> DiffusionVLA:
    """A network of sizes (state, action, feature), for chunks of 16."""
    state_size, action_size, feature_size = sizes
    built = build(head, feature_size=feature_size, chunk_size=16, action_size=action_size)
    settings = {"state_size": state_size, "feature_size": feature_size, "reasoning": reasoning}
    return DiffusionVLA(backbone=backbone, head=built, **settings).eval()


def on_cpu(rounds: int) -> dict[str, Any]:
    """Light backbone with the U-Net and the MLP denoiser, ten DDIM steps, one picture of 64 x 64 pixels, no reasoning.

    The U-Net's widths are chosen so that the whole has as many weights as the peer's.
    """
    backbone = build(part("backbone/light"), vocabulary=vocabulary.train(SENTENCES), n_cameras=1)
    pictures, state = torch.zeros(1, 1, 64, 64, 3, dtype=torch.uint8), torch.zeros(1, 4)
    found: dict[str, Any] = {}
    for denoiser, options in (("unet", {"down_dims": [48, 96]}), ("mlp", {})):
        head = {**part("head/diffusion"), "denoiser": denoiser, "denoiser_options": options}
        model = model_of(backbone, head, (4, 4, 64), reasoning=False)

        def chunk(model: DiffusionVLA = model) -> None:
            model.act(pictures, state, SENTENCES[:1])

        found[denoiser] = {
            "chunk_cpu_ms": median_ms(chunk, rounds),
            "weights": sum(p.numel() for p in model.parameters()),
        }
    return found


def median_ms(call: Callable[[], None], rounds: int, clock: Callable[[], float] = time.process_time) -> float:
    """Median over `rounds` calls after a few to warm up."""
    times = []
    for index in range(rounds + 5):
        begin = clock()
        call()
        if index >= 5:
            times.append(1e3 * (clock() - begin))
    return statistics.median(times)


def lerobot() -> dict[str, Any]:
    python = os.environ.get("LEROBOT_PYTHON")
    if not python:
        return {"error": "LEROBOT_PYTHON is not set"}
    root = Path(__file__).resolve().parents[1]
    script = root / "benchmarks" / "peers" / "lerobot_policy.py"
    environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as scratch:
        command = [python, str(script), "diffusion", "-", "speed", "0", "1"]
        done = subprocess.run(command, capture_output=True, text=True, cwd=scratch, env=environment)
    if done.returncode:
        return {"error": (done.stderr.strip().splitlines() or ["?"])[-1][:300]}
    return json.loads(done.stdout.strip().splitlines()[-1])


def on_gpu(rounds: int) -> dict[str, Any]:
    """Prefill, one reasoning token, ten DDIM steps and a whole chunk at the shape of Qwen2-VL-2B, bf16 [ms]."""
    from embodied.policies.backbones.qwen2_vl import Qwen2VLBackbone
    from embodied.policies.backbones.vlm import with_special

    words = dict.fromkeys(("<|endoftext|>", "<|im_end|>", "<|im_start|>", "<|vision_start|>", "<|image_pad|>"), "")
    special = {str(i): token for i, token in enumerate([*words, "<|vision_end|>"])}
    text = with_special(vocabulary.train(SENTENCES), special)
    with tempfile.TemporaryDirectory() as folder:
        from tokenizers import Tokenizer

        known = Tokenizer.from_str(text)
        ids = {"image_token_id": "<|image_pad|>", "vision_start_token_id": "<|vision_start|>"}
        config = {**TWO_B, **{k: known.token_to_id(v) for k, v in ids.items()}}
        config["vision_end_token_id"] = known.token_to_id("<|vision_end|>")
        (Path(folder) / "config.json").write_text(json.dumps(config))
        (Path(folder) / "tokenizer.json").write_text(text)
        with torch.device("cuda"):
            backbone = Qwen2VLBackbone(
                vocabulary=text,
                n_cameras=1,
                picture_size=(224, 224),
                checkpoint=folder,
                random_weights=True,
                settings={"dtype": "bfloat16"},
            )
    head = {**part("head/diffusion"), "denoiser": "unet", "denoiser_options": {"down_dims": [256, 512, 1024]}}
    model = model_of(backbone, head, (14, 14, 256), reasoning=True).cuda()
    pictures = torch.zeros(1, 1, 224, 224, 3, dtype=torch.uint8, device="cuda")
    state = torch.zeros(1, 14, device="cuda")

    def clock() -> float:
        torch.cuda.synchronize()
        return time.perf_counter()

    def timed(call: Callable[[], Any]) -> float:
        with torch.no_grad():
            return median_ms(call, rounds, clock)

    features = model.features(backbone(pictures, SENTENCES[:1]), state).detach()
    found = {
        "prefill_ms": timed(lambda: backbone(pictures, SENTENCES[:1])),
        "denoise_ms": timed(lambda: model.head.sample(features)),
        "spoken_1_ms": timed(lambda: backbone.speak(pictures, SENTENCES[:1], max_tokens=1)),
        "spoken_9_ms": timed(lambda: backbone.speak(pictures, SENTENCES[:1], max_tokens=9)),
        "chunk_kept_ms": timed(lambda: model.act(pictures, state, SENTENCES[:1], SENTENCES[1:])),
    }
    found["token_ms"] = (found["spoken_9_ms"] - found["spoken_1_ms"]) / 8
    found["chunk_spoken_ms"] = found["chunk_kept_ms"] + found["spoken_9_ms"]
    weights = sum(p.numel() for p in model.parameters())
    return {**found, "weights": weights, "device": torch.cuda.get_device_name(), "torch": torch.__version__}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few rounds")
    parser.add_argument("--gpu", action="store_true", help="the large model too, on the GPU of this machine")
    given = parser.parse_args()
    torch.set_num_threads(1)
    rounds = 10 if given.quick else 60
    cpu, peer = on_cpu(rounds), lerobot()
    ours, theirs = cpu["unet"]["chunk_cpu_ms"], peer.get("chunk_cpu_ms")
    name = f"LeRobot {peer['version']}, {peer['weights']:,} weights" if theirs else str(peer.get("error"))
    size = f"{cpu['unet']['weights']:,} weights"
    metrics = [
        Metric(f"CPU ms a chunk, U-Net, {size}", ours, theirs, name, theirs / ours if theirs else None, 1.0, {}),
        Metric("CPU ms a chunk, MLP denoiser", cpu["mlp"]["chunk_cpu_ms"], theirs, name, None, None, {}),
    ]
    gpu = on_gpu(rounds) if given.gpu and torch.cuda.is_available() else None
    if gpu:
        for kind in ("kept", "spoken"):
            hz = 16e3 / gpu[f"chunk_{kind}_ms"]
            target = 4.0 if kind == "kept" else None
            metrics.append(
                Metric(f"actions/s, reasoning {kind}", hz, PAPER_HZ, "paper, A6000", hz / PAPER_HZ, target, {})
            )
    return finish("vla_inference", metrics, seeds=[0], cpu=cpu, peer=peer, gpu=gpu)


if __name__ == "__main__":
    sys.exit(main())

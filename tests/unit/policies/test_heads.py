"""Every head of `conf/head/`: the contract, what it learns, and what it keeps."""

from __future__ import annotations

import copy

import pytest
import torch
import yaml
from safetensors.torch import load, save

from embodied.core.assets import conf_dir
from embodied.core.build import build
from embodied.core.errors import ConfigError
from embodied.policies.heads.base import ActionHead

NAMES = sorted(path.stem for path in (conf_dir() / "head").glob("*.yaml"))
SMALL = {
    "mlp": {"width": 32, "depth": 2},
    "unet": {"down_dims": [8, 16, 16], "groups": 4, "time_size": 16},
    "dit": {"width": 16, "depth": 2, "heads": 2},
}
DENOISERS = [f"{head}:{name}" for head in ("diffusion", "flow") for name in SMALL]
VARIANTS = [
    *(name for name in NAMES if name not in ("diffusion", "flow")),
    *DENOISERS,
    "fourier:density",
    "fourier:periodic",
    "binned:drawn",
    "diffusion:sample",
]
B, F, T, A = 3, 6, 5, 2


def make(variant: str, **more: object) -> ActionHead:
    """A small head: `name[:denoiser or way of working]`."""
    name, _, way = variant.partition(":")
    config = yaml.safe_load((conf_dir() / "head" / f"{name}.yaml").read_text())
    if name in ("diffusion", "flow"):
        denoiser = way if way in SMALL else "mlp"
        config |= {"denoiser": denoiser, "denoiser_options": SMALL[denoiser]}
    else:
        config |= {"hidden_size": 32} | ({} if name == "l1" else {"scalar_size": 16, "bins": 64})
    config |= {
        "density": {"likelihood": "density", "sampling": "density"},
        "periodic": {"extension": "periodic", "sampling": "bins"},
        "drawn": {"temperature": 1.0},
        "sample": {"prediction": "sample"},
    }.get(way, {})
    torch.manual_seed(0)
    sizes = {"feature_size": F, "chunk_size": T, "action_size": A}
    return build(sizes | config | more)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def batch() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    mask = torch.ones(B, T, dtype=torch.bool)
    mask[1, 3:] = False
    return torch.randn(B, F, generator=seeded()), torch.rand(B, T, A, generator=seeded()) * 2 - 1, mask


def loss_of(head: ActionHead, *arguments: torch.Tensor) -> torch.Tensor:
    torch.manual_seed(1)
    return head.loss(*arguments)


def trained(head: ActionHead, data: torch.Tensor, steps: int, rows: int = 128, lr: float = 2e-3) -> ActionHead:
    """Trained without information in the feature, on chunks `(n, T, A)`."""
    adam = torch.optim.Adam(head.parameters(), lr=lr)
    fade = torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps)
    features, mask = torch.zeros(rows, F), torch.ones(rows, data.shape[1], dtype=torch.bool)
    generator = seeded()
    for _ in range(steps):
        chosen = data[torch.randint(len(data), (rows,), generator=generator)]
        adam.zero_grad()
        head.loss(features, chosen, mask).backward()
        adam.step()
        fade.step()
    return head


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_loss_is_a_scalar_with_gradients_for_all_weights(variant):
    head = make(variant)
    loss = loss_of(head, *batch())
    assert loss.shape == ()
    assert torch.isfinite(loss)
    loss.backward()
    assert [name for name, weight in head.named_parameters() if weight.grad is None] == []


@pytest.mark.parametrize("variant", VARIANTS)
def test_actions_that_are_not_valid_do_not_matter(variant):
    head, (features, actions, mask) = make(variant), batch()
    with torch.no_grad():
        for weight in head.parameters():
            weight.add_(0.1 * torch.randn(weight.shape, generator=seeded()))
    other = actions.clone()
    other[~mask] = torch.nan
    assert torch.equal(loss_of(head, features, actions, mask), loss_of(head, features, other, mask))
    other = actions.clone()
    other[0, 0, 0] = -other[0, 0, 0]
    assert not torch.equal(loss_of(head, features, actions, mask), loss_of(head, features, other, mask))


@pytest.mark.parametrize("variant", VARIANTS)
def test_samples_lie_in_range_and_repeat(variant):
    head, features = make(variant), batch()[0] * 10
    chunk = head.sample(features, seeded())
    assert chunk.shape == (B, T, A)
    assert chunk.abs().max() <= 1.0
    assert not chunk.requires_grad
    assert torch.equal(chunk, head.sample(features, seeded()))


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("committed", [0, 2, T])
def test_the_prefix_is_kept_exactly(variant, committed):
    head, (features, actions, _) = make(variant), batch()
    chunk = head.sample(features, seeded(), prefix=actions[:, :committed])
    assert chunk.shape == (B, T, A)
    assert torch.equal(chunk[:, :committed], actions[:, :committed])


@pytest.mark.parametrize("name", ["diffusion:dit", "diffusion:sample", "flow:unet"])
def test_a_prefix_is_continued_without_gradients_around(name):
    head, (features, actions, _) = make(name), batch()
    with torch.inference_mode():
        chunk = head.sample(features.clone(), seeded(), prefix=actions[:, :2].clone())
    assert not chunk.requires_grad
    assert all(weight.grad is None for weight in head.parameters())


@pytest.mark.parametrize("variant", VARIANTS)
def test_weights_make_the_round_trip(variant):
    head, features = make(variant), batch()[0]
    other = make(variant)
    with torch.no_grad():
        for weight in other.parameters():
            weight.add_(1.0)
    other.load_state_dict(load(save(head.state_dict())))
    assert torch.equal(head.sample(features, seeded()), other.sample(features, seeded()))


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_new_embodiment_changes_only_what_knows_the_actions(variant):
    head = make(variant)
    before = copy.deepcopy(head.state_dict())
    head.new_embodiment(4)
    after = head.state_dict()
    assert before.keys() == after.keys()
    changed = {
        key for key in after if before[key].shape != after[key].shape or not torch.equal(before[key], after[key])
    }
    projections = {".".join(key.split(".")[:-1]) for key in changed}
    way = variant.partition(":")[2]
    first = {"unet": {"down.0.first.one.convolution", "down.0.first.shortcut"}}.get(way, {"first"})
    if variant.startswith(("diffusion", "flow")):
        assert projections == {f"denoiser.{name}" for name in first | {"last"}}
    else:
        assert projections == {"last" if variant == "l1" else "body.last"}
    assert head.sample(batch()[0], seeded()).shape == (B, T, 4)
    assert torch.isfinite(head.loss(batch()[0], torch.zeros(B, T, 4), batch()[2]))


@pytest.mark.parametrize("variant", ["binned:drawn", "fourier:density", "fourier:periodic", "diffusion", "flow"])
def test_both_modes_are_learned(variant):
    noise = 0.05 * torch.randn(2000, 1, 1, generator=seeded())
    data = 0.6 * torch.randint(2, (2000, 1, 1), generator=seeded(1)).mul(2).sub(1) + noise
    head = trained(make(variant, chunk_size=1, action_size=1), data, 400, lr=4e-3)
    drawn = head.sample(torch.zeros(1000, F), seeded()).flatten()
    assert 0.35 < (drawn > 0).float().mean() < 0.65
    assert ((drawn.abs() > 0.35) & (drawn.abs() < 0.85)).float().mean() > 0.9


def test_l1_has_one_answer_between_the_modes():
    data = 0.6 * torch.arange(2000).remainder(2).mul(2).sub(1).float()[:, None, None]
    head = trained(make("l1", chunk_size=1, action_size=1), data, 200)
    drawn = head.sample(torch.zeros(1000, F), seeded()).flatten()
    assert drawn.std() < 1e-6
    assert drawn[0].abs() < 0.5


@pytest.mark.parametrize("name", ["diffusion", "flow"])
def test_a_chunk_goes_on_as_its_prefix_began(name):
    data = torch.rand(4000, 1, 1, generator=seeded()).mul(1.6).sub(0.8).expand(-1, 8, 1)
    options = {"denoiser_options": {"width": 64, "depth": 2}}
    head = trained(make(name, chunk_size=8, action_size=1, **options), data, 400)
    prefix = torch.rand(200, 1, 1, generator=seeded(2)).mul(1.2).sub(0.6).expand(-1, 3, 1)
    alone = head.sample(torch.zeros(200, F), seeded())
    after = head.sample(torch.zeros(200, F), seeded(), prefix=prefix)
    overwritten = (alone[:, 3] - prefix[:, 2]).abs().mean()
    continued = (after[:, 3] - prefix[:, 2]).abs().mean()
    assert continued < 0.3 * overwritten
    head.guidance = 0.0
    painted = head.sample(torch.zeros(200, F), seeded(), prefix=prefix)
    assert continued < 0.6 * (painted[:, 3] - prefix[:, 2]).abs().mean()


@pytest.mark.parametrize("variant", DENOISERS)
def test_every_denoiser_learns(variant):
    wide = {"denoiser_options": {"down_dims": [16, 32], "groups": 4, "time_size": 16}}
    head = make(variant, chunk_size=6, **(wide if variant.endswith("unet") else {}))
    data = torch.rand(1, 6, A, generator=seeded()).mul(1.6).sub(0.8)
    before = (head.sample(torch.zeros(64, F), seeded()) - data).square().mean()
    trained(head, data, 120, rows=32, lr=5e-3)
    after = (head.sample(torch.zeros(64, F), seeded()) - data).square().mean()
    assert after < (0.35 if variant.endswith("unet") else 0.12) * before


@pytest.mark.parametrize("chunk_size", [1, 3, 7, 16])
def test_the_unet_takes_any_number_of_steps(chunk_size):
    head = make("flow:unet", chunk_size=chunk_size)
    assert head.sample(torch.zeros(2, F), seeded()).shape == (2, chunk_size, A)


@pytest.mark.parametrize("name", NAMES)
def test_wrong_shapes_are_named(name):
    head, (features, actions, mask) = make(name), batch()
    with pytest.raises(ConfigError, match=r"features \(B, 6\).*got \(3, 5\), \(3, 5, 2\), \(3, 5\)"):
        head.loss(features[:, 1:], actions, mask)
    with pytest.raises(ConfigError, match=r"actions \(B, 5, 2\).*\(3, 4, 2\)"):
        head.loss(features, actions[:, 1:], mask)
    with pytest.raises(ConfigError, match=r"mask \(B, 5\).*\(3, 4\)"):
        head.loss(features, actions, mask[:, 1:])
    with pytest.raises(ConfigError, match=r"must be torch\.bool"):
        head.loss(features, actions, mask.float())
    with pytest.raises(ConfigError, match=r"features \(B, 6\); got \(3, 5\)"):
        head.sample(features[:, 1:])
    with pytest.raises(ConfigError, match=r"prefix \(3, at most 5, 2\); got \(3, 2, 1\)"):
        head.sample(features, prefix=actions[:, :2, :1])


@pytest.mark.parametrize(
    ("name", "wrong", "message"),
    [
        ("l1", {"hidden_size": 0}, "L1Head: hidden_size=0 must be at least 1"),
        ("l1", {"chunk_size": 0}, "L1Head: chunk_size=0 must be at least 1"),
        ("binned", {"bins": 1}, "BinnedHead: bins=1 must be at least 2"),
        ("binned", {"temperature": -1.0}, "temperature=-1.0"),
        ("fourier", {"sampling": "median"}, "sampling='median' must be one of mode, bins, density"),
        ("fourier", {"extension": "odd"}, "extension='odd'"),
        ("diffusion", {"prediction": "velocity"}, "must be one of epsilon, sample"),
        ("diffusion", {"inference_steps": 200}, "training_steps=100 must be at least 200"),
        ("diffusion", {"denoiser": "ditt"}, "Did you mean 'dit'"),
        ("diffusion", {"denoiser_options": {"widht": 3}}, "Did you mean 'width'"),
        ("flow", {"time_alpha": 0.0}, "time_alpha=0.0 must be positive"),
        ("flow", {"denoiser": "unet", "denoiser_options": {"down_dims": [12, 24]}}, "multiples of groups=8"),
        ("flow", {"denoiser": "unet", "denoiser_options": {"kernel_size": 4}}, "kernel_size=4 must be odd"),
        ("flow", {"denoiser": "dit", "denoiser_options": {"width": 30}}, "width=30 must be a multiple of heads=4"),
        ("flow", {"guidance": -1.0}, "FlowHead: guidance=-1.0 must be at least 0"),
        (
            "flow",
            {"denoiser": "embodied.policies.heads.l1.L1Head", "denoiser_options": {}},
            "is a L1Head, not a Denoiser",
        ),
    ],
)
def test_wrong_values_are_named(name, wrong, message):
    with pytest.raises(ConfigError, match=message):
        make(name, **wrong)

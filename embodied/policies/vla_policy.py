"""A fitted vision-language-action policy that acts: the `Policy` contract around a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from embodied.core.errors import ConfigError
from embodied.core.policy import STATE_KEY
from embodied.data.frame_cache import shrunk
from embodied.policies.checkpoint import Architecture, load_parts
from embodied.policies.diffusion_vla import DiffusionVLA
from embodied.policies.normalization import Normalization


class VLAPolicy:
    """Acts on pictures, state and an instruction, and says why.

    Args:
        model: the network, in the mode for acting.
        architecture: how it is built.
        normalization: of states and actions.
        think_every: chunks that are acted on before the reasoning is spoken anew; between them it is kept.
        seed: of the head's noise.

    Attributes:
        features: what `act` needs: pictures `(H, W, 3)` uint8 and the state `(S,)`.
        said: the reasoning behind the last chunk.
    """

    def __init__(
        self,
        model: DiffusionVLA,
        architecture: Architecture,
        normalization: Normalization,
        *,
        think_every: int = 1,
        seed: int = 0,
    ) -> None:
        if think_every < 1:
            raise ConfigError(f"think_every={think_every} must be at least 1")
        self.model, self.architecture, self.normalization = model.eval(), architecture, normalization
        self.think_every = think_every
        self.features: Mapping[str, tuple[int, ...]] = {
            **dict.fromkeys(architecture.cameras, (*architecture.camera_shape, 3)),
            STATE_KEY: (architecture.state_size,),
        }
        self.device = next(model.parameters()).device
        self._generator = torch.Generator(self.device).manual_seed(seed)
        self.reset("")

    @staticmethod
    def load(folder: Path, *, think_every: int = 1, seed: int = 0, trusted_packages: Sequence[str] = ()) -> VLAPolicy:
        """Reads a saved policy."""
        return VLAPolicy(*load_parts(folder, trusted_packages), think_every=think_every, seed=seed)

    @property
    def n_action_steps(self) -> int:
        """Actions of a chunk to execute before the next."""
        return self.architecture.n_action_steps

    @property
    def action_size(self) -> int:
        """Length A of an action."""
        return self.architecture.action_size

    @property
    def fps(self) -> int:
        """Actions per second."""
        return self.architecture.fps

    def reset(self, instruction: str) -> None:
        """Begins an episode."""
        self.instruction, self.said, self._chunks = instruction, "", 0

    def instruct(self, text: str) -> None:
        """Changes the instruction; the next chunk is thought anew."""
        self.instruction, self._chunks = text, 0

    def act(self, observation: Mapping[str, Any], prefix: np.ndarray | None = None) -> np.ndarray:
        """Chunk `(T, A)` of raw actions for one observation; `prefix (P, A)` of it is already committed."""
        thought = [self.said] if self._chunks % self.think_every else None
        self._chunks += 1
        stacked = {key: np.asarray(observation[key])[None] for key in self.features if key in observation}
        given = None if prefix is None else np.asarray(prefix)[None]
        chunks, said = self.predict(stacked, [self.instruction], thought, given)
        self.said = said[0]
        return chunks[0]

    def predict(
        self,
        observation: Mapping[str, np.ndarray],
        instructions: Sequence[str],
        reasoning: Sequence[str] | None = None,
        prefix: np.ndarray | None = None,
    ) -> tuple[np.ndarray, list[str]]:
        """Chunks `(B, T, A)` of raw actions and the reasoning behind them.

        Args:
            observation: by feature, stacked `(B, ...)`.
            instructions: B sentences.
            reasoning: to act on without thinking anew; None thinks.
            prefix: raw actions `(B, P, A)` already committed.

        Raises:
            ConfigError: a feature is missing or of another shape.
        """
        for key, shape in self.features.items():
            if key not in observation or tuple(np.shape(observation[key]))[1:] != tuple(shape):
                got = "nothing" if key not in observation else np.shape(observation[key])[1:]
                raise ConfigError(f"the policy needs '{key}' of shape {tuple(shape)}, got {got}")
        size = self.model.backbone.picture_size
        pictures = np.stack([shrunk(observation[key], size) for key in self.architecture.cameras], axis=1)
        state = self.normalization.states(observation[STATE_KEY])
        committed = None if prefix is None else self._tensor(self.normalization.actions(prefix))
        chunks, said = self.model.act(
            self._tensor(pictures), self._tensor(state), instructions, reasoning, self._generator, committed
        )
        return self.normalization.raw_actions(chunks.float().cpu().numpy()), said

    def _tensor(self, array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.device)

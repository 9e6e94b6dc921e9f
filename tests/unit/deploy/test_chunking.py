"""The rhythm of a policy that takes its time."""

import numpy as np
import pytest

from embodied.deploy.chunking import Chunking


class Counting:
    """Its k-th chunk begins at 100 k; it keeps what is committed."""

    n_action_steps = 8

    def __init__(self):
        self.prefixes = []

    def act(self, observation, prefix=None):
        self.prefixes.append(prefix)
        chunk = 100.0 * len(self.prefixes) + np.arange(16.0)[:, None]
        if prefix is not None:
            chunk[: len(prefix)] = prefix
        return chunk


def played(delay_s, steps=40, **settings):
    """Steps at which a chunk was asked for, and the action executed at every step, each chunk `delay_s` late."""
    chunking = Chunking(Counting(), 0.05, **settings)
    asked, waiting, now, done = [], [], None, []
    for step in range(steps):
        if chunking.due(step):
            asked.append(step)
            waiting.append((step + int(np.ceil(delay_s / 0.05 - 1e-9)), step, chunking.ask({}, step)))
            chunking.took(delay_s)
        for _, begin, chunk in [w for w in waiting if w[0] <= step]:
            now = (begin, chunk)
        done.append(None if now is None else float(now[1][step - now[0], 0]))
    return asked, done, chunking


def test_without_delay_a_chunk_follows_the_other():
    asked, done, chunking = played(0.0)
    assert asked == [0, 8, 16, 24, 32]
    assert chunking.policy.prefixes == [None] * 5
    assert done == [100.0 * (1 + s // 8) + s % 8 for s in range(40)]


@pytest.mark.parametrize("delay_s", [0.04, 0.1, 0.23, 0.35])
def test_what_is_executed_while_waiting_is_what_the_new_chunk_begins_with(delay_s):
    """The paper's guarantee: no step between the chunks, whatever the delay, once a delay was seen."""
    asked, _, chunking = played(delay_s)
    lead = int(np.ceil(delay_s / 0.05))
    assert chunking.lead == lead
    assert asked[1] == 8 - lead
    whole = {0: 100.0 + np.arange(16.0)}
    for k, (step, prefix) in enumerate(zip(asked[1:], chunking.policy.prefixes[1:], strict=True), start=2):
        before = whole[max(whole)]
        offset = step - max(whole)
        assert np.array_equal(prefix[:, 0], before[offset : offset + lead])
        whole[step] = np.concatenate([prefix[:, 0], (100.0 * k + np.arange(16.0))[lead:]])


def test_an_answer_within_its_own_step_needs_no_lead():
    assert played(0.002, quick_s=0.003)[2].lead == 0


def test_a_delay_beyond_the_chunk_asks_at_every_step():
    assert played(5.0)[2].lead == 7


def test_policies_of_one_action_are_asked_at_every_step():
    chunking = Chunking(type("Plain", (), {"act": lambda self, observation: np.zeros((1, 2))})(), 0.05)
    chunking.took(1.0)
    for step in range(3):
        assert chunking.due(step)
        chunking.ask({}, step)

"""Sampling model-predictive control: a reward program as the objective of plans over batched MuJoCo rollouts."""

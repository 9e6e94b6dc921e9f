"""Reinforcement learning on the batch engine, under the lock; the trusted evaluator; reports."""

"""The quadruped and its tasks."""

"""Drivers of real robots and their digital twins; they import `embodied.core` and `embodied.safety` only."""

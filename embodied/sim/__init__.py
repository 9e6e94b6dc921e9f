"""MuJoCo tasks, the batch engine, exact world reads, randomisation, rendering."""

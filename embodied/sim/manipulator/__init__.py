"""The seven-joint arm at a table and its tasks."""

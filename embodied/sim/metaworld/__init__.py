"""Meta-World's fifty tabletop tasks."""

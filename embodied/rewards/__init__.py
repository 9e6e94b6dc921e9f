"""From language to reward programs: writers, checks, the screen, the library."""

"""Action heads: features in, chunks of actions out. Interchangeable parts of any policy."""

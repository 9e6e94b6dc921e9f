"""Vision-language-action policies: backbones, action heads, and their supervised training."""

"""Backbones: pictures and an instruction in, hidden states and spoken reasoning out."""

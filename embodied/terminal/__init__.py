"""Thin terminal faces of the sessions."""

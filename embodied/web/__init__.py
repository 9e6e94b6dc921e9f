"""Thin web faces of the sessions, on loopback alone."""

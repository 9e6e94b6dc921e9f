"""The gate before every motion: envelope, limits, latched faults. Not a safety function in the sense of ISO 10218."""

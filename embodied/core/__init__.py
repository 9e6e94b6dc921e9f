"""The contracts that everything shares: numpy and the standard library only."""

"""Interactive sessions: state machines with a ledger, without any user interface."""

"""Digital twins: processes that speak a robot's own protocol, with MuJoCo physics behind it and faults at will."""

"""From a policy to a robot: chunks, the control loop behind the gate, and the processes that they run in."""

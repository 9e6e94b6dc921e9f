"""What went over a UR twin's wire to the robot, read from its byte log."""

import json
import struct
from collections.abc import Iterator
from pathlib import Path

RTDE, DATA, SERVOJ_RECIPE, SERVOJ = 30004, ord("U"), 2, 11


def targets(log: Path) -> Iterator[tuple[float, ...]]:
    """Every `servoJ` target `(6,)` [rad] that reached the twin, in order."""
    stream = b"".join(
        bytes.fromhex(row["hex"])
        for row in map(json.loads, log.read_text().splitlines())
        if row["to"] == "robot" and row["port"] == RTDE
    )
    while len(stream) >= 3:
        size, kind = struct.unpack(">HB", stream[:3])
        message, stream = stream[3:size], stream[size:]
        if kind == DATA and message[0] == SERVOJ_RECIPE and struct.unpack(">i", message[1:5])[0] == SERVOJ:
            yield struct.unpack(">6d", message[5:53])

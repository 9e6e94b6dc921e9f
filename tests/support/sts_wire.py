"""Reads a serial twin's byte log."""

import json


def packets(path, to="robot"):
    """Whole packets in the order in which they went over the wire."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    data = b"".join(bytes.fromhex(row["hex"]) for row in rows if row["to"] == to)
    at = 0
    while at + 4 <= len(data):
        assert data[at : at + 2] == b"\xff\xff", f"byte {at} begins no packet"
        yield data[at : at + data[at + 3] + 4]
        at += data[at + 3] + 4


def goals(path):
    """`(motor id, count)` of every goal position that was sent to several servos at once."""
    for packet in packets(path):
        if packet[4] == 0x83 and packet[5] == 42:
            for at in range(7, len(packet) - 1, 3):
                yield packet[at], packet[at + 1] | packet[at + 2] << 8

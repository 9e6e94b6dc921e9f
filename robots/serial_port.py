"""What both vendors' serial ports lack: short timeouts on a monotonic clock, reads that wait instead of spinning."""

from __future__ import annotations

import termios
import time

REPLY_S = 0.005  # a USB adapter answers within a few milliseconds
QUIET_S = 0.002
LATE_S = 0.08  # later than this no reply comes any more
GONE = (OSError, TypeError, AttributeError, termios.error)  # a closed device shows in all these ways


def waiting_port(handler: type) -> type:
    """A vendor's `PortHandler` with both."""

    class Port(handler):
        def setPacketTimeout(self, packet_length: int) -> None:
            self.setPacketTimeoutMillis(1e3 * REPLY_S + self.tx_time_per_byte * (packet_length + 3))

        def getCurrentTime(self) -> float:
            return time.monotonic() * 1e3

        def readPort(self, length: int) -> bytes:
            left_ms = self.packet_timeout - self.getTimeSinceStart()
            self.ser.timeout = max(left_ms, 0.0) / 1e3
            return self.ser.read(length)

    return Port

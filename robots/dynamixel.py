"""Dynamixel X servos (protocol 2.0) through the vendor's SDK (`dynamixel-sdk`), imported when the port is opened.

Measured traps of the SDK, and what is done: a lost reply blocks for 34 ms on the wall clock (here `REPLY_S`, on a
monotonic one); waiting is a busy loop (here a blocking read); after a pulled cable the port stays "in use" for every
later call, torque off included (here released); a failed read returns 0 (here the result code is looked at). The
servos have a bus watchdog: armed, they stop and hold by themselves when nothing is said for `WATCHDOG_S`.
Joints run in extended position mode, as LeRobot sets them up: counts do not wrap.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from embodied.core.errors import ConfigError, RobotLostError
from robots.calibration import MotorCalibration
from robots.serial_port import GONE, LATE_S, QUIET_S, waiting_port
from robots.servo_bus import BusFaultError, ServoReading

MODEL, OPERATING_MODE, HOMING_OFFSET, RANGE_MAX, RANGE_MIN, TORQUE = 0, 11, 20, 48, 52, 64
HARDWARE_ERROR, WATCHDOG, GOAL_CURRENT, GOAL, PRESENT, PRESENT_BYTES = 70, 98, 102, 116, 124, 23
WATCHDOG_S, WATCHDOG_UNIT_S = 0.1, 0.02
VELOCITY_COUNTS = 0.229 / 60.0 * 4096.0  # counts a second of one unit
_STATUS = {0: "voltage", 2: "overheat", 3: "encoder", 4: "electrical shock", 5: "overload"}


def two_complement(value: int, size: int) -> int:
    """A register's bytes as a signed number."""
    return value - (1 << 8 * size) if value >> 8 * size - 1 else value


class DynamixelBus:
    """One port.

    Args:
        port: device, such as `/dev/ttyUSB0`.
        baudrate: of the bus.
    """

    offset_sign = 1  # the servo adds its homing offset

    def __init__(self, port: str, baudrate: int = 1_000_000) -> None:
        self.port, self.baudrate = port, baudrate
        self._handler: Any = None
        self._packets: Any = None
        self._readers: dict[tuple[int, ...], Any] = {}

    def open(self) -> None:
        """Opens the port."""
        sdk = _sdk()
        self._handler = waiting_port(sdk.PortHandler)(self.port)
        self._handler.baudrate = self.baudrate
        try:
            opened = self._handler.openPort()
        except OSError as error:
            raise RobotLostError(f"no port {self.port}: {error}. Is the cable plugged in and the power on?") from None
        if not opened:
            raise ConfigError(f"port {self.port}: baudrate {self.baudrate} is none that the servos know")
        self._packets = sdk.PacketHandler(2.0)

    def close(self) -> None:
        """Closes the port; never raises, may be called twice."""
        handler, self._handler, self._packets = self._handler, None, None
        self._readers.clear()
        if handler is not None:
            try:
                handler.closePort()
            except Exception as error:
                del error  # the port is gone: nothing is left to close

    def model_number(self, motor: int) -> int:
        """Which servo answers under this id."""
        return self._register(motor, MODEL, 2)

    def stored_calibration(self, motor: int) -> tuple[int, int, int]:
        """Homing offset, lowest and highest count in the servo's permanent memory."""
        offset = two_complement(self._register(motor, HOMING_OFFSET, 4), 4)
        return offset, self._register(motor, RANGE_MIN, 4), self._register(motor, RANGE_MAX, 4)

    def store_calibration(self, calibration: MotorCalibration) -> None:
        """Writes them; the torque must be off."""
        for register, value in (
            (HOMING_OFFSET, calibration.homing_offset),
            (RANGE_MIN, calibration.range_min),
            (RANGE_MAX, calibration.range_max),
        ):
            self._write(calibration.id, register, 4, value)

    def read(self, motors: Sequence[int]) -> Mapping[int, ServoReading]:
        """Present values of those that answered well, in one exchange."""
        packets, key = self._open_packets(), tuple(motors)
        if key not in self._readers:
            self._readers[key] = _sdk().GroupSyncRead(self._handler, packets, PRESENT, PRESENT_BYTES)
            for motor in key:
                self._readers[key].addParam(motor)
        reader, found = self._readers[key], {}
        if self._guarded(reader.txPacket) != 0:
            return found
        for motor in key:
            data, result, error = self._guarded(lambda m=motor: packets.readRx(self._handler, m, PRESENT_BYTES))
            if result != 0 or len(data) != PRESENT_BYTES:
                break  # replies come in order: after a lost one the next bytes are not what they seem
            faults = self._complaints(motor) if error & 0x80 else ()
            found[motor] = _reading(data, faults)
        return found

    def write_goals(self, counts: Mapping[int, int]) -> None:
        """Goal positions of several servos, in one exchange, without a reply."""
        packets = self._open_packets()
        words = [b for motor, count in counts.items() for b in (motor, *(count & 0xFFFFFFFF).to_bytes(4, "little"))]
        result = self._guarded(lambda: packets.syncWriteTxOnly(self._handler, GOAL, 4, words, len(words)))
        if result != 0:
            raise BusFaultError(f"port {self.port}: goals not written ({packets.getTxRxResult(result)})")

    def set_torque(self, motors: Iterable[int], on: bool) -> None:
        """Torque on or off, confirmed by each servo; the watchdog is on as long as the torque is."""
        for motor in motors:
            self._write(motor, WATCHDOG, 1, 0)  # clears one that has fired
            self._write(motor, TORQUE, 1, int(on))
        for motor in motors if on else ():
            self._write(motor, WATCHDOG, 1, round(WATCHDOG_S / WATCHDOG_UNIT_S))

    def set_torque_limit(self, motors: Iterable[int], share: float) -> None:
        """Share of the stall torque that a servo may use, 0 to 1: its goal PWM."""
        for motor in motors:
            self._write(motor, 100, 2, round(885 * min(max(share, 0.0), 1.0)))

    def quiesce(self) -> None:
        """After a fault: waits out what may still be on its way and throws it away."""
        time.sleep(QUIET_S)
        self._guarded(self._handler.clearPort)

    def _complaints(self, motor: int) -> tuple[str, ...]:
        packets = self._open_packets()
        value, result, _ = self._guarded(lambda: packets.read1ByteTxRx(self._handler, motor, HARDWARE_ERROR))
        return tuple(name for bit, name in _STATUS.items() if value & 1 << bit) if result == 0 else ("unknown",)

    def _register(self, motor: int, register: int, size: int) -> int:
        packets, result = self._open_packets(), 0
        for attempt in range(3):
            data, result, error = self._guarded(lambda: packets.readTxRx(self._handler, motor, register, size))
            if result == 0 and not error & 0x7F and len(data) == size:
                return int.from_bytes(bytes(data), "little")
            if attempt < 2:
                time.sleep(LATE_S)
                self._guarded(self._handler.clearPort)
        raise BusFaultError(
            f"servo {motor} on {self.port} does not answer ({packets.getTxRxResult(result)}). Check its id, its cable"
            " and the power"
        )

    def _write(self, motor: int, register: int, size: int, value: int) -> None:
        packets, why = self._open_packets(), ""
        values = list((value & (1 << 8 * size) - 1).to_bytes(size, "little"))
        for attempt in range(3):
            result, error = self._guarded(lambda: packets.writeTxRx(self._handler, motor, register, size, values))
            if result == 0 and not error & 0x7F:
                return
            why = packets.getTxRxResult(result) if result else packets.getRxPacketError(error)
            if attempt < 2:
                time.sleep(LATE_S)
                self._guarded(self._handler.clearPort)
        raise BusFaultError(f"servo {motor} on {self.port}: register {register} not written ({why})")

    def _open_packets(self) -> Any:
        if self._packets is None:
            raise RobotLostError(f"port {self.port} is not open: connect first")
        return self._packets

    def _guarded(self, exchange: Any) -> Any:
        try:
            return exchange()
        except GONE as error:
            raise RobotLostError(f"port {self.port} is gone: {error}") from None
        finally:
            if self._handler is not None:
                self._handler.is_using = False


def _reading(data: Sequence[int], faults: tuple[str, ...]) -> ServoReading:
    """From the block that begins at the present PWM."""
    raw = bytes(data)

    def number(at: int, size: int) -> int:
        return two_complement(int.from_bytes(raw[at : at + size], "little"), size)

    return ServoReading(
        count=number(8, 4),
        counts_per_s=number(4, 4) * VELOCITY_COUNTS,
        load=number(2, 2) / 1000.0,
        voltage_v=number(20, 2) / 10.0,
        temperature_c=float(raw[22]),
        faults=faults,
    )


def _sdk() -> Any:
    try:
        import dynamixel_sdk
    except ImportError:
        raise ConfigError(
            "Dynamixel servos need the vendor's SDK: pip install 'embodied-control[dynamixel]' (dynamixel-sdk)"
        ) from None
    return dynamixel_sdk

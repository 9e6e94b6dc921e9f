"""Feetech STS and SMS servos through the vendor's SDK (`ftservo-python-sdk`), imported when the port is opened.

Measured traps of the SDK, and what is done: its timeouts run on the wall clock and last 50 ms (here monotonic and
`REPLY_S`); waiting for bytes is a busy loop (here a blocking read); after an exception the port stays "in use" (here
released); a group read keeps old values of servos that did not answer (here thrown away first).
Nothing in an STS3215 stops it when its master dies: it holds its last goal.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from embodied.core.errors import ConfigError, RobotLostError
from robots.calibration import MotorCalibration
from robots.serial_port import GONE, LATE_S, QUIET_S, waiting_port
from robots.servo_bus import BusFaultError, ServoReading

MODEL, HOMING_OFFSET, RANGE_MIN, RANGE_MAX, LOCK = 3, 31, 9, 11, 55
TORQUE, GOAL, TORQUE_LIMIT, PRESENT, PRESENT_BYTES = 40, 42, 48, 56, 15
_STATUS = {0: "voltage", 1: "angle sensor", 2: "overheat", 3: "overcurrent", 5: "overload"}


def signed(value: int, bit: int) -> int:
    """Sign and magnitude, as these servos write numbers: `bit` is the sign."""
    return -(value & ~(1 << bit)) if value & (1 << bit) else value


def unsigned(value: int, bit: int) -> int:
    """Inverse of `signed`."""
    return -value | 1 << bit if value < 0 else value


class FeetechBus:
    """One port.

    Args:
        port: device, such as `/dev/ttyACM0`.
        baudrate: of the bus.
    """

    offset_sign = -1  # the servo subtracts its homing offset

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
        self._packets = sdk.sms_sts(self._handler)

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
        return self._word(motor, MODEL)

    def stored_calibration(self, motor: int) -> tuple[int, int, int]:
        """Homing offset, lowest and highest count in the servo's permanent memory."""
        offset = signed(self._word(motor, HOMING_OFFSET), 11)
        return offset, self._word(motor, RANGE_MIN), self._word(motor, RANGE_MAX)

    def store_calibration(self, calibration: MotorCalibration) -> None:
        """Writes them; the torque must be off."""
        motor = calibration.id
        self._write(motor, LOCK, [0])
        for register, value in (
            (HOMING_OFFSET, unsigned(calibration.homing_offset, 11)),
            (RANGE_MIN, calibration.range_min),
            (RANGE_MAX, calibration.range_max),
        ):
            self._write(motor, register, [value & 0xFF, value >> 8])
        self._write(motor, LOCK, [1])

    def read(self, motors: Sequence[int]) -> Mapping[int, ServoReading]:
        """Present values of those that answered well, in one exchange."""
        key = tuple(motors)
        if key not in self._readers:
            reader = _sdk().GroupSyncRead(self._open_packets(), PRESENT, PRESENT_BYTES)
            for motor in key:
                reader.addParam(motor)
            self._readers[key] = reader
        reader = self._readers[key]
        reader.data_dict.update({motor: [] for motor in key})
        self._guarded(reader.txRxPacket)
        found = {}
        for motor, data in reader.data_dict.items():
            if data is not None and len(data) == PRESENT_BYTES + 1:
                found[motor] = _reading(data)
        return found

    def write_goals(self, counts: Mapping[int, int]) -> None:
        """Goal positions of several servos, in one exchange, without a reply."""
        packets = self._open_packets()
        words = [byte for motor, count in counts.items() for byte in (motor, count & 0xFF, count >> 8)]
        result = self._guarded(lambda: packets.syncWriteTxOnly(GOAL, 2, words, len(words)))
        if result != 0:
            raise BusFaultError(f"port {self.port}: goals not written ({packets.getTxRxResult(result)})")

    def set_torque(self, motors: Iterable[int], on: bool) -> None:
        """Torque on or off, confirmed by each servo."""
        for motor in motors:
            self._write(motor, TORQUE, [int(on)])

    def set_torque_limit(self, motors: Iterable[int], share: float) -> None:
        """Share of the stall torque that a servo may use, 0 to 1."""
        value = round(1000 * min(max(share, 0.0), 1.0))
        for motor in motors:
            self._write(motor, TORQUE_LIMIT, [value & 0xFF, value >> 8])

    def quiesce(self) -> None:
        """After a fault: waits out what may still be on its way and throws it away."""
        time.sleep(QUIET_S)
        self._guarded(self._handler.clearPort)

    def _word(self, motor: int, register: int) -> int:
        packets, result = self._open_packets(), 0
        for attempt in range(3):
            data, result, _ = self._guarded(lambda: packets.readTxRx(motor, register, 2))
            if result == 0 and len(data) == 2:
                return data[0] | data[1] << 8
            if attempt < 2:  # a late reply to this read must not be taken for the answer to the next one
                time.sleep(LATE_S)
                self._guarded(self._handler.clearPort)
        raise BusFaultError(
            f"servo {motor} on {self.port} does not answer ({packets.getTxRxResult(result)}). Check its id, its cable"
            " and the power"
        )

    def _write(self, motor: int, register: int, values: list[int]) -> None:
        for attempt in range(3):
            packets = self._open_packets()
            result, _ = self._guarded(lambda packets=packets: packets.writeTxRx(motor, register, len(values), values))
            if result == 0:
                return
            if attempt < 2:
                time.sleep(LATE_S)
                self._guarded(self._handler.clearPort)
        raise BusFaultError(f"servo {motor} on {self.port}: register {register} not written, no confirmation")

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


def _reading(data: Sequence[int]) -> ServoReading:
    """From the error byte and the block that begins at the present position."""
    word = [data[i] | data[i + 1] << 8 for i in range(1, 6, 2)]
    return ServoReading(
        count=signed(word[0], 15),
        counts_per_s=float(signed(word[1], 15)),
        load=signed(word[2], 10) / 1000.0,
        voltage_v=data[7] / 10.0,
        temperature_c=float(data[8]),
        faults=tuple(name for bit, name in _STATUS.items() if data[0] & 1 << bit),
    )


def _sdk() -> Any:
    try:
        import scservo_sdk
    except ImportError:
        raise ConfigError(
            "Feetech servos need the vendor's SDK: pip install 'embodied-control[so101]' (ftservo-python-sdk)"
        ) from None
    if not hasattr(scservo_sdk, "sms_sts"):
        raise ConfigError(
            "the installed scservo_sdk is feetech-servo-sdk, which takes late replies for answers to later reads:"
            " pip uninstall feetech-servo-sdk, then pip install ftservo-python-sdk==2.0.1"
        )
    return scservo_sdk

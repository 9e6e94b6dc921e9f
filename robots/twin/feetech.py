"""Feetech's serial protocol as the servos speak it: packets in, replies out, a memory table per servo.

Packet: FF FF id length instruction parameters checksum; the checksum is the inverted sum. Registers and number formats
are the STS3215's; the permanent memory is locked while register 55 is 1.
"""

from __future__ import annotations

from collections.abc import Mapping

from robots.calibration import COUNTS, RAD_PER_COUNT, JointScale, MotorCalibration
from robots.feetech import signed, unsigned
from robots.twin.physics import ArmPhysics
from robots.twin.serial import SerialServos

PING, READ, WRITE, REG_WRITE, ACTION, SYNC_READ, SYNC_WRITE = 1, 2, 3, 4, 5, 0x82, 0x83
BROADCAST = 0xFE
EEPROM_END, LOCK, TORQUE, GOAL, TORQUE_LIMIT = 40, 55, 40, 42, 48
_OVERHEAT_BIT, _OVERLOAD_BIT = 2, 5


class StsServos(SerialServos):
    """All servos of one bus.

    Args:
        physics: the arm.
        calibration: what is burnt into the servos, by joint.
        scales: counts and angles of each joint, as the arm is really built.
        model_number: what the servos say that they are.
        stall_torque_nm: torque at load 1 [Nm].
    """

    def __init__(
        self,
        physics: ArmPhysics,
        calibration: Mapping[str, MotorCalibration],
        scales: Mapping[str, JointScale],
        *,
        model_number: int,
        stall_torque_nm: float,
    ) -> None:
        super().__init__(physics, calibration)
        self.stall_torque_nm = stall_torque_nm
        self.scales = [scales[joint] for joint in physics.joints]
        self.tables = {calibration[j].id: _table(calibration[j], model_number) for j in physics.joints}
        self.error_bits = dict.fromkeys(self.motors, 0)
        self._offsets = {calibration[j].id: calibration[j].homing_offset for j in physics.joints}
        self._registered: dict[int, tuple[int, bytes]] = {}

    def _answers(self) -> bytes:
        replies = bytearray()
        while (packet := self._next_packet()) is not None:
            replies += self._answer(packet[2], packet[4], bytes(packet[5:-1]))
        return bytes(replies)

    def tick(self) -> None:
        """Time has passed: these servos have no watchdog."""

    def _next_packet(self) -> bytes | None:
        buffer = self._buffer
        while True:
            start = buffer.find(b"\xff\xff")
            if start < 0:
                del buffer[: max(len(buffer) - 1, 0)]
                return None
            del buffer[:start]
            while len(buffer) > 2 and buffer[2] == 0xFF:  # a preamble longer than two
                del buffer[0]
            if len(buffer) < 4 or len(buffer) < buffer[3] + 4:
                return None
            packet = bytes(buffer[: buffer[3] + 4])
            if buffer[3] >= 2 and ~sum(packet[2:-1]) & 0xFF == packet[-1]:
                del buffer[: len(packet)]
                return packet
            del buffer[:2]  # a wrong checksum: no servo answers

    def _answer(self, motor: int, instruction: int, given: bytes) -> bytes:
        if instruction == SYNC_READ and motor == BROADCAST and len(given) >= 2:
            return b"".join(self._status(m, self._read(m, given[0], given[1])) for m in given[2:] if m in self.motors)
        if instruction == SYNC_WRITE and motor == BROADCAST and len(given) >= 2:
            register, length = given[0], given[1]
            for at in range(2, len(given) - length, length + 1):
                if given[at] in self.motors:
                    self._write(given[at], register, given[at + 1 : at + 1 + length])
            return b""
        if instruction == ACTION:
            for at, (register, values) in self._registered.items():
                self._write(at, register, values)
            self._registered.clear()
            return b"" if motor == BROADCAST else self._status(motor, b"")
        if motor not in self.motors:
            return b""
        if instruction == READ and len(given) == 2:
            return self._status(motor, self._read(motor, given[0], given[1]))
        if instruction == WRITE and given:
            self._write(motor, given[0], given[1:])
        elif instruction == REG_WRITE and given:
            self._registered[motor] = (given[0], given[1:])
        return self._status(motor, b"")

    def _status(self, motor: int, values: bytes) -> bytes:
        body = bytes([motor, len(values) + 2, self.error_bits[motor]]) + values
        return b"\xff\xff" + body + bytes([~sum(body) & 0xFF])

    def _read(self, motor: int, register: int, length: int) -> bytes:
        self._refresh(motor)
        table = self.tables[motor]
        return bytes(table[register : register + length]).ljust(length, b"\0")

    def _write(self, motor: int, register: int, values: bytes) -> None:
        table, joint = self.tables[motor], self.motors[motor]
        if register < EEPROM_END and table[LOCK]:
            return
        table[register : register + len(values)] = values
        touched = range(register, register + len(values))
        if TORQUE in touched:
            if table[TORQUE] == 128:  # calibrates the middle to here
                self._middle(motor)
            self.physics.set_torque(joint, bool(table[TORQUE]))
        if TORQUE_LIMIT in touched or TORQUE_LIMIT + 1 in touched:
            self.physics.set_torque_limit(joint, min(_word(table, TORQUE_LIMIT), 1000) / 1000.0)
        if GOAL in touched or GOAL + 1 in touched:
            table[TORQUE] = 1  # as the real servos do
            self.physics.set_torque(joint, True)
            low, high = _word(table, 9), _word(table, 11)
            count = min(max(_word(table, GOAL), low), high) if high > low else _word(table, GOAL)
            zero = self.scales[joint].zero_count
            away = count + signed(_word(table, 31), 11) - self._offsets[motor] - zero
            around = (away + COUNTS / 2) % COUNTS - COUNTS / 2  # counts wrap at a turn
            self.physics.set_goal(joint, self.scales[joint].angle(zero + around))

    def _refresh(self, motor: int) -> None:
        """Present values into the table."""
        table, joint, physics = self.tables[motor], self.motors[motor], self.physics
        scale = self.scales[joint]
        count = self._count(motor)
        speed = round(scale.sign * physics.velocity_radps[joint] / RAD_PER_COUNT)
        load = round(1000 * scale.sign * physics.torque_nm[joint] / self.stall_torque_nm)
        temperature = float(self.forced_temperature_c.get(motor, float(physics.temperature_c[joint])))
        load = min(max(load, -1000), 1000)
        for register, value in (
            (56, unsigned(count, 15)),
            (58, unsigned(speed, 15)),
            (60, unsigned(load, 10)),
            (69, unsigned(round(load * 2.7), 15)),
        ):
            table[register], table[register + 1] = value & 0xFF, value >> 8 & 0xFF
        table[62], table[63] = 120, min(max(round(temperature), 0), 255)
        table[66] = int(abs(speed) > 5)
        hot = temperature > table[13]
        self.error_bits[motor] = self.error_bits[motor] & ~(1 << _OVERHEAT_BIT) | int(hot) << _OVERHEAT_BIT

    def _count(self, motor: int) -> int:
        """Present position: the encoder, which wraps at a turn, less the homing offset that the servo holds."""
        joint = self.motors[motor]
        scale, table = self.scales[joint], self.tables[motor]
        encoder = scale.zero_count + scale.sign * self.physics.position_rad[joint] / RAD_PER_COUNT
        return (round(encoder + self._offsets[motor]) - signed(_word(table, 31), 11)) % COUNTS

    def overload(self, motor: int, on: bool) -> None:
        """The servo complains of overload, or stops complaining."""
        bits = self.error_bits[motor] & ~(1 << _OVERLOAD_BIT)
        self.error_bits[motor] = bits | int(on) << _OVERLOAD_BIT

    def _middle(self, motor: int) -> None:
        table = self.tables[motor]
        self._refresh(motor)
        offset = unsigned(_word(table, 56) - 2048, 11)
        table[31], table[32], table[TORQUE] = offset & 0xFF, offset >> 8, 0


def _word(table: bytearray, register: int) -> int:
    return table[register] | table[register + 1] << 8


def _table(motor: MotorCalibration, model_number: int) -> bytearray:
    table = bytearray(256)
    table[0:2] = b"\x03\x0a"  # firmware 3.10
    for register, value in (
        (3, model_number),
        (9, motor.range_min),
        (11, motor.range_max),
        (16, 1000),
        (31, unsigned(motor.homing_offset, 11)),
        (TORQUE_LIMIT, 1000),
    ):
        table[register], table[register + 1] = value & 0xFF, value >> 8
    table[5], table[7], table[8], table[13], table[14], table[15] = motor.id, 0, 1, 70, 140, 40
    table[21], table[22], table[LOCK] = 32, 32, 1
    return table

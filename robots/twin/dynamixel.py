"""Dynamixel's protocol 2.0 as X servos speak it: packets in, replies out, a control table and a bus watchdog per servo.

Packet: FF FF FD 00 id length instruction parameters crc, a byte stuffed after every FF FF FD in between; CRC-16 with
polynomial 0x8005. Permanent memory (below 64) is locked while the torque is on. Armed, the watchdog stops a servo where
it is when the bus is silent, and refuses goals until it is cleared.
"""

from __future__ import annotations

from collections.abc import Mapping

from robots.calibration import RAD_PER_COUNT, JointScale, MotorCalibration
from robots.dynamixel import VELOCITY_COUNTS, WATCHDOG_UNIT_S, two_complement
from robots.twin.physics import ArmPhysics
from robots.twin.serial import SerialServos

PING, READ, WRITE, STATUS, SYNC_READ, SYNC_WRITE = 0x01, 0x02, 0x03, 0x55, 0x82, 0x83
BROADCAST, HEADER = 0xFE, b"\xff\xff\xfd\x00"
INSTRUCTION_ERROR, CRC_ERROR, RANGE_ERROR, ACCESS_ERROR, ALERT = 0x02, 0x03, 0x04, 0x07, 0x80
TORQUE, HARDWARE_ERROR, WATCHDOG, GOAL_PWM, GOAL = 64, 70, 98, 100, 116
FULL_PWM = 885
_OVERHEAT_BIT, _OVERLOAD_BIT = 2, 5


def _crc_table() -> list[int]:
    table = []
    for i in range(256):
        value = i << 8
        for _ in range(8):
            value = (value << 1 ^ 0x8005 if value & 0x8000 else value << 1) & 0xFFFF
        table.append(value)
    return table


_CRC = _crc_table()


def crc16(data: bytes) -> int:
    """The protocol's checksum."""
    value = 0
    for byte in data:
        value = (value << 8 ^ _CRC[(value >> 8 ^ byte) & 0xFF]) & 0xFFFF
    return value


def packet(motor: int, instruction: int, given: bytes) -> bytes:
    """A whole packet, stuffed and with its checksum."""
    body = (bytes([instruction]) + given).replace(b"\xff\xff\xfd", b"\xff\xff\xfd\xfd")
    head = HEADER + bytes([motor]) + (len(body) + 2).to_bytes(2, "little") + body
    return head + crc16(head).to_bytes(2, "little")


class DynamixelServos(SerialServos):
    """All servos of one bus.

    Args:
        physics: the arm.
        calibration: what is burnt into the servos, by joint.
        scales: counts and angles of each joint, as the arm is really built.
        model_numbers: what each servo says that it is, by joint.
        stall_torque_nm: torque at load 1, by joint [Nm].
    """

    def __init__(
        self,
        physics: ArmPhysics,
        calibration: Mapping[str, MotorCalibration],
        scales: Mapping[str, JointScale],
        *,
        model_numbers: Mapping[str, int],
        stall_torque_nm: Mapping[str, float],
    ) -> None:
        super().__init__(physics, calibration)
        self._stall = [stall_torque_nm[joint] for joint in physics.joints]
        self.scales = [scales[joint] for joint in physics.joints]
        self.tables = {calibration[j].id: _table(calibration[j], model_numbers[j]) for j in physics.joints}
        self._offsets = {calibration[j].id: calibration[j].homing_offset for j in physics.joints}
        self._heard_s = dict.fromkeys(self.motors, 0.0)

    def _answers(self) -> bytes:
        replies = bytearray()
        while (found := self._next_packet()) is not None:
            motor, instruction, given = found
            for heard in self.motors if motor == BROADCAST else (motor,):
                self._heard_s[heard] = self.physics.data.time
            replies += self._answer(motor, instruction, given)
        return bytes(replies)

    def tick(self) -> None:
        """Time has passed: watchdogs fire."""
        for motor, table in self.tables.items():
            limit = table[WATCHDOG]
            silent_s = self.physics.data.time - self._heard_s[motor]
            if 1 <= limit <= 127 and table[TORQUE] and silent_s > limit * WATCHDOG_UNIT_S:
                table[WATCHDOG] = 0xFF
                joint = self.motors[motor]
                self.physics.set_goal(joint, float(self.physics.position_rad[joint]))

    def _next_packet(self) -> tuple[int, int, bytes] | None:
        buffer = self._buffer
        while True:
            start = buffer.find(HEADER)
            if start < 0:
                del buffer[: max(len(buffer) - 3, 0)]
                return None
            del buffer[:start]
            if len(buffer) < 7:
                return None
            length = int.from_bytes(buffer[5:7], "little")
            if len(buffer) < 7 + length:
                if length < 1024:
                    return None
                del buffer[:4]  # no packet is so long
                continue
            whole = bytes(buffer[: 7 + length])
            if length >= 3 and crc16(whole[:-2]) == int.from_bytes(whole[-2:], "little"):
                del buffer[: len(whole)]
                body = whole[7:-2].replace(b"\xff\xff\xfd\xfd", b"\xff\xff\xfd")
                return whole[4], body[0], body[1:]
            del buffer[:4]  # a wrong checksum: no servo acts

    def _answer(self, motor: int, instruction: int, given: bytes) -> bytes:
        if instruction == SYNC_READ and motor == BROADCAST and len(given) >= 4:
            register, length = int.from_bytes(given[:2], "little"), int.from_bytes(given[2:4], "little")
            return b"".join(self._status(m, self._read(m, register, length)) for m in given[4:] if m in self.motors)
        if instruction == SYNC_WRITE and motor == BROADCAST and len(given) >= 4:
            register, length = int.from_bytes(given[:2], "little"), int.from_bytes(given[2:4], "little")
            for at in range(4, len(given) - length, length + 1):
                if given[at] in self.motors:
                    self._write(given[at], register, given[at + 1 : at + 1 + length])
            return b""
        if instruction == PING:
            asked = self.motors if motor == BROADCAST else [m for m in (motor,) if m in self.motors]
            return b"".join(self._status(m, bytes(self.tables[m][0:2]) + b"\x2e") for m in asked)
        if motor not in self.motors:
            return b""
        if instruction == READ and len(given) == 4:
            register, length = int.from_bytes(given[:2], "little"), int.from_bytes(given[2:4], "little")
            return self._status(motor, self._read(motor, register, length))
        if instruction == WRITE and len(given) > 2:
            return self._status(motor, b"", self._write(motor, int.from_bytes(given[:2], "little"), given[2:]))
        return self._status(motor, b"", INSTRUCTION_ERROR)

    def _status(self, motor: int, values: bytes, error: int = 0) -> bytes:
        alert = ALERT if self.tables[motor][HARDWARE_ERROR] else 0
        return packet(motor, STATUS, bytes([error | alert]) + values)

    def _read(self, motor: int, register: int, length: int) -> bytes:
        self._refresh(motor)
        return bytes(self.tables[motor][register : register + length]).ljust(length, b"\0")

    def _write(self, motor: int, register: int, values: bytes) -> int:
        """Changes the table; gives the error."""
        table, joint = self.tables[motor], self.motors[motor]
        if register < TORQUE and table[TORQUE]:
            return ACCESS_ERROR
        if register == GOAL:
            count = two_complement(int.from_bytes(values, "little"), 4)
            if table[WATCHDOG] == 0xFF or not table[TORQUE]:
                return RANGE_ERROR if table[WATCHDOG] == 0xFF else 0
            scale = self.scales[joint]
            moved = self._offsets[motor] - self._offset(motor)
            self.physics.set_goal(joint, scale.angle(count + moved))
        table[register : register + len(values)] = values
        if register == TORQUE:
            self.physics.set_torque(joint, bool(values[0]))
        elif register == GOAL_PWM:
            self.physics.set_torque_limit(joint, min(int.from_bytes(values, "little"), FULL_PWM) / FULL_PWM)
        return 0

    def _offset(self, motor: int) -> int:
        return two_complement(int.from_bytes(self.tables[motor][20:24], "little"), 4)

    def _refresh(self, motor: int) -> None:
        """Present values into the table."""
        table, joint, physics = self.tables[motor], self.motors[motor], self.physics
        scale = self.scales[joint]
        count = round(scale.zero_count + scale.sign * physics.position_rad[joint] / RAD_PER_COUNT)
        count += self._offset(motor) - self._offsets[motor]
        speed = round(scale.sign * physics.velocity_radps[joint] / RAD_PER_COUNT / VELOCITY_COUNTS)
        load = round(1000 * scale.sign * physics.torque_nm[joint] / self._stall[joint])
        temperature = float(self.forced_temperature_c.get(motor, float(physics.temperature_c[joint])))
        for register, size, value in (
            (126, 2, min(max(load, -1000), 1000)),
            (128, 4, speed),
            (132, 4, count),
            (144, 2, 120),
            (146, 1, min(max(round(temperature), 0), 255)),
        ):
            table[register : register + size] = (value & (1 << 8 * size) - 1).to_bytes(size, "little")
        bits = table[HARDWARE_ERROR] & ~(1 << _OVERHEAT_BIT)
        table[HARDWARE_ERROR] = bits | int(temperature > table[31]) << _OVERHEAT_BIT

    def overload(self, motor: int, on: bool) -> None:
        """The servo complains of overload, or stops complaining."""
        bits = self.tables[motor][HARDWARE_ERROR] & ~(1 << _OVERLOAD_BIT)
        self.tables[motor][HARDWARE_ERROR] = bits | int(on) << _OVERLOAD_BIT


def _table(motor: MotorCalibration, model_number: int) -> bytearray:
    table = bytearray(256)
    for register, size, value in (
        (0, 2, model_number),
        (7, 1, motor.id),
        (11, 1, 4),  # extended position
        (20, 4, motor.homing_offset),
        (31, 1, 72),
        (48, 4, motor.range_max),
        (52, 4, motor.range_min),
        (GOAL_PWM, 2, FULL_PWM),
    ):
        table[register : register + size] = (value & (1 << 8 * size) - 1).to_bytes(size, "little")
    return table

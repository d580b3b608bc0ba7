"""Reader of event files of TensorBoard by their format, and what TensorBoard shows of them."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any


def events_of(folder: Path) -> list[Any]:
    """Read the event files of a folder by the format of records: length, checksum, content, checksum."""
    from tensorboardX.proto.event_pb2 import Event

    events = []
    for path in sorted(folder.glob("*tfevents*")):
        data = path.read_bytes()
        while data:
            (size,) = struct.unpack("<Q", data[:8])
            assert struct.unpack("<I", data[8:12])[0] == masked_crc(data[:8])
            content = data[12 : 12 + size]
            assert struct.unpack("<I", data[12 + size : 16 + size])[0] == masked_crc(content)
            event = Event()
            event.ParseFromString(content)
            events.append(event)
            data = data[16 + size :]
    return events


def masked_crc(data: bytes) -> int:
    """CRC-32C by its definition, bit by bit, rotated and shifted as in a record."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    crc ^= 0xFFFFFFFF
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def board_rows(folder: Path) -> list[dict[str, Any]]:
    """Rows of event files as TensorBoard shows them: a start discards the steps from its own on."""
    rows: list[dict[str, Any]] = []
    for event in events_of(folder):
        if event.HasField("session_log"):
            rows = [row for row in rows if row["steps"] < event.step]
        elif event.HasField("summary"):
            numbers = {v.tag.partition("/")[2]: v.simple_value for v in event.summary.value}
            rows.append({"steps": event.step, **numbers})
    return rows

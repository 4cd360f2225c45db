"""Copies of packets."""

from __future__ import annotations

from typing import Any

from av.packet import Packet


def copied(packet: Packet[Any], data: bytes | None = None) -> Packet[Any]:
    """Copy a packet with its times, as writing a packet changes them; `data` replaces its own."""
    copy: Packet[Any] = Packet(bytes(packet) if data is None else data)
    copy.pts, copy.dts, copy.duration, copy.time_base = packet.pts, packet.dts, packet.duration, packet.time_base
    copy.is_keyframe = packet.is_keyframe
    return copy

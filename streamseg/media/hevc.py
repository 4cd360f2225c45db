"""The few pieces of HEVC's syntax that join two streams into one with an alpha layer.

Clauses are of Rec. ITU-T H.265 (08/2021); clauses that begin with F are its annex on multilayer streams. The box is of
ISO/IEC 14496-15:2022.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

VPS, SPS, PPS, PREFIX_SEI = 32, 33, 34, 39
"""NAL unit types, table 7-1."""

ALPHA_LAYER = 1
ALPHA_CHANNEL_INFORMATION = 165
STRAIGHT, PREMULTIPLIED = 0, 1
"""`alpha_channel_use_idc`, clause F.14.3.8: whether players multiply colours by alpha, or that is done already."""

START_CODE = b"\x00\x00\x01"
HEADER_BITS = 16
PROFILE_TIER_LEVEL_BITS = 96
LENGTH_BYTES = 4
BOX_HEAD_BYTES = 22
CHROMA_420 = 1


class Bits:
    """Bits that are written one after the other; clause 9.2 has the codes of variable length."""

    def __init__(self) -> None:
        self._bits: list[str] = []

    def u(self, value: int, width: int = 1) -> Bits:
        """An unsigned number of fixed width."""
        self._bits.append(format(value, f"0{width}b"))
        return self

    def ue(self, *values: int) -> Bits:
        """Unsigned numbers in Exp-Golomb code."""
        for value in values:
            digits = format(value + 1, "b")
            self._bits.append("0" * (len(digits) - 1) + digits)
        return self

    def align(self, fill: str) -> Bits:
        """Up to the next byte."""
        self._bits.append(fill * (-sum(map(len, self._bits)) % 8))
        return self

    def tail(self) -> bytes:
        """The bits with the stop bit, clause 7.3.2.11, as bytes."""
        whole = "".join(self.u(1).align("0")._bits)
        return int(whole, 2).to_bytes(len(whole) // 8, "big")


class Reading:
    """Reads what `Bits` writes."""

    def __init__(self, payload: bytes) -> None:
        self._bits, self._at = "".join(format(byte, "08b") for byte in payload), 0

    def u(self, width: int) -> int:
        """An unsigned number of fixed width."""
        self._at += width
        return int(self._bits[self._at - width : self._at], 2)

    def ue(self) -> int:
        """An unsigned number in Exp-Golomb code."""
        zeros = self._bits.index("1", self._at) - self._at
        self._at += zeros
        return self.u(zeros + 1) - 1


@dataclass(frozen=True, slots=True)
class ParameterSets:
    """What a decoder is told before the first frame: whole NAL units without start codes."""

    vps: bytes
    sps: bytes
    pps: bytes

    @classmethod
    def of(cls, stream: bytes) -> ParameterSets:
        """The first set of each kind in a byte stream, Annex B."""
        found = {nal_type(nal): nal for nal in reversed(list(nal_units(stream)))}
        return cls(found[VPS], found[SPS], found[PPS])

    @property
    def profile_tier_level(self) -> int:
        """`profile_tier_level`, clause 7.3.3, of a stream without temporal sub-layers."""
        reading = Reading(unescaped(self.vps))
        reading.u(HEADER_BITS + 32)
        return reading.u(PROFILE_TIER_LEVEL_BITS)


def nal_units(stream: bytes) -> Iterator[bytes]:
    """The NAL units of a byte stream, Annex B, without their start codes."""
    for piece in stream.split(START_CODE)[1:]:
        yield piece.rstrip(b"\x00")  # A start code of four bytes leaves its first behind; no NAL unit ends in zero.


def with_start_codes(nals: Iterable[bytes]) -> bytes:
    """A byte stream, Annex B."""
    return b"".join(START_CODE + nal for nal in nals)


def nal_type(nal: bytes) -> int:
    """Clause 7.3.1.2."""
    return nal[0] >> 1 & 0x3F


def layer_of(nal: bytes) -> int:
    """`nuh_layer_id`, clause 7.3.1.2."""
    return (nal[0] & 1) << 5 | nal[1] >> 3


def at_layer(nal: bytes, layer: int) -> bytes:
    """The NAL unit with another `nuh_layer_id`, clause 7.3.1.2."""
    return bytes([nal[0] & 0xFE | layer >> 5, nal[1] & 0x07 | (layer & 0x1F) << 3]) + nal[2:]


def without_lengths(sample: bytes, length_bytes: int = LENGTH_BYTES) -> Iterator[bytes]:
    """The NAL units of a sample of a file; one that is cut short is left out."""
    at = 0
    while at + length_bytes < len(sample):
        size = int.from_bytes(sample[at : at + length_bytes], "big")
        at += length_bytes + size
        if size > 2 and at <= len(sample):
            yield sample[at - size : at]


def with_lengths(nals: Iterable[bytes]) -> bytes:
    """The NAL units as samples of a file hold them: each after its length."""
    return b"".join(len(nal).to_bytes(LENGTH_BYTES, "big") + nal for nal in nals)


def unescaped(nal: bytes) -> bytes:
    """Without the emulation prevention bytes of clause 7.4.2."""
    return nal.replace(b"\x00\x00\x03", b"\x00\x00")


def escaped(raw: bytes) -> bytes:
    """With the emulation prevention bytes of clause 7.4.2."""
    out = bytearray()
    for byte in raw:
        if byte <= 3 and out[-2:] == b"\x00\x00":
            out.append(3)
        out.append(byte)
    return bytes(out)


def nal_header(kind: int) -> bytes:
    """Clause 7.3.1.2, at layer 0 and temporal sub-layer 0."""
    return bytes([kind << 1, 1])


def alpha_information(use: int = STRAIGHT) -> bytes:
    """The SEI message "alpha channel information", clause F.14.2.8: alpha of 8 bits, 0 to 255."""
    # A message that does not end at a whole byte is filled as a NAL unit is (clause D.2.1).
    body = Bits().u(0).u(use, 3).u(0, 3).u(0, 9).u(255, 9).u(0).u(0).tail()
    return escaped(nal_header(PREFIX_SEI) + bytes([ALPHA_CHANNEL_INFORMATION, len(body)]) + body + b"\x80")


def layered_vps(sets: ParameterSets) -> bytes:
    """The video parameter set, clause 7.3.2.1, of a stream with a second layer that holds alpha and needs no other."""
    reading = Reading(unescaped(sets.vps))
    reading.u(HEADER_BITS + 32 + PROFILE_TIER_LEVEL_BITS + 1)
    buffering = [reading.ue() for _ in range(3)]
    bits = Bits().u(0, 4).u(0b11, 2).u(ALPHA_LAYER, 6).u(0, 3).u(1).u(0xFFFF, 16)
    bits.u(sets.profile_tier_level, PROFILE_TIER_LEVEL_BITS).u(1).ue(*buffering)
    bits.u(ALPHA_LAYER, 6).ue(1).u(0b11, 2)  # Two sets of layers: the colours, and both.
    bits.u(0).u(1).align("1")  # No times; an extension follows.
    _extension(bits, sets, buffering)
    return escaped(nal_header(VPS) + bits.u(0).tail())


def _extension(bits: Bits, sets: ParameterSets, buffering: list[int]) -> None:
    """`vps_extension`, clause F.7.3.2.1.1."""
    bits.u(sets.profile_tier_level & 0xFF, 8)  # The alpha layer's level.
    bits.u(0).u(1 << 12, 16).u(0, 3)  # One kind of scalability: auxiliary pictures (table F.1), ids of one bit.
    bits.u(1).u(ALPHA_LAYER, 6).u(1)  # The layer's id, and its AuxId: alpha (table F.2).
    bits.u(0, 4).u(0).ue(0)  # One view; the layers do not lean on each other; no more sets of layers.
    bits.u(0).u(0).u(0)  # Nothing on sub-layers, nor on references between layers.
    bits.ue(1).ue(0).u(0, 2)  # Two profiles, of which the second is that level; all layers are output.
    bits.u(1, 1).u(1, 1)  # Which of them the layers have.
    bits.ue(0)
    _representation(bits, sets.sps)
    bits.u(0).u(0).u(1)  # As above; order counts are each layer's own.
    bits.u(0).ue(buffering[0], *buffering)  # `dpb_size`, clause F.7.3.2.1.3: each layer's, then what they share.
    bits.ue(0).u(0).ue(0).u(0)  # No kinds of dependency, no further extension, no usability information.


def _representation(bits: Bits, sps: bytes) -> None:
    """`rep_format`, clause F.7.3.2.1.2: the picture's size and window, as clause 7.3.2.2 has them, and 8 bits 4:2:0."""
    reading = Reading(unescaped(sps))
    reading.u(HEADER_BITS + 8 + PROFILE_TIER_LEVEL_BITS)
    reading.ue(), reading.ue()
    bits.u(reading.ue(), 16).u(reading.ue(), 16)
    bits.u(1).u(CHROMA_420, 2).u(0, 4).u(0, 4)
    window = [reading.ue() for _ in range(4)] if reading.u(1) else []
    bits.u(bool(window)).ue(*window)


def configuration(sets: ParameterSets) -> bytes:
    """The box `hvcC`, ISO/IEC 14496-15 clause 8.3.2, for both layers: they share one SPS and one PPS."""
    bits = Bits().u(1, 8).u(sets.profile_tier_level, PROFILE_TIER_LEVEL_BITS)
    bits.u(0xF000, 16).u(0xFC, 8).u(0xFC | CHROMA_420, 8).u(0xF8, 8).u(0xF8, 8)
    bits.u(0, 16).u(0, 2).u(1, 3).u(1).u(LENGTH_BYTES - 1, 2)
    units = layered_vps(sets), sets.sps, sets.pps, alpha_information()
    bits.u(len(units), 8)
    head = bits.tail()[:-1]
    return head + b"".join(bytes([0x80 | nal_type(nal), 0, 1]) + len(nal).to_bytes(2, "big") + nal for nal in units)


def configured_units(box: bytes) -> list[bytes]:
    """The NAL units in a box `hvcC`; none if it is something else, or cut short."""
    units, at = [], BOX_HEAD_BYTES + 1
    arrays = box[BOX_HEAD_BYTES] if len(box) > at and box[0] == 1 else 0
    for _ in range(arrays):
        count = int.from_bytes(box[at + 1 : at + 3], "big")
        at += 3
        for _ in range(count):
            size = int.from_bytes(box[at : at + 2], "big")
            units.append(box[at + 2 : at + 2 + size])
            at += 2 + size
    return units


def sample_length_bytes(box: bytes) -> int:
    """How long the lengths in the samples are, by a box `hvcC`."""
    return (box[BOX_HEAD_BYTES - 1] & 3) + 1


def is_alpha_information(nal: bytes) -> bool:
    """Whether a NAL unit holds the SEI message "alpha channel information"."""
    return any(kind == ALPHA_CHANNEL_INFORMATION for kind, _ in sei_messages(nal))


def alpha_use(nal: bytes) -> int | None:
    """`alpha_channel_use_idc`, clause F.14.2.8, if a NAL unit says it: `STRAIGHT`, `PREMULTIPLIED`, or another use."""
    for kind, body in sei_messages(nal):
        if kind == ALPHA_CHANNEL_INFORMATION and body and not body[0] >> 7:  # The first bit cancels an earlier message.
            return body[0] >> 4 & 0b111
    return None


def sei_messages(nal: bytes) -> Iterator[tuple[int, bytes]]:
    """Types and bodies of a prefix SEI's messages, clause 7.3.5; none of other units. The last may be cut short."""
    raw = unescaped(nal[2:]) if len(nal) > 2 and nal_type(nal) == PREFIX_SEI else b""
    while len(raw) > 1:  # The last byte is the stop bit's.
        kind, raw = _sei_number(raw)
        size, raw = _sei_number(raw)
        yield kind, raw[:size]
        raw = raw[size:]


def _sei_number(raw: bytes) -> tuple[int, bytes]:
    """A type or a size, and what comes after it: 255 for each byte of 255, and the byte that is not, clause 7.3.5."""
    full = len(raw) - len(raw.lstrip(b"\xff"))
    return 255 * full + sum(raw[full : full + 1]), raw[full + 1 :]

"""The feed by WebRTC: encoded once for all viewers, each of whom has a peer connection of aiortc."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import aioice.ice
import av
from aiortc import RTCConfiguration, RTCPeerConnection, RTCRtpSender, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import PictureType, VideoFrame

from streamseg.frames import Frame
from streamseg.live.feed import Encoded, Feed, FeedEnded, Viewer
from streamseg.live.images import for_webrtc
from streamseg.live.refusals import Refused

MAX_PEERS = 8
CONNECT_SECONDS = 15.0
LOOPBACK = "127.0.0.1"
ENDED_STATES = ("failed", "closed")

CLOCK_RATE = 90_000
"""Ticks a second of video in RTP; RFC 7741, section 4.1."""
BITS_PER_SECOND = 3_000_000
KEYFRAME_INTERVAL = 60
"""A viewer who lost a packet for good sees a full image again after so many frames at the latest."""
MIN_KEYFRAME_INTERVAL = 15
"""Viewers who ask for full images do not get more of them than one in so many frames."""
VP8_OPTIONS = {
    "deadline": "realtime",
    "cpu-used": "-10",
    "lag-in-frames": "0",
    "minrate": str(BITS_PER_SECOND),
    "maxrate": str(BITS_PER_SECOND),
    "bufsize": str(BITS_PER_SECOND),
    "static-thresh": "1",
}
"""Without the noise filter that aiortc asks for, a frame of 720p takes 5.5 ms in place of 9."""

HIDDEN_ADDRESS = re.compile(r"(?<= )[0-9A-Za-z-]+\.local(?= )")
"""A name behind which a browser hides the address of a candidate; RFC 8829, section 5.1.7."""

_addresses_of_machine = aioice.ice.get_host_addresses


@dataclass(frozen=True, slots=True)
class Vp8Frame:
    """An encoded frame.

    Attributes:
        packet: the frame as VP8, with its time.
        number: 1, 2, 3, ... in the order of encoding; a frame refers to the one before it, unless it is a keyframe.
        is_keyframe: it can be decoded by itself.
    """

    packet: Packet[Any]
    number: int
    is_keyframe: bool


class Vp8Encoder:
    """Encodes the feed's frames as VP8, which every browser takes by WebRTC."""

    def __init__(self) -> None:
        self._context: VideoCodecContext | None = None
        self._number = self._last_keyframe = 0
        self._last_pts = -1
        self._is_asked = False

    def ask_for_keyframe(self) -> None:
        """Let one of the next frames be one that can be decoded by itself."""
        self._is_asked = True

    def __call__(self, frame: Frame) -> Vp8Frame:
        """Encode the next frame."""
        image = for_webrtc(frame).frame
        context = self._context_for(image)
        self._number += 1
        # Times have to rise, even where the frames' do not.
        self._last_pts = max(self._last_pts + 1, int(frame.captured_seconds * CLOCK_RATE))
        image.pts, image.time_base = self._last_pts, context.time_base
        if self._is_asked and self._number - self._last_keyframe >= MIN_KEYFRAME_INTERVAL:
            image.pict_type, self._is_asked = PictureType.I, False
        (packet,) = context.encode(image)  # Without lag, each frame gives one.
        if packet.is_keyframe:
            self._last_keyframe = self._number
        return Vp8Frame(packet, self._number, packet.is_keyframe)

    def _context_for(self, image: VideoFrame) -> VideoCodecContext:
        if self._context is None or (self._context.width, self._context.height) != (image.width, image.height):
            context: VideoCodecContext = av.CodecContext.create("libvpx", "w")
            context.width, context.height, context.pix_fmt = image.width, image.height, "yuv420p"
            context.time_base, context.bit_rate = Fraction(1, CLOCK_RATE), BITS_PER_SECOND
            context.gop_size, context.thread_count, context.options = KEYFRAME_INTERVAL, 1, VP8_OPTIONS
            self._context = context
        return self._context


class WebRtc:
    """The viewers by WebRTC."""

    def __init__(self, feed: Feed, is_loopback: bool) -> None:
        """Take the frames to send.

        Args:
            feed: the frames.
            is_loopback: open no socket but on this machine's loopback.
        """
        self._encoder = Vp8Encoder()
        self._encoded = Encoded(feed, self._encoder)
        self._peers: set[_Peer] = set()
        # aiortc has no argument for the addresses that it opens sockets on.
        aioice.ice.get_host_addresses = _loopback_alone if is_loopback else _addresses_of_machine

    async def answer(self, offer: str, client: str) -> str:
        """Begin to send to a viewer; return the answer to the offer, both as SDP.

        Args:
            offer: asks to receive one video.
            client: address that the request came from.

        Raises:
            Refused: there are too many viewers, or the offer cannot be understood.
        """
        if len(self._peers) >= MAX_PEERS:
            raise Refused(503, f"{MAX_PEERS} viewers by WebRTC are the most; take feed.mjpeg")
        peer = _Peer(RTCPeerConnection(RTCConfiguration(iceServers=[])))
        self._peers.add(peer)
        try:
            self._follow(peer)
            return await self._negotiate(peer, HIDDEN_ADDRESS.sub(client, offer))
        except Exception as error:  # aiortc raises exceptions of any type at an offer that it does not understand.
            await self._drop(peer)
            raise Refused(422, "the offer is no session description that asks for one video") from error

    async def close(self) -> None:
        """End all connections."""
        await asyncio.gather(*map(self._drop, list(self._peers)))

    async def _negotiate(self, peer: _Peer, offer: str) -> str:
        connection = peer.connection
        track = _Track(peer.holds.enter_context(self._encoded.watched()), self._encoder.ask_for_keyframe)
        sender = connection.addTransceiver(track, "sendonly")
        codecs = RTCRtpSender.getCapabilities("video").codecs
        sender.setCodecPreferences([codec for codec in codecs if codec.mimeType in ("video/VP8", "video/rtx")])
        await connection.setRemoteDescription(RTCSessionDescription(offer, "offer"))
        await connection.setLocalDescription(await connection.createAnswer())
        return str(connection.localDescription.sdp)

    def _follow(self, peer: _Peer) -> None:
        """Drop a viewer who has gone, or does not connect in time."""
        loop = asyncio.get_running_loop()

        async def follow() -> None:
            if peer.connection.connectionState == "connected" and peer.deadline:
                peer.deadline.cancel()
            if peer.connection.connectionState in ENDED_STATES:
                await self._drop(peer)

        peer.connection.on("connectionstatechange", follow)
        peer.deadline = loop.call_later(CONNECT_SECONDS, lambda: loop.create_task(self._drop(peer)))

    async def _drop(self, peer: _Peer) -> None:
        if peer in self._peers:
            self._peers.discard(peer)
            peer.holds.close()
            if peer.deadline:
                peer.deadline.cancel()
            await peer.connection.close()


@dataclass(eq=False)
class _Peer:
    """A viewer's connection, what ends with it, and the time by which it has to stand."""

    connection: RTCPeerConnection
    holds: ExitStack = field(default_factory=ExitStack)
    deadline: asyncio.TimerHandle | None = None


class _Track(MediaStreamTrack):
    """The feed as aiortc takes it, for one viewer."""

    kind = "video"

    def __init__(self, viewer: Viewer[Vp8Frame], ask_for_keyframe: Callable[[], None]) -> None:
        super().__init__()
        self._viewer, self._ask_for_keyframe = viewer, ask_for_keyframe
        self._last: Vp8Frame | None = None

    async def recv(self) -> Packet[Any]:
        """Return the next frame that can be decoded after the last one; after a loss, that is a keyframe."""
        try:
            while True:
                frame = await self._viewer.next()
                if frame.is_keyframe or (self._last and frame.number == self._last.number + 1):
                    self._last = frame
                    return frame.packet
                self._ask_for_keyframe()
        except FeedEnded as error:
            raise MediaStreamError from error


def _loopback_alone(use_ipv4: bool, use_ipv6: bool) -> list[str]:
    return [LOOPBACK]

"""The feed by WebRTC: a peer connection for each viewer, through aiortc."""

from __future__ import annotations

import asyncio
import re
from contextlib import ExitStack
from dataclasses import dataclass, field
from fractions import Fraction

import aioice.ice
from aiortc import RTCConfiguration, RTCPeerConnection, RTCRtpSender, RTCSessionDescription
from aiortc.codecs import vpx
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
from av import VideoFrame

from streamseg.frames import Frame
from streamseg.live.feed import Encoded, FeedEnded, Viewer
from streamseg.live.images import for_webrtc
from streamseg.live.refusals import Refused

MAX_PEERS = 4
"""Viewers by WebRTC, each of whom has an encoder of their own; more than these get JPEGs."""
CONNECT_SECONDS = 15.0
BITS_PER_SECOND = 3_000_000
CLOCK_RATE = 90_000
LOOPBACK = "127.0.0.1"
ENDED_STATES = ("failed", "closed")

HIDDEN_ADDRESS = re.compile(r"(?<= )[0-9A-Za-z-]+\.local(?= )")
"""A name behind which a browser hides the address of a candidate; RFC 8829, section 5.1.7."""

_addresses_of_machine = aioice.ice.get_host_addresses


class WebRtc:
    """The viewers by WebRTC."""

    def __init__(self, encoded: Encoded[VideoFrame], is_loopback: bool) -> None:
        """Take the frames to send.

        Args:
            encoded: frames in 4:2:0, stamped with their time.
            is_loopback: open no socket but on this machine's loopback.
        """
        self._encoded, self._is_loopback = encoded, is_loopback
        self._peers: set[_Peer] = set()
        # aiortc has no argument for these: which addresses to open sockets on, and the rate before the viewer's advice.
        aioice.ice.get_host_addresses = _loopback_alone if is_loopback else _addresses_of_machine
        vpx.DEFAULT_BITRATE = vpx.MAX_BITRATE = BITS_PER_SECOND

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
            return await self._negotiate(peer, self._prepared(offer, client))
        except Exception as error:  # aiortc raises exceptions of any type at an offer that it does not understand.
            await self._drop(peer)
            raise Refused(422, "the offer is no session description that asks for one video") from error

    async def close(self) -> None:
        """End all connections."""
        await asyncio.gather(*map(self._drop, list(self._peers)))

    async def _negotiate(self, peer: _Peer, offer: str) -> str:
        connection = peer.connection
        sender = connection.addTransceiver(_Track(peer.holds.enter_context(self._encoded.watched())), "sendonly")
        codecs = RTCRtpSender.getCapabilities("video").codecs
        sender.setCodecPreferences([codec for codec in codecs if codec.mimeType in ("video/VP8", "video/rtx")])
        await connection.setRemoteDescription(RTCSessionDescription(offer, "offer"))
        await connection.setLocalDescription(await connection.createAnswer())
        return str(connection.localDescription.sdp)

    def _prepared(self, offer: str, client: str) -> str:
        """Return an offer with the viewer's address in place of hidden ones, and on loopback at a constant rate."""
        lines = HIDDEN_ADDRESS.sub(client, offer).splitlines(keepends=True)
        return "".join(line for line in lines if not (self._is_loopback and line.rstrip().endswith("goog-remb")))

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
    """The feed as aiortc takes it."""

    kind = "video"

    def __init__(self, viewer: Viewer[VideoFrame]) -> None:
        super().__init__()
        self._viewer = viewer

    async def recv(self) -> VideoFrame:
        """Return the next frame."""
        try:
            return await self._viewer.next()
        except FeedEnded as error:
            raise MediaStreamError from error


class Stamp:
    """Converts frames to what aiortc encodes, each with its time, which has to rise."""

    def __init__(self) -> None:
        self._last = -1

    def __call__(self, frame: Frame) -> VideoFrame:
        """Return a frame in 4:2:0 of its own, in ticks of `CLOCK_RATE`."""
        converted = for_webrtc(frame).frame
        self._last = max(self._last + 1, int(frame.captured_seconds * CLOCK_RATE))
        converted.pts, converted.time_base = self._last, Fraction(1, CLOCK_RATE)
        return converted


def _loopback_alone(use_ipv4: bool, use_ipv6: bool) -> list[str]:
    return [LOOPBACK]

"""Mattes between the network's: where they come from, and that they move with the picture."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from fractions import Fraction

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from streamseg.errors import EngineError
from streamseg.frames import Batch, Frame
from streamseg.image import Pixels
from streamseg.infer.engines.base import Engine, network_tensor
from streamseg.infer.every_frame import infer
from streamseg.infer.keyframes import KeyframeInterval, infer_keyframes
from streamseg.infer.live import FixedNetwork, infer_live
from tests.synthetic import DiscEngine, frames, picture

SIZE, RATE = 128, Fraction(25)
FOUR = KeyframeInterval(4, RATE)
FOREVER, NEVER = 1e6, 0.0
"""Seconds that a live frame has time for its matte."""


class Counting(DiscEngine):
    """Counts the pictures of each call."""

    def __init__(self) -> None:
        super().__init__()
        self.pictures: list[int] = []

    def alpha(self, frames: Tensor) -> Tensor:
        self.pictures.append(len(frames))
        return super().alpha(frames)


class Ahead(DiscEngine):
    """Takes two more batches before the first is asked for, as an engine on a GPU does."""

    in_flight = 2

    def __init__(self) -> None:
        super().__init__()
        self.waiting = self.most_waiting = 0

    def submit(self, small: Pixels) -> Callable[[], Tensor]:
        self.waiting += 1
        self.most_waiting = max(self.most_waiting, self.waiting)
        return lambda: self._matte(small)

    def _matte(self, small: Pixels) -> Tensor:
        self.waiting -= 1
        return self.alpha(network_tensor(small))


def mattes(batches: Iterable[Batch]) -> list[Tensor]:
    return [alpha for batch in batches for alpha in batch.alpha]


def own(given: list[Frame]) -> list[Tensor]:
    """Every frame's own matte."""
    return mattes(infer(given, DiscEngine(), SIZE))


def error(found: Tensor, meant: Tensor) -> float:
    return float((found - meant).abs().mean())


def panned(count: int) -> list[Frame]:
    """A camera that turns before the disc and a wall with a pattern, which every channel shows alike."""
    pattern = cv2.GaussianBlur(np.random.default_rng(0).normal(0, 200, (96, 128, 1)), (0, 0), 3)[..., None]
    still = (picture(4) + pattern).clip(0, 255).astype(np.uint8)
    return [Frame(n, Fraction(n, 25), np.roll(still, 2 * n, axis=1)) for n in range(count)]


def two_scenes(length: int) -> list[Frame]:
    """The second is the first upside down, in other colours of the wall."""
    first = frames(length)
    second = [
        replace(frame, index=length + n, pts=Fraction(length + n, 25), image=_other_wall(frame.pixels))
        for n, frame in enumerate(frames(length))
    ]
    return first + second


def _other_wall(pixels: np.ndarray) -> np.ndarray:
    return np.where(pixels[::-1] == 96, 220, pixels[::-1]).astype(np.uint8)


class TestSome:
    @pytest.mark.parametrize("batch_size", [1, 3])
    @pytest.mark.parametrize("count", [1, 2, 9, 12])
    @pytest.mark.parametrize("stride", [2, 4])
    def test_every_frame_once_in_order_and_the_network_on_some(self, stride: int, count: int, batch_size: int) -> None:
        engine, given = Counting(), frames(count)
        batches = list(infer_keyframes(given, engine, SIZE, KeyframeInterval(stride, RATE), batch_size))
        assert [frame for batch in batches for frame in batch.frames] == given
        assert sum(engine.pictures) == -(-count // stride)
        assert max(engine.pictures) <= batch_size

    def test_where_the_network_ran_the_matte_is_its_own(self) -> None:
        given = frames(9)
        for found, meant in list(
            zip(mattes(infer_keyframes(given, DiscEngine(), SIZE, FOUR)), own(given), strict=True)
        )[::4]:
            assert torch.equal(found, meant)

    @pytest.mark.parametrize("stride", [2, 4])
    def test_between_it_moves_with_the_frame(self, stride: int) -> None:
        given = panned(2 * stride + 1)
        exact = own(given)
        found = mattes(infer_keyframes(given, DiscEngine(), SIZE, KeyframeInterval(stride, RATE)))
        for n in set(range(len(given))) - set(range(0, len(given), stride)):
            held = exact[n - n % stride]
            assert error(found[n], exact[n]) < 0.4 * error(held, exact[n])

    def test_batch_size_does_not_show(self) -> None:
        alone, together = (
            mattes(infer_keyframes(frames(11), DiscEngine(), SIZE, KeyframeInterval(3, RATE), size)) for size in (1, 4)
        )
        assert all(map(torch.equal, alone, together))

    def test_an_engine_that_can_is_given_batches_ahead(self) -> None:
        given, engine = frames(11), Ahead()
        found = mattes(infer_keyframes(given, engine, SIZE, KeyframeInterval(3, RATE)))
        assert engine.most_waiting == engine.in_flight + 1
        assert all(
            map(torch.equal, found, mattes(infer_keyframes(given, DiscEngine(), SIZE, KeyframeInterval(3, RATE))))
        )

    def test_the_network_runs_where_another_scene_begins(self) -> None:
        given, engine = two_scenes(5), Counting()
        found, exact = mattes(infer_keyframes(given, engine, SIZE, FOUR)), own(given)
        assert sum(engine.pictures) == 4  # 0, 4, 8 and the cut
        assert torch.equal(found[5], exact[5])

    def test_nothing_comes_from_the_next_scene(self) -> None:
        given = two_scenes(7)
        across, alone = (
            mattes(infer_keyframes(given, DiscEngine(), SIZE, FOUR)),
            mattes(infer_keyframes(given[:7], DiscEngine(), SIZE, FOUR)),
        )
        assert all(map(torch.equal, across[:7], alone))

    def test_a_run_that_goes_on_in_the_middle_ends_as_the_whole_one(self) -> None:
        """It begins with the network, and soon picks the same frames, however the decoder counts them."""
        given = panned(24)
        late = [replace(frame, index=n) for n, frame in enumerate(given[6:])]
        whole, resumed = (
            mattes(infer_keyframes(given, DiscEngine(), SIZE, FOUR)),
            mattes(infer_keyframes(late, DiscEngine(), SIZE, FOUR)),
        )
        assert torch.equal(resumed[0], own(given)[6])
        assert all(map(torch.equal, resumed[2:], whole[8:]))

    def test_times_that_a_container_rounded(self) -> None:
        engine, rate = Counting(), Fraction(30000, 1001)
        given = [replace(frame, pts=Fraction(round(frame.index * 1000 / rate), 1000)) for frame in frames(40)]
        list(infer_keyframes(given, engine, SIZE, KeyframeInterval(4, rate)))
        assert sum(engine.pictures) == 10


class Slow(DiscEngine):
    """Works on its second picture and later ones for as long as the test wants it to."""

    def __init__(self) -> None:
        super().__init__()
        self.begun, self.may_end = threading.Semaphore(0), threading.Semaphore(0)

    def alpha(self, frames: Tensor) -> Tensor:
        alpha = super().alpha(frames)
        self.begun.release()
        if self.calls > 1:
            assert self.may_end.acquire(timeout=60)
        return alpha


def live(given: Iterable[Frame], engine: DiscEngine, seconds: float) -> Iterator[Tensor]:
    return (batch.alpha[0] for batch in infer_live(given, FixedNetwork(engine, SIZE), seconds))


def captured(given: Iterable[Frame]) -> list[Frame]:
    """By a camera whose clock began at 100 s."""
    return [replace(frame, captured_seconds=100 + float(frame.pts)) for frame in given]


def ages_ms(batches: Iterable[Batch]) -> list[int]:
    return [round(frame.matte_age_seconds * 1000) for batch in batches for frame in batch.frames]


class TestNewest:
    def test_an_engine_that_keeps_pace_is_waited_for(self) -> None:
        given, engine = captured(frames(6)), DiscEngine()
        batches = list(infer_live(given, FixedNetwork(engine, SIZE), FOREVER))
        assert all(map(torch.equal, mattes(batches), own(given)))
        assert ages_ms(batches) == [0] * 6
        assert engine.calls == 6

    def test_one_slow_call_does_not_count(self) -> None:
        took_seconds = [1, 1, 2 * FOREVER, 1, 1, 2 * FOREVER]
        times = iter([time for took in took_seconds for time in (0.0, took)])
        out = infer_live(captured(frames(6)), FixedNetwork(DiscEngine(), SIZE), FOREVER, clock=times.__next__)
        assert ages_ms(out) == [0] * 6

    def test_no_frame_waits_for_a_slow_one(self) -> None:
        given, engine = panned(6), Slow()
        exact, out = own(given), live(given, engine, NEVER)
        found = [next(out) for _ in range(5)]  # would not return if it waited
        assert all(engine.begun.acquire(timeout=60) for _ in range(2))
        calls = engine.calls
        engine.may_end.release(9)
        assert len(list(out)) == 1
        assert calls == 2
        assert torch.equal(found[0], exact[0])
        for n in range(1, 5):
            assert error(found[n], exact[n]) < 0.4 * error(exact[0], exact[n])

    def test_no_frame_waits_longer_than_it_has_time(self) -> None:
        """Calls were fast by the clock, so that each is waited for, but none of them ends."""
        given, engine = panned(4), Slow()
        exact = own(given)
        out = infer_live(given, FixedNetwork(engine, SIZE), 1e-3, clock=lambda: 0.0)
        found = mattes(next(out) for _ in range(4))  # would not return if it waited for the end
        engine.may_end.release(9)
        assert list(out) == []
        assert torch.equal(found[0], exact[0])
        for n in range(1, 4):
            assert error(found[n], exact[n]) < 0.4 * error(exact[0], exact[n])

    def test_a_frame_says_how_old_its_matte_is(self) -> None:
        """The network runs on the first frame, on the second until the cut, at the cut, and from the one after it."""
        given, engine = captured(two_scenes(5)), Slow()
        out = infer_live(given, FixedNetwork(engine, SIZE), NEVER)
        first = ages_ms(next(out) for _ in range(5))
        engine.may_end.release(2)
        second = ages_ms(next(out) for _ in range(5))
        engine.may_end.release(9)
        assert list(out) == []
        assert first == second == [0, 40, 80, 120, 160]

    def test_a_scene_begins_with_its_own_matte(self) -> None:
        given, engine = two_scenes(3), Slow()
        engine.may_end.release(9)
        found, exact = list(live(given, engine, NEVER)), own(given)
        assert torch.equal(found[0], exact[0])
        assert torch.equal(found[3], exact[3])

    def test_it_never_runs_on_two_at_a_time(self) -> None:
        running = threading.Lock()

        class Alone(DiscEngine):
            def alpha(self, frames: Tensor) -> Tensor:
                with running:
                    return super().alpha(frames)

        engine = Alone()
        threads = threading.active_count()
        assert len(list(live(frames(20), engine, NEVER))) == 20
        assert 1 <= engine.calls <= 20
        assert threading.active_count() <= threads  # Fewer, if one of an earlier test has ended only now.

    def test_its_error_reaches_the_line(self) -> None:
        class Broken(DiscEngine):
            def alpha(self, frames: Tensor) -> Tensor:
                if self.calls:
                    raise EngineError("out of memory")
                return super().alpha(frames)

        with pytest.raises(EngineError, match="out of memory"):
            list(live(two_scenes(4), Broken(), NEVER))


@pytest.mark.parametrize(("width", "height"), [(800, 32), (1000, 200), (16, 400)])
def test_a_banner_is_lower_than_the_flow_can_search(width: int, height: int) -> None:
    """OpenCV would end the process."""
    pending_frames = [Frame(n, Fraction(n, 25), picture(n, width, height)) for n in range(5)]
    batches = list(infer_keyframes(pending_frames, DiscEngine(), SIZE, KeyframeInterval(2, RATE)))
    assert [frame for batch in batches for frame in batch.frames] == pending_frames
    for one in mattes(batches):
        assert one.max() > 0.2  # Of the disc, which the small picture averages with the wall.


class Switching:
    """A network that gives way to another one, at another input size, after some calls."""

    def __init__(self, after: int) -> None:
        self.calls_left, self.engine, self.input_size = after, DiscEngine(), SIZE

    def observe(self, engine: Engine, call_seconds: float) -> None:
        self.calls_left -= 1
        if self.calls_left == 0:
            self.engine, self.input_size = InverseEngine(), SIZE * 2


class InverseEngine(DiscEngine):
    def alpha(self, frames: Tensor) -> Tensor:
        return 1 - super().alpha(frames)


class TestNetworkChange:
    def test_the_matte_of_one_network_turns_into_that_of_the_next(self) -> None:
        given = captured(frames(20))
        found = mattes(infer_live(given, Switching(after=5), FOREVER))
        # The centre is inside the disc: 1 for the first network, 0 for the second.
        centre = [float(alpha[0, alpha.shape[1] // 2, alpha.shape[2] // 2]) for alpha in found]
        assert found[4].shape != found[5].shape
        steps = np.diff(centre)
        assert centre[4] > 0.9 and centre[-1] < 0.1
        assert steps.max() < 0.02 and steps.min() > -0.25

    def test_a_card_needs_no_matte(self) -> None:
        given = captured(frames(6))
        given[2:4] = [replace(frame, card="paused") for frame in given[2:4]]
        engine = DiscEngine()
        batches = list(infer_live(given, FixedNetwork(engine, SIZE), FOREVER))
        assert engine.calls == 4
        assert [batch.frames[0].card for batch in batches] == [None, None, "paused", "paused", None, None]
        assert ages_ms(batches)[4:] == [0, 0]

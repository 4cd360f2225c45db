"""One process or several: who this process is, and what the processes tell each other.

`torchrun --nproc-per-node=N -m train CONFIG` starts N of them; a plain `python -m train` is one that talks to nobody.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import nn

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Ranks:
    """This process's number among all of them."""

    rank: int = 0
    count: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this process writes the run's files."""
        return self.rank == 0

    def gather(self, mine: list[T]) -> list[T]:
        """Everything that the processes hold, in the order of their numbers; the same on each of them."""
        if self.count == 1:
            return mine
        parts: list[list[T]] = [[] for _ in range(self.count)]
        dist.all_gather_object(parts, mine)
        return [item for part in parts for item in part]

    def any(self, flag: bool) -> bool:
        """Whether the flag is set anywhere, so that all processes stop after the same step."""
        return any(self.gather([flag]))

    def share_buffers(self, net: nn.Module) -> None:
        """Gives every process the batch norm statistics of the first, which are the ones that are saved."""
        if self.count > 1:
            for buffer in net.buffers():
                dist.broadcast(buffer, src=0)


@contextmanager
def process_group() -> Iterator[tuple[Ranks, torch.device]]:
    """Joins the processes that `torchrun` started, if it did; gives this one's number and device."""
    cuda = torch.cuda.is_available()
    count = int(os.environ.get("WORLD_SIZE", "1"))
    local = int(os.environ.get("LOCAL_RANK", "0"))
    device = torch.device("cuda", local) if cuda else torch.device("cpu")
    if cuda:
        torch.cuda.set_device(device)
    if count == 1:
        yield Ranks(), device
        return
    dist.init_process_group("nccl" if cuda else "gloo")
    try:
        yield Ranks(dist.get_rank(), count), device
    finally:
        dist.destroy_process_group()

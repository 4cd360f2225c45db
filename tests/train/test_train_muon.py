from __future__ import annotations

import pytest
import torch
from torch import nn

from streamseg.model.u2net import LITE, U2Net
from tests.train.conftest import sample_part
from tests.train.test_train_learner import learner
from train.muon import Muon, orthogonalised


@pytest.mark.parametrize("shape", [(16, 27), (27, 16), (20, 20)])
def test_every_direction_becomes_about_equally_long(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    matrix = torch.randn(shape)
    lengths = torch.linalg.svdvals(orthogonalised(matrix))
    assert lengths.min().item() > 0.3 and lengths.max().item() < 1.3
    spread = torch.linalg.svdvals(matrix)
    assert spread.max() / spread.min() > 2 * lengths.max() / lengths.min()


def test_the_directions_themselves_are_kept() -> None:
    torch.manual_seed(0)
    left, lengths, right = torch.linalg.svd(torch.randn(16, 27), full_matrices=False)
    nearest = orthogonalised((left * lengths) @ right)
    assert torch.cosine_similarity(nearest.flatten(), (left @ right).flatten(), dim=0).item() > 0.97


def test_a_gradient_of_zero_moves_nothing() -> None:
    assert orthogonalised(torch.zeros(4, 9)).abs().max().item() == 0


def test_kernels_are_orthogonal_and_the_rest_is_adam() -> None:
    net = U2Net(LITE)
    orthogonal, rest = (group["params"] for group in Muon(net, 1e-3, 0).param_groups)
    assert all(parameter.ndim == 4 and parameter.shape[0] > 1 for parameter in orthogonal)
    assert len(orthogonal) + len(rest) == len(list(net.parameters()))
    assert {parameter.ndim for parameter in rest} == {1, 4}  # Batch norm and biases, and the maps of one channel.


def test_what_is_not_a_kernel_moves_as_under_adamw() -> None:
    torch.manual_seed(0)
    ours, theirs = nn.BatchNorm2d(8), nn.BatchNorm2d(8)
    muon = Muon(ours, 1e-2, 0.1)
    adamw = torch.optim.AdamW(theirs.parameters(), 1e-2, weight_decay=0.1)
    for _ in range(5):
        gradient = torch.randn(8)
        for net, optimizer in ((ours, muon), (theirs, adamw)):
            net.weight.grad, net.bias.grad = gradient.clone(), gradient.clone()
            optimizer.step()
    torch.testing.assert_close(ours.weight, theirs.weight)


def test_it_lowers_the_loss_faster_than_adamw() -> None:
    part = sample_part(seed=1)
    losses = {}
    for optimizer, learning_rate in (("muon", 5e-3), ("adamw", 1e-3)):
        one = learner(optim={"optimizer": optimizer})
        losses[optimizer] = [one.step([part], learning_rate).item() for _ in range(12)][-1]
    assert losses["muon"] < losses["adamw"]

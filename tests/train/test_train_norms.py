from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from streamseg.model.u2net import CONFIGS, LITE, FusedU2Net, U2Net, U2NetConfig
from streamseg.model.weights import save_weights
from tests.synthetic import randomised
from train.config import Config
from train.loop import Trainer
from train.norms import IMAGES, are_folded, unfold

CPU = torch.device("cpu")


def folded(config: U2NetConfig = LITE) -> U2Net:
    """A network as the import of an ONNX export gives it: norms that shift and do nothing else."""
    net = randomised(config)
    fused = FusedU2Net(net)
    for block, source in zip(_blocks(net), _blocks(fused), strict=True):
        block.conv.weight.data.copy_(source.conv.weight)
        bn = block.bn
        nn.init.ones_(bn.weight)
        nn.init.zeros_(bn.bias)
        bn.running_mean.copy_(-source.conv.bias)
        bn.running_var.fill_(1 - bn.eps)
    return net.eval()


def _blocks(net: nn.Module) -> list[nn.Module]:
    return [module for module in net.modules() if type(module).__name__ == "ConvBlock"]


def images(count: int) -> Tensor:
    return torch.randn(count, 3, 64, 64, generator=torch.Generator().manual_seed(3))


@torch.no_grad()
@pytest.mark.parametrize("architecture", ["lite", "nano"])
def test_unfolding_keeps_the_evaluation_form_and_nearly_the_training_form(architecture: str) -> None:
    net = folded(CONFIGS[architecture])
    assert are_folded(net)
    assert not are_folded(U2Net(CONFIGS[architecture]))
    seen = images(IMAGES)
    before = net(seen)
    ruined = torch.sigmoid(copy.deepcopy(net).train()(seen)[0])
    assert (ruined - before).abs().mean() > 0.03, "else there would be nothing to mend"
    unfold(net, seen)
    assert not are_folded(net)
    assert not net.training
    assert (net(seen) - before).abs().max() < 1e-4
    assert (torch.sigmoid(net.train()(seen)[0]) - before).abs().mean() < 0.02


def test_a_run_from_folded_weights_restores_their_norms_before_its_first_step(
    small: Callable[..., Config], tmp_path: Path
) -> None:
    net = folded()
    save_weights(tmp_path / "start.safetensors", net, {})
    config = small(epochs=1, learning_rate=1e-9, ema=0.5, frozen_statistics=True, weight_decay=0)
    config = config.model_copy(
        update={"model": config.model.model_copy(update={"start_from": str(tmp_path / "start.safetensors")})}
    )
    (tmp_path / "run").mkdir()
    trainer = Trainer(config, tmp_path / "run", CPU)
    assert trainer.learner.lacks_norms
    trainer.fit()
    assert not are_folded(trainer.learner.net)
    assert not are_folded(trainer.learner.judged)
    with torch.no_grad():
        for trained in (trainer.learner.net, trainer.learner.judged):
            assert (trained.eval()(images(4)) - net(images(4))).abs().max() < 1e-3

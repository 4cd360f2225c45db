import math

import pytest
import torch
from torch import Tensor, nn

from streamseg.model.u2net import CONFIGS, FULL, LITE, NANO, FusedU2Net, U2Net, U2NetConfig
from tests.synthetic import randomised

ODD_SIZES = [(32, 32), (33, 47), (100, 75)]

# seed.md's table: (height, in, mid, out) from En1 to En6, then De5 to De1; height 0 is RSU-4F.
FULL_TABLE = [
    (7, 3, 32, 64),
    (6, 64, 32, 128),
    (5, 128, 64, 256),
    (4, 256, 128, 512),
    (0, 512, 256, 512),
    (0, 512, 256, 512),
    (0, 1024, 256, 512),
    (4, 1024, 128, 256),
    (5, 512, 64, 128),
    (6, 256, 32, 64),
    (7, 128, 16, 64),
]
LITE_TABLE = [
    (height, 3 if index == 0 else 64 if index < 6 else 128, 16, 64) for index, (height, *_) in enumerate(FULL_TABLE)
]


@pytest.fixture(scope="module")
def lite() -> U2Net:
    return randomised(LITE)


@torch.no_grad()
def run(net: nn.Module, height: int, width: int, batch: int = 1) -> Tensor:
    torch.manual_seed(1)
    return net(torch.randn(batch, 3, height, width))


@pytest.mark.parametrize(("name", "parameters", "seed_millions"), [("lite", 1_128_333, 1.13), ("full", 43_995_469, 44)])
def test_parameter_count(name: str, parameters: int, seed_millions: float) -> None:
    with torch.device("meta"):
        net = U2Net(CONFIGS[name])
    assert sum(parameter.numel() for parameter in net.parameters()) == parameters
    assert round(parameters / 1e6, 2 if name == "lite" else 1) == seed_millions


@pytest.mark.parametrize(("config", "table"), [(FULL, FULL_TABLE), (LITE, LITE_TABLE)])
def test_stages_are_the_papers(config: U2NetConfig, table: list[tuple[int, ...]]) -> None:
    stages = [
        (0 if stage.dilated else stage.height, stage.in_channels, stage.mid_channels, stage.out_channels)
        for stage in config.encoder + config.decoder
    ]
    assert stages == table


def test_nano_takes_at_most_one_giga_multiplications_of_a_webcam_frame() -> None:
    """lite takes 11.9 at the same size; convolutions alone are counted, as in the papers."""
    assert multiplications(LITE, 192, 320) == pytest.approx(11.9e9, rel=0.01)
    assert multiplications(NANO, 192, 320) <= 1.0e9


def multiplications(config: U2NetConfig, height: int, width: int) -> int:
    counted = 0

    def count(conv: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal counted
        assert isinstance(conv, nn.Conv2d)
        counted += output.numel() * conv.in_channels * math.prod(conv.kernel_size)

    net = U2Net(config).eval()
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(count)
    run(net, height, width)
    return counted


def test_the_first_convolution_of_nano_halves_the_maps_and_its_output_is_enlarged() -> None:
    fused, *sides = run(U2Net(NANO).train(), 66, 97, batch=2)
    assert fused.shape == (2, 1, 66, 97)
    assert [tuple(side.shape) for side in sides] == [(2, 1, 33, 49)] * 6


def test_dilations() -> None:
    pooled, dilated = LITE.encoder[0], LITE.encoder[4]
    assert pooled.encoder_dilations() == (1, 1, 1, 1, 1, 1, 2)
    assert pooled.decoder_dilations() == (1,) * 6
    assert dilated.encoder_dilations() == (1, 2, 4, 8)
    assert dilated.decoder_dilations() == (4, 2, 1)


@pytest.mark.parametrize(("height", "width"), ODD_SIZES)
def test_evaluation_returns_one_map_in_0_1_of_the_inputs_size(lite: U2Net, height: int, width: int) -> None:
    alpha = run(lite, height, width, batch=2)
    assert alpha.shape == (2, 1, height, width)
    assert alpha.min() >= 0 and alpha.max() <= 1
    assert alpha.std() > 0.01


@pytest.mark.parametrize(("height", "width"), ODD_SIZES)
def test_training_returns_seven_logit_maps_of_the_inputs_size(height: int, width: int) -> None:
    maps = run(U2Net(LITE).train(), height, width, batch=2)
    assert [tuple(m.shape) for m in maps] == [(2, 1, height, width)] * 7
    assert min(m.min() for m in maps) < 0, "logits, not probabilities"


def test_evaluation_is_the_sigmoid_of_the_fused_logits(lite: U2Net) -> None:
    alpha = run(lite, 64, 64)
    # Training mode at the top alone: the batch norms below keep their statistics.
    lite.training = True
    try:
        fused, *sides = run(lite, 64, 64)
    finally:
        lite.training = False
    assert torch.equal(torch.sigmoid(fused), alpha)
    assert torch.allclose(lite.fuse(torch.cat(sides, dim=1)), fused)


def test_gradients_reach_every_parameter() -> None:
    net = U2Net(LITE).train()
    torch.stack(net(torch.randn(2, 3, 64, 64))).sum().backward()
    assert all(parameter.grad is not None for parameter in net.parameters())


def test_out_channels() -> None:
    net = randomised(LITE, out_channels=3)
    assert run(net, 40, 56).shape == (1, 3, 40, 56)
    assert net.config.out_channels == 3
    assert [tuple(m.shape) for m in run(net.train(), 64, 64, batch=2)] == [(2, 3, 64, 64)] * 7


@pytest.mark.parametrize(
    ("config", "out_channels", "sizes"),
    [(LITE, 1, ODD_SIZES), (LITE, 3, [(33, 47)]), (FULL, 1, [(33, 47)]), (NANO, 1, ODD_SIZES)],
)
def test_fused_network_equals_the_evaluation_form(
    config: U2NetConfig, out_channels: int, sizes: list[tuple[int, int]]
) -> None:
    net = randomised(config, out_channels)
    fused = FusedU2Net(net)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in fused.modules())
    for height, width in sizes:
        expected = run(net, height, width)
        assert expected.std() > 0.001, "a saturated map would prove nothing"
        assert (run(fused, height, width) - expected).abs().max() < 1e-5


def test_fusing_leaves_the_trained_network_alone(lite: U2Net) -> None:
    before = {key: tensor.clone() for key, tensor in lite.state_dict().items()}
    fused = FusedU2Net(lite)
    assert lite.state_dict().keys() == before.keys()
    assert all(torch.equal(tensor, before[key]) for key, tensor in lite.state_dict().items())
    assert not fused.training and not any(parameter.requires_grad for parameter in fused.parameters())


@pytest.mark.parametrize("shape", [(3, 64, 64), (1, 1, 64, 64), (1, 4, 64, 64), (1, 3, 31, 64), (1, 3, 64, 31)])
def test_wrong_input_is_a_value_error(lite: U2Net, shape: tuple[int, ...]) -> None:
    for net in (lite, FusedU2Net(lite)):
        with pytest.raises(ValueError, match=r"must be \(N, 3, H, W\) with H and W >= 32 px"):
            net(torch.zeros(math.prod(shape)).view(shape))

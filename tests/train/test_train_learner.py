from __future__ import annotations

import copy

import pytest
import torch

from streamseg.errors import ConfigError
from streamseg.model.u2net import LITE, U2Net
from streamseg.model.weights import save_weights
from tests.train.conftest import sample_part
from train.config import Config
from train.learner import Learner, _amp_dtype
from train.loader import Sample

CPU = torch.device("cpu")


def learner(**sections: dict[str, object]) -> Learner:
    torch.manual_seed(0)
    return Learner(Config.model_validate({"name": "x", **sections}), CPU)


def weights(net: torch.nn.Module) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in net.parameters()])


@pytest.fixture(scope="module")
def part() -> Sample:
    return sample_part(seed=1)


def test_steps_lower_the_loss(part: Sample) -> None:
    one = learner()
    losses = [one.step([part], learning_rate=3e-3).item() for _ in range(8)]
    assert losses[-1] < 0.8 * losses[0]


def test_two_equal_parts_are_one_step_of_their_mean() -> None:
    part = sample_part(seed=1, side=96)
    # Batch norm sees the same statistics in both: the parts are alike.
    doubled = (torch.cat((part[0], part[0])), torch.cat((part[1], part[1])))
    losses, gradients = [], []
    for parts in ([doubled], [part, part]):
        one = learner()
        losses.append(one.step(parts, 1e-3).item())
        gradients.append(torch.cat([p.grad.flatten() for p in one.net.parameters() if p.grad is not None]))
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
    assert torch.cosine_similarity(*gradients, dim=0).item() > 0.99
    assert gradients[0].norm().item() == pytest.approx(gradients[1].norm().item(), rel=0.02)


def test_the_average_follows_the_weights_and_is_what_is_judged(part: Sample) -> None:
    plain, averaging = learner(), learner(optim={"ema": 0.9})
    assert plain.judged is plain.net
    trail = []
    for _ in range(3):
        averaging.step([part], 1e-3)
        trail.append(weights(averaging.net))
    # The first update copies; then the share that is kept is (1 + n) / (10 + n) until it reaches 0.9.
    expected = trail[0]
    for n, current in enumerate(trail[1:], start=1):
        kept = (1 + n) / (10 + n)
        expected = kept * expected + (1 - kept) * current
    assert torch.allclose(weights(averaging.judged), expected, atol=1e-6)
    assert not torch.equal(weights(averaging.judged), trail[-1])
    running = averaging.judged.body.encoder[0].input.bn.running_mean
    assert not torch.equal(running, averaging.net.body.encoder[0].input.bn.running_mean)


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
@pytest.mark.parametrize("ema", [0.0, 0.5])
def test_a_restored_learner_goes_on_exactly(part: Sample, optimizer: str, ema: float) -> None:
    settings = {"optim": {"optimizer": optimizer, "ema": ema}}
    first = learner(**settings)
    for _ in range(2):
        first.step([part], 1e-3)
    second = learner(**settings)
    second.load(copy.deepcopy(first.state()), step=2)
    for each in (first, second):
        each.step([part], 1e-3)
    for (name, ours), theirs in zip(first.net.state_dict().items(), second.net.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs), name
    assert torch.equal(weights(first.judged), weights(second.judged))


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "muon"])
def test_a_restored_learner_has_the_weight_decay_of_its_own_configuration(part: Sample, optimizer: str) -> None:
    before, after = (learner(optim={"optimizer": optimizer, "weight_decay": decay}) for decay in (0.1, 0))
    before.step([part], 1e-3)
    after.load(copy.deepcopy(before.state()), step=1)
    assert {group["weight_decay"] for group in after.optimizer.param_groups} == {0}
    for each in (before, after):
        each.step([part], 1e-3)
    assert not torch.equal(weights(before.net), weights(after.net))


def test_a_checkpoint_without_an_average_starts_one_from_its_weights(part: Sample) -> None:
    before = learner()
    before.step([part], 1e-3)
    after = learner(optim={"ema": 0.9})
    after.load(before.state(), step=1)
    assert torch.equal(weights(after.judged), weights(before.net))


def test_adam_decays_through_the_gradient_and_adamw_beside_it(part: Sample) -> None:
    nets = [learner(optim={"optimizer": name, "weight_decay": 0.5}) for name in ("adam", "adamw")]
    for each in nets:
        each.step([part], 1e-3)
    assert not torch.allclose(weights(nets[0].net), weights(nets[1].net))


def test_bfloat16_trains_where_the_cpu_has_it(part: Sample, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    half = learner(optim={"amp": "bf16"})
    assert half.amp_dtype == torch.bfloat16
    first, *_, last = [half.step([part], 3e-3).item() for _ in range(6)]
    assert last < first
    assert all(parameter.dtype == torch.float32 for parameter in half.net.parameters())


@pytest.mark.parametrize(("amp", "capability"), [("bf16", "AVX2"), ("fp16", "AVX512"), ("off", "AVX512")])
def test_a_cpu_does_not_emulate_half_precision(monkeypatch: pytest.MonkeyPatch, amp: str, capability: str) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    assert learner(optim={"amp": amp}).amp_dtype is None


def test_a_gpu_takes_what_is_asked_for() -> None:
    gpu, types = torch.device("cuda"), (torch.float16, torch.bfloat16, None)
    assert tuple(_amp_dtype(amp, gpu) for amp in ("fp16", "bf16", "off")) == types


def test_starting_weights_are_taken_over_and_must_fit(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("start") / "given.safetensors"
    given = U2Net(LITE)
    save_weights(path, given, {})
    assert torch.equal(weights(learner(model={"start_from": str(path)}).net), weights(given))
    with pytest.raises(ConfigError, match=r"start_from: .*holds a lite network, not full"):
        learner(model={"start_from": str(path), "architecture": "full"})


def test_ruined_weights_are_noticed() -> None:
    one = learner()
    assert one.is_finite()
    one.net.fuse.weight.data[0, 0] = float("inf")
    assert not one.is_finite()


def test_the_network_is_compiled_when_asked_and_saved_as_ever(part: Sample, monkeypatch: pytest.MonkeyPatch) -> None:
    class Compiled(torch.nn.Module):
        def __init__(self, net: torch.nn.Module) -> None:
            super().__init__()
            self._orig_mod = net
            self.calls = 0

        def forward(self, frames: torch.Tensor) -> object:
            self.calls += 1
            return self._orig_mod(frames)

    monkeypatch.setattr(torch, "compile", Compiled)
    one = learner(optim={"compile": True})
    one.step([part], 1e-3)
    assert isinstance(one.forward, Compiled)
    assert one.forward.calls == 1
    assert one.state()["model"].keys() == learner().state()["model"].keys()


@pytest.mark.gpu
@pytest.mark.parametrize("optim", [{"optimizer": "muon"}, {"ema": 0.9}])
def test_a_step_on_a_gpu_waits_for_nothing(part: Sample, optim: dict[str, object]) -> None:
    config = Config.model_validate({"name": "x", "optim": {"amp": "bf16", **optim}})
    one = Learner(config, torch.device("cuda"))
    placed = part[0].cuda(), part[1].cuda()
    one.step([placed], 1e-3)
    torch.cuda.set_sync_debug_mode("error")
    try:
        loss = one.step([placed], 1e-3)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert loss.is_cuda
    assert loss.isfinite()

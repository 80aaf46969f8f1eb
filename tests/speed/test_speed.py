"""The benchmark of speed: that both sides do the same work, and that nothing is missing from its report."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir

from cvae.config import plain
from cvae.networks import starter
from cvae.speed import growth
from cvae.speed.growth import slope
from cvae.speed.measure import Finding, Lap, Watch, ratio, spread
from cvae.speed.report import markdown
from cvae.speed.rivals import BareLoop, UsualWay, as_published, decode_by_layers, encode_by_layers
from cvae.speed.run import run
from cvae.speed.turns import in_turns
from cvae.speed.validation import whole_share

CONF = Path(__file__).resolve().parents[2] / "conf"
TINY_TRAINING = {
    "models": ["dense"],
    "batch_sizes": [16],
    "samples": 64,
    "block": 32,
    "seconds": 0,
    "index_select": False,
    "overrides": [],
}


@pytest.mark.parametrize("index_select", [False, True])
@pytest.mark.parametrize("model", ["dense", "mixture"])
def test_the_bare_loop_does_the_very_updates_of_the_trainer(shipped: Any, model: str, index_select: bool) -> None:
    separate = "true" if model == "mixture" else "false"
    chosen = [f"model={model}", f"recipe.separate={separate}", "recipe.y_term=true", "data.fresh=false"]
    # without a best epoch the trainer ends with the weights of the last one
    chosen += ["callbacks.checkpoint=null", "data.evaluation.references=0", "data.batch_size=20", "test=false"]
    cfg = shipped(*chosen, "trainer.max_epochs=3")
    turns, trained = in_turns(cfg, partial(BareLoop, index_select=index_select), block_items=40, seconds=1e9)
    assert turns.items == 3 * 64
    # 64 triples are batches of 20, 20, 20 and 4, in blocks of two
    assert len(turns.ours) == len(turns.theirs) == 3 * 2
    bare = turns.rival.network.state_dict()
    for name, weights in trained.network.state_dict().items():
        assert torch.equal(weights, bare[name]), name


def test_the_report_has_all_entries(shipped: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        parts = "parts=[training,starter,generation]"
        settings = plain(compose("benchmark_speed", [f"out={tmp_path}/speed.json", parts]))
        settings["training"] = TINY_TRAINING
        settings["starter"] = {"samples": 200, "block": 100, "seconds": 0, "overrides": ["data.tolerance=0"]}
        settings["generation"] |= {"models": ["dense"], "conditions": 2, "draws": [3], "pool": 40, "rounds": 2}
        settings["generation"]["epochs"] = 0
        findings = run(settings, lambda words: compose("train", [*words, f"run_dir={tmp_path}"]))
    written = json.loads((tmp_path / "speed.json").read_text())
    assert written["machine"].keys() >= {"cores", "threads", "torch", "load"}
    assert [entry["part"] for entry in written["findings"]] == ["training", "starter", *["generation"] * 4]
    for entry, finding in zip(written["findings"], findings, strict=True):
        assert entry.keys() == {"part", "name", "value", "unit", "goal", "at_most", "details", "reached"}
        assert entry["value"] == pytest.approx(finding.value)
        assert entry["details"]["wall"].keys() == {"median", "low", "high", "number"}
    assert written["findings"][0]["details"].keys() == {"wall", "cpu", "total_wall", "total_cpu", "ours", "theirs"}
    assert markdown(findings) in capsys.readouterr().out


def test_an_unknown_part_is_an_error() -> None:
    with pytest.raises(ValueError, match="parts holds 'sleep'; choose from training, starter"):
        run({"parts": ["sleep"]}, lambda words: None)  # type: ignore[arg-type, return-value]


def test_a_ratio_compares_blocks_and_sums() -> None:
    found = ratio([Lap(1, 2), Lap(2, 2), Lap(1, 4)], [Lap(3, 2), Lap(2, 4), Lap(2, 4)], items=8)
    assert found.wall == spread([3, 1, 2])
    assert found.wall.median == 2
    assert found.cpu.median == 1
    assert (found.total_wall, found.total_cpu) == (7 / 4, 10 / 8)
    assert (found.ours, found.theirs) == (8 / 4, 8 / 7)


def test_a_ratio_needs_as_many_laps_on_both_sides() -> None:
    with pytest.raises(ValueError, match="1 laps cannot be held against 2"):
        ratio([Lap(1, 1)], [Lap(1, 1), Lap(1, 1)], items=1)


def test_a_watch_adds_up_what_lies_between_start_and_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter([Lap(0, 0), Lap(1, 2), Lap(10, 20), Lap(13, 21)])
    monkeypatch.setattr(Watch, "_now", staticmethod(lambda: next(now)))
    watch = Watch()
    watch.start()
    watch.stop()
    watch.start()
    assert watch.take() == Lap(4, 3)
    assert watch.take() == Lap(0, 0)


@pytest.mark.parametrize(("value", "at_most", "reached"), [(2, False, True), (2, True, False), (0.5, False, False)])
def test_a_goal_is_reached_or_missed(value: float, at_most: bool, reached: bool) -> None:
    assert Finding("part", "name", value, "x", 1.0, at_most, {}).reached is reached


def test_without_a_goal_nothing_is_missed() -> None:
    assert Finding("part", "name", 1.0, "x", None, False, {}).reached is None


def test_the_share_of_validation_weighs_what_is_done_once_and_what_pictures_take() -> None:
    # 2 seconds of training each; validations take 1, once 3 more, and 4 more with pictures
    epochs, validations = [6.0, 3.0, 3.0, 7.0], [4.0, 1.0, 1.0, 5.0]
    assert whole_share(epochs, validations, total=10, pictures=2) == pytest.approx((10 + 3 + 8) / (10 + 3 + 8 + 20))


@pytest.mark.parametrize("power", [1, 2])
def test_the_slope_tells_linear_from_quadratic_growth(power: int) -> None:
    sizes = [10, 100, 1000]
    assert slope(sizes, [float(size**power) for size in sizes]) == pytest.approx(power)


def test_growth_is_told_of_time_and_of_memory_without_that_of_the_start() -> None:
    rows = {size: {"wall": 1.0, "cpu": size / 100, "peak_mib": 400 + size**2, "base_mib": 400} for size in (10, 20)}
    time, memory = growth._findings("training", "lines", rows)
    assert time.name == "training time against lines, slope at the end"
    assert (time.value, memory.value) == pytest.approx((1, 2))
    assert (time.reached, memory.reached) == (True, False)
    assert growth.growth_markdown([time, memory]).count("| training against lines |") == 2


def test_the_starter_computes_what_its_layers_do() -> None:
    network = starter(lines=2, points=50, conditions=1, latent_dim=6).double()
    x, y, z = torch.rand(3, 2, 50).double(), torch.rand(3, 50).double(), torch.randn(3, 4, 6).double()
    for ours, layers in (
        (torch.cat(network.encoder(x, y)), torch.cat(encode_by_layers(network.encoder, x, y))),
        (network.decoder(z, y), decode_by_layers(network.decoder, z, y)),
    ):
        torch.testing.assert_close(ours, layers)
        pairs = zip(gradients(network, ours), gradients(network, layers), strict=True)
        for one, other in pairs:
            assert (one is None) == (other is None)
            if one is not None:
                torch.testing.assert_close(one, other)


def test_only_a_starter_computes_as_published() -> None:
    network = torch.nn.Linear(2, 2)
    with pytest.raises(ValueError, match="Linear is not the starter's network"):
        as_published(network)


def test_the_usual_way_trains_with_torch_s_choice_of_an_optimizer(shipped: Any) -> None:
    cfg = shipped("experiment=starter", "data.batch_size=20", "data.evaluation.references=0", "test=false")
    turns, _ = in_turns(cfg, UsualWay, block_items=40, seconds=0)
    rival = turns.rival
    assert isinstance(rival, UsualWay)
    assert isinstance(rival.optimizer, torch.optim.Adam)
    assert rival.optimizer.defaults["fused"] is None
    assert rival.optimizer.defaults["lr"] == cfg.optimizer.lr
    # 64 triples are batches of 20, 20, 20 and 4; those of the last epoch are summed
    assert rival.step == 4
    assert all(total > 0 for total in rival.sums)


def gradients(network: torch.nn.Module, output: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
    return torch.autograd.grad(output.square().sum(), list(network.parameters()), allow_unused=True)

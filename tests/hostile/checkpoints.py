"""Damaged and hostile checkpoints: loaded, resumed from, continued and fine-tuned."""

from __future__ import annotations

import io
import math
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import torch

from cvae.models import Generative
from cvae.models.checkpoints import KEY
from cvae.runs.continuation import KEY as CONTINUED
from cvae.runs.launch import run as train
from tests.hostile.campaign import Case
from tests.hostile.damage import NOISE, THINGS, archives, cuts, flips, pickles
from tests.hostile.good import Good, config, resumptions, same, weights

Content = dict[str, Any]
Change = Callable[[Content, Path], object]
NAN = math.nan
PROGRESS = ("epoch", "lr", CONTINUED, f"without {CONTINUED}")
ENDED = "of a training that a callback has ended"
FINISHED = "of the end of the run"
#: values in the place of others of another kind
OTHERS = (None, 5, -1, "abc", [], {}, [1], {"a": 1}, NAN, torch.zeros(2), True, 10**30)


def _stored(content: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def _changed(source: Path, change: Change, guard: Path) -> bytes:
    content = torch.load(source, weights_only=True)
    change(content, guard)
    return _stored(content)


def _put(content: Any, keys: tuple[Any, ...], value: Any) -> None:
    for key in keys[:-1]:
        content = content[key]
    content[keys[-1]] = value


def _drop(content: Any, keys: tuple[Any, ...]) -> None:
    for key in keys[:-1]:
        content = content[key]
    del content[keys[-1]]


# --- loaded, as generate and submit do


def loaded(good: Good, rng: Random) -> Iterator[Case]:
    """Checkpoints from which a model is to be made."""
    content = good.best.read_bytes()
    state = weights(good.whole, "best.ckpt")
    settled = torch.load(good.best, weights_only=True)[KEY]["config"]

    def whole(model: Generative) -> bool:
        return same(model.state_dict(), state) and model.config == settled

    for title, damaged in (*cuts(content, 60, rng), *NOISE.items(), *archives("best/data.pkl")):
        yield _load(title, lambda guard, damaged=damaged: damaged)
    for title, damaged in flips(content, 150, rng):
        yield _load(title, lambda guard, damaged=damaged: damaged, whole)
    for title, _ in pickles(Path("guard")):
        yield _load(title, lambda guard, title=title: dict(pickles(guard))[title])
    for title, make in THINGS.items():
        yield _load_thing(title, make)
    for title, change in (*_configs(settled), *_weights(state)):
        yield _load(title, lambda guard, change=change: _changed(good.best, change, guard))
    # of the loss, which draws nothing, and what has a default that is the same
    for keys in [keys for keys in _places(settled) if keys[0] == "loss" or keys[-1] == "range"]:
        yield _load(
            f"config without {'.'.join(map(str, keys))}",
            lambda guard, keys=keys: _changed(
                good.best, lambda content, guard: _drop(content, (KEY, "config", *keys)), guard
            ),
            lambda model: same(model.state_dict(), state),
        )


def _load(title: str, make: Callable[[Path], bytes], right: Callable[[Generative], bool] | None = None) -> Case:
    def act(run: Path) -> Generative:
        (run / "best.ckpt").write_bytes(make(run.parent / "guard"))
        return Generative.load(run / "best.ckpt")

    return Case(title, act, right, things=("best.ckpt",))


def _load_thing(title: str, make: Any) -> Case:
    def act(run: Path) -> Generative:
        make(run / "best.ckpt", run.parent / "guard")
        return Generative.load(run / "best.ckpt")

    return Case(title, act, things=("best.ckpt",))


def _configs(settled: Content) -> Iterator[tuple[str, Change]]:
    """A config that is damaged or hostile, behind weights that are good."""
    for name in (KEY, "state_dict"):
        yield f"without {name}", lambda content, guard, name=name: _drop(content, (name,))
        for value in OTHERS:
            yield f"{name}={value!r}", lambda content, guard, n=name, v=value: _put(content, (n,), v)
    for value in (None, 0, 1, 2, 4, "3", 3.5, [3], NAN):
        yield f"format {value!r}", lambda content, guard, v=value: _put(content, (KEY, "format"), v)
    places = [*_places(settled)]
    for keys in [keys for keys in places if keys[0] != "loss" and keys[-1] != "range"]:
        yield (
            f"config without {'.'.join(map(str, keys))}",
            lambda content, guard, keys=keys: _drop(content, (KEY, "config", *keys)),
        )
    targets = [keys for keys in places if keys[-1] == "_target_"]
    for keys in targets:
        for target in ("os.system", "builtins.eval", "cvae.networks.torch.hub", "cvae.losses.huber.__globals__", 5):
            yield (
                f"{'.'.join(map(str, keys))}={target!r}",
                lambda content, guard, k=keys, t=target: _put(content, (KEY, "config", *k), t),
            )
    hostile: dict[tuple[Any, ...], tuple[Any, ...]] = {
        ("model", "hidden"): ([3_000_000], [8] * 3_000_000, [10**9] * 2, [0], [-1], "abc", 5, [10**30], [1.5], [NAN]),
        ("model", "latent_dim"): (10**9, 0, -1, "abc", 10**30, 1.5, None, NAN),
        ("model", "x_shape"): ([10**9, 10**9], [2], "abc", [], [-2, 50], None),
        ("model", "y_shape"): ([10**9, 10**9], "abc", [], None),
        ("model", "encoder_sees_y"): ("maybe", 5, None),
        ("task", "points"): (10**9, 0, -1, "abc", 1.5, None, 10**30),
        ("task", "directions"): (["falling"] * 10_000_000, [], ["up"], None, 5),
        ("task", "range"): ([0, NAN], [1, 0], [0, math.inf], [0], None, "abc"),
        ("task", "forward"): (
            [], ["x0 * x9"], ["__import__('os').system('touch ran')"], ["x0" + "+x0" * 100_000],
            ["(" * 5000 + "x0" + ")" * 5000], 5, None,
            {"_target_": "os.getcwd"}, {"_target_": "cvae.networks.dense"}, ["x0"] * 100_000,
        ),
        ("task", "gates", "rmse"): (NAN, -1, 0, "abc", None, math.inf),
        ("task", "gates", "pearson"): (NAN, 2, "abc"),
        ("task", "prior"): ("nope", 5, None, [{"mean": NAN, "std": 1}] * 4),
        ("evaluation", "draws"): (0, -1, "abc", None, 1.5),
        ("evaluation", "temperature"): (0, -1, NAN, "abc", None),
        ("evaluation", "point_set"): ("nope", None, 5),
        ("loss", "beta"): (NAN, -1, "abc", None),
        ("loss", "wx"): (NAN, -1, "abc", None),
        ("loss", "reduction"): ("nope", None, 5),
        ("model", "unknown"): (5,),
        ("loss", "likelihood"): (None, 5, "abc", {}),
        ("model", "head"): (5, "abc", {}, {"_target_": "cvae.networks.KL"}),
        ("model", "_args_"): ([1, 2, 3],),
        ("model", "_partial_"): (True,),
        ("model", "_convert_"): ("nope",),
        ("model", "_recursive_"): (False, "abc"),
        ("task", "a${oc.env:HOME}"): ("${oc.env:HOME}",),
    }  # fmt: skip
    for keys, values in hostile.items():
        for value in values:
            yield (
                f"{'.'.join(map(str, keys))}={str(value)[:60]}",
                lambda content, guard, k=keys, v=value: _put(content, (KEY, "config", *k), v),
            )
    for depth in (50, 400):
        yield f"a config {depth} deep", lambda content, guard, d=depth: _put(content, (KEY, "config", "deep"), _deep(d))


def _deep(depth: int) -> Any:
    content: Any = 1
    for _ in range(depth):
        content = {"a": content}
    return content


def _places(config: Any, where: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The entries that have no default: those that are named at the top, and targets."""
    for key, value in config.items():
        if not where or key in ("_target_", "hidden", "x_shape", "y_shape", "points", "forward", "gates", "range"):
            yield (*where, key)
        if isinstance(value, dict):
            yield from _places(value, (*where, key))


def _weights(state: dict[str, torch.Tensor]) -> Iterator[tuple[str, Change]]:
    """Weights that are not those of the model."""
    for name, value in state.items():
        at = ("state_dict", name)
        yield f"weights without {name}", lambda content, guard, at=at: _drop(content, at)
        yield f"{name} of another shape", lambda content, guard, at=at: _put(content, at, torch.zeros(3, 7))
        if value.is_floating_point():
            bad = value.clone()
            bad.view(-1)[0] = NAN
            yield f"{name} with a nan", lambda content, guard, at=at, bad=bad: _put(content, at, bad)
            yield f"{name} infinite", lambda content, guard, at=at, bad=value / 0: _put(content, at, bad)
    name = next(iter(state))
    first = state[name]
    kinds = {
        "complex": first.to(torch.complex64), "meta": first.to("meta"), "sparse": first.to_sparse(), "text": "abc",
        "expanded": torch.zeros(1).expand(10**6, 10**6), "a number": 1.0, "None": None,
        "too large": first.double() * 1e300,
        "quantized": torch.quantize_per_tensor(first, 0.1, 0, torch.quint8),
    }  # fmt: skip
    for title, value in kinds.items():
        yield f"{name} {title}", lambda content, guard, v=value, n=name: _put(content, ("state_dict", n), v)
    yield "a further weight", lambda content, guard: _put(content, ("state_dict", "further"), torch.zeros(3))
    yield "a weight by a number", lambda content, guard: _put(content, ("state_dict", 5), torch.zeros(3))
    yield "no weights", lambda content, guard: _put(content, ("state_dict",), {})


# --- resumed from


def resumed(good: Good, rng: Random) -> Iterator[Case]:
    """A run that was interrupted, with a ``last.ckpt`` that is damaged or hostile, is given again: it must end with the
    weights that it has without an interruption, or be refused."""
    last = good.interrupted / "checkpoints" / "last.ckpt"
    content = last.read_bytes()
    for title, damaged in (*cuts(content, 12, rng), *flips(content, 30, rng), *NOISE.items()):
        yield _resume(good, title, lambda guard, damaged=damaged: damaged)
    for title, damaged in archives("last/data.pkl"):
        yield _resume(good, title, lambda guard, damaged=damaged: damaged)
    some = [title for title, _ in pickles(Path("guard"))]
    for title in rng.sample(some, 15):
        yield _resume(good, title, lambda guard, title=title: dict(pickles(guard))[title])
    for title, change in _states(torch.load(last, weights_only=True)):
        yield _resume(good, title, lambda guard, change=change: _changed(last, change, guard))
    end: Change = lambda content, guard: _put(content, (CONTINUED, "ended"), True)  # noqa: E731
    yield _resume(good, ENDED, lambda guard: _changed(last, end, guard))
    yield _resume(good, "of another run", lambda guard: (good.other / "checkpoints" / "last.ckpt").read_bytes())
    yield _resume(good, FINISHED, lambda guard: (good.whole / "checkpoints" / "last.ckpt").read_bytes())
    for title, make in THINGS.items():
        yield _resume_thing(good, f"last.ckpt is {title}", "last.ckpt", make)
        yield _resume_thing(good, f"best.ckpt is {title}", "best.ckpt", make)
    best = (good.interrupted / "checkpoints" / "best.ckpt").read_bytes()
    yield _resume(good, "no best.ckpt", None, "best.ckpt")
    for title, damaged in (*cuts(best, 5, rng), *flips(best, 8, rng), *list(NOISE.items())[:4]):
        yield _resume(good, f"best.ckpt: {title}", lambda guard, damaged=damaged: damaged, "best.ckpt")
    other = good.other / "checkpoints" / "best.ckpt"
    yield _resume(good, "best.ckpt of another run", lambda guard: other.read_bytes(), "best.ckpt")


def _resume(good: Good, title: str, make: Callable[[Path], bytes] | None, name: str = "last.ckpt") -> Case:
    def put(path: Path, guard: Path) -> None:
        if make is not None:
            path.write_bytes(make(guard))

    return _resume_thing(good, title, name, put)


def _resume_thing(good: Good, title: str, name: str, put: Callable[[Path, Path], object]) -> Case:
    def act(run: Path) -> Path:
        run.rmdir()
        shutil.copytree(good.interrupted, run)
        path = run / "checkpoints" / name
        path.unlink()
        put(path, run.parent / "guard")
        train(config(), run)
        return run

    # both checkpoints are of the first epoch; if neither were gone on from, a new training would have these weights too
    done = 2 if title == FINISHED else 1
    # what a callback has ended goes on no further
    end = good.interrupted if title == ENDED else good.whole

    def right(run: Path) -> bool:
        # beside a last epoch that names another best one, that of the interrupted run is set aside, and none follows
        names = ("last.ckpt",) if title == FINISHED else ("last.ckpt", "best.ckpt")
        left = {path.name for path in (run / "checkpoints").glob("*.ckpt")}
        return (
            resumptions(run) == [done]
            and left == set(names)
            and all(same(weights(run, name), weights(end, name)) for name in names)
        )

    return Case(title, act, right)


def _states(content: Content) -> Iterator[tuple[str, Change]]:
    """What a training needs, damaged: missing, of another kind, or naming files of others."""
    for name in content:
        yield f"without {name}", lambda content, guard, n=name: _drop(content, (n,))
        for value in (None, 5, "abc", [], {}, [1]):
            yield f"{name}={value!r}", lambda content, guard, n=name, v=value: _put(content, (n,), v)
    for name in ("epoch", "global_step"):
        for value in (-1, 10**9, 10**30, 1.5, NAN, True, 0):
            if value != content[name]:
                yield f"{name}={value!r}", lambda content, guard, n=name, v=value: _put(content, (n,), v)
    group = ("optimizer_states", 0, "param_groups", 0)
    for name, values in {
        "lr": (NAN, math.inf, -1, None, "abc", 1e300), "initial_lr": (NAN, "abc", None, -1),
        "betas": ([2, 3], None, (NAN, NAN)), "params": ([], [0], [10**9], None),
        "weight_decay": (NAN, "abc", -1), "eps": (NAN, None),
    }.items():  # fmt: skip
        for value in values:
            yield (
                f"{name}={value!r} of the optimizer",
                lambda content, guard, k=(*group, name), v=value: _put(content, k, v),
            )
        yield f"an optimizer without {name}", lambda content, guard, k=(*group, name): _drop(content, k)
    state = content["optimizer_states"][0]["state"]
    first = next(iter(state))
    at = ("optimizer_states", 0, "state")
    yield "an empty state of the optimizer", lambda content, guard: _put(content, at, {})
    yield "a state of the optimizer without a weight", lambda content, guard: _drop(content, (*at, first))
    yield "two optimizers", lambda content, guard: content["optimizer_states"].extend(content["optimizer_states"])
    for name in state[first]:
        for value in (torch.zeros(3, 7), state[first][name] * NAN, None, "abc"):
            yield (
                f"{name} of the optimizer {str(value)[:20]}",
                lambda content, guard, k=(*at, first, name), v=value: _put(content, k, v),
            )
        yield f"a state without {name}", lambda content, guard, k=(*at, first, name): _drop(content, k)
    for keys, value in _leaves(content["lr_schedulers"], ("lr_schedulers",)):
        for wrong in (NAN, "abc", None, -5):
            if wrong != value:
                yield f"{keys}={wrong!r}", lambda content, guard, k=keys, v=wrong: _put(content, k, v)
    for keys, value in list(_leaves(content["loops"], ("loops",)))[::3]:
        if isinstance(value, int) and not isinstance(value, bool):
            for wrong in (10**9, "abc"):
                yield f"{keys}={wrong!r}", lambda content, guard, k=keys, v=wrong: _put(content, k, v)
    for keys, _ in _leaves(content[CONTINUED], (CONTINUED,)):
        for wrong in (None, "abc"):
            yield f"{keys}={wrong!r}", lambda content, guard, k=keys, v=wrong: _put(content, k, v)
    for change in (*_configs(content[KEY]["config"]),):
        if "latent_dim=1000000000" in change[0] or change[0].startswith(("format", "model.hidden=[3")):
            yield change
    for title, change in _weights(content["state_dict"]):
        if "nan" in title or "further" in title or "shape" in title:
            yield title, change
    yield from _paths(content)


def _leaves(value: Any, where: tuple[Any, ...]) -> Iterator[tuple[tuple[Any, ...], Any]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        if isinstance(inner, dict | list) and inner:
            yield from _leaves(inner, (*where, key))
        else:
            yield (*where, key), inner


def _paths(content: Content) -> Iterator[tuple[str, Change]]:
    """Paths of files of others in what the callbacks know, who would remove them as checkpoints of worse epochs."""
    ways: dict[str, Callable[[str, Path], str]] = {
        "absolute": lambda own, guard: str(guard / "precious.txt"),
        "a folder": lambda own, guard: str(guard / "victim"),
        "through ..": lambda own, guard: f"{own}/../../guard/precious.txt",
        "a folder through ..": lambda own, guard: f"{own}/../../guard/victim",
        "through .. of its own": lambda own, guard: f"{own}/x/../../../guard/victim",
        "the run's own folder": lambda own, guard: f"{own}/..",
        "the record": lambda own, guard: f"{own}/../result.json",
        "a zero byte": lambda own, guard: "a\0b",
        "a number": lambda own, guard: 5,
    }
    names = ("best_model_path", "kth_best_model_path", "last_model_path", "best_k_models", "dirpath")
    for callback in content["callbacks"]:
        for name in names:
            if name not in content["callbacks"][callback]:
                continue
            for title, way in ways.items():

                def change(content: Content, guard: Path, c: str = callback, n: str = name, way: Any = way) -> None:
                    own = content["callbacks"][c]["dirpath"]
                    path = way(own, guard)
                    value = {path: torch.tensor(-1.0)} if n == "best_k_models" else path
                    content["callbacks"][c][n] = value

                yield f"{name} of {callback[:40]}: {title}", change
            yield (
                f"{name} of {callback[:40]} is gone",
                lambda content, guard, c=callback, n=name: _drop(content, ("callbacks", c, n)),
            )


# --- continued and fine-tuned


def continued(good: Good, rng: Random) -> Iterator[Case]:
    """Checkpoints named by ``ckpt_path`` and ``init_from``."""
    last = good.interrupted / "checkpoints" / "last.ckpt"
    content = last.read_bytes()
    made: list[tuple[str, Callable[[Path], bytes]]] = [
        (title, lambda guard, damaged=damaged: damaged)
        for title, damaged in (*cuts(content, 10, rng), *list(NOISE.items())[:6])
    ]
    # a file of another run has its own paths and its own progress
    chosen = ("without state_dict", f"without {KEY}", "state_dict", KEY, "epoch='", "epoch=N", "lr=nan", "lr='")
    for title, change in _states(torch.load(last, weights_only=True)):
        if title.startswith(chosen):
            made.append((title, lambda guard, change=change: _changed(last, change, guard)))
    for title, change in _weights(weights(good.interrupted)):
        made.append((title, lambda guard, change=change: _changed(last, change, guard)))
    for title in rng.sample([title for title, _ in pickles(Path("guard"))], 10):
        made.append((title, lambda guard, title=title: dict(pickles(guard))[title]))
    for entry in ("ckpt_path", "init_from"):
        for title, make in made:
            # a model is begun with weights alone
            weights_alone = title == f"{KEY}={{}}" or (entry == "init_from" and title.startswith(PROGRESS))
            if not weights_alone:
                yield _continue(entry, title, make)


def _continue(entry: str, title: str, make: Callable[[Path], bytes]) -> Case:
    def act(run: Path) -> float:
        path = run / "given.ckpt"
        path.write_bytes(make(run.parent / "guard"))
        cfg = config()
        cfg[entry] = str(path)
        return train(cfg, run / "new")

    return Case(f"{entry}: {title}", act, things=("given.ckpt",))

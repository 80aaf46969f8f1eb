"""The command ``cvae`` and what its first word does."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest

from cvae.commands import main as door
from cvae.commands.main import COMMANDS, main
from cvae.config import config_folder

ROOT = Path(__file__).resolve().parents[2]


def call(monkeypatch: pytest.MonkeyPatch, *words: str) -> None:
    monkeypatch.setattr(sys, "argv", ["/somewhere/bin/cvae", *words])
    main()


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, list[str]]]:
    """The commands that were called instead of run, each with the words that Hydra would read."""
    found: list[tuple[str, list[str]]] = []
    monkeypatch.setattr(door, "call", lambda name: found.append((name, sys.argv[1:])))
    return found


@pytest.mark.parametrize("words", [(), ("--help",), ("-h",)])
def test_help_lists_the_commands(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    call(monkeypatch, *words)
    shown = capsys.readouterr().out
    assert all(f"\n  {name} " in shown for name in COMMANDS)


def test_every_command_has_a_config_and_a_script() -> None:
    for name in COMMANDS:
        assert (config_folder() / f"{name}.yaml").is_file()
        script = ROOT / ("train.py" if name == "train" else f"scripts/{name}.py")
        assert f'call("{name}")' in script.read_text()


def test_the_first_word_chooses_and_the_others_are_hydras(
    monkeypatch: pytest.MonkeyPatch, called: list[tuple[str, list[str]]]
) -> None:
    call(monkeypatch, "train", "-m", "model=dense,deep", "--config-dir", "mine")
    assert called == [("train", ["-m", "model=dense,deep", "--config-dir", "mine"])]


def test_the_version_is_shown(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    call(monkeypatch, "--version")
    assert capsys.readouterr().out == f"cvae {version('cvae')}\n"


def test_completion_without_a_request_is_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit, match="-sc install=bash"):
        call(monkeypatch, "-sc")


def test_an_unknown_command_is_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit, match=r"cvae: 'trian' is no command; choose one of train, generate, "):
        call(monkeypatch, "trian")


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("cvae ", set(COMMANDS)),
        ("cvae tr", set(COMMANDS)),  # of which the shell takes those that fit
        ("cvae nothing ", set()),
        ("cvae train optimi", {"optimized_metric=", "optimized_mode=", "optimizer=", "optimizer."}),
        ("cvae train loss=", {"loss=bernoulli", "loss=elbo", "loss=huber", "loss=l1", "loss=mse"}),
        ("cvae generate generation=", {"generation=complete", "generation=default"}),
    ],
)
def test_the_shell_completes_commands_and_their_overrides(
    line: str, offered: set[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COMP_LINE", line)
    try:
        call(monkeypatch, "-sc", "query=bash")
    finally:
        hydra_forget()
    assert offered <= set(capsys.readouterr().out.split())


def hydra_forget() -> None:
    from hydra.core.global_hydra import GlobalHydra

    GlobalHydra.instance().clear()


def test_the_rule_for_the_shell_is_about_the_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        call(monkeypatch, "-sc", "install=bash")
    finally:
        hydra_forget()
    assert capsys.readouterr().out.rstrip().endswith("hydra_bash_completion cvae")


@pytest.mark.slow
def test_a_wheel_holds_the_configs_and_works_in_any_folder(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "-o", str(tmp_path), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True, cwd=tmp_path)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        archive.extractall(tmp_path / "site")
    yamls = {path.relative_to(ROOT / "conf").as_posix() for path in (ROOT / "conf").rglob("*.yaml")}
    assert {name.removeprefix("cvae/conf/") for name in names if name.endswith(".yaml")} == yamls
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "cvae").rglob("*.py")}
    assert {name for name in names if name.endswith(".py")} == modules
    assert "cvae/py.typed" in names

    work = tmp_path / "work"
    (work / "mine" / "data").mkdir(parents=True)
    (work / "mine" / "data" / "my_problem.yaml").write_text(
        'defaults: [lines, _self_]\nforward: ["x0 / (x1 + 0.5)"]\ngates: {rmse: 0.02}\n'
    )
    code = "import sys; sys.argv[0] = 'cvae'; from cvae.commands.main import main; main()"
    words = ["train", "--config-dir", "mine", "data=my_problem", "debug=fast_dev_run", "data.source.train=64"]
    words += ["data.source.validation=16", "data.source.test=16", "data.evaluation.references=0", "threads=1"]
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "site")}
    done = subprocess.run(
        [sys.executable, "-c", code, *words], cwd=work, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert len(list((work / "outputs" / "train").glob("*/result.json"))) == 1

"""Entries of a command line that a training cannot have: each is told in one message, before anything is built."""

import logging
import re

import pytest
from lightning import Callback

from cvae.errors import UserError, user_message
from cvae.runs.settle import settle
from tests.hostile.settings import begun, changed

A_WHOLE = "it must be a whole number."
A_MAPPING = "it must be a mapping, as conf/train.yaml has it."


@pytest.mark.parametrize(
    ("words", "message"),
    [
        # null, of entries and of groups
        ("data.points=null", f"data.points is None; {A_WHOLE}"),
        ("data.range=null", "data.range is None; it must be a list of numbers."),
        ("data.directions=null", "data.directions is None; it must be a list of texts."),
        ("data.forward=null", "data.forward is None; it must be a mapping or a list of texts."),
        ("data.gates.rmse=null", "data.gates.rmse is None; it must be a number."),
        ("data.gates.pearson=null", "data.gates.pearson is None; it must be a number."),
        ("data.batch_size=null", f"data.batch_size is None; {A_WHOLE}"),
        ("data.seed=null", f"data.seed is None; {A_WHOLE}"),
        ("data.source=null", "data.source is None; it must be a mapping."),
        ("optimizer.lr=null", "optimizer.lr is None; it must be a number."),
        ("trainer.devices=null", "trainer.devices is None; it must be text or a whole number or a list of whole"),
        ("evaluation.draws=null", f"evaluation.draws is None; {A_WHOLE}"),
        *((f"{group}=null", f"{group} is None; {A_MAPPING}") for group in
          ("data", "model", "loss", "optimizer", "scheduler", "trainer", "callbacks", "logger", "generation",
           "evaluation", "recipe")),
        ("data._target_=null", "data._target_ is None; choose a member of conf/data, as data=NAME."),
        ("loss._target_=null", "loss._target_ is None; choose a member of conf/loss, as loss=NAME."),
        ("trainer.max_epochs=null", "trainer.max_epochs is None, a training without an end; set it, or +trainer.max"),
        # another type
        ("data.forward=5", "data.forward is 5; it must be a mapping or a list of texts."),
        ("test=abc", "test is 'abc'; it must be true or false."),
        ("data.fresh=maybe", "data.fresh is 'maybe'; it must be true or false."),
        ("generation.refine_steps=1.5", f"generation.refine_steps is 1.5; {A_WHOLE}"),
        ("ckpt_path=[]", "ckpt_path is []; it must be text or null."),
        ("+loss.likelihood=5", "loss.likelihood is 5; it must be a mapping with _target_."),
        ("loss.y_term=abc", "loss.y_term is 'abc'; it must be a mapping with _target_ or null."),
        ("experiment=digits model.head=5", "model.head is 5; it must be a mapping with _target_."),
        ("data._recursive_=0", "data._recursive_ is 0; it must be true or false."),
        ("optimizer._partial_=false", "optimizer._partial_ is False; it must be true"),
        # no such entry
        ("+optimizer.foo=1", "optimizer.foo is no option of cvae.optimizers.MuonAdamW; it has: params, lr,"),
        ("+model.lines=3", "model.lines is no option of cvae.networks.film; it has: x_shape,"),
        ("+model.conditions=2", "model.conditions is no option of cvae.networks.film; it has: x_shape,"),
        ("+loss.elementwise=5", "loss.elementwise is no option of cvae.losses.Objective; it has: likelihood,"),
        ("+trainer.compile=maybe", "trainer.compile is no option of lightning.Trainer; it has: accelerator,"),
        ("+generation.pool=abc", "generation.pool is no option of cvae.generation.generate.Plan; it has: draws,"),
        ("seed='${nope}'", "seed is ${nope}, which has no value (Interpolation key 'nope' not found); set it."),
        ("experiment=digits loss.beta='${data.gates.rmse}'", "loss.beta is ${data.gates.rmse}, which has no value ("),
        # values that nothing can be made of
        ("+model.hidden=[0]", "model.hidden is [0]; give layer sizes of at least 1, for example [256, 256]."),
        ("scheduler.warmup=2", "scheduler.warmup is 2; it is a share of training, at least 0 and below 1."),
        ("scheduler.floor=5", "scheduler.floor is 5; it is a share of the learning rate, from 0 to 1."),
        ("optimizer=sgd optimizer.momentum=5", "optimizer.momentum is 5; it must be below 1."),
        ("optimizer=sgd +optimizer.nesterov=true optimizer.momentum=0",
         "optimizer: lr=0.01, weight_decay=0.0, momentum=0, nesterov=True cannot be used (Nesterov momentum requires"),
        (
            "optimizer=adamw optimizer.fused=true +optimizer.foreach=true",
            "optimizer: lr=0.002, weight_decay=0.0001, fused=True, foreach=True cannot be used (`fused` and `foreach`",
        ),
        ("data.seed=-1", "data.seed is -1; it must be a whole number from 0 to 4294967295."),
        ("generation.seed=-1", "generation.seed is -1; it must be a whole number from 0 to 4294967295."),
        ("+trainer.accumulate_grad_batches=0", "trainer.accumulate_grad_batches is 0; it must be at least 1."),
        ("+trainer.accumulate_grad_batches=-1", "trainer.accumulate_grad_batches is -1; it must be at least 1."),
        ("+trainer.limit_val_batches=0", "trainer.limit_val_batches is 0; it must be above 0."),
        ("trainer.devices=0", "trainer.devices is 0; it must be how many, at least 1, -1 for all of an accel"),
        ("trainer.precision=bf16-true", "trainer.precision is bf16-true; samples of a latent and solutions are in sin"),
        ("trainer.precision=64", "trainer.precision is 64; samples of a latent and solutions are in single precision"),
        ("trainer.accelerator=abc", "trainer: You selected an invalid accelerator name: `accelerator='abc'`."),
        ("callbacks.progress.refresh_rate=-1", "callbacks.progress.refresh_rate is -1; it must be at least 0."),
        ("logger.tensorboard.headline=abc", "logger.tensorboard.headline is 'abc', which is not measured; choose one"),
        ("callbacks.progress.measures=[val/score,abc]", "callbacks.progress.measures is 'abc', which is not measured;"),
        # what a run gives itself, and what would lie outside of it
        ("+trainer.callbacks=[]", "trainer.callbacks is [], but a run takes it from callbacks; set that instead."),
        ("+trainer.default_root_dir=a", "trainer.default_root_dir is a, but a run takes it from hydra.run.dir;"),
        ("callbacks.checkpoint.dirpath=elsewhere",
         "callbacks.checkpoint.dirpath is elsewhere, outside of the run's folder; begin it with ${run_dir}"),
        ("callbacks.checkpoint.dirpath=null", "callbacks.checkpoint.dirpath must be set; begin it with ${run_dir}."),
        ("callbacks.checkpoint.dirpath='${run_dir}/../elsewhere'", "callbacks.checkpoint.dirpath is ${run_dir}/../"),
        ("callbacks.checkpoint.dirpath='${run_dir}_elsewhere'", "callbacks.checkpoint.dirpath is ${run_dir}_else"),
        ("callbacks.checkpoint.filename=../../escaped",
         "callbacks.checkpoint.filename is ../../escaped, which leads out of the run's folder; give a plain name."),
        ("callbacks.checkpoint.filename=/far/escaped", "callbacks.checkpoint.filename is /far/escaped, which leads"),
        ("callbacks.checkpoint.filename='${run_dir}_x'", "callbacks.checkpoint.filename is ${run_dir}_x, which leads"),
        ("logger.csv.version=../../x", "logger.csv.version is ../../x, which leads out"),
        ("logger.csv.name=/far/x", "logger.csv.name is /far/x, which leads out"),
        ("debug=profiler trainer.profiler.filename=../x", "trainer.profiler.filename is ../x, which leads out"),
        ("logger.csv.save_dir=/tmp", "logger.csv.save_dir is /tmp, outside of the run's folder;"),
        ("callbacks.last.filename=newest", "callbacks.last.filename is newest; it must be last, since an interrupted"),
        ("callbacks.last.enable_version_counter=true", "callbacks.last.enable_version_counter is True; it must be Fal"),
        ("+callbacks.last.monitor=val/score", "callbacks.last.monitor is val/score; it must be None, since an interr"),
        # more than any machine holds
        ("optimizer=sgd optimizer.lr=1e300", "optimizer.lr is 1e+300; it must be at most 1e+30."),
        ("optimizer=sgd optimizer.weight_decay=1e300",
         "optimizer: lr=0.01, weight_decay=1e+300, momentum=0.9 cannot be used (value cannot be converted"),
        ("data.source.train=100000000000000", "data.source.train is 100000000000000; it must be at most 1000000000."),
        ("evaluation.draws=100000000000", "evaluation.draws is 100000000000; it must be at most 1000000."),
        ("+model.hidden=[8,100000000000000]", "cvae.networks.perceptrons.film asks for 3,200,000 GB, more memory"),
        ("threads=1000000", "threads is 1000000; it must be at most 1024."),
        # what the trainer refuses
        ("+trainer.max_time=abc", "trainer: `Timer(duration='abc')` is not a valid duration. Expected a string in the "
         "format DD:HH:MM:SS (trainer.max_time=abc)."),
        ("+trainer.profiler=abc", "trainer: When passing string value for the `profiler` parameter"),
        ("+trainer.fast_dev_run=-1", "trainer.fast_dev_run is -1; it must be at least 0."),
        ("+trainer.enable_checkpointing=false", "trainer: Trainer was configured with `enable_checkpointing=False`"),
        ("data.batch_size=100 +trainer.limit_train_batches=1e-9",
         "trainer.limit_train_batches is 1e-09, less than one of 1000 batches; give a larger share, or a whole number"),
        ("+trainer.val_check_interval=0", "trainer.val_check_interval is 0; it must be above 0."),
        ("+trainer.val_check_interval={}", "trainer.val_check_interval is {}, no time between validations; give more."),
        ("+trainer.max_time={minutes:-1}", "trainer.max_time is {'minutes': -1}, which trains nothing; give more."),
        ("trainer.max_epochs=0", "trainer.max_epochs is 0, which trains nothing; give more."),
        ("trainer.max_epochs=false", "trainer.max_epochs is False; it must be a whole number or null."),
        ("+trainer.max_time={seconds:0}", "trainer.max_time is {'seconds': 0}, which trains nothing; give more."),
        ("+trainer.max_time='00:00:00:00'", "trainer.max_time is 00:00:00:00, which trains nothing; give more."),
        # another kind of thing
        ("trainer._target_=builtins.dict", "trainer._target_ is builtins.dict; it must be lightning.Trainer."),
        ("+loss.set_objective={_target_: builtins.dict}", "loss.set_objective._target_ is builtins.dict, which"),
        ("loss={_target_: builtins.dict}", "loss._target_ makes a dict, which is no loss; choose loss=NAME."),
        ("+callbacks.x={_target_: os.getcwd}", "callbacks.x._target_ is os.getcwd, which makes no callback of Lightn"),
        ("+callbacks.last.train_time_interval=1.5", "callbacks.last.train_time_interval is 1.5; it must be a mapping"),
        ("optimizer=adamw optimizer.fused=false +optimizer.capturable=true",
         "optimizer: lr=0.002, weight_decay=0.0001, fused=False, capturable=True cannot be used (If capturable=True,"),
        ("data._target_=torch.nn.Linear", "data._target_ is torch.nn.Linear, which makes no pairs; choose a member"),
        ("optimizer={_target_: cvae.losses.constant, _partial_: true}",
         "optimizer.lr is no option of cvae.losses.constant; it has: none."),
        ("scheduler={_target_: builtins.dict}", "scheduler._target_ is builtins.dict, "),
        ("experiment=digits loss.wy=1.5", "loss.wy is 1.5, but these data have no forward operator to compare with"),
    ],
)  # fmt: skip
def test_a_wrong_entry_is_named_with_its_value_and_the_remedy(tmp_path, words, message):
    *base, last = words.rsplit(" ", 1) if "{_target_" not in words else [words]
    with pytest.raises(Exception) as caught:  # noqa: PT011 - of many kinds, as user_message knows
        begun(changed((*" ".join(base).split(), last)), tmp_path)
    assert (user_message(caught.value) or "").startswith(message)


class Own(Callback):
    """One's own, with a folder of its own choice."""

    def __init__(self, dirpath: str) -> None:
        self.dirpath = dirpath


@pytest.mark.parametrize(
    "words",
    [
        "+callbacks.own={_target_: tests.runs.test_entries.Own, dirpath: /far/shared}",
        "+logger.own={_target_: lightning.pytorch.loggers.TensorBoardLogger, save_dir: /far/shared, name: ../logs}",
    ],
)
def test_one_folder_of_logs_may_be_shared_by_runs(words):
    settle(changed((words,)))


@pytest.mark.parametrize("expression", ["1", "t", "0*x0", "0.3", "x0 - x0", "sin(x0)**2 + cos(x0)**2", "x1**0"])
def test_a_function_that_is_the_same_for_all_solutions_is_refused(expression):
    with pytest.raises(UserError, match=r"data\.forward: .* is the same for all x, so that y tells nothing"):
        settle(changed((f"data.forward=['{expression}']",)))


def test_no_gate_follows_from_a_function_that_is_the_same_for_all_solutions():
    with pytest.raises(UserError, match=r"data\.gates\.rmse is auto, .* y does not vary: change data\.forward"):
        settle(changed(("data.gates.rmse=auto", "data.forward=['t']")))


def test_a_function_that_is_finite_nowhere_is_refused():
    with pytest.raises(UserError, match=r"log\(-x0 - 1\) is not finite for any x of the prior; change the expression"):
        settle(changed(("data.forward=['log(-x0 - 1)']",)))


@pytest.mark.parametrize(
    ("expression", "words", "share"),
    [
        ("x0", "x0 does not depend on x1 for", 100),
        ("x1 + 0*x0", "x1 + 0*x0 does not depend on x0 for", 100),
        # of two falling lines the left ends, each the larger of two uniform numbers, are both below .99: .99**4
        ("x1 + maximum(x0 - 0.99, 0)", "does not depend on x0 for", 96),
        # the left end is above .5
        ("log(0.5 - x0) + x1", "log(0.5 - x0) + x1 is not finite for", 75),
    ],
)
def test_what_a_function_says_nothing_about_is_warned_of_with_its_share(caplog, expression, words, share):
    (warning,) = said(caplog, expression)
    found = re.search(rf"{re.escape(words)} (\d+) % of the prior", warning)
    # of 4,000 simulations: three standard errors
    assert int(found[1]) == pytest.approx(share, abs=2)


@pytest.mark.parametrize(
    "expression", ["x0 * x1", "minimum(x0, x1)", "maximum(x0 - 0.5, 0) * x1", "1000 + x0 + x1", "sin(300*x0*x1)"]
)
def test_other_functions_are_passed_over_in_silence(caplog, expression):
    assert said(caplog, expression) == []


def said(caplog, expression):
    with caplog.at_level(logging.WARNING, logger="cvae.runs.gates"):
        settle(changed((f"data.forward=['{expression}']",)))
    return [record.getMessage() for record in caplog.records if record.getMessage().startswith("data.forward")]

"""Training runs: what is logged, what a checkpoint holds, and that a killed run ends as an
undisturbed one does."""

import json
import math
import os
import random
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from npformer import tensorfile
from npformer.core.errors import InputError
from npformer.files import write_whole
from npformer.serialize import load, save
from npformer.tensors import Tensor
from npformer.train import (
    CHECKPOINT,
    LOG,
    OPTIONS,
    Config,
    Diverged,
    Interrupted,
    Run,
    read_log,
    sample,
    train,
)

SMALL = dict(batch=3, context=8, d_model=12, n_heads=2, d_ff=20, report_every=10, save_every=4)


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text.txt"
    rng = random.Random(0)
    path.write_text(" ".join(rng.choice(["to", "be", "or", "not", "that", "is", "question"])
                             for _ in range(400)))
    return str(path)


@pytest.fixture
def config(text):
    return Config(text=text, steps=30, **SMALL)


def weights(run):
    return {name: p.array.copy() for name, p in run.model.named_parameters()}


def assert_same_bits(a, b):
    assert a.keys() == b.keys()
    for name in a:
        assert a[name].dtype == b[name].dtype and a[name].tobytes() == b[name].tobytes(), name


# ── learning and the log ──────────────────────────────────────────────────────────────────────────


def test_a_run_learns_and_logs_each_step(config, tmp_path):
    seen = []
    run = train(config, str(tmp_path / "run"),
                watch=lambda run, record: seen.append(record["step"]))
    records = read_log(tmp_path / "run" / LOG)
    assert [r["step"] for r in records] == seen == list(range(1, 31))
    assert records[0]["loss"] == pytest.approx(math.log(len(run.tokenizer)), abs=0.8)
    assert records[-1]["loss"] < records[0]["loss"] - 0.1
    assert [r["step"] for r in records if "grad_norms" in r] == [10, 20, 30]
    assert records[-1]["val_loss"] == run.validation_loss()
    assert list(records[-1]["grad_norms"]) == [name for name, _ in run.model.named_parameters()]
    assert min(records[-1]["grad_norms"].values()) > 0


def test_validation_loss_is_the_mean_over_the_last_tenth(config):
    run = Run(config, config.read_text())
    ids, T = run.validation, config.context
    losses = []
    for start in range(0, len(ids) - T, T):
        x = Tensor.wrap(ids[None, start:start + T])
        y = Tensor.wrap(ids[None, start + 1:start + T + 1])
        losses.append(run.loss(x, y).item())
    assert len(losses) > 5
    assert run.validation_loss() == pytest.approx(np.mean(losses), rel=1e-6)


def test_gradient_norms_are_those_of_the_gradients_and_null_where_severed(text, tmp_path):
    run = train(Config(text=text, steps=2, residual="deleted", **SMALL), str(tmp_path / "run"))
    norms = read_log(tmp_path / "run" / LOG)[-1]["grad_norms"]
    severed = {name.split(".")[-2] for name, v in norms.items() if v is None}
    assert severed == {"query", "key", "value", "out_proj"}
    for name, p in run.model.named_parameters():
        if p.grad is not None:
            assert norms[name] == pytest.approx(np.linalg.norm(p.grad.array), rel=1e-5)


def test_the_same_seed_gives_the_same_run_and_another_another(config, tmp_path):
    a, b = (train(config, str(tmp_path / name)) for name in "ab")
    assert_same_bits(weights(a), weights(b))
    assert (tmp_path / "a" / LOG).read_bytes() == (tmp_path / "b" / LOG).read_bytes()
    other = Run(Config(text=config.text, steps=30, seed=1, **SMALL), config.read_text())
    name = "blocks.0.query.weight"
    assert not np.array_equal(weights(other)[name], weights(Run(config, config.read_text()))[name])


def test_float64_runs_are_float64_throughout(text, tmp_path):
    run = train(Config(text=text, steps=2, dtype="float64", **SMALL), str(tmp_path / "run"))
    assert {p.dtype for p in run.model.parameters()} == {np.dtype("float64")}
    assert {p.grad.dtype for p in run.model.parameters()} == {np.dtype("float64")}


def test_sample_draws_characters_that_the_model_holds_likely(config, tmp_path):
    run = train(Config(text=config.text, steps=300, **{**SMALL, "save_every": 300}),
                str(tmp_path / "run"))
    drawn = sample(run.model, run.tokenizer, 200, seed=1, start="to")
    assert drawn == sample(run.model, run.tokenizer, 200, seed=1, start="to")
    assert drawn != sample(run.model, run.tokenizer, 200)
    assert len(drawn) == 200 and set(drawn) <= set(run.tokenizer.vocabulary)
    assert 0.08 < drawn.count(" ") / 200 < 0.4     # the text has a space in five characters


# ── stopping and going on ─────────────────────────────────────────────────────────────────────────


def stop_at(step, number=signal.SIGINT):
    def watch(run, record):
        if record["step"] == step:
            os.kill(os.getpid(), number)
    return watch


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_saves_and_ends_as_an_undisturbed_one(config, tmp_path, number):
    whole = train(config, str(tmp_path / "whole"))
    folder = str(tmp_path / "stopped")
    before = signal.getsignal(number)
    for step in (7, 8, 19):                        # between checkpoints, at one, and once more
        with pytest.raises(Interrupted,
                           match=rf"Stopped at step {step} of 30(.|\n)*--resume --out"):
            train(config, folder, resume=step > 7, watch=stop_at(step, number))
        assert signal.getsignal(number) is before
    resumed = train(None, folder, resume=True)
    assert_same_bits(weights(whole), weights(resumed))
    assert (tmp_path / "whole" / LOG).read_bytes() == (tmp_path / "stopped" / LOG).read_bytes()


def test_steps_after_the_last_checkpoint_are_not_logged_twice(config, tmp_path):
    folder = tmp_path / "run"

    class Crash(Exception):
        pass

    def crash(run, record):
        if record["step"] == 11:
            raise Crash

    with pytest.raises(Crash):
        train(config, str(folder), watch=crash)
    with open(folder / LOG, "a") as file:
        file.write('{"step": 12, "lo')             # cut off in the middle of a line
    assert [r["step"] for r in read_log(folder / LOG)] == list(range(1, 12))
    run = train(None, str(folder), resume=True)
    assert [r["step"] for r in read_log(folder / LOG)] == list(range(1, 31))
    assert_same_bits(weights(run), weights(train(config, str(tmp_path / "whole"))))


def test_a_finished_run_can_be_made_longer(config, tmp_path):
    train(Config(text=config.text, steps=13, **SMALL), str(tmp_path / "run"))
    longer = train(None, str(tmp_path / "run"), resume=True, changes=dict(steps=30))
    assert_same_bits(weights(longer), weights(train(config, str(tmp_path / "whole"))))


PROGRAM = """
import sys
from npformer.train import Config, train
train(Config(text=sys.argv[1], steps=900, batch=3, context=8, d_model=12, d_ff=20,
             report_every=40, save_every=7),
      sys.argv[2], resume=sys.argv[3] == "resume")
"""


def log_size(folder):
    """The size of a log, 0 where there is none."""
    return (folder / LOG).stat().st_size if (folder / LOG).exists() else 0


def test_a_run_that_is_killed_and_resumed_ends_with_the_same_bits(text, tmp_path):
    def start(folder, resume):
        return subprocess.Popen([sys.executable, "-c", PROGRAM, text, str(folder), resume])

    assert start(tmp_path / "whole", "new").wait() == 0
    folder, rng, kills = tmp_path / "killed", random.Random(1), 0
    for _ in range(60):
        process = start(folder, "resume" if (folder / OPTIONS).exists() else "new")
        before = log_size(folder)
        while process.poll() is None and log_size(folder) == before and kills % 3:
            time.sleep(0.001)                      # two times in three wait until it trains
        time.sleep(rng.random() * (0.06 if kills % 3 else 0.4))
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            kills += process.wait() == -signal.SIGKILL
        if kills == 8:
            break
    assert kills == 8
    assert start(folder, "resume").wait() == 0
    whole, killed = (load(tmp_path / name / CHECKPOINT) for name in ("whole", "killed"))
    assert killed["step"] == 900
    assert_same_bits(*({name: t.array for name, t in tree["model"].items()}
                       for tree in (whole, killed)))
    assert (tmp_path / "whole" / LOG).read_bytes() == (folder / LOG).read_bytes()
    assert {name.removesuffix(".part") for name in os.listdir(folder)} == {CHECKPOINT, LOG, OPTIONS}


def test_training_works_outside_the_main_thread(config, tmp_path):
    done = []
    thread = threading.Thread(target=lambda: done.append(train(config, str(tmp_path / "run")).step))
    thread.start()
    thread.join()
    assert done == [30]


# ── checkpoints ───────────────────────────────────────────────────────────────────────────────────


def test_truncated_damaged_and_foreign_checkpoints_are_refused(config, tmp_path):
    folder = tmp_path / "run"
    train(Config(text=config.text, steps=5, **SMALL), str(folder))
    path = folder / CHECKPOINT
    good = path.read_bytes()
    for length in (0, 5, 100, len(good) // 2, len(good) - 1):
        path.write_bytes(good[:length])
        with pytest.raises(InputError,
                           match="is truncated, damaged, or not a safetensors file"
                                 "(.|\\n)*without --resume"):
            Run.load(str(path))
    for place in (len(good) - 7, len(good) // 2):
        path.write_bytes(good[:place] + bytes([good[place] ^ 1]) + good[place + 1:])
        with pytest.raises(InputError, match="damaged"):
            Run.load(str(path))
    path.write_bytes(b"\x80\x04\x95not a pickle either")
    with pytest.raises(InputError, match="truncated, damaged, or not a safetensors file"):
        Run.load(str(path))
    path.write_bytes(b"".join(tensorfile.pieces({"a": np.ones(3)}, {})))
    with pytest.raises(InputError, match="a checkpoint of something else than a training run"):
        Run.load(str(path))
    save({"weights": np.ones(3)}, path)
    with pytest.raises(InputError, match="a checkpoint of something else than a training run"):
        Run.load(str(path))
    with pytest.raises(InputError, match="cannot be read: No such file"):
        Run.load(str(folder / "no"))


def test_a_checkpoint_of_another_run_or_text_is_refused(config, tmp_path):
    folder = str(tmp_path / "run")
    train(Config(text=config.text, steps=5, **SMALL), folder)
    with pytest.raises(InputError, match="of another run: its depth is 1, and 4 was asked for"):
        train(None, folder, resume=True, changes=dict(depth=4))
    with pytest.raises(InputError, match="holds a run already"):
        train(config, folder)
    with open(config.text, "a") as file:
        file.write("more")
    with pytest.raises(InputError, match="has changed since this checkpoint was written"):
        train(None, folder, resume=True)


def test_a_run_that_was_killed_before_its_first_checkpoint_starts_again(config, tmp_path):
    whole, folder = train(config, str(tmp_path / "whole")), tmp_path / "killed"
    folder.mkdir()
    (folder / OPTIONS).write_bytes((tmp_path / "whole" / OPTIONS).read_bytes())
    assert_same_bits(weights(whole), weights(train(None, str(folder), resume=True)))


def test_no_run_to_resume(tmp_path):
    with pytest.raises(InputError, match="holds no run to go on with"):
        train(None, str(tmp_path / "nothing"), resume=True)


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_whole(path, b"old")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match="cannot be written: No space left on device"):
        write_whole(path, b"new")
    assert path.read_bytes() == b"old"


# ── what goes wrong ───────────────────────────────────────────────────────────────────────────────


def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_last_good_checkpoint(text, tmp_path):
    config = Config(text=text, steps=50, **{**SMALL, "save_every": 1})
    folder = tmp_path / "run"

    def poison(run, record):
        if record["step"] == 6:
            run.model.blocks[0].query.weight.array[0, 0] = math.nan

    told = r"step 6: blocks.0.query.weight holds NaN(.|\n)*last good checkpoint(.|\n)*smaller --lr"
    with pytest.raises(Diverged, match=told):
        train(config, str(folder), watch=poison)
    run = Run.load(str(folder / CHECKPOINT))
    assert run.step == 5 and all(np.isfinite(p.array).all() for p in run.model.parameters())
    with pytest.raises(Diverged, match=r"step \d+: .*(nan|inf|NaN).*lr 1e\+30"):
        train(Config(text=text, steps=50, **{**SMALL, "lr": 1e30}), str(tmp_path / "wild"))
    assert json.dumps(read_log(tmp_path / "wild" / LOG), allow_nan=False)


@pytest.mark.parametrize("options, words", [
    (dict(steps=0), "steps must be an integer >= 1, got 0"),
    (dict(batch=-3), "batch must be an integer >= 1"),
    (dict(seed=-1), "seed must be an integer >= 0"),
    (dict(lr=0.0), "lr must be a number > 0"),
    (dict(lr=math.nan), "lr must be a number > 0"),
    (dict(dtype="int8"), "dtype must be 'float32' or 'float64'"),
])
def test_options_out_of_range(options, words):
    with pytest.raises(InputError, match=words):
        Config(**options)


def test_a_text_shorter_than_the_context(tmp_path):
    path = tmp_path / "short.txt"
    path.write_text("too short")
    with pytest.raises(InputError, match="the text is too short: 8 characters to draw from"):
        train(Config(text=str(path)), str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_a_text_too_short_to_validate_on_still_trains(tmp_path):
    path = tmp_path / "short.txt"
    path.write_text("abcdefgh" * 6)
    train(Config(text=str(path), steps=2, **SMALL), str(tmp_path / "run"))
    assert read_log(tmp_path / "run" / LOG)[-1]["val_loss"] is None

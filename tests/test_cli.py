"""The command line: what it prints and writes, and that bad input gets one message, exit code 2 and
no traceback."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest

for needed in ("rich", "matplotlib"):
    pytest.importorskip(needed, reason="the command line needs the extra [cli]")

from npformer.cli import main  # noqa: E402

TINY = ["--batch", "2", "--context", "8", "--steps"]


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("the quick brown fox jumps over the lazy dog.\n" * 30)
    return str(path)


def refused(capsys, *arguments):
    """The message of a command that must fail: one, on stderr, with exit code 2."""
    try:
        code = main(list(arguments))
    except SystemExit as stop:                     # argparse leaves this way
        code = stop.code
    seen = capsys.readouterr()
    assert code == 2
    assert "Traceback" not in seen.err + seen.out
    assert len(re.findall(r"^npformer.*: ", seen.err, flags=re.M)) == 1
    return seen.err


# ── what works ────────────────────────────────────────────────────────────────────────────────────


def test_train_reports_logs_and_draws(text, tmp_path, capsys):
    out = tmp_path / "run"
    assert main(["train", text, *TINY, "12", "--out", str(out), "--residual", "deleted",
                 "--depth", "2"]) == 0
    seen = capsys.readouterr()
    assert seen.err == "" and "\x1b" not in seen.out
    assert re.search(r"^step 12, loss: \d\.\d{4}, validation loss: \d\.\d{4}$",
                     seen.out, flags=re.M)
    assert re.search(r"^ *blocks\.0\.ff1 +0\.\d{6} +0\.\d{6} *$", seen.out, flags=re.M)
    assert re.search(r"^ *blocks\.1\.query +no gradient +no gradient *$", seen.out, flags=re.M)
    assert (out / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert len((out / "log.jsonl").read_text().splitlines()) == 12
    assert main(["train", "--resume", "--steps", "15", "--out", str(out)]) == 0
    assert len((out / "log.jsonl").read_text().splitlines()) == 15


def test_residual_compares_the_forms_at_each_depth(text, tmp_path, capsys):
    out = tmp_path / "residual"
    assert main(["residual", text, *TINY, "6", "--depth", "1", "2", "--out", str(out)]) == 0
    seen = capsys.readouterr().out
    # query, key, value and out_proj, at depth 1 and in two blocks
    assert seen.count("no gradient") == 4 + 8
    results = json.loads((out / "residual.json").read_text())
    assert [(r["depth"], r["residual"])
            for r in results] == [(d, f) for d in (1, 2) for f in (True, False, "deleted")]
    assert all(len(r["losses"]) == 6 for r in results)
    assert {"residual.png", "grad_norms_1.png", "grad_norms_2.png"} <= set(os.listdir(out))


def test_demo_shows_every_part(tmp_path, capsys):
    assert main(["demo", "--steps", "8", "--out", str(tmp_path / "demo")]) == 0
    seen = capsys.readouterr().out
    for words in ("no gradient", "finite differences", "PyTorch", "|dL/dx|", "cross_entropy",
                  "attention", "What to try next"):
        assert words in seen, words
    assert {"residual.png", "grad_norms.png", "backward.html"} <= set(os.listdir(tmp_path / "demo"))


def test_info_and_version(capsys):
    assert main(["info"]) == 0
    seen = capsys.readouterr().out
    for words in ("numpy", "BLAS", "threads", "GPU", "python"):
        assert re.search(rf"^{words} +\S", seen, flags=re.M), words
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert stop.value.code == 0 and re.match(r"npformer \d", capsys.readouterr().out)


def test_python_m_npformer_is_the_command():
    done = subprocess.run([sys.executable, "-m", "npformer", "--version"],
                          capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith("npformer ")


# ── what cannot be used ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("content, words", [
    (None, "there is no such file"), (b"", "is empty"), (b"a\0b", "is a binary file"),
    (b"abc\xff", "is not UTF-8: byte 3"), (b"short", "the text is too short"),
])
@pytest.mark.parametrize("command", ["train", "residual"])
def test_files_that_are_no_text(tmp_path, capsys, command, content, words):
    path = tmp_path / "text.txt"
    if content is not None:
        path.write_bytes(content)
    assert words in refused(capsys, command, str(path), "--out", str(tmp_path / "out"))


@pytest.mark.parametrize("arguments, words", [
    (["--steps", "0"], "steps must be an integer >= 1"),
    (["--steps", "many"], "invalid int value: 'many'"),
    (["--batch", "-1"], "batch must be an integer >= 1"),
    (["--lr", "0"], "lr must be a number > 0"),
    (["--lr", "nan"], "lr must be a number > 0"),
    (["--seed", "-5"], "seed must be an integer >= 0"),
    (["--context", "0"], "context must be an integer >= 1"),
    (["--depth", "0"], "depth must be an integer >= 1"),
    (["--dtype", "int8"], "invalid choice: 'int8'"),
    (["--residual", "maybe"], "it must be true, false or deleted"),
    (["--no-residual", "--residual", "true"], "not allowed with"),
    (["--context", "100000"], "the text is too short"),
    (["--what"], "unrecognized arguments: --what"),
])
def test_options_that_cannot_be_used(text, tmp_path, capsys, arguments, words):
    assert words in refused(capsys, "train", text, "--out", str(tmp_path / "out"), *arguments)
    assert not (tmp_path / "out").exists()


def test_each_depth_is_looked_at_before_the_first_is_trained(text, tmp_path, capsys):
    out = tmp_path / "out"
    assert "depth must be an integer >= 1" in refused(capsys, "residual", text, "--depth", "1", "0",
                                                      "--out", str(out))
    assert "count must be an integer >= 1" in refused(capsys, "demo", "--threads", "0",
                                                      "--out", str(out))
    assert not out.exists()


def test_folders_that_cannot_be_written(text, tmp_path, capsys):
    (tmp_path / "file").write_text("here already")
    for command in (["train", text], ["residual", text], ["demo"]):
        message = refused(capsys, *command, "--out", str(tmp_path / "file" / "below"))
        assert "cannot be written: Not a directory" in message
        message = refused(capsys, *command, "--out", str(tmp_path / "file"))
        assert "cannot be written" in message


def test_checkpoints_that_cannot_be_used(text, tmp_path, capsys):
    out = tmp_path / "run"
    assert "holds no run to go on with" in refused(capsys, "train", "--resume", "--out", str(out))
    assert main(["train", text, *TINY, "3", "--out", str(out)]) == 0
    capsys.readouterr()
    assert "holds a run already" in refused(capsys, "train", text, "--out", str(out))
    assert "of another run: its depth is 1" in refused(capsys, "train", "--resume", "--out",
                                                       str(out), "--depth", "2")
    path = out / "checkpoint.safetensors"
    path.write_bytes(path.read_bytes()[:-50])
    assert "is truncated" in refused(capsys, "train", "--resume", "--out", str(out))


def test_a_loss_that_is_no_number(text, tmp_path, capsys):
    message = refused(capsys, "train", text, *TINY, "40", "--lr", "1e30", "--out",
                      str(tmp_path / "run"))
    assert "lr 1e+30" in message and "Try a smaller --lr" in message
    assert "last good checkpoint" in message


def test_no_command_and_unknown_command(capsys):
    assert "required" in refused(capsys)
    assert "invalid choice: 'dance'" in refused(capsys, "dance")


def test_a_package_that_is_missing_is_named(text, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    message = refused(capsys, "train", text, *TINY, "3", "--out", str(tmp_path / "run"))
    assert "needs matplotlib" in message and "pip install 'npformer[cli]'" in message


# ── Ctrl-C ────────────────────────────────────────────────────────────────────────────────────────


def test_ctrl_c_saves_and_says_how_to_go_on(text, tmp_path):
    out = tmp_path / "run"
    command = [sys.executable, "-m", "npformer", "train", text, *TINY]
    process = subprocess.Popen([*command, "100000", "--out", str(out)], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True)
    deadline = time.time() + 60
    log = out / "log.jsonl"
    while time.time() < deadline and not (log.exists() and log.stat().st_size):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in err
    step = int(re.search(r"Stopped at step (\d+) of 100000; all is saved", err)[1])
    assert "npformer train --resume --out" in err
    assert len((out / "log.jsonl").read_text().splitlines()) == step
    done = subprocess.run([sys.executable, "-m", "npformer", "train", "--resume", "--out",
                           str(out), "--steps", str(step + 2)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len((out / "log.jsonl").read_text().splitlines()) == step + 2


def test_a_closed_pipe_leaves_no_traceback():
    process = subprocess.Popen([sys.executable, "-m", "npformer", "info"], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE)
    process.stdout.close()
    err = process.stderr.read()
    process.stderr.close()
    process.wait(timeout=60)
    assert b"Traceback" not in err


def test_a_backend_that_cannot_be_had_gets_one_message():
    surroundings = {**os.environ, "NPFORMER_BACKEND": "abacus"}
    for command, code, stream in (["demo"], 2, "stderr"), (["info"], 0, "stdout"):
        done = subprocess.run([sys.executable, "-m", "npformer", *command], env=surroundings,
                              capture_output=True, text=True)
        assert done.returncode == code and "Traceback" not in done.stderr
        assert "device 'abacus' is not known" in getattr(done, stream)

"""Training a TinyTransformer on a text: the loop, its log, and runs that can be killed at any
moment and resumed.

A `Run` holds all that the next step depends on. `train` is the loop around it: a step, a line in
the log, now and then a checkpoint. The log has one JSON object a line and a line a step, and
nothing in it depends on the clock: a run that was killed and resumed leaves the same log as one
that was not.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import os
import shlex
import signal
import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from . import autograd, creation, optim
from .core import dtypes, random_numbers
from .core.errors import InputError, NpformerError
from .data import Batches, CharTokenizer, default_text, digest, in_order, read_text, split
from .files import make_folder, write_whole, writing
from .models.tiny import TinyTransformer
from .nn import functional as F
from .serialize import load, save

if TYPE_CHECKING:
    from collections.abc import Callable

    from .files import StrPath
    from .nn.module import Module
    from .tensors import Tensor

CHECKPOINT, LOG, OPTIONS = "checkpoint.safetensors", "log.jsonl", "options.json"


class Interrupted(NpformerError):
    """The run was asked to stop, and saved itself."""

    exit_code = 130  # what a shell reports for a command that Ctrl-C ended


class Diverged(NpformerError):
    """The loss, or a weight, is no longer a number."""


@dataclasses.dataclass(frozen=True)
class Config:
    """The options of a run.

    text: path of a UTF-8 file, None for Python's help topics. steps, batch (sequences a step),
    context (characters in a sequence), d_model, n_heads, d_ff, depth: integers >= 1. lr: Adam's
    step size, > 0. seed: an integer >= 0. residual: True, False or "deleted". dtype: "float32" or
    "float64". report_every: steps between gradient norms and validation losses. save_every: steps
    between checkpoints.
    """

    text: str | None = None
    steps: int = 5000
    batch: int = 32
    lr: float = 1e-3
    seed: int = 0
    context: int = 64
    d_model: int = 64
    n_heads: int = 2
    d_ff: int = 128
    depth: int = 1
    residual: bool | str = True
    dtype: str = "float32"
    report_every: int = 500
    save_every: int = 100

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            least = 0 if field.name == "seed" else 1
            if type(field.default) is int and (not isinstance(value, int) or value < least):
                raise InputError(f"{field.name} must be an integer >= {least}, got {value!r}.")
        if not 0 < self.lr < math.inf:
            raise InputError(f"lr must be a number > 0, got {self.lr!r}. A usual one is 0.001.")
        if self.dtype not in ("float32", "float64"):
            raise InputError(f"dtype must be 'float32' or 'float64', got {self.dtype!r}.")

    def read_text(self) -> str:
        """The text to train on."""
        return default_text() if self.text is None else read_text(self.text)

    def new_model(self, vocab_size: int) -> TinyTransformer:
        """The model that these options describe, with fresh weights."""
        model = TinyTransformer(vocab_size, self.context, self.d_model, self.n_heads, self.d_ff,
                                self.depth,
                                self.residual)
        return model.to(dtypes.as_dtype(self.dtype))


# ── one run ───────────────────────────────────────────────────────────────────────────────────────


class Run:
    """A training run between two steps: model, optimiser, batches, and how many steps were
    taken."""

    def __init__(self, config: Config, text: str) -> None:
        self.config, self.step = config, 0
        self.tokenizer, self.digest = CharTokenizer.of(text), digest(text)
        training, self.validation = split(self.tokenizer.encode(text))
        self.batches = Batches(training, config.batch, config.context, config.seed)
        random_numbers.manual_seed(config.seed)
        self.model = config.new_model(len(self.tokenizer))
        self.optimizer = optim.Adam(self.model.parameters(), lr=config.lr)

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        """Mean cross-entropy of the next character, nats per character.

        x, y integers (B, T) -> one number
        """
        logits = self.model(x)                                     # (B, T, V)
        return F.cross_entropy(logits.view(-1, logits.shape[-1]), y.view(-1))

    def advance(self) -> dict[str, Any]:
        """Take one step. Returns its record: step, loss, and every `report_every` steps the
        validation loss and the gradient norm of each parameter (None where no gradient came)."""
        with np.errstate(all="ignore"):  # what overflows shows in the loss, which is looked at
            loss = self.loss(*next(self.batches))
            self.optimizer.zero_grad()
            loss.backward()
            record = {"step": self.step + 1, "loss": loss.item()}
            if not math.isfinite(record["loss"]):
                raise Diverged(
                    f"step {record['step']}: the loss is {record['loss']}, with lr "
                    f"{self.config.lr}.")
            self.optimizer.step()
        self.step += 1
        if self.step % self.config.report_every == 0 or self.step == self.config.steps:
            record["val_loss"] = self.validation_loss()
            record["grad_norms"] = grad_norms(self.model)
        return record

    def validation_loss(self) -> float | None:
        """The loss on text that is never trained on; None where the text is too short for that."""
        total, count = 0.0, 0
        with autograd.no_grad():
            for x, y in in_order(self.validation, self.config.batch, self.config.context):
                total += self.loss(x, y).item() * y.numel()
                count += y.numel()
        return total / count if count else None

    def save(self, path: StrPath) -> None:
        """Write a checkpoint, whole or not at all.

        Raises Diverged, and keeps the old one, if a weight is no number.
        """
        for name, parameter in self.model.named_parameters():
            if not np.isfinite(parameter.array).all():
                raise Diverged(
                    f"step {self.step}: {name} holds NaN or infinity, with lr {self.config.lr}.")
        save({
            "config": dataclasses.asdict(self.config), "step": self.step, "text": self.digest,
            "vocabulary": self.tokenizer.vocabulary, "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(), "batches": self.batches.state_dict(),
            "generator": random_numbers.default_generator.get_state()}, path)

    @classmethod
    def load(cls, path: StrPath, **changes: Any) -> Run:
        """The run that `save` wrote.

        changes: options of its Config to set anew: steps, lr, save_every.
        """
        try:
            tree = load(path)
        except InputError as error:
            raise InputError(
                f"{error}\n  Use another checkpoint, or start the run again without --resume."
            ) from None
        try:
            config, vocabulary = Config(**tree["config"]), tree["vocabulary"]
            state = {key: tree[key]
                     for key in ("step", "text", "model", "optimizer", "batches", "generator")}
        except (KeyError, TypeError, IndexError) as error:
            raise InputError(
                f"{path} is a checkpoint of something else than a training run ({error})."
            ) from None
        self = cls(change_config(config, changes, path), config.read_text())
        if (self.digest, self.tokenizer.vocabulary) != (state["text"], vocabulary):
            raise InputError(
                f"{path}: the text ({config.text or 'the help topics of Python'}) has changed "
                "since this checkpoint was written.\n  Bring it back, or start a new run without "
                "--resume.")
        self.step = state["step"]
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.lr
        self.batches.load_state_dict(state["batches"])
        random_numbers.default_generator.set_state(state["generator"])
        return self


def change_config(config, changes, path):
    """`config` with `changes`; an InputError if one of them would make it another run."""
    for name, value in changes.items():
        if name not in ("steps", "lr", "save_every") and value != getattr(config, name):
            raise InputError(
                f"{path} is of another run: its {name} is {getattr(config, name)!r}, and "
                f"{value!r} was asked for.\n  Leave the option out, or start a new "
                "run in another folder.")
    return dataclasses.replace(config, **changes)


def grad_norms(model: Module) -> dict[str, float | None]:
    """‖gradient‖₂ of each parameter, by name; None where no gradient came."""
    return {name: None if p.grad is None else float(np.sqrt(np.square(p.grad.array).sum()))
            for name, p in model.named_parameters()}


# ── the loop ──────────────────────────────────────────────────────────────────────────────────────


def train(config: Config, folder: str, *, resume: bool = False,
          changes: dict[str, Any] | None = None,
          watch: Callable[[Run, dict[str, Any]], Any] = lambda run, record: None) -> Run:
    """Train until `config.steps`, with a log and checkpoints in `folder`. Returns the Run.

    resume: go on from the folder's checkpoint; its options count, with `changes` (a dict) on top.
    watch: called as watch(run, record) after each step. Raises Interrupted (Ctrl-C, SIGTERM) once
    all is saved, Diverged, InputError.
    """
    path = os.path.join(folder, CHECKPOINT)
    run = resume_run(folder, changes or {}) if resume else start_run(config, folder)
    with Log(os.path.join(folder, LOG), run.step) as log, listen_for_stop() as asked:
        while run.step < run.config.steps:
            try:
                record = run.advance()
                log.write(record)
                watch(run, record)
                if asked or run.step % run.config.save_every == 0 or run.step == run.config.steps:
                    log.sync()  # first the log: a checkpoint's steps are always in it
                    run.save(path)
            except Diverged as error:
                raise Diverged(f"{error}\n  The last good checkpoint is kept: {path}\n"
                               "  Try a smaller --lr (a tenth), or --dtype float64.") from None
            if asked and run.step < run.config.steps:
                raise Interrupted(
                    f"Stopped at step {run.step} of {run.config.steps}; all is saved in {path}\n"
                    f"  Go on with: npformer train --resume --out "
                    f"{shlex.quote(folder)}")
    return run


def start_run(config, folder):
    """A new run in `folder`, with a checkpoint of step 0.

    Its options come first: a kill may come early.
    """
    path = os.path.join(folder, CHECKPOINT)
    if os.path.exists(path):
        raise InputError(
            f"{folder} holds a run already.\n  Go on with it (--resume), or name another folder "
            "(--out).")
    run = Run(config, config.read_text())
    make_folder(folder)
    write_whole(os.path.join(folder, OPTIONS), json.dumps(dataclasses.asdict(config)).encode())
    run.save(path)
    return run


def resume_run(folder, changes):
    """The run in `folder` as its checkpoint has it;
    from its beginning, if it was killed before it had one."""
    path, options = os.path.join(folder, CHECKPOINT), os.path.join(folder, OPTIONS)
    if os.path.exists(path):
        return Run.load(path, **changes)
    if not os.path.exists(options):
        raise InputError(
            f"{folder} holds no run to go on with.\n  Start one there by leaving --resume out.")
    with open(options, encoding="utf-8") as file:
        return start_run(change_config(Config(**json.load(file)), changes, options), folder)


class Log:
    """The lines of a run, one JSON object each, up to step `after`; `write` adds more."""

    def __init__(self, path: StrPath, after: int) -> None:
        self.path = path
        kept = [line for line in read_log(path) if line["step"] <= after]
        write_whole(path, "".join(json.dumps(line) + "\n" for line in kept).encode())
        with writing(path):
            self.file = open(path, "a", encoding="utf-8")

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.file.close()

    def write(self, record):
        """Add one line."""
        with writing(self.path):
            self.file.write(json.dumps(record) + "\n")
            self.file.flush()

    def sync(self):
        """Wait until all lines are on the disk."""
        with writing(self.path):
            os.fsync(self.file.fileno())


def read_log(path: StrPath) -> list[dict[str, Any]]:
    """The records of a log; a last line that was cut off by a kill is left out."""
    records = []
    if os.path.exists(path):
        with open(path, encoding="utf-8", errors="replace") as file:
            for line in file:
                with contextlib.suppress(ValueError):
                    records.append(json.loads(line))
    return records


@contextlib.contextmanager
def listen_for_stop():
    """A list that gets an entry when Ctrl-C or SIGTERM comes: no step is cut in two.

    A second one stops at once.
    """
    asked, before = [], {}

    def note(number, frame):
        asked.append(number)
        signal.signal(number, before[number])

    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            before[number] = signal.signal(number, note)
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


# ── text from a model ─────────────────────────────────────────────────────────────────────────────


def sample(model: Module, tokenizer: CharTokenizer, length: int = 300, seed: int = 0,
           start: str = "\n") -> str:
    """Draw `length` characters, each from the model's distribution given those before it, after
    `start`."""
    generator = random_numbers.Generator(seed)
    if not set(start) <= set(tokenizer.vocabulary):
        start = tokenizer.vocabulary[0]
    ids = list(tokenizer.encode(start))
    with autograd.no_grad():
        for _ in range(length):
            # (1, T, V)
            logits = model(creation.tensor([int(n) for n in ids[-model.context:]])[None])
            p = F.softmax(logits[0, -1].double(), dim=-1)          # (V,)
            ids.append(creation.multinomial(p, 1, generator=generator).item())
    return tokenizer.decode(ids[-length:])

"""One encoder-decoder learns to copy, to reverse and to add, from examples alone. Its attention
shows how it does it."""

import sys

import numpy as np

import npformer as npf
from npformer import optim, plot
from npformer.models.decoding import greedy_decode
from npformer.models.seq2seq import make_model, padding_mask, target_mask
from npformer.models.smoothing import LabelSmoothing

PAD, START, END = 0, 1, 2
SYMBOLS = "·<>abcdefghij0123456789+"                   # a symbol's place is its number
SMALL = "--small" in sys.argv
LETTERS, LONGEST, COUNT = ("abcdef", 4, 2000) if SMALL else ("abcdefghij", 10, 20000)
MODEL = dict(N=1, d_model=32, d_ff=64, h=2) if SMALL else dict(N=2, d_model=64, d_ff=256, h=4)


def copying(rng):
    """Random words of 3 letters to LONGEST, each with itself."""
    words = ["".join(rng.choice(list(LETTERS), rng.integers(3, LONGEST + 1))) for _ in range(COUNT)]
    return [(word, word) for word in words]


def reversing(rng):
    """The same words, each with itself backwards."""
    return [(word, word[::-1]) for word, _ in copying(rng)]


def adding(rng):
    """Every sum of two numbers of two digits, in random order; a + b beside b + a, so that both are
    held out or none."""
    pairs = rng.permutation([(a, b) for a in range(10, 100) for b in range(a + 1, 100)]).tolist()
    sums = [both for a, b in pairs for both in ((a, b), (b, a))] + [(a, a) for a in range(10, 100)]
    return [(f"{a}+{b}", str(a + b)) for a, b in sums]


# and training steps
TASKS = {"copy": (copying, 800), "reverse": (reversing, 1300), "add": (adding, 1600)}


def numbers(words):
    """Texts as one integer tensor (B, T), each between START and END, with padding behind."""
    rows = [[START, *map(SYMBOLS.index, w), END] for w in words]
    longest = max(map(len, rows))
    return npf.tensor([row + [PAD] * (longest - len(row)) for row in rows])


def text(row):
    """The text that a row of numbers means."""
    return "".join(SYMBOLS[n] for n in row[1:]).partition(">")[0]


def answers(model, sources):
    """What the model writes for each source, word by word."""
    src = numbers(sources)
    written = greedy_decode(model, src, padding_mask(src), 13, START, END, PAD)
    return [text(row) for row in written.tolist()]


def exact(model, examples):
    """The share of examples that are answered without a single wrong symbol."""
    got = answers(model, [source for source, _ in examples])
    return sum([a == target for a, (_, target) in zip(got, examples)]) / len(examples)


def learn(task):
    """Train on the task. Returns the model, what was held out, and (step, share exact on it) now
    and then."""
    make, steps = TASKS[task]
    steps = 400 if SMALL else steps
    rng = np.random.default_rng(0)
    # each once: what is held out is never seen
    examples = list(dict.fromkeys(map(tuple, make(rng))))
    held = min(1000, len(examples) // 8)
    test, train = examples[:held], examples[held:]
    npf.manual_seed(0)
    model = make_model(len(SYMBOLS), len(SYMBOLS), **MODEL, dropout=0.0)
    optimizer = optim.Adam(model.parameters(), lr=2e-3, betas=(0.9, 0.98), eps=1e-9)
    # to 0 in the end: no last-minute slips
    schedule = optim.lr_scheduler.WarmupLR(optimizer, steps // 5, steps)
    smoothed = LabelSmoothing(len(SYMBOLS), PAD, smoothing=0.1)
    curve = []
    for step in range(1, steps + 1):
        batch = [train[i] for i in rng.integers(0, len(train), 64)]
        src, tgt = numbers([s for s, _ in batch]), numbers([t for _, t in batch])
        given, wanted = tgt[:, :-1], tgt[:, 1:]        # from each symbol, the next
        logp = model.generator(model(src, given, padding_mask(src), target_mask(given)))
        loss = smoothed(logp.flatten(0, 1), wanted.flatten()) / (wanted != PAD).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % (steps // 10) == 0:
            curve.append((step, exact(model, test if step == steps else test[:200])))
            print(f"    {task:8} step {step:5}   loss {loss.item():.4f}   "
                  f"exactly right on held-out {curve[-1][1]:.1%}", flush=True)
    return model, test, curve


def cross_attention(model, source, target):
    """From which source symbol each target symbol was written: the last layer's weights, (T, S),
    mean over heads."""
    src, given = numbers([source]), numbers([target])[:, :-1]
    with npf.no_grad():
        model(src, given, padding_mask(src), target_mask(given))
    return model.decoder.layers[-1].src_attn.attn.numpy()[0].mean(axis=0)


def draw(results, path):
    """A column for each task: how it was learned, and where one answer was read off."""
    picture = plot.figure(4.2 * len(results), 7.5)
    grid = picture.subplots(2, len(results), squeeze=False)
    for column, (task, (model, test, curve)) in enumerate(results.items()):
        steps, shares = zip(*curve)
        axes = grid[0, column]
        axes.plot(steps, [100 * share for share in shares], color=plot.COLOURS[column],
                  marker=plot.MARKERS[column])
        axes.set_ylim(-3, 105)
        plot.style(axes, f"{task}: held-out answers", "training step",
                   "exactly right (%)" if column == 0 else "")
        source, target = max(test, key=lambda example: len(example[0]))
        axes = grid[1, column]
        axes.imshow(cross_attention(model, source, target), cmap="viridis", vmin=0, vmax=1,
                    aspect="auto")
        axes.set_xticks(range(len(source) + 2), ["<", *source, ">"])
        axes.set_yticks(range(len(target) + 1), [*target, ">"])
        plot.style(axes, f"{task}: what each symbol is read from", "source",
                   "written" if column == 0 else "")
        axes.grid(False)
    plot.save(picture, path)


results = {}
for task in ["copy"] if SMALL else TASKS:
    results[task] = model, test, curve = learn(task)
    for (source, target), answer in zip(test[:3],
                                        answers(model, [source for source, _ in test[:3]])):
        print(f"        {source:>10} -> {answer:10} "
              f"{'right' if answer == target else 'wrong: ' + target}")
name = "seq2seq_tasks_small" if SMALL else "seq2seq_tasks"
draw(results, f"runs/demos/{name}.png")
print(f"runs/demos/{name}.png: below, copying is one diagonal, reversing the other; "
      "adding reads two places at once")

shares = {task: curve[-1][1] for task, (_, _, curve) in results.items()}
if min(shares.values()) < 0.99:
    raise SystemExit(f"not learned: {shares}")
print("Exactly right on examples never trained on: "
      + ", ".join(f"{t} {s:.1%}" for t, s in shares.items()))

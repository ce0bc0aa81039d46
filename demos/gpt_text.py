"""A small GPT learns to write like the text that it reads, and writes on. A cache of keys and
values only saves time.

    python demos/gpt_text.py [FILE] [--small]
"""

import sys
import time

import numpy as np

import npformer as npf
from npformer import data, optim, plot
from npformer.models import GPT
from npformer.nn import functional as F

SMALL = "--small" in sys.argv
FILES = [name for name in sys.argv[1:] if not name.startswith("--")]
STEPS, BATCH, CONTEXT, LR = (80, 8, 64, 3e-3) if SMALL else (1200, 16, 64, 3e-3)

text = data.read_text(FILES[0]) if FILES else data.default_text()
tokenizer = data.CharTokenizer.of(text)
training, held_out = data.split(tokenizer.encode(text))
V = len(tokenizer)


def loss_by_counting(order):
    """The held-out loss of a model that counts which character follows which `order` characters."""
    def before_and_next(ids):
        return sum(V ** n * ids[n:len(ids) - order + n] for n in range(order)), ids[order:]

    counts = np.full((V ** order, V), 1 / V)       # not 0: what was never seen may come
    np.add.at(counts, before_and_next(training), 1)
    p = counts / counts.sum(axis=1, keepdims=True)
    return -np.log(p[before_and_next(held_out)]).mean()


def loss_of(x, y):
    """Mean cross-entropy of the next character."""
    return F.cross_entropy(model(x).flatten(0, 1), y.flatten())


def held_out_loss():
    """The model's loss on text that it never saw."""
    with npf.no_grad():
        return np.mean([loss_of(x, y).item() for x, y in data.in_order(held_out, 32, CONTEXT)])


def sampled(length, use_cache):
    """(a text of that length, seconds it took)."""
    start = time.perf_counter()
    ids = model.generate(prompt, length, temperature=0.8, top_k=20, generator=npf.Generator(1),
                         use_cache=use_cache)
    return tokenizer.decode(ids[0].numpy()), time.perf_counter() - start


npf.manual_seed(0)
model = GPT(vocab_size=V, context=CONTEXT, n_layer=4, n_head=4, d_model=96)
adam = optim.AdamW(model.parameters(), lr=LR)
schedule = optim.lr_scheduler.LambdaLR(
    adam, lambda step: min((step + 1) / 50, 1) * (1 - 0.9 * step / STEPS))
bars = {"counting pairs": loss_by_counting(1), "counting triples": loss_by_counting(2)}
for name, bar in bars.items():
    print(f"{name} of characters: held-out loss {bar:.3f} nats per character")
losses, seen = [], []
for step, (x, y) in zip(range(1, STEPS + 1), data.Batches(training, BATCH, CONTEXT, seed=0)):
    loss = loss_of(x, y)
    adam.zero_grad()
    loss.backward()
    npf.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    adam.step()
    schedule.step()
    losses.append(loss.item())
    if step % (STEPS // 10) == 0:
        seen.append((step, held_out_loss()))
        print(f"    step {step:5}   loss {np.mean(losses[-50:]):.3f}   held-out {seen[-1][1]:.3f}",
              flush=True)

prompt = npf.tensor(tokenizer.encode("\n"))[None]
written, fast = sampled(CONTEXT - 1, use_cache=True)
again, slow = sampled(CONTEXT - 1, use_cache=False)
longer, _ = sampled(CONTEXT if SMALL else 400, use_cache=True)
print("── it writes ──\n" + longer.strip("\n") + "\n───────────────")
print(f"the first {CONTEXT - 1} characters: {fast:.2f} s with the cache of keys and values, "
      f"{slow:.2f} s without it")

picture = plot.figure()
axes = picture.add_subplot()
axes.plot(plot.smooth(losses, 30), color=plot.COLOURS[0], linewidth=2,
          label="training, mean of 30 steps")
axes.plot(*zip(*seen), color=plot.COLOURS[2], marker="o", linestyle="--", label="held out")
for (name, bar), style in zip(bars.items(), (":", "-.")):
    axes.axhline(bar, color="0.4", linestyle=style, label=f"{name} of characters, held out")
axes.legend(frameon=False)
plot.style(axes, f"A GPT of 4 blocks learns {'a text' if FILES else 'the help topics of Python'}",
           "step", "loss (nats per character)")
plot.save(picture, "runs/demos/gpt_text.png")

if written != again:
    raise SystemExit("the cache changes what is written")
if not seen[-1][1] < (0.8 * np.log(V) if SMALL else bars["counting pairs"]):
    raise SystemExit(f"a held-out loss of {seen[-1][1]:.3f}: it learned too little")
print("It learned more than pairs of characters, and the cache changes nothing but the time.   "
      "runs/demos/gpt_text.png")

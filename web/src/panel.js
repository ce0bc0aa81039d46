// The current step: formula, rule, arrays, ledger, identity, the user's line, and the definition of
// a fused operation.

import * as cursor from "./cursor.js";
import { entry, show, text } from "./data.js";
import { button, el, foldable } from "./el.js";
import { Card } from "./heat.js";
import { Link } from "./link.js";

const MOST = 400; // rows of a table
const section = (title, ...children) => el("section", {}, el("h3", {}, title), ...children);
const count = (steps) => `${steps} step${steps === 1 ? "" : "s"}`;
const norm = (number) => entry(number)?.norm;

export function panel(frame, go) {
  const step = cursor.step(frame);
  const body = step
    ? step.group
      ? group(frame, step)
      : single(frame, step, go)
    : module(frame, go);
  return el("div", { class: "panel" }, crumbs(frame, go), ...body.nodes, el("p", { class: "end" }));
}

function crumbs(frame, go) {
  const parts = cursor.trail(frame).map((at, k, all) => {
    const name = at.label || "model";
    return k === all.length - 1
      ? el("b", { "aria-current": "true" }, name)
      : button(name, `go out to ${name}`, () => go(at));
  });
  return el(
    "nav",
    { class: "crumbs", "aria-label": "where" },
    parts.flatMap((part, k) => (k ? [el("i", {}, "›"), part] : [part])),
  );
}

// ── one step ─────────────────────────────────────────────────────────────────────────────────────

function single(frame, step, go) {
  const { data } = frame.view;
  const said = text(step.words);
  const link = new Link(step.feeds);
  const cards = (...roles) =>
    step.arrays
      .filter(([role]) => roles.includes(role))
      .map(([role, name, number, argument]) => {
        const card = new Card(number, name, role, argument, link);
        link.cards.push(card);
        return card.node;
      });
  const addition = data.additions?.find((each) => each.node === step.node);
  const nodes = [
    el(
      "header",
      {},
      el("h2", {}, step.op),
      el("span", { class: "level" }, cursor.level(frame)),
      el("code", { class: "call" }, step.call),
    ),
    formula(said),
    addition ? identity(addition, data, link) : null,
    section(
      "Gradient: what arrived, and what was sent",
      el("div", { class: "cards" }, cards("arrived", "sent")),
    ),
    section("Values: inputs and output", el("div", { class: "cards" }, cards("input", "output"))),
    ledgers(data, step, go, frame),
    line(text(step.line)),
    step.fused ? definition(frame, step, go) : null,
  ];
  const saved = step.arrays.some(([role]) => role === "saved");
  if (saved)
    nodes.splice(
      5,
      0,
      section("Saved by the forward pass", el("div", { class: "cards" }, cards("saved"))),
    );
  return { nodes: nodes.filter(Boolean), link };
}

function formula({ formula: words, rule, code }) {
  return el(
    "div",
    { class: "formula" },
    el("p", {}, words),
    rule.length ? el("pre", {}, rule.join("\n")) : null,
    code && code.lines.length
      ? foldable(
          "source",
          `the rule's source, ${code.place}`,
          el("pre", { class: "source" }, code.lines.join("\n")),
        )
      : null,
  );
}

function identity(addition, data, link) {
  const words = addition.branches.map((n) => data.nodes[n].name).join(" + ");
  const title = `Residual: y = x + F(x), x is ${data.nodes[addition.x].name}, F(x) is ${words}`;
  if (!addition.arrays)
    return section(
      title,
      el(
        "p",
        {},
        "The identity was not worked out here: values are missing, or there are too many additions.",
      ),
    );
  const cards = addition.arrays.map(([name, number]) => {
    const card = new Card(number, name, "identity", -1, link);
    link.cards.push(card);
    return card.node;
  });
  const [arrived, skip, branch, total] = addition.arrays.map(([, number]) => norm(number));
  const angle =
    addition.cosine == null
      ? ""
      : `; the branch stands at ${Math.round((Math.acos(Math.max(-1, Math.min(1, addition.cosine))) * 180) / Math.PI)}° to the skip`;
  return el(
    "section",
    { class: "identity" },
    el("h3", {}, title),
    el("p", { class: "equation" }, "dL/dx = dL/dy · (1 + dF/dx)"),
    el(
      "div",
      { class: "bars" },
      [
        ["arrived", arrived, ""],
        ["skip", skip, "skip"],
        ["branch", branch, "branch"],
        ["total", total, ""],
      ].map(([name, size, kind]) => {
        const bar = el("i", { class: kind });
        bar.style.width = `${Math.round((100 * (size ?? 0)) / Math.max(arrived, skip, branch, total, 1e-300))}%`;
        return el("div", {}, el("span", {}, name), el("u", {}, bar), el("span", {}, show(size)));
      }),
    ),
    el(
      "p",
      {},
      `Skip + branch = total, to a relative error of ${show(addition.error, 2)}${angle}.`,
    ),
    foldable("identity", "the four arrays", el("div", { class: "cards" }, cards)),
  );
}

// ── the accumulation tables ──────────────────────────────────────────────────────────────────────

function ledgers(data, step, go, frame) {
  const own = data.nodes[step.node];
  const parents = [...new Set(own.parents.filter((p) => p != null))].map((p) => data.nodes[p]);
  const tables = [
    [`into ${own.name}, the output: complete`, own],
    ...parents
      .filter((node) => node.ledger.length)
      .map((node) => {
        const arrived = node.ledger.filter(([k]) => k <= frame.from).length;
        return [`into ${node.name}: ${arrived} of ${node.ledger.length} have arrived`, node];
      }),
  ];
  return section(
    "Accumulation: who added what",
    tables.map(([title, node]) => ledger(title, node, frame, go)),
  );
}

function ledger(title, node, frame, go) {
  const rows = node.ledger.map(([k, consumer, argument, number, running], place) => {
    const name =
      k < 0
        ? consumer
        : button(`${consumer}.${argument}`, `go to step ${k}`, () => go(frame.view.leaf[k]));
    const kind = k === frame.from ? "now" : k > frame.from ? "later" : "";
    return el(
      "tr",
      { class: kind },
      el("td", {}, name),
      el("td", {}, show(norm(number))),
      el("td", {}, show(running)),
      el("td", {}, node.ledger.length - place - 1),
    );
  });
  return el(
    "table",
    { class: "ledger" },
    el("caption", {}, title),
    el(
      "thead",
      {},
      el(
        "tr",
        {},
        ["who sent", "‖sent‖", "‖sum so far‖", "to come"].map((head) =>
          el("th", { scope: "col" }, head),
        ),
      ),
    ),
    el(
      "tbody",
      {},
      rows,
      node.hooked ? el("tr", {}, el("td", { colspan: 4 }, "then a hook changed it")) : null,
    ),
  );
}

// ── source, definition ───────────────────────────────────────────────────────────────────────────

function line(source) {
  if (!source) return section("Your line", el("p", {}, "No line was recorded."));
  const indent = Math.min(
    ...source.lines
      .filter((words) => words.trim())
      .map((words) => words.length - words.trimStart().length),
  );
  const rows = source.lines.map((words, k) =>
    el(
      "div",
      { class: source.line + k === source.at ? "at" : "" },
      el("i", {}, source.line + k),
      el("code", {}, words.slice(indent) || " "),
    ),
  );
  return section(
    `Your line: ${source.place}`,
    source.note ? el("p", {}, source.note) : el("div", { class: "code", tabindex: 0 }, rows),
  );
}

function definition(frame, step, go) {
  if (typeof step.inside === "string")
    return section(`Inside ${step.op}`, el("p", {}, step.inside));
  const { steps, agreement } = step.inside;
  const list = steps.map((inner, k) =>
    el(
      "li",
      {},
      button(inner.op, `step into ${inner.op}`, () => {
        const head = cursor.into(frame);
        go(head.view.leaf[k]);
      }),
      el("span", {}, text(inner.words).formula),
      el("em", {}, `‖g‖ ${show(norm(inner.arrays[0][2]))}`),
    ),
  );
  return section(
    `Inside ${step.op}: its definition, backwards`,
    el(
      "p",
      {},
      `The hand-derived rule and the definition agree to ${show(agreement, 2)} (relative). Press s to step in.`,
    ),
    el("ol", { class: "inside" }, list),
  );
}

// ── a module; a group ────────────────────────────────────────────────────────────────────────────

function module(frame, go) {
  const steps = frame.view.data.steps.slice(frame.from, frame.to + 1);
  const rows = frame.children.slice(0, MOST).map((child) => {
    const inside = frame.view.data.steps[child.from];
    return el(
      "tr",
      {},
      el(
        "td",
        {},
        button(child.label || "model", `go to ${child.path}`, () => go(child)),
      ),
      el("td", {}, child.single ? inside.op : count(child.to - child.from + 1)),
      el("td", {}, show(norm(inside.arrays[0]?.[2]))),
    );
  });
  return {
    nodes: [
      el(
        "header",
        {},
        el("h2", {}, frame.label || frame.view.data.title),
        el("span", { class: "level" }, cursor.level(frame)),
        el(
          "code",
          { class: "call" },
          `steps ${frame.from} to ${frame.to}: ${steps.length} of ${frame.view.data.steps.length}`,
        ),
      ),
      section(
        "Inside, in the order of the walk",
        el(
          "table",
          { class: "ledger" },
          el(
            "thead",
            {},
            el(
              "tr",
              {},
              ["where", "what", "‖g‖ arrived"].map((head) => el("th", { scope: "col" }, head)),
            ),
          ),
          el("tbody", {}, rows),
        ),
        frame.children.length > MOST ? el("p", {}, `and ${frame.children.length - MOST} more`) : "",
      ),
    ],
  };
}

function group(frame, step) {
  const { count, first, last, arrived, least, most, odd, zero } = step.group;
  const link = new Link({});
  const cards = step.arrays.map(([role, name, number, argument]) => {
    const card = new Card(number, name, role, argument, link);
    link.cards.push(card);
    return card.node;
  });
  const facts = [
    ["steps", `${count} (${first} to ${last})`],
    ["operations", step.call],
    ["‖g‖ arrived", show(arrived)],
    ["‖sent‖", `${show(least)} to ${show(most)}`],
    ["all zero", zero],
    ["not finite", odd],
  ];
  return {
    nodes: [
      el(
        "header",
        {},
        el("h2", {}, step.where || "top level"),
        el("span", { class: "level" }, "group of steps"),
      ),
      el(
        "table",
        { class: "facts" },
        el(
          "tbody",
          {},
          facts.map(([name, value]) =>
            el("tr", {}, el("th", { scope: "row" }, name), el("td", {}, value)),
          ),
        ),
      ),
      section("At its two ends", el("div", { class: "cards" }, cards)),
    ],
  };
}

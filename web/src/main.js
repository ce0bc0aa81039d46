// The page: what is shown, and how it moves. One state, the frame where the reader stands; `show`
// draws it.

import { chart } from "./chart.js";
import * as cursor from "./cursor.js";
import { root } from "./data.js";
import { button, el } from "./el.js";
import { drawing, Modules } from "./graph.js";
import { panel } from "./panel.js";
import { search } from "./search.js";
import { help, icon, theme } from "./chrome.js";

const view = new cursor.View(root);
const end = root.steps.length - 1;
let at = view.leaf[0];
let playing = null;
let speed = 1;

// ── the graph ────────────────────────────────────────────────────────────────────────────────────

const graphs = new Map(); // trace -> its modules
const modulesOf = (data) => {
  if (!graphs.has(data)) graphs.set(data, new Modules(data));
  return graphs.get(data);
};
let drawn = null;
let zoom = 0; // 0: as wide as there is room
const stage = el("div", { class: "stage", tabindex: -1 });
const left = el("p", { class: "left" });
const graphPane = el(
  "section",
  { class: "graph-pane", "aria-label": "graph" },
  el(
    "div",
    { class: "tools" },
    button("−", "smaller", () => scale(1 / 1.25)),
    button("fit", "fit the width", () => scale(0)),
    button("+", "larger", () => scale(1.25)),
    button("open", "open the module of the current step (o in the graph)", openHere),
    button("close all", "close all modules", closeAll),
  ),
  stage,
  left,
);

function scale(by) {
  zoom = by ? Math.min(3, Math.max(0.2, (zoom || fitting()) * by)) : 0;
  resize();
}
const fitting = () => Math.min(1.15, (stage.clientWidth - 8) / drawn.width);
function resize() {
  const factor = zoom || Math.max(0.55, fitting());
  drawn.node.setAttribute("width", drawn.width * factor);
  drawn.node.setAttribute("height", drawn.height * factor);
  drawn.factor = factor;
}

function drawGraph() {
  const { data } = at.view;
  const modules = modulesOf(data);
  const focused = stage.contains(document.activeElement) ? document.activeElement.dataset : null;
  drawn = drawing(modules, at.from, {
    module(path) {
      if (modules.open.has(path)) modules.open.delete(path);
      else modules.open.add(path);
      drawGraph();
    },
    step: (k) => go(at.view.leaf[k]),
  });
  drawn.data = data;
  stage.replaceChildren(drawn.node);
  left.textContent = drawn.left
    ? `${drawn.left} more boxes are out of sight: those nearest to the current step are shown.`
    : "";
  resize();
  follow();
  if (focused) refocus(focused.key ?? focused.path);
}

// The focus stays where it was when the graph is drawn anew: on the box, on the module that it
// opened, or around it.
function refocus(name) {
  const all = [...stage.querySelectorAll("[role=button]")];
  const named = (wanted) =>
    all.find((node) => node.dataset.path === wanted || node.dataset.key === wanted);
  (named(name) ?? named(name.slice(0, Math.max(0, name.lastIndexOf(".")))) ?? stage).focus({
    preventScroll: true,
  });
}

function follow() {
  let box = drawn.update(at.from);
  if (!box && drawn.left) return drawGraph();
  if (!box) return;
  const [x, y] = [box.x * drawn.factor, box.y * drawn.factor];
  const inside =
    x > stage.scrollLeft + 40 &&
    x < stage.scrollLeft + stage.clientWidth - 40 &&
    y > stage.scrollTop + 40 &&
    y < stage.scrollTop + stage.clientHeight - 60;
  const near = Math.abs(y - stage.scrollTop - stage.clientHeight / 2) < stage.clientHeight;
  if (!inside)
    stage.scrollTo({
      left: x - stage.clientWidth / 2,
      top: y - stage.clientHeight / 2,
      behavior: near ? "smooth" : "auto",
    });
}

function openHere() {
  const { data } = at.view;
  const modules = modulesOf(data);
  const box = modules.box(data.steps[at.from].node);
  if (typeof box === "string") modules.open.add(box);
  drawGraph();
}
function closeAll() {
  modulesOf(at.view.data).open.clear();
  drawGraph();
}

// ── moving ───────────────────────────────────────────────────────────────────────────────────────

const side = el("main", { class: "side", tabindex: -1 });
const norms = chart(root, (k) => goto(k));
const slider = el("input", {
  type: "range",
  min: 0,
  max: end,
  value: 0,
  "aria-label": "step",
  oninput: () => goto(Number(slider.value)),
});
const place = el("output", { class: "place" });

function go(frame) {
  if (!frame) return;
  at = frame;
  render();
}
function goto(k) {
  go(view.leaf[Math.max(0, Math.min(end, k))]);
}
const here = () => cursor.outermost(at).from;
const next = () =>
  at.view.around && at.view.leaf[at.from + 1]
    ? go(at.view.leaf[at.from + 1])
    : goto(at.single || at.view.around ? here() + 1 : at.from);
const previous = () =>
  at.view.around && at.view.leaf[at.from - 1]
    ? go(at.view.leaf[at.from - 1])
    : goto(at.single || at.view.around ? here() - 1 : at.from);

const playButton = button(icon.play(), "play (p)", toggle, { class: "play" });
function toggle() {
  if (playing) {
    clearInterval(playing);
    playing = null;
  } else {
    if (here() === end) goto(0);
    playing = setInterval(() => (here() === end ? toggle() : next()), 900 / speed);
  }
  playButton.replaceChildren(playing ? icon.pause() : icon.play());
  playButton.title = playing ? "pause (p)" : "play (p)";
  playButton.setAttribute("aria-label", playButton.title);
}

function render() {
  const k = here();
  const keep = side.scrollTop;
  const inside = side.contains(document.activeElement);
  side.replaceChildren(panel(at, go));
  side.scrollTop = keep;
  if (inside) side.focus({ preventScroll: true });
  slider.value = k;
  place.textContent = `step ${k}/${end}`;
  slider.setAttribute("aria-valuetext", `step ${k} of 0 to ${end}, ${root.steps[k].name}`);
  norms.update(k);
  if (!drawn || drawn.data !== at.view.data) drawGraph();
  else follow();
  document.documentElement.dataset.step = k;
}

// ── putting it together ──────────────────────────────────────────────────────────────────────────

const helper = help();
const finder = search(root, (k) => goto(k));
const app = document.getElementById("app");
const speeds = el(
  "select",
  {
    "aria-label": "speed",
    onchange: (event) => {
      speed = Number(event.target.value);
      if (playing) {
        toggle();
        toggle();
      }
    },
  },
  [0.5, 1, 2, 4].map((value) => el("option", { value, selected: value === 1 }, `${value}×`)),
);
const notes = [
  ...root.notes,
  ...(root.unreached.length ? [`no gradient reaches ${root.unreached.join(", ")}`] : []),
];
app.append(
  el(
    "header",
    { class: "top" },
    el("h1", {}, "npformer ", el("span", {}, root.title)),
    el("p", {}, `${root.steps.length} ${root.steps[0].group ? "groups of steps" : "steps"} back`),
    finder.node,
    button(icon.theme(), "dark or light (t)", flip),
    button("?", "keys and words (?)", helper.open),
  ),
  ...(notes.length
    ? [
        el(
          "details",
          { class: "notes" },
          el("summary", {}, notes.length === 1 ? notes[0] : `${notes.length} notes: ${notes[0]}`),
          el(
            "ul",
            {},
            notes.map((note) => el("li", {}, note)),
          ),
        ),
      ]
    : []),
  el("div", { class: "panes" }, graphPane, side),
  el(
    "footer",
    { class: "bar" },
    el(
      "div",
      { class: "buttons" },
      button(icon.first(), "first step (Home)", () => goto(0)),
      button(icon.back(), "one step back in time (←)", previous),
      playButton,
      button(icon.next(), "one step on (→)", next),
      button(icon.last(), "last step (End)", () => goto(end)),
      speeds,
      place,
    ),
    el("div", { class: "track" }, norms.node, slider),
  ),
  helper.node,
);

function flip() {
  theme.flip();
  render();
}

const moves = {
  n: () => go(cursor.over(at)),
  s: () => go(cursor.into(at)),
  i: () => go(cursor.into(at)),
  o: () => go(cursor.out(at)),
  b: () => go(cursor.back(at)),
  ArrowRight: next,
  ArrowLeft: previous,
  ArrowDown: () => go(cursor.into(at)),
  ArrowUp: () => go(cursor.out(at)),
  Home: () => goto(0),
  End: () => goto(end),
  " ": toggle,
  p: toggle,
  t: flip,
  "/": finder.open,
  "?": helper.open,
  g: openHere,
  Escape: () => side.focus(),
};
document.addEventListener("keydown", (event) => {
  const target = event.target;
  if (
    event.ctrlKey ||
    event.metaKey ||
    event.altKey ||
    target.matches("input[type=search], select, textarea") ||
    helper.node.open
  )
    return;
  if (target.matches("input") && event.key.startsWith("Arrow")) return;
  if (
    target.matches("button, summary, [role=button]") &&
    (event.key === " " || event.key === "Enter")
  )
    return;
  const move = moves[event.key];
  if (!move) return;
  event.preventDefault();
  move();
});
window.addEventListener("resize", () => {
  resize();
  follow();
});
render();
document.documentElement.dataset.ready = Math.round(performance.now());

// The graph, collapsed by module: a click opens a module or closes it. Laid out by dagre.

import { Graph, layout as arrange } from "@dagrejs/dagre";
import { svg } from "./el.js";

const START = 36; // boxes that a graph begins with, at most
const MOST = 220; // boxes that are shown at once; of more, those around the current step
const PER_CHARACTER = 7.3;

const prefixes = (path) =>
  path ? path.split(".").map((_, k, parts) => parts.slice(0, k + 1).join(".")) : [];

// The paths that are levels of the graph: those that hold operations, and what only holds other
// modules, lists left out.
function levels(paths) {
  const inside = new Map();
  for (const path of paths) {
    prefixes(path)
      .slice(0, -1)
      .forEach((outer) => {
        const part = path.slice(outer.length + 1).split(".")[0];
        inside.set(outer, (inside.get(outer) ?? new Set()).add(part));
      });
  }
  const holds = [...inside].filter(
    ([, parts]) => parts.size > 1 && ![...parts].every((part) => /^\d+$/.test(part)),
  );
  return new Set([...paths, ...holds.map(([outer]) => outer)]);
}

// What belongs to a trace's graph whatever is open: where each node lives, and which steps a module
// has.
export class Modules {
  constructor(data) {
    this.data = data;
    this.open = new Set();
    const known = levels(new Set(data.nodes.filter((node) => node.op).map((node) => node.where)));
    this.homes = data.nodes.map((node) => {
      const path = node.op
        ? node.where
        : node.name.includes(".")
          ? node.name.slice(0, node.name.lastIndexOf("."))
          : "";
      return prefixes(path).filter((part) => known.has(part));
    });
    this.steps = new Map(); // module -> numbers of the steps inside
    data.nodes.forEach((node, n) => {
      if (node.step == null) return;
      for (const path of this.homes[n])
        this.steps.set(path, [...(this.steps.get(path) ?? []), node.step]);
    });
    this.additions = new Map((data.additions ?? []).map((addition) => [addition.node, addition]));
    for (const path of new Set(this.homes.flatMap((home) => home.slice(0, 1)))) {
      // as much open as is easily taken in
      if ((this.steps.get(path) ?? []).length < 2) continue;
      this.open.add(path);
      if (new Set(data.nodes.map((_, n) => this.box(n))).size > START) this.open.delete(path);
    }
  }

  // The box that shows a node: the outermost closed module around it, or itself.
  box(n) {
    return this.homes[n].find((path) => !this.open.has(path)) ?? n;
  }

  // Boxes and edges as they are to be seen now, for the step `at`.
  visible(at) {
    const boxes = new Map();
    const seen = this.data.nodes.map((_, n) => this.box(n));
    const lonely = (n) => this.data.nodes[n].op == null && typeof seen[n] === "number";
    let shown = [...new Set(seen)];
    const cut = shown.length > MOST;
    if (cut) {
      const middle = this.data.steps[at].node;
      const distance = new Map();
      seen.forEach((box, n) =>
        distance.set(box, Math.min(distance.get(box) ?? Infinity, Math.abs(n - middle))),
      );
      shown = shown.sort((a, b) => distance.get(a) - distance.get(b)).slice(0, MOST);
    }
    for (const box of shown)
      boxes.set(box, this.describe(box, typeof box === "number" && lonely(box)));
    const edges = new Map();
    this.data.nodes.forEach((node, n) =>
      node.parents.forEach((parent) => {
        if (
          parent == null ||
          seen[n] === seen[parent] ||
          !boxes.has(seen[n]) ||
          !boxes.has(seen[parent])
        )
          return;
        const key = `${seen[parent]} ${seen[n]}`;
        const skip = this.additions.get(n)?.skip === parent;
        edges.set(key, {
          from: seen[parent],
          to: seen[n],
          skip: skip || Boolean(edges.get(key)?.skip),
        });
      }),
    );
    return { boxes, edges: [...edges.values()], left: cut ? new Set(seen).size - MOST : 0 };
  }

  describe(box, leaf) {
    if (typeof box === "string") {
      const outer = prefixes(box)
        .slice(0, -1)
        .reverse()
        .find((path) => this.steps.has(path));
      const steps = this.steps.get(box) ?? [];
      const name = outer ? box.slice(outer.length + 1) : box;
      // The parts of nn.Sequential have numbers for names.
      const label =
        steps.length === 1 && /^\d+$/.test(name) ? `${name} ${this.data.steps[steps[0]].op}` : name;
      return { label, kind: "module", home: outer, steps };
    }
    const node = this.data.nodes[box];
    const home = this.homes[box].at(-1);
    const name = leaf ? (home ? node.name.slice(home.length + 1) : node.name) : node.op;
    const kind = leaf ? "leaf" : this.additions.has(box) ? "addition" : "op";
    return {
      label: kind === "addition" ? "x + F(x)" : name,
      kind,
      home,
      steps: node.step == null ? [] : [node.step],
      node,
    };
  }
}

function layout({ boxes, edges }, open) {
  const graph = new Graph({ compound: true });
  graph.setGraph({ rankdir: "TB", nodesep: 18, ranksep: 26, marginx: 12, marginy: 12 });
  graph.setDefaultEdgeLabel(() => ({}));
  const clusters = new Set();
  for (const [key, box] of boxes) {
    graph.setNode(String(key), {
      width: Math.max(
        34,
        (box.label.length + (box.kind === "module" ? 2 : 0)) * PER_CHARACTER + 20,
      ),
      height: box.kind === "leaf" ? 22 : 30,
    });
  }
  for (const [key, box] of boxes) {
    let child = String(key);
    for (const path of (box.home ? prefixes(box.home) : []).filter((p) => open.has(p)).reverse()) {
      const name = `module ${path}`;
      if (!clusters.has(name)) graph.setNode(name, {});
      graph.setParent(child, name);
      child = name;
      if (clusters.has(name)) break;
      clusters.add(name);
    }
  }
  for (const edge of edges) graph.setEdge(String(edge.from), String(edge.to), edge);
  arrange(graph);
  return { graph, clusters };
}

// A module's path without what the open module around it says already.
function short(path, open) {
  const outer = prefixes(path)
    .slice(0, -1)
    .reverse()
    .find((part) => open.has(part));
  return outer ? path.slice(outer.length + 1) : path;
}

const curve = (points) =>
  points
    .map((p, k) => {
      if (!k) return `M${p.x},${p.y}`;
      const before = points[k - 1];
      return `C${before.x},${(before.y + p.y) / 2} ${p.x},${(before.y + p.y) / 2} ${p.x},${p.y}`;
    })
    .join("");

// What stands above an open module, and where it begins.
function titleOf(name, graph, open) {
  const { x, y, width, height } = graph.node(name);
  return { text: `${short(name.slice(7), open)} −`, x: x - width / 2 + 4, y: y - height / 2 - 5 };
}

// The corners of all that is drawn: dagre counts neither an edge that swings out nor the title
// above a module.
function extent(graph, titles) {
  const { width, height } = graph.graph();
  const points = [
    ...graph.edges().flatMap((e) => graph.edge(e).points),
    ...titles.flatMap(({ text, x, y }) => [
      { x, y: y - 14 },
      { x: x + text.length * PER_CHARACTER, y },
    ]),
  ];
  const reach = (end, edge, axis, by) => end(edge, ...points.map((p) => p[axis] + by));
  return [
    { x: reach(Math.min, 0, "x", -8), y: reach(Math.min, 0, "y", 0) },
    { x: reach(Math.max, width, "x", 8), y: height },
  ];
}

// The drawing. on.module(path) and on.step(number) are called for clicks; returns { node,
// update(step), width, height }.
export function drawing(modules, at, on) {
  const seen = modules.visible(at);
  const { graph, clusters } = layout(seen, modules.open);
  const act = (action) => ({
    onclick: action,
    tabindex: 0,
    role: "button",
    onkeydown: (event) => {
      if (event.key === "Enter") {
        event.preventDefault();
        event.stopPropagation();
        action();
      }
    },
  });
  const headings = new Map([...clusters].map((name) => [name, titleOf(name, graph, modules.open)]));
  const [low, high] = extent(graph, [...headings.values()]);
  const [width, height] = [high.x - low.x, high.y - low.y];
  const shapes = [];
  const titles = []; // of open modules, above the edges
  for (const name of clusters) {
    const path = name.slice(7);
    const { x, y, width: w, height: h } = graph.node(name);
    shapes.push(
      svg("rect", { class: "cluster", x: x - w / 2, y: y - h / 2, width: w, height: h, rx: 10 }),
    );
    titles.push(
      svg(
        "g",
        {
          class: "title",
          "data-path": path,
          "aria-expanded": "true",
          "aria-label": `close ${path}`,
          ...act(() => on.module(path)),
        },
        svg("text", { x: headings.get(name).x, y: headings.get(name).y }, headings.get(name).text),
      ),
    );
  }
  const edges = graph.edges().map((e) => {
    const edge = graph.edge(e);
    const path = svg("path", { class: edge.skip ? "edge skip" : "edge", d: curve(edge.points) });
    return { ...edge, path };
  });
  const boxes = [...seen.boxes].map(([key, box]) => {
    const { x, y, width: w, height: h } = graph.node(String(key));
    const module = box.kind === "module";
    const known = box.steps.length > 0;
    const action = module
      ? act(() => on.module(key))
      : known
        ? act(() => on.step(box.steps[0]))
        : {};
    const hint = module
      ? `${key}: ${box.steps.length} steps; open it`
      : `${box.node.name} ${box.node.shape}`;
    const bar = svg("rect", { class: "done", x: x - w / 2, y: y + h / 2 - 3, width: 0, height: 3 });
    const node = svg(
      "g",
      {
        class: `box ${box.kind}`,
        "data-key": key,
        "aria-label": hint,
        "aria-expanded": module ? "false" : null,
        ...action,
      },
      svg("title", {}, hint),
      svg("rect", {
        x: x - w / 2,
        y: y - h / 2,
        width: w,
        height: h,
        rx: box.kind === "addition" ? h / 2 : box.kind === "leaf" ? 4 : 7,
      }),
      module ? bar : null,
      svg("text", { x, y: y + 4 }, module ? `${box.label} +` : box.label),
    );
    return { key, box, node, bar, width: w, x: x - low.x, y: y - low.y };
  });
  const picture = svg(
    "svg",
    {
      viewBox: `${low.x} ${low.y} ${width} ${height}`,
      class: "graph",
      role: "group",
      "aria-label": "graph of the model",
    },
    svg(
      "defs",
      {},
      ["arrow", "arrow-skip", "arrow-flows"].map((id) =>
        svg(
          "marker",
          {
            id,
            viewBox: "0 0 8 8",
            refX: 7,
            refY: 4,
            markerWidth: 7,
            markerHeight: 7,
            markerUnits: "userSpaceOnUse",
            orient: "auto-start-reverse",
          },
          svg("path", { d: "M0,0.5 L8,4 L0,7.5 z" }),
        ),
      ),
    ),
    shapes,
    edges.map((edge) => edge.path),
    boxes.map((each) => each.node),
    titles,
  );

  function update(step) {
    const here = modules.box(modules.data.steps[step].node);
    let current = null;
    for (const each of boxes) {
      const done = each.box.steps.filter((s) => s <= step).length;
      each.node.classList.toggle(
        "past",
        each.box.steps.length > 0 && done === each.box.steps.length,
      );
      each.node.classList.toggle("here", each.key === here);
      if (each.box.kind === "module")
        each.bar.setAttribute("width", (each.width * done) / Math.max(1, each.box.steps.length));
      if (each.key === here) current = each;
    }
    for (const edge of edges) edge.path.classList.toggle("flows", edge.to === here);
    return current; // {x, y} from the upper left corner, or null where the step is out of sight
  }
  return { node: picture, update, width, height, left: seen.left };
}

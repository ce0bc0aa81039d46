// The norm of what arrives at each step, on a logarithmic scale, with the layers below and the
// current place.

import { entry, show } from "./data.js";
import { el, svg } from "./el.js";

const HEIGHT = 44;
// What is smaller than the largest by that power of ten is rounding. On a logarithmic scale it would
// flatten all others.
const ROUNDING = -12;

export function chart(data, goto) {
  const norms = data.steps.map((step) => entry(step.arrays[0]?.[2])?.norm ?? null);
  const logs = norms.map((v) => (v > 0 ? Math.log10(v) : null));
  const known = logs.filter((v) => v != null);
  const high = known.length ? Math.max(...known) : 0;
  const low = known.length ? Math.min(...known.filter((v) => v >= high + ROUNDING)) : 0;
  const odd = data.steps.flatMap((step, k) =>
    entry(step.arrays[0]?.[2])?.nan || entry(step.arrays[0]?.[2])?.inf ? [k] : [],
  );
  const height = (v) =>
    v == null || v < low ? 1 : 4 + ((v - low) / Math.max(high - low, 1e-9)) * (HEIGHT - 6);
  const count = norms.length;
  const bars = logs.map(
    (v, k) => `M${k + 0.1},${HEIGHT}V${(HEIGHT - height(v)).toFixed(2)}H${k + 0.9}V${HEIGHT}Z`,
  );
  const under = (event) =>
    Math.max(0, Math.min(count - 1, Math.floor((event.offsetX / picture.clientWidth) * count)));
  const range = known.length
    ? `‖g‖ ${show(10 ** low, 2)} to ${show(10 ** high, 2)}, logarithmic`
    : "";
  const said = (k) => `step ${k}, ${data.steps[k].name}: ‖g‖ ${show(norms[k])}`;
  const caption = el("p", { class: "scale" }, range);
  const done = svg("rect", { x: 0, y: 0, height: HEIGHT, width: 0 });
  const mark = svg("path", { class: "mark" });
  const picture = svg(
    "svg",
    {
      class: "norms",
      viewBox: `0 0 ${count} ${HEIGHT}`,
      preserveAspectRatio: "none",
      role: "img",
      "aria-label": `Norm of the gradient that arrives at each of ${count} steps, from ${show(10 ** low)} to ${show(10 ** high)}, logarithmic`,
      onclick: (event) => goto(under(event)),
      onpointermove: (event) => {
        caption.textContent = said(under(event));
      },
      onpointerleave: () => {
        caption.textContent = range;
      },
    },
    svg("defs", {}, svg("clipPath", { id: "past" }, done)),
    svg("path", { class: "bars", d: bars.join("") }),
    svg("path", { class: "bars past", d: bars.join(""), "clip-path": "url(#past)" }),
    mark,
    odd.length
      ? svg("path", { class: "odd", d: odd.map((k) => `M${k},0h1v${HEIGHT}h-1z`).join("") })
      : "",
  );
  const node = el("div", { class: "chart" }, caption, picture, layers(data, goto));
  function update(k) {
    done.setAttribute("width", k);
    mark.setAttribute(
      "d",
      `M${k + 0.1},${HEIGHT}V${(HEIGHT - height(logs[k])).toFixed(2)}H${k + 0.9}V${HEIGHT}Z`,
    );
  }
  return { node, update };
}

// The outer modules as bands below the bars.
function layers(data, goto) {
  // 'decoder.layers.1', else 'decoder'
  const outer = (path) =>
    path.match(/^(?:[^.\d][^.]*\.)+\d+(?=\.|$)/)?.[0] ?? path.split(".")[0];
  const bands = [];
  for (const [path, , from, to] of data.layers) {
    const name = outer(path);
    if (bands.length && bands.at(-1).name === name) bands.at(-1).to = to;
    else bands.push({ name, from, to });
  }
  return el(
    "div",
    { class: "bands" },
    bands.map(({ name, from, to }) => {
      const band = el(
        "button",
        {
          type: "button",
          title: `${name || "outside any module"}: steps ${from} to ${to}`,
          onclick: () => goto(from),
          tabindex: -1,
        },
        name || "·",
      );
      band.style.flexGrow = to - from + 1;
      return band;
    }),
  );
}

// Theme, icons and help.

import { button, el, svg } from "./el.js";

const drawn = (path) => () =>
  svg(
    "svg",
    { class: "icon", viewBox: "0 0 16 16", width: 16, height: 16, "aria-hidden": "true" },
    svg("path", { d: path }),
  );
export const icon = {
  first: drawn("M3 3h1.6v10H3zM13 3v10L5.6 8z"),
  last: drawn("M11.4 3H13v10h-1.6zM3 3l7.4 5L3 13z"),
  back: drawn("M10.6 3v10L4 8z"),
  next: drawn("M5.4 3L12 8l-6.6 5z"),
  play: drawn("M4.5 2.5L13 8l-8.5 5.5z"),
  pause: drawn("M4 3h3v10H4zM9 3h3v10H9z"),
  theme: drawn("M8 1.5a6.5 6.5 0 1 0 0 13 6.5 6.5 0 0 0 0-13zM8 3a5 5 0 0 1 0 10z"),
};

const KEYS = [
  ["→  ←", "one step on, one step back in time"],
  ["n", "over: the next on this level"],
  ["s  ↓", "into: a module, or the definition of a fused operation"],
  ["o  ↑", "out: what is around"],
  ["b", "back: the one before on this level"],
  ["Space  p", "play, pause"],
  ["Home  End", "first step, last step"],
  ["/", "search; Enter goes to the next match"],
  ["g", "open the current step's module in the graph"],
  ["t", "dark or light"],
  ["?", "this help"],
];
const WORDS = [
  ["g", "the gradient that arrived: dL/d(output)"],
  ["dx", "what is sent to the input x"],
  [
    "colours",
    "blue below zero, orange above, nothing at zero; the strongest is the array's largest entry",
  ],
  [
    "pointer on a cell",
    "its value, and the cells of the other arrays that feed it, or that it feeds; all others are dimmed",
  ],
  ["numbers", "four to five significant digits; Python has them all"],
];

export function help() {
  const rows = (pairs) =>
    el(
      "dl",
      {},
      pairs.flatMap(([term, words]) => [el("dt", {}, term), el("dd", {}, words)]),
    );
  const node = el(
    "dialog",
    { class: "help", "aria-label": "help" },
    el("h2", {}, "Keys"),
    rows(KEYS),
    el("h2", {}, "Words"),
    rows(WORDS),
    button("Close", "close the help", () => node.close()),
  );
  return { node, open: () => node.showModal() };
}

const store = {
  // a file opened from disk may have no storage
  get() {
    try {
      return localStorage.getItem("npformer-theme");
    } catch {
      return null;
    }
  },
  set(value) {
    try {
      localStorage.setItem("npformer-theme", value);
    } catch {
      /* it stays for this visit */
    }
  },
};

export const theme = {
  flip() {
    const chosen = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
    document.documentElement.dataset.theme = chosen;
    store.set(chosen);
  },
};
const system = matchMedia("(prefers-color-scheme: dark)");
document.documentElement.dataset.theme = store.get() ?? (system.matches ? "dark" : "light");

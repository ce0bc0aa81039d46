// Making elements. Text is always set as text, never parsed: names in a trace come from somebody's
// program.

const SVG = "http://www.w3.org/2000/svg";

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value != null) node.setAttribute(name, value);
  }
  node.append(...children.flat(Infinity).filter((child) => child != null && child !== false));
  return node;
}

export const el = (tag, attributes, ...children) =>
  fill(document.createElement(tag), attributes, children);
export const svg = (tag, attributes, ...children) =>
  fill(document.createElementNS(SVG, tag), attributes, children);

export function button(label, title, onclick, attributes) {
  return el(
    "button",
    { type: "button", title, "aria-label": title, onclick, ...attributes },
    label,
  );
}

// What is opened once stays open from step to step.
const opened = new Set();
export function foldable(name, title, ...children) {
  // A click is told before it takes effect: what is open now is about to close.
  const remember = () => (node.open ? opened.delete(name) : opened.add(name));
  const node = el(
    "details",
    { open: opened.has(name) },
    el("summary", { onclick: remember }, title),
    ...children,
  );
  return node;
}

// Finding a step by its operation, its name or its module.

import { el } from "./el.js";

const MOST = 12;

export function search(data, goto) {
  const list = el("ul", { class: "found", hidden: true });
  const input = el("input", {
    type: "search",
    placeholder: "search: softmax, blocks.0 …  ( / )",
    "aria-label": "search for a step",
    autocomplete: "off",
    spellcheck: "false",
    oninput: update,
    onkeydown: key,
    onfocus: update,
  });
  const node = el(
    "div",
    {
      class: "search",
      role: "search",
      onfocusout: (event) => {
        if (!node.contains(event.relatedTarget)) list.hidden = true;
      },
    },
    input,
    list,
  );
  let matches = [];

  function update() {
    const wanted = input.value.trim().toLowerCase();
    matches = wanted
      ? data.steps.flatMap((step, k) =>
          `${step.name} ${step.op} ${step.where}`.toLowerCase().includes(wanted) ? [k] : [],
        )
      : [];
    list.hidden = !wanted;
    list.replaceChildren(
      ...matches
        .slice(0, MOST)
        .map((k) =>
          el(
            "li",
            {},
            el(
              "button",
              { type: "button", onclick: () => choose(k) },
              el("i", {}, k + 1),
              data.steps[k].name,
            ),
          ),
        ),
      matches.length > MOST
        ? el("li", {}, `and ${matches.length - MOST} more`)
        : matches.length
          ? ""
          : el("li", {}, "no step has that in its name"),
    );
  }
  function choose(k) {
    list.hidden = true;
    input.blur();
    goto(k);
  }
  function key(event) {
    // Enter: the next match after the current step
    if (event.key === "Enter" && matches.length) {
      const now = Number(document.documentElement.dataset.step);
      choose(matches.find((k) => k > now) ?? matches[0]);
    } else if (event.key === "Escape") {
      list.hidden = true;
      input.blur();
    }
  }
  return {
    node,
    open: () => {
      input.focus();
      input.select();
    },
  };
}

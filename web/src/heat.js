// An array as a card: name, shape, a heat map of one slice with the value under the pointer, and
// what is said of it.

import { cells, entry, first, last, palette, product, ravel, show, unravel } from "./data.js";
import { button, el } from "./el.js";

// Shape of the leading dims -> the slice that is shown: cards of one shape move together.
const slices = new Map();
const TALL = 260;
const CELL = 20;
const GAMMA = 0.7; // so that small entries are seen beside the largest

export const dark = () => document.documentElement.dataset.theme === "dark";

export class Card {
  constructor(number, name, role, argument, link) {
    Object.assign(this, {
      number,
      name,
      role,
      argument,
      link,
      said: entry(number),
      array: cells(number),
      hovered: null,
      marked: null,
    });
    this.readout = el("p", { class: "readout", "aria-live": "polite" });
    this.head = el(
      "figcaption",
      {},
      el("b", {}, name),
      el("span", { class: "shape" }, this.shape()),
    );
    this.node = el("figure", { class: "card", "data-name": name, "data-role": role }, this.head);
    if (this.array && this.array.counts.length) this.build();
    this.node.append(this.readout);
    this.say();
  }

  shape() {
    if (!this.said) return "";
    const { shape, dtype } = this.said;
    return dtype === "·"
      ? ""
      : `${shape.length ? `(${shape.join(", ")}${shape.length === 1 ? "," : ""})` : "one number"} ${dtype}`;
  }

  build() {
    const { counts, values } = this.array;
    this.lead = counts.slice(0, -2);
    this.rows = counts.length > 1 ? counts[counts.length - 2] : 1;
    this.columns = counts[counts.length - 1];
    this.largest =
      values.reduce((most, v) => (Number.isFinite(v) ? Math.max(most, Math.abs(v)) : most), 0) || 1;
    const width = Math.max(44, this.columns * CELL);
    const height = Math.min(
      TALL,
      Math.max(CELL, (this.rows * Math.min(width, 300)) / this.columns),
    );
    this.canvas = el("canvas", { width: this.columns, height: this.rows, "aria-hidden": "true" });
    this.marks = el("canvas", {
      class: "marks",
      tabindex: 0,
      role: "img",
      "aria-label": `Heat map of ${this.name} ${this.shape()}. With the arrow keys you read single values.`,
      onpointermove: (event) => this.point(event),
      onpointerdown: (event) => this.point(event),
      onpointerleave: () => this.hover(null),
      onblur: () => this.hover(null),
      onkeydown: (event) => this.key(event),
    });
    const box = el("div", { class: "heat" }, this.canvas, this.marks);
    box.style.width = `min(100%, ${width}px)`;
    box.style.height = `${Math.round(height)}px`;
    this.steppers = el("span", { class: "slices" });
    if (product(this.lead) > 1) this.head.append(this.steppers);
    this.node.append(box);
    this.draw();
  }

  at() {
    // the slice that is shown
    const key = this.lead.join();
    if (!slices.has(key))
      slices.set(
        key,
        this.lead.map(() => 0),
      );
    return slices.get(key);
  }

  draw() {
    if (!this.canvas) return;
    const { zero, negative, positive, nan } = palette[dark() ? "dark" : "light"];
    const context = this.canvas.getContext("2d");
    const image = context.createImageData(this.columns, this.rows);
    const from = this.start();
    for (let k = 0; k < this.rows * this.columns; k++) {
      const value = this.array.values[from + k];
      const strength = Number.isNaN(value)
        ? 1
        : Math.min(Math.abs(value) / this.largest, 1) ** GAMMA;
      const toward = Number.isNaN(value) ? nan : value < 0 ? negative : positive;
      for (let c = 0; c < 3; c++)
        image.data[4 * k + c] = zero[c] + strength * (toward[c] - zero[c]);
      image.data[4 * k + 3] = 255;
    }
    context.putImageData(image, 0, 0);
    this.drawSteppers();
    this.drawMarks();
  }

  start() {
    return (this.lead.length ? ravel(this.at(), this.lead) : 0) * this.rows * this.columns;
  }

  drawSteppers() {
    const at = this.at();
    const move = (d, by) => () =>
      this.link.slice(
        this.lead,
        at.map((v, k) => (k === d ? (v + by + this.lead[d]) % this.lead[d] : v)),
      );
    this.steppers.replaceChildren(
      "[",
      ...at.flatMap((v, d) =>
        this.lead[d] === 1
          ? ["0,"]
          : [
              button("‹", `${this.name}: one back along dim ${d}`, move(d, -1)),
              el("span", {}, v),
              button("›", `${this.name}: one on along dim ${d}`, move(d, 1)),
              ",",
            ],
      ),
      " :, :]",
    );
  }

  drawMarks() {
    if (this.hovered == null && !this.marked && !this.drawn) return;
    const scale = window.devicePixelRatio || 1;
    const [width, height] = [this.marks.clientWidth * scale, this.marks.clientHeight * scale];
    if (!width) return;
    Object.assign(this.marks, { width, height });
    const context = this.marks.getContext("2d");
    const [w, h, from] = [width / this.columns, height / this.rows, this.start()];
    const box = (place) => [
      ((place - from) % this.columns) * w,
      Math.floor((place - from) / this.columns) * h,
      w,
      h,
    ];
    const here = (place) => place >= from && place < from + this.rows * this.columns;
    const style = getComputedStyle(this.node);
    if (this.marked) {
      context.fillStyle = style.getPropertyValue("--veil");
      context.fillRect(0, 0, width, height);
      const shown = this.marked.filter(here);
      shown.forEach((place) => context.clearRect(...box(place)));
      context.strokeStyle = style.getPropertyValue("--ink");
      context.lineWidth = scale;
      if (shown.length <= 128) shown.forEach((place) => context.strokeRect(...box(place)));
    }
    if (this.hovered != null && here(this.hovered)) {
      context.strokeStyle = style.getPropertyValue("--ink");
      context.lineWidth = 2 * scale;
      context.strokeRect(...box(this.hovered));
    }
    this.drawn = Boolean(this.marked) || this.hovered != null;
  }

  point(event) {
    const column = Math.min(
      this.columns - 1,
      Math.max(0, Math.floor((event.offsetX / this.marks.clientWidth) * this.columns)),
    );
    const row = Math.min(
      this.rows - 1,
      Math.max(0, Math.floor((event.offsetY / this.marks.clientHeight) * this.rows)),
    );
    this.hover(this.start() + row * this.columns + column);
  }

  key(event) {
    const move = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[
      event.key
    ];
    if (!move) return;
    event.preventDefault();
    event.stopPropagation();
    const place = (this.hovered ?? this.start()) - this.start();
    const row = Math.floor(place / this.columns) + (this.hovered == null ? 0 : move[0]);
    const column = (place % this.columns) + (this.hovered == null ? 0 : move[1]);
    if (row >= 0 && row < this.rows && column >= 0 && column < this.columns)
      this.hover(this.start() + row * this.columns + column);
  }

  hover(place) {
    if (place === this.hovered) return;
    this.hovered = place;
    this.link.hover(this, place);
    this.say();
    this.drawMarks();
  }

  // Mark these cells (null: none); the slice with the first of them is shown.
  mark(places) {
    this.marked = places;
    if (
      places?.length &&
      this.lead.length &&
      !places.some((p) => p >= this.start() && p < this.start() + this.rows * this.columns)
    ) {
      slices.set(this.lead.join(), unravel(places[0], this.array.counts).slice(0, -2));
      this.draw();
    } else this.drawMarks();
  }

  index(place) {
    // 'g[0, 3:4, 5]', as NumPy has it
    const { shape, counts } = this.array;
    return `${this.name}[${unravel(place, counts)
      .map((k, d) => {
        const [a, b] = [first(k, shape[d], counts[d]), last(k, shape[d], counts[d])];
        return a === b ? a : `${a}:${b + 1}`;
      })
      .join(", ")}]`;
  }

  say() {
    if (this.hovered != null) {
      const value = show(this.array.values[this.hovered], 5);
      const spread = this.array.blocks ? " on average" : "";
      this.readout.replaceChildren(
        el("b", {}, `${this.index(this.hovered)} = ${value}`),
        spread,
        el("span", {}, this.link.words(this)),
      );
    } else this.readout.replaceChildren(...this.summary());
  }

  summary() {
    const said = this.said;
    if (!said)
      return ["not kept by the tape: record the forward pass too, with npf.debug.trace(function)"];
    if (this.array && !this.array.counts.length)
      return [el("b", { class: "number" }, show(this.array.values[0], 6))];
    if (said.norm == null) return [said.note];
    const odd = [said.nan && `${said.nan} NaN`, said.inf && `${said.inf} inf`].filter(Boolean);
    const parts = [
      `norm ${show(said.norm)}`,
      `${show(said.min)} to ${show(said.max)}`,
      said.zeros > 0 && `${Math.round(said.zeros * 100)}% zero`,
      this.array?.blocks && `means of ${this.array.counts.join(" × ")} blocks`,
      said.note,
    ].filter(Boolean);
    return [...odd.map((words) => el("b", { class: "odd" }, words, " · ")), parts.join(" · ")];
  }
}

export function setSlice(lead, index) {
  slices.set(lead.join(), index);
}

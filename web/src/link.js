// What joins the cards of one step: hovering a cell of one marks the cells of the others that it
// feeds, or that feed it.

import { partners } from "./feeds.js";
import { setSlice } from "./heat.js";

const isOutput = (card) => card.role === "arrived" || card.role === "output";
const isArgument = (card) => card.role === "input" || card.role === "sent";

export class Link {
  constructor(feeds) {
    this.feeds = feeds;
    this.cards = [];
    this.found = new Map();
  }

  slice(lead, index) {
    setSlice(lead, index);
    this.cards.forEach((card) => card.draw());
  }

  hover(card, place) {
    this.found.clear();
    for (const other of this.cards) {
      if (other === card || !other.canvas) continue;
      const places = place == null ? null : this.related(card, place, other);
      if (places) this.found.set(other, places);
      other.mark(places);
    }
  }

  related(card, place, other) {
    if (isOutput(card) && isArgument(other))
      return partners(this.feeds[other.argument], "y", place, card.array, other.array);
    if (isArgument(card) && isOutput(other))
      return partners(this.feeds[card.argument], "x", place, other.array, card.array);
    const twins = isOutput(card)
      ? isOutput(other)
      : isArgument(card) && isArgument(other) && card.argument === other.argument;
    return twins && other.array.size === card.array.size ? [place] : null;
  }

  // ' · fed by 16 cells of g': the backward way for gradients, the forward way for values.
  words(card) {
    const verb = { arrived: "goes to", sent: "is fed by", output: "reads", input: "is read by" }[
      card.role
    ];
    const wanted = { arrived: "sent", sent: "arrived", output: "input", input: "output" }[
      card.role
    ];
    const parts = this.cards
      .filter((other) => other.role === wanted && this.found.has(other))
      .map((other) => {
        const [count, blocks] = [
          this.found.get(other).length,
          other.array.blocks || card.array.blocks,
        ];
        return count
          ? `${count} ${blocks ? "block" : "cell"}${count > 1 ? "s" : ""} of ${other.name}`
          : `no cell of ${other.name}: nothing passes here`;
      });
    return parts.length ? `${verb} ${parts.join(", ")}` : "";
  }
}

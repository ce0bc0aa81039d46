// Which cells feed which: y[o] reads x[j] where all that a relation says holds
// (npformer/debug/page/which_cells.py).

import { bits, first, integers, last, unravel } from "./data.js";

// The cells of the other side that belong to cell `place` of one side ("y" or "x"); null where that
// is not known.
// Cells that are blocks belong together where any of their entries may.
export function partners(relation, side, place, y, x) {
  if (!relation) return null;
  const blocks = y.blocks || x.blocks;
  const single =
    relation.picked != null || relation.placed != null || relation.pairs != null || relation.flat;
  if (blocks && single) return null;
  const [here, there] = side === "y" ? [y, x] : [x, y];
  const at = unravel(place, here.counts);
  const found = [];
  const single_ = single && singles(relation, y, x);
  const gates = (relation.gates ?? []).map(([dims, shape, number]) => ({
    dims,
    shape,
    open: bits(number),
  }));
  const other = new Array(there.counts.length).fill(0);
  for (let k = 0; k < there.size; k++) {
    const [o, j, flatY, flatX] = side === "y" ? [at, other, place, k] : [other, at, k, place];
    if (
      tied(relation, o, j, y, x) &&
      (!single_ || single_(flatY, flatX)) &&
      gates.every((gate) => open(gate, o, j, y, x))
    )
      found.push(k);
    for (let d = other.length - 1; d >= 0; d--) {
      // the next index, in row-major order
      if (++other[d] < there.counts[d]) break;
      other[d] = 0;
    }
  }
  return found;
}

function tied(relation, o, j, y, x) {
  for (const [dx, dy, sign, offset] of relation.ties) {
    const a = sign * first(o[dy], y.shape[dy], y.counts[dy]) + offset;
    const b = sign * last(o[dy], y.shape[dy], y.counts[dy]) + offset;
    if (
      last(j[dx], x.shape[dx], x.counts[dx]) < Math.min(a, b) ||
      first(j[dx], x.shape[dx], x.counts[dx]) > Math.max(a, b)
    )
      return false;
  }
  for (const [dx, dy, sign, offset] of relation.bounds) {
    // up to y's index + offset (1), or from it on (-1)
    const least = first(j[dx], x.shape[dx], x.counts[dx]),
      most = last(j[dx], x.shape[dx], x.counts[dx]);
    if (
      sign > 0
        ? least > last(o[dy], y.shape[dy], y.counts[dy]) + offset
        : most < first(o[dy], y.shape[dy], y.counts[dy]) + offset
    )
      return false;
  }
  return true;
}

// Whether a gate is open for any entry of the two cells.
function open(gate, o, j, y, x, k = 0, place = 0) {
  if (k === gate.dims.length) return gate.open(place);
  const [side, d] = gate.dims[k];
  const [index, { shape, counts }] = side === "y" ? [o[d], y] : [j[d], x];
  const end = last(index, shape[d], counts[d]);
  for (let at = first(index, shape[d], counts[d]); at <= end; at++) {
    if (open(gate, o, j, y, x, k + 1, place * gate.shape[k] + at)) return true;
  }
  return false;
}

// What is said of single entries, as a function of their flat places.
function singles(relation, y, x) {
  if (relation.flat) return (a, b) => a === b;
  if (relation.pairs != null) {
    const table = bits(relation.pairs);
    return (a, b) => table(a * x.size + b);
  }
  const [table, from] =
    relation.picked != null
      ? [integers(relation.picked), true]
      : [integers(relation.placed), false];
  return from ? (a, b) => table[a] === b : (a, b) => table[b] === a;
}

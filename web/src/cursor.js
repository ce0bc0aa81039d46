// Frames and the moves among them, by the same words as every viewer: over, into, out, back, goto.

export class View {
  // a trace with its frames: the whole one, or the definition of a fused step
  constructor(data, around = null) {
    this.data = data;
    this.around = around;
    this.leaf = [];
    this.frames = data.frames.map(([parent, label, path, from, to, single], number) => ({
      view: this,
      number,
      parent,
      label,
      path,
      from,
      to,
      single,
      children: [],
    }));
    for (const frame of this.frames) {
      if (frame.parent >= 0) this.frames[frame.parent].children.push(frame);
      if (frame.single) this.leaf[frame.from] = frame;
    }
    this.root = this.frames[0];
  }
}

export const step = (frame) => (frame.single ? frame.view.data.steps[frame.from] : null);
export const opens = (frame) =>
  frame.single ? typeof step(frame).inside === "object" : frame.children.length > 0;

export function parent(frame) {
  const up = frame.view.frames[frame.parent];
  return up === frame.view.root && frame.view.around ? frame.view.around : (up ?? null);
}

function children(frame) {
  if (!frame.single) return frame.children;
  if (!opens(frame)) return [];
  frame.inner ??= new View(step(frame).inside, frame);
  return frame.inner.root.children;
}

function along(frame, by) {
  for (let at = frame; parent(at); at = parent(at)) {
    const siblings = children(parent(at));
    const next = siblings[siblings.indexOf(at) + by];
    if (next) return next;
  }
  return frame;
}

export const over = (frame) => along(frame, 1);
export const back = (frame) => along(frame, -1);
export const into = (frame) => children(frame)[0] ?? frame;
export const out = (frame) => parent(frame) ?? frame;

// The step of the whole trace where a frame stands, and the frames around it, outermost first.
export function outermost(frame) {
  while (frame.view.around) frame = frame.view.around;
  return frame;
}
export function trail(frame) {
  const found = [];
  for (let at = frame; at; at = parent(at)) found.unshift(at);
  return found;
}
export function level(frame) {
  if (frame.single)
    return frame.view.around ? "primitive" : step(frame).group ? "group of steps" : "operation";
  return frame.parent < 0 ? "model" : "module";
}

// The data inside the file: arrays and words are decoded when they are first looked at.

const data = JSON.parse(document.getElementById("data").textContent);

export const palette = data.palette;
export const root = data.trace;
export const entry = (number) => (number == null ? null : data.arrays[number]);

const words = new Map();
export function text(number) {
  if (!words.has(number)) words.set(number, JSON.parse(data.texts[number]));
  return words.get(number);
}

function bytes(number) {
  const raw = atob(data.blobs[number]);
  const out = new Uint8Array(raw.length);
  for (let k = 0; k < raw.length; k++) out[k] = raw.charCodeAt(k);
  return out;
}

const bitmaps = new Map();
export function bits(number) {
  if (!bitmaps.has(number)) bitmaps.set(number, bytes(number));
  const packed = bitmaps.get(number);
  return (k) => (packed[k >> 3] >> (7 - (k & 7))) & 1;
}

const tables = new Map();
export function integers(number) {
  if (!tables.has(number)) tables.set(number, new Int32Array(bytes(number).buffer));
  return tables.get(number);
}

const kinds = {
  u1: (raw) => raw,
  i4: (raw) => new Int32Array(raw.buffer),
  f3(raw) {
    // float32 without its last byte
    const whole = new Uint8Array((raw.length / 3) * 4);
    for (let k = 0, n = 0; k < raw.length; k += 3, n += 4) {
      whole[n + 1] = raw[k];
      whole[n + 2] = raw[k + 1];
      whole[n + 3] = raw[k + 2];
    }
    return new Float32Array(whole.buffer);
  },
};

export const product = (sizes) => sizes.reduce((a, b) => a * b, 1);

// {shape, counts (cells along each dim), size, values (one a cell), blocks (whether these are
// means)}, or null.
const decoded = new Map();
export function cells(number) {
  const said = entry(number);
  if (!said || said.blob == null) return null;
  if (!decoded.has(number)) {
    const counts = said.blocks ?? said.shape;
    decoded.set(number, {
      shape: said.shape,
      counts,
      size: product(counts),
      blocks: Boolean(said.blocks),
      values: kinds[said.kind](bytes(said.blob)),
    });
  }
  return decoded.get(number);
}

// The entries of a dim of `size` that cell k of `count` stands for: first and last.
export const first = (k, size, count) => Math.floor((k * size) / count);
export const last = (k, size, count) => Math.floor(((k + 1) * size) / count) - 1;

// Index of a cell from its flat place, and back.
export function unravel(place, counts) {
  const index = new Array(counts.length);
  for (let d = counts.length - 1; d >= 0; d--) {
    index[d] = place % counts[d];
    place = Math.floor(place / counts[d]);
  }
  return index;
}
export const ravel = (index, counts) =>
  counts.reduce((place, count, d) => place * count + index[d], 0);

// A number with four digits that count, as every viewer of npformer writes it.
export function show(x, digits = 4) {
  if (x == null) return "·";
  if (Number.isNaN(x)) return "NaN";
  if (!Number.isFinite(x)) return x > 0 ? "inf" : "−inf";
  if (x === 0) return "0";
  const size = Math.abs(x);
  const written =
    size >= 1e-4 && size < 10 ** (digits + 2)
      ? String(Number(x.toPrecision(digits)))
      : x.toExponential(digits - 2);
  return written.replace(/^-/, "−").replace("e+", "e");
}

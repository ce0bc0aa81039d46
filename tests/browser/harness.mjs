// test(name, page, options, body): a test of the page; tests/debug/test_page_browser.py finds it by its first line.

export const tests = new Map();

export function test(name, file, options, body) {
  tests.set(name, { file, options, body });
}

// What the page shows, in the words of its tests.
export const text = (page, selector) => page.locator(selector).first().innerText();
export const step = async (page) => Number(await page.locator("html").getAttribute("data-step"));
export const operation = (page) => text(page, ".panel h2");
export const card = (page, name) => page.locator(`.card[data-name="${name}"]`).first();
export const readout = (page, name) => card(page, name).locator(".readout").innerText();

// The pointer on the cell of a heat map in that row and column, of so many.
export async function point(page, name, row, column, rows, columns) {
  const marks = card(page, name).locator(".marks");
  await marks.scrollIntoViewIfNeeded();
  const box = await marks.boundingBox();
  await page.mouse.move(box.x + ((column + 0.5) / columns) * box.width, box.y + ((row + 0.5) / rows) * box.height);
}

// How many of the cells of a heat map are not veiled: marked ones.
export const unveiled = (page, name, rows, columns) => card(page, name).locator(".marks").evaluate((canvas, [r, c]) => {
  const copy = Object.assign(document.createElement("canvas"), { width: canvas.width, height: canvas.height });
  const image = copy.getContext("2d", { willReadFrequently: true });
  image.drawImage(canvas, 0, 0);
  let clear = 0;
  for (let i = 0; i < r; i++) {
    for (let j = 0; j < c; j++) {
      const [x, y] = [Math.floor(((j + 0.5) / c) * canvas.width), Math.floor(((i + 0.5) / r) * canvas.height)];
      clear += image.getImageData(x, y, 1, 1).data[3] === 0 ? 1 : 0;
    }
  }
  return clear;
}, [rows, columns]);

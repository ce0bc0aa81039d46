// The drawing of the graph.

import assert from "node:assert/strict";
import { test } from "./harness.mjs";

const outside = (page) => page.evaluate(() => {
  const { x, y, width, height } = document.querySelector("svg.graph").viewBox.baseVal;
  return [...document.querySelectorAll(".graph .edge, .graph .title, .graph .box")].map((shape) => shape.getBBox())
    .filter((b) => b.x < x || b.y < y || b.x + b.width > x + width || b.y + b.height > y + height).length;
});

test("a skip that swings out is not cut off", "swinging", {}, async (page) => {
  assert.equal(await page.locator(".graph .skip").count(), 1);
  assert.equal(await outside(page), 0);
});

test("the title above an open module is not cut off", "swinging", {}, async (page) => {
  await page.locator(".graph .box.module").first().click();
  assert.ok(await page.locator(".graph .title").count());
  assert.equal(await outside(page), 0);
});

// The page as a person uses it.

import assert from "node:assert/strict";
import { card, operation, point, readout, step, test, text, unveiled } from "./harness.mjs";

// ── moving ──────────────────────────────────────────────────────────────────────────────────────────────────────────

test("it opens at the first step back", "tiny", {}, async (page) => {
  assert.equal(await step(page), 0);
  assert.equal(await operation(page), "cross_entropy");
  assert.match(await text(page, ".place"), /step 0\/25/);
  assert.match(await text(page, ".formula"), /dlogits = /);
  assert.match(await text(page, ".call"), /logits \(64, 65\)/);
});

test("arrow keys go on and back in time", "tiny", {}, async (page) => {
  const before = await text(page, ".panel");
  for (let k = 0; k < 5; k++) await page.keyboard.press("ArrowRight");
  assert.equal(await step(page), 5);
  for (let k = 0; k < 5; k++) await page.keyboard.press("ArrowLeft");
  assert.equal(await text(page, ".panel"), before);
  await page.keyboard.press("ArrowLeft");
  assert.equal(await step(page), 0);
});

test("to the end and no further", "tiny", {}, async (page) => {
  await page.keyboard.press("End");
  assert.equal(await step(page), 25);
  await page.keyboard.press("ArrowRight");
  assert.equal(await step(page), 25);
  await page.keyboard.press("Home");
  assert.equal(await step(page), 0);
});

test("s goes into a fused operation, n along it, o out", "tiny", {}, async (page) => {
  await page.keyboard.press("s");
  assert.match(await text(page, ".level"), /primitive/);
  const first = await operation(page);
  await page.keyboard.press("n");
  assert.notEqual(await text(page, ".crumbs b"), first);
  assert.equal(await step(page), 0);
  await page.keyboard.press("b");
  assert.equal(await operation(page), first);
  await page.keyboard.press("o");
  assert.equal(await operation(page), "cross_entropy");
  assert.match(await text(page, ".level"), /operation/);
});

test("o goes out to the module, s into it, n over it", "tiny", {}, async (page) => {
  for (let k = 0; k < 3; k++) await page.keyboard.press("ArrowRight");
  await page.keyboard.press("o");
  assert.match(await text(page, ".level"), /module/);
  assert.equal(await operation(page), "norm2");
  await page.keyboard.press("o");
  assert.equal(await operation(page), "blocks.0");
  await page.keyboard.press("n");
  assert.equal(await operation(page), "add");
  assert.equal(await step(page), 23);
  await page.keyboard.press("b");
  assert.equal(await operation(page), "blocks.0");
  await page.keyboard.press("s");
  assert.equal(await operation(page), "norm2");
});

test("the slider is dragged", "tiny", {}, async (page) => {
  const slider = page.locator("input[type=range]");
  const box = await slider.boundingBox();
  await page.mouse.move(box.x + 8, box.y + box.height / 2);
  await page.mouse.down();
  await page.mouse.move(box.x + box.width / 2, box.y + box.height / 2, { steps: 5 });
  await page.mouse.up();
  const middle = await step(page);
  assert.ok(middle >= 11 && middle <= 14, `step ${middle}`);
  await page.keyboard.press("ArrowRight"); // the slider has the focus, and an arrow is one step
  assert.equal(await step(page), middle + 1);
});

test("play runs and pauses", "tiny", {}, async (page) => {
  await page.locator("select").selectOption("4");
  await page.locator("body").press("Space");
  await page.waitForFunction(() => Number(document.documentElement.dataset.step) >= 3);
  await page.getByRole("button", { name: "pause (p)" }).click();
  const at = await step(page);
  await page.waitForTimeout(500);
  assert.equal(await step(page), at);
});

test("the chart of norms is clicked", "tiny", {}, async (page) => {
  const box = await page.locator(".norms").boundingBox();
  await page.mouse.click(box.x + box.width * (10.5 / 26), box.y + 20);
  assert.equal(await step(page), 10);
  assert.match(await text(page, ".scale"), /step 10, blocks\.0\.out_proj\.linear: ‖g‖ 0\.0/);
});

test("search finds a step", "tiny", {}, async (page) => {
  await page.keyboard.press("/");
  await page.keyboard.type("attention");
  assert.match(await text(page, ".found"), /attention/);
  await page.keyboard.press("Enter");
  assert.equal(await operation(page), "attention");
  await page.keyboard.press("/");
  await page.keyboard.type("no such step");
  assert.match(await text(page, ".found"), /no step has that/);
});

test("help opens and closes", "tiny", {}, async (page) => {
  await page.keyboard.press("?");
  assert.ok(await page.locator("dialog").isVisible());
  await page.keyboard.press("ArrowRight"); // keys are the dialog's while it is open
  assert.equal(await step(page), 0);
  await page.keyboard.press("Escape");
  assert.ok(!(await page.locator("dialog").isVisible()));
});

// ── the graph ───────────────────────────────────────────────────────────────────────────────────────────────────────

test("a click opens a module, a click closes it", "tiny", {}, async (page) => {
  const count = () => page.locator(".graph .box").count();
  const before = await count();
  await page.locator('.box.module[data-key="blocks.0.ff1"]').click();
  assert.ok((await count()) > before);
  await page.locator('.title[data-path="blocks.0.ff1"] text').click();
  assert.equal(await count(), before);
});

test("a module opens from the keyboard", "tiny", {}, async (page) => {
  await page.locator('.box.module[data-key="output_head"]').focus();
  await page.keyboard.press("Enter");
  assert.equal(await page.locator('.title[data-path="output_head"]').count(), 1);
});

test("the focus stays when the graph is drawn anew", "tiny", {}, async (page) => {
  await page.locator('.box.module[data-key="output_head"]').focus();
  await page.keyboard.press("Enter");
  const focused = () => page.evaluate(() => document.activeElement.dataset.path ?? document.activeElement.dataset.key);
  assert.equal(await focused(), "output_head");
  await page.keyboard.press("Enter");
  assert.equal(await focused(), "output_head");
  assert.equal(await page.locator('.title[data-path="output_head"]').count(), 0);
});

test("what is unfolded stays so from step to step", "tiny", {}, async (page) => {
  await page.locator(".formula summary").click();
  await page.keyboard.press("ArrowRight");
  assert.ok(await page.locator(".formula .source").isVisible());
  await page.locator(".formula summary").click();
  await page.keyboard.press("ArrowRight");
  assert.ok(!(await page.locator(".formula .source").isVisible()));
});

test("a click on an operation goes to its step", "tiny", {}, async (page) => {
  await page.locator(".box.op", { hasText: "attention" }).first().click();
  assert.equal(await operation(page), "attention");
  assert.equal(await page.locator(".box.here").count(), 1);
});

test("residual additions are drawn as such, with their skips", "tiny", {}, async (page) => {
  assert.equal(await page.locator(".box.addition").count(), 2);
  assert.equal(await page.locator(".edge.skip").count(), 2);
  await page.getByRole("button", { name: "close all modules" }).click();
  assert.equal(await page.locator(".box.addition").count(), 0);
});

test("the definition has a graph of its own", "tiny", {}, async (page) => {
  await page.keyboard.press("s");
  assert.ok((await page.locator(".box.op").count()) >= 5);
  await page.keyboard.press("o");
  assert.equal(await page.locator(".box.addition").count(), 2);
});

// ── the step ────────────────────────────────────────────────────────────────────────────────────────────────────────

test("the residual identity is shown at an addition", "tiny", {}, async (page) => {
  await page.locator(".box.addition").last().click();
  assert.match(await text(page, ".identity"), /dL\/dx = dL\/dy · \(1 \+ dF\/dx\)[\s\S]*relative error of/);
  await page.locator(".identity summary").click();
  assert.equal(await page.locator(".identity .card").count(), 4);
});

test("a cell has its value and what feeds it", "values", {}, async (page) => {
  await point(page, "da", 1, 2, 3, 4);
  assert.match(await readout(page, "da"), /da\[1, 2\] = 12\.5\D[\s\S]*is fed by 1 cell of g/);
  assert.equal(await unveiled(page, "g", 3, 4), 1);
  await page.mouse.move(2, 2);
  assert.doesNotMatch(await readout(page, "da"), /da\[/);
});

test("a row of softmax feeds each of its cells", "values", {}, async (page) => {
  await page.keyboard.press("ArrowRight");
  assert.equal(await operation(page), "softmax");
  await point(page, "dx", 2, 1, 3, 4);
  assert.match(await readout(page, "dx"), /is fed by 4 cells of g/);
  assert.equal(await unveiled(page, "g", 3, 4), 4);
  await point(page, "g", 0, 0, 3, 4);
  assert.match(await readout(page, "g"), /goes to 4 cells of dx/);
});

test("arrow keys read a heat map", "values", {}, async (page) => {
  await card(page, "da").locator(".marks").focus();
  await page.keyboard.press("ArrowRight");
  await page.keyboard.press("ArrowRight");
  await page.keyboard.press("ArrowDown");
  assert.match(await readout(page, "da"), /da\[1, 1\] = 11\.5/);
  assert.equal(await step(page), 0);
});

test("slices of one shape move together", "tiny", {}, async (page) => {
  for (let k = 0; k < 3; k++) await page.keyboard.press("ArrowRight");
  await page.getByRole("button", { name: "g: one on along dim 0" }).click();
  assert.match(await card(page, "dx").locator(".slices").innerText(), /1/);
  await point(page, "dx", 0, 0, 16, 64);
  assert.match(await readout(page, "dx"), /dx\[1, 0, 0\]/);
});

test("each slice is painted from its own numbers", "tiny", {}, async (page) => {
  for (let k = 0; k < 3; k++) await page.keyboard.press("ArrowRight");
  const painted = () => card(page, "g").locator("canvas").first().evaluate((canvas) => canvas.toDataURL());
  const before = await painted();
  await page.getByRole("button", { name: "g: one on along dim 0" }).click();
  assert.notEqual(await painted(), before);
  await page.getByRole("button", { name: "g: one back along dim 0" }).click();
  assert.equal(await painted(), before);
});

test("the largest entry has the full colour, zero none, and the sign tells blue from orange", "signs", {}, async (page) => {
  const colours = await card(page, "da").locator("canvas").first().evaluate((canvas) => {
    const copy = Object.assign(document.createElement("canvas"), { width: canvas.width, height: canvas.height }).getContext("2d", { willReadFrequently: true });
    copy.drawImage(canvas, 0, 0);
    return [0, 1, 2].map((k) => [...copy.getImageData(k, 0, 1, 1).data.slice(0, 3)]);
  });
  const { zero, negative, positive } = await page.evaluate(() => JSON.parse(document.getElementById("data").textContent).palette.light);
  assert.deepEqual(colours, [negative, zero, positive]);
});

test("a bias is fed by every row", "tiny", {}, async (page) => {
  for (let k = 0; k < 3; k++) await page.keyboard.press("ArrowRight");
  await point(page, "dbias", 0, 5, 1, 64);
  assert.match(await readout(page, "dbias"), /is fed by 64 cells of g/);
  assert.equal(await unveiled(page, "g", 16, 64), 16);
  await point(page, "g", 3, 5, 16, 64);
  assert.match(await readout(page, "g"), /goes to 64 cells of dx, 1 cell of dweight, 1 cell of dbias/);
});

test("the ledger says who sent, the sum so far and what is to come", "tiny", {}, async (page) => {
  await page.locator(".box.addition").last().click();
  const ledger = page.locator(".ledger", { hasText: "norm1" }).first();
  assert.match(await ledger.innerText(), /1 of 2 have arrived/);
  assert.equal(await ledger.locator("tr.now").count(), 1);
  assert.equal(await ledger.locator("tr.later").count(), 1);
  await ledger.locator("tr.later button").click();
  assert.equal(await operation(page), "linear");
});

test("the user's line is there with its neighbours", "tiny", {}, async (page) => {
  assert.match(await text(page, ".code .at"), /F\.cross_entropy/);
  assert.ok((await page.locator(".code div").count()) > 2);
});

// ── how it looks ────────────────────────────────────────────────────────────────────────────────────────────────────

test("the theme follows the system and is switched", "tiny", { colorScheme: "dark" }, async (page) => {
  const paper = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const dark = await paper();
  await page.keyboard.press("t");
  assert.notEqual(await paper(), dark);
  await page.reload();
  assert.notEqual(await paper(), dark); // the choice stays
  await page.getByRole("button", { name: "dark or light (t)" }).click();
  assert.equal(await paper(), dark);
});

test("on a phone all is one below the other, and nothing sticks out", "tiny", { viewport: { width: 360, height: 740 }, hasTouch: true, isMobile: true }, async (page) => {
  for (const key of ["Home", "End"]) {
    await page.keyboard.press(key);
    assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= 360), "it scrolls sideways");
  }
  const [graph, side] = [await page.locator(".graph-pane").boundingBox(), await page.locator(".side").boundingBox()];
  assert.ok(side.y >= graph.y + graph.height - 1);
  await page.getByRole("button", { name: "one step back in time (←)" }).tap();
  assert.equal(await step(page), 24);
  for (const part of await page.locator(".bar *").all()) {
    const box = await part.boundingBox();
    assert.ok(!box || box.x + box.width <= 360.5, `the bar sticks out: ${await part.evaluate((node) => node.outerHTML.slice(0, 60))}`);
  }
  const bar = await page.locator(".bar").boundingBox();
  assert.ok(Math.abs(bar.y + bar.height - 740) < 2, "the bar stays at the bottom");
});

test("every button has a name, every input a label", "tiny", {}, async (page) => {
  const nameless = await page.evaluate(() => [...document.querySelectorAll("button, input, select, [role=button], [role=img]")]
    .filter((node) => !(node.getAttribute("aria-label") || node.textContent.trim())).map((node) => node.outerHTML.slice(0, 80)));
  assert.deepEqual(nameless, []);
});

test("the focus is seen", "tiny", {}, async (page) => {
  await page.keyboard.press("Tab");
  await page.keyboard.press("Tab");
  assert.notEqual(await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle), "none");
});

// ── strange traces ──────────────────────────────────────────────────────────────────────────────────────────────────

test("names are shown as they are, and never run", "hostile", {}, async (page) => {
  assert.equal(await page.locator("img").count(), 0);
  assert.match(await text(page, ".panel"), /<\/script><img src=x onerror=alert\(1\)>\.py is not here/);
  for (let k = 0; k < 6; k++) {
    await page.keyboard.press("ArrowRight");
    await page.keyboard.press("o");
  }
  assert.match(await page.title(), /<\/script><img src=x onerror=alert\(1\)>/);
  assert.match(await text(page, ".top"), /<\/script><img src=x/);
  await page.keyboard.press("/");
  await page.keyboard.type("img");
  assert.equal(await page.locator("img").count(), 0);
  assert.equal(await page.evaluate(() => window.harmed), undefined);
});

test("what was not kept is said in words", "bare", {}, async (page) => {
  await page.keyboard.press("End");
  assert.equal(await operation(page), "add");
  assert.match(await text(page, ".notes"), /values were not kept/);
  assert.match(await readout(page, "a"), /not kept by the tape/);
  assert.match(await readout(page, "da"), /norm 1\.732/);
});

test("what was too large is said in words", "summaries", {}, async (page) => {
  for (let k = 0; k < 5; k++) await page.keyboard.press("ArrowRight");
  assert.match(await text(page, ".panel"), /too large to keep/);
});

test("NaN and infinity have a colour and a count", "odd", {}, async (page) => {
  assert.match(await text(page, ".panel"), /\d NaN|\d inf/);
});

test("a long pass is put together by module, and says so", "long", {}, async (page) => {
  assert.match(await text(page, ".notes"), /too many to show one by one/);
  assert.match(await text(page, ".level"), /group of steps/);
  await page.keyboard.press("ArrowRight");
  assert.match(await text(page, ".facts"), /steps\s+\d+/);
  assert.ok((await page.locator(".graph .box").count()) > 3);
});

test("a graph without modules is shown around the current step", "flat", {}, async (page) => {
  assert.match(await text(page, ".left"), /out of sight/);
  await page.keyboard.press("End");
  assert.equal(await page.locator(".box.here").count(), 1);
});

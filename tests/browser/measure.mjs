// For tests/bench/page.py: how long a page takes to open and to step. Arguments: Chromium, file. Prints JSON, in ms.

import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const { chromium } = createRequire(new URL("../../web/package.json", import.meta.url))("playwright-core");
const [executablePath, file] = process.argv.slice(2);
const browser = await chromium.launch({ executablePath, args: ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
  "--disable-background-networking", "--disable-component-update", "--disable-sync"] });

const opened = [];
let page;
for (let k = 0; k < 5; k++) {
  await page?.close();
  page = await browser.newPage({ viewport: { width: 1440, height: 900 } });
  await page.goto(pathToFileURL(file).href);
  await page.waitForSelector("html[data-ready]", { state: "attached" });
  opened.push(await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now()))))));
}
// One press of a key after another: until the page has answered, and until it has drawn.
const steps = await page.evaluate(async () => {
  const times = [];
  const end = Number(document.querySelector("input[type=range]").max);
  for (let k = 0; k < Math.min(end, 200); k++) {
    const start = performance.now();
    document.body.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowRight", bubbles: true }));
    document.body.getBoundingClientRect(); // the layout is part of it
    const answered = performance.now() - start;
    await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
    if (Number(document.documentElement.dataset.step) !== k + 1) throw new Error("the page did not step");
    times.push([answered, performance.now() - start]);
  }
  return times;
});
console.log(JSON.stringify({ opened, steps }));
await browser.close();

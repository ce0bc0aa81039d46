// For tests/debug/test_page_feeds.py: what the page's script says feeds what, for every step of a page. Argument: the file.
// Prints [step, argument, y's cells along each dim, x's cells, table of 0 and 1] for each; both ways must agree.

import { readFileSync } from "node:fs";

const html = readFileSync(process.argv[2], "utf8");
const textContent = /<script type="application\/json" id="data">(.*?)<\/script>/s.exec(html)[1];
globalThis.document = { getElementById: () => ({ textContent }) };
const { cells, root } = await import("../../web/src/data.js");
const { partners } = await import("../../web/src/feeds.js");

const told = [];
root.steps.forEach((step, k) => {
  const y = cells(step.arrays[0][2]);
  for (const [role, , number, argument] of step.arrays) {
    if (role !== "sent") continue;
    const x = cells(number);
    const relation = step.feeds[argument];
    if (partners(relation, "y", 0, y, x) === null) {
      told.push([k, argument, y.counts, x.counts, null]);
      continue;
    }
    const table = Array.from({ length: y.size }, () => new Uint8Array(x.size));
    for (let o = 0; o < y.size; o++) for (const j of partners(relation, "y", o, y, x)) table[o][j] = 1;
    for (let j = 0; j < x.size; j++) {
      const fed = partners(relation, "x", j, y, x);
      if (fed.length !== table.reduce((sum, row) => sum + row[j], 0) || fed.some((o) => !table[o][j])) throw new Error(`step ${k}: the two ways differ`);
    }
    told.push([k, argument, y.counts, x.counts, table.map((row) => row.join("")).join("")]);
  }
});
console.log(JSON.stringify(told));

// Runs tests of the page in one Chromium. Reads lines {module, test, file} of JSON, answers each with {ok} or {error}.
// A test fails as well where the page asks for anything but itself, or says anything on the console.

import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";
import { tests } from "./harness.mjs";

const { chromium } = createRequire(new URL("../../web/package.json", import.meta.url))("playwright-core");
const browser = await chromium.launch({ executablePath: process.argv[2], args: ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
  "--disable-background-networking", "--disable-component-update", "--disable-sync"] });

async function run({ module, test, file }) {
  await import(new URL(`./${module}`, import.meta.url));
  const { options, body } = tests.get(test);
  const context = await browser.newContext({ viewport: { width: 1280, height: 860 }, colorScheme: "light", ...options });
  context.setDefaultTimeout(15000);
  const page = await context.newPage();
  const said = [];
  page.on("console", (message) => said.push(`console ${message.type()}: ${message.text()}`));
  page.on("pageerror", (error) => said.push(`error: ${error.message}`));
  page.on("dialog", (dialog) => { said.push(`dialog: ${dialog.message()}`); dialog.dismiss(); });
  const url = pathToFileURL(file).href;
  page.on("request", (request) => request.url() !== url && !request.url().startsWith("data:") && said.push(`request: ${request.url()}`));
  try {
    await page.goto(url);
    await page.waitForSelector("html[data-ready]", { state: "attached" });
    await body(page);
    if (said.length) throw new Error(said.join("\n"));
  } finally {
    await context.close();
  }
}

process.stdout.write("ready\n");
for await (const line of createInterface({ input: process.stdin })) {
  const answer = await run(JSON.parse(line)).then(() => ({ ok: true }), (error) => ({ error: `${error.message}\n${error.stack}` }));
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
await browser.close();

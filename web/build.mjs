// Builds npformer/debug/page/built/page.js and page.css: everything in two files, licences included. Same source, same bytes.

import { readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const home = dirname(fileURLToPath(import.meta.url));
const target = process.argv[2] ?? join(home, "..", "npformer", "debug", "page", "built");
const licence = readFileSync(join(home, "node_modules/@dagrejs/dagre/LICENSE"), "utf8").trim();

const result = await build({
  absWorkingDir: home,
  entryPoints: ["src/main.js", "src/page.css"],
  entryNames: "page",
  bundle: true,
  minify: true,
  format: "iife",
  target: ["chrome100", "firefox100", "safari15"],
  charset: "utf8",
  legalComments: "none",
  banner: {
    js: `/* Built by \`make page\` from web/src. It contains @dagrejs/dagre and @dagrejs/graphlib:\n\n${licence}\n*/`,
  },
  outdir: target,
  write: false,
});
for (const file of result.outputFiles) writeFileSync(file.path, file.text.trimEnd() + "\n");

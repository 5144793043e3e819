// Makes the component; `postern plugin build` runs this with the file to write. Needs: npm install
import { componentize } from "@bytecodealliance/componentize-js";
import { readFile, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const { component } = await componentize(await readFile(here("plugin.js"), "utf8"), {
  witPath: here(".sdk/wit"),
  worldName: "bare-rewriter",
  // Plugins get no WASI: what of it JavaScript would use is left out.
  disableFeatures: ["random", "stdio", "clocks", "http", "fetch-event"],
});
await writeFile(process.argv[2] ?? here("{name}.wasm"), component);

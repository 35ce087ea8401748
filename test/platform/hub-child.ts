// A process of its own that pulls one model: ENDPOINT CACHE NAME. Prints the path, or the error.

import { parseHubName } from "../../src/formats/hub-names.ts";
import { pullModel } from "../../src/platform/hub/pull.ts";
import { usualPatience } from "../../src/platform/hub/settings.ts";

const [endpoint = "", cache = "", name = ""] = process.argv.slice(2);
try {
  const pulled = await pullModel({ endpoint, cache, offline: false, patience: { ...usualPatience, pauseMs: 10 } }, parseHubName(name));
  process.stdout.write(pulled.path);
} catch (thrown) {
  process.stdout.write(String(thrown));
  process.exitCode = 1;
}

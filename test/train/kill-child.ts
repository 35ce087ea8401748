// The victim of kill.ts: runs recipes/tiny.ts into a folder, on from where it was. Arguments: folder, device.

import { recipe } from "../../recipes/tiny.ts";
import { openDevice } from "../../src/backend/open.ts";
import { nodeHost } from "../../src/platform/node.ts";
import { runRecipe } from "../../src/train/run.ts";

const [out, name] = process.argv.slice(2);
if (!out || (name !== "cpu" && name !== "reference")) throw new Error("usage: kill-child.ts FOLDER cpu|reference");
const host = nodeHost();
const device = await openDevice(host, { device: name });
const { model, finished } = await runRecipe(recipe, { out, resume: true, host, device });
model.dispose();
await device.close();
process.stdout.write(finished ? "finished\n" : "stopped\n");

// Entry file of the engine's worker with the server's app on top of it: "fetch" answers what `gradually serve` answers under /v1.

import { makeApp } from "../../server/app.ts";
import { shelved } from "../shelved-model.ts";
import { serveEngine } from "./engine-worker.ts";

serveEngine(async (model, name, slots) => {
  const entry = { name, bytes: 0, created: Math.floor(Date.now() / 1000), load: () => shelved(model, slots) };
  const app = await makeApp({ models: [entry], version: "in-page" });
  await app.start();
  return (request) => app.fetch(request);
});

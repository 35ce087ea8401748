// Entry file of the engine's worker: the engine alone, without the server's app.

import { serveEngine } from "./engine-worker.ts";

serveEngine();

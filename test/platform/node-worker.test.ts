// Worker threads of the Node host, in a process of their own: messages go both ways, errors arrive, and threads neither
// keep the process from ending nor let it end while an answer is awaited. The worker's entry file here is an echo in a copy of the tree.

import { spawnSync } from "node:child_process";
import * as fs from "node:fs/promises";
import { tmpdir } from "node:os";
import * as path from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";

let folder = "";

beforeAll(async () => {
  folder = await fs.mkdtemp(path.join(tmpdir(), "gradually-worker-"));
  for (const part of ["core", "platform"])
    await fs.cp(path.join(import.meta.dirname, "../../src", part), path.join(folder, part), { recursive: true });
  await fs.writeFile(path.join(folder, "package.json"), '{"type":"module"}');
  await fs.writeFile(
    path.join(folder, "platform/node-worker.ts"),
    `import { parentPort } from "node:worker_threads";
     parentPort?.on("message", (message: unknown) => {
       if (message === "fail") throw new Error("failed in the worker");
       setTimeout(() => parentPort?.postMessage({ echo: message }), 200);
     });`,
  );
});
afterAll(async () => {
  await fs.rm(folder, { recursive: true, force: true });
});

async function run(script: string): Promise<{ output: string; status: number | null }> {
  const main = path.join(folder, "main.ts");
  await fs.writeFile(
    main,
    `import { nodeHost } from "./platform/node.ts";\nconst worker = nodeHost().spawnWasmWorker?.();\nif (!worker) throw new Error("no worker");\n${script}`,
  );
  const { stdout, stderr, status } = spawnSync(process.execPath, [main], { encoding: "utf8", timeout: 20_000 });
  return { output: stdout + (status === 0 ? "" : stderr), status };
}

test("an answer that is awaited under keepAlive arrives, and the process ends by itself", async () => {
  const script = `worker.onMessage((message) => { console.log(JSON.stringify(message)); worker.keepAlive?.(false); });
    worker.keepAlive?.(true); worker.post([1, 2]);`;
  expect(await run(script)).toEqual({ output: '{"echo":[1,2]}\n', status: 0 });
});

test("an idle thread does not keep the process alive", async () => {
  expect(await run('worker.onMessage(() => {}); worker.onError(() => {}); console.log("end");')).toEqual({ output: "end\n", status: 0 });
});

test("an error in the thread reaches the listener; terminate ends the thread", async () => {
  const script = `worker.keepAlive?.(true);
    worker.onError((error) => { console.log(error.message); void worker.terminate().then(() => console.log("ended")); });
    worker.post("fail");`;
  expect(await run(script)).toEqual({ output: "failed in the worker\nended\n", status: 0 });
});

// Run folders, to look at: GET /runs and what is below it. In: the folder that `serve --runs` names. Out: what runs there are, the logs in pieces by
// offset, so that a page can follow a run, and the report with its plots. Nothing is written. A run is named by one plain name; links that lead
// out of the folder are not followed; each file has a limit. What is damaged is left out or told, and never hides the other runs.

import { FormatError, quote } from "../core/errors.ts";
import type { Files } from "../core/host.ts";
import { isJsonObject, type JsonObject, type JsonValue, parseJson } from "../core/json.ts";
import type { Call } from "./call.ts";
import { Refusal } from "./refusal.ts";

export type RunsFolder = { readonly files: Files; readonly path: string };

const logNames: ReadonlyMap<string, string> = new Map(["metrics", "samples", "timing"].map((name) => [name, `${name}.jsonl`]));
/** What a report and a recipe consist of; nothing else of a run is shown. */
const fileTypes: ReadonlyMap<string, string> = new Map([
  ["report.md", "text/markdown; charset=utf-8"],
  ["recipe.json", "application/json"],
  ["results.json", "application/json"],
  ["cost.json", "application/json"],
  ...["loss", "reward", "accuracy", "budget"].map((name): [string, string] => [`${name}.svg`, "image/svg+xml"]),
]);

/** GET /runs: names, and of each run what fits on one line. */
export async function listRuns({ server }: Call): Promise<Response> {
  const { runs, limits } = server;
  if (!runs) return Response.json({ folder: null, runs: [], left_out: 0 });
  const { files, path } = runs;
  const names = (await files.list(path)).filter(isRunName);
  const found: JsonObject[] = [];
  let leftOut = 0;
  for (const name of names) {
    const folder = await insideOf(runs, name);
    if (folder === undefined || !(await files.exists(files.join(folder, "recipe.json")))) continue;
    if (found.length >= limits.runs) leftOut++;
    else found.push(await summary(runs, name, folder, limits.runFileBytes));
  }
  return Response.json({ folder: files.baseName(path), runs: found, left_out: leftOut });
}

/** GET /runs/:run: the same line with the whole recipe, results and cost. */
export async function oneRun(call: Call): Promise<Response> {
  const { runs, folder, name } = await find(call);
  const { files } = runs;
  const most = call.server.limits.runFileBytes;
  const present: string[] = [];
  for (const file of fileTypes.keys()) if (await files.exists(files.join(folder, file))) present.push(file);
  const [recipe, results, cost] = await Promise.all(
    ["recipe.json", "results.json", "cost.json"].map((file) => readObject(files, files.join(folder, file), most)),
  );
  return Response.json({
    ...(await summary(runs, name, folder, most)),
    recipe: recipe ?? null,
    results: results ?? null,
    cost: cost ?? null,
    files: present,
  });
}

/**
 * GET /runs/:run/logs/:log?from=BYTES: whole lines from there on, at most `logBytes`, and where the next piece begins. A log that is now
 * shorter than `from` (the run was resumed from a checkpoint) is begun again: `from` of the answer is then 0.
 */
export async function runLog(call: Call): Promise<Response> {
  const log = logNames.get(call.params.log ?? "");
  if (log === undefined) throw noSuch("log", call.params.log, [...logNames.keys()]);
  const asked = new URL(call.request.url).searchParams.get("from") ?? "0";
  if (!/^\d{1,15}$/.test(asked)) throw new Refusal(quote(asked, 30), "a number of bytes", "leave out from", { status: 400, param: "from" });
  const { runs, folder } = await find(call);
  const path = await fileOf(runs, folder, log);
  if (path === undefined) return Response.json({ from: 0, next: 0, size: 0, text: "" });
  return Response.json(await piece(runs.files, path, Number(asked), call.server.limits.logBytes));
}

type Piece = { readonly from: number; readonly next: number; readonly size: number; readonly text: string };

/** A log may grow while it is read, which an open file refuses: then it is read again. */
async function piece(files: Files, path: string, asked: number, most: number, tries = 5): Promise<Piece> {
  const source = await files.open(path);
  try {
    const { size } = source;
    const from = asked > size ? 0 : asked;
    const bytes = await source.read(from, Math.min(size - from, most));
    const end = bytes.lastIndexOf(10) + 1;
    // A line longer than a whole piece is skipped: it would stop the reader for ever.
    const next = end > 0 || bytes.length < most ? from + end : from + bytes.length;
    return { from, next, size, text: new TextDecoder().decode(bytes.subarray(0, end)) };
  } catch (error) {
    if (error instanceof FormatError && tries > 1) return await piece(files, path, asked, most, tries - 1);
    throw error;
  } finally {
    await source.close();
  }
}

/** GET /runs/:run/files/:file: the report, its plots, the recipe. A drawing is somebody's file: as a page of its own it may run nothing. */
export async function runFile(call: Call): Promise<Response> {
  const file = call.params.file ?? "";
  const type = fileTypes.get(file);
  if (type === undefined) throw noSuch("file", file, [...fileTypes.keys()]);
  const { runs, folder } = await find(call);
  const path = await fileOf(runs, folder, file);
  if (path === undefined) throw noSuch("file", file, []);
  const bytes = await runs.files.read(path, call.server.limits.runFileBytes);
  return new Response(bytes as Uint8Array<ArrayBuffer>, {
    headers: {
      "content-type": type,
      "cache-control": "no-cache",
      "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox",
    },
  });
}

/** One plain name: no separator of any system, no drive, nothing hidden, nothing that a terminal would act on. */
export function isRunName(name: string): boolean {
  return name.length <= 200 && !name.startsWith(".") && !/[/\\:\p{Cc}\p{Cf}\p{Cs}]/u.test(name) && name.trim() !== "";
}

type Found = { readonly runs: RunsFolder; readonly folder: string; readonly name: string };

async function find({ server, params }: Call): Promise<Found> {
  const name = params.run ?? "";
  const { runs } = server;
  const folder = runs && isRunName(name) ? await insideOf(runs, name) : undefined;
  if (!runs || folder === undefined || !(await runs.files.exists(runs.files.join(folder, "recipe.json")))) throw noSuch("run", name, []);
  return { runs, folder, name };
}

function noSuch(what: string, name: string | undefined, known: readonly string[]): Refusal {
  const expected = known.length > 0 ? `one of ${known.join(", ")}` : `a ${what} that is there`;
  return new Refusal(`the ${what} ${quote(name ?? "", 60)}`, expected, "GET /runs lists what there is", { status: 404, code: "not_found" });
}

/** The folder of that name, when it is one and lies (all links followed) inside the runs' folder. */
async function insideOf({ files, path }: RunsFolder, name: string): Promise<string | undefined> {
  const folder = files.join(path, name);
  return (await files.isFolder(folder)) && (await isBelow(files, path, folder)) ? folder : undefined;
}

async function fileOf({ files, path }: RunsFolder, folder: string, name: string): Promise<string | undefined> {
  const file = files.join(folder, name);
  return (await files.exists(file)) && (await isBelow(files, path, file)) ? file : undefined;
}

async function isBelow(files: Files, path: string, inner: string): Promise<boolean> {
  if (!files.realPath) return true;
  const [outside, inside] = await Promise.all([files.realPath(path), files.realPath(inner)]);
  return inside.startsWith(files.join(outside, "x").slice(0, -1));
}

async function summary(runs: RunsFolder, id: string, folder: string, most: number): Promise<JsonObject> {
  const { files } = runs;
  const read = async (name: string) => {
    const path = await fileOf(runs, folder, name);
    return path === undefined ? undefined : await readObject(files, path, most);
  };
  const recipe = await read("recipe.json");
  const cost = await read("cost.json");
  const stages = (Array.isArray(recipe?.stages) ? recipe.stages.filter(isJsonObject) : [])
    .slice(0, 100)
    .map((stage) => textOf(stage.name) ?? textOf(stage.kind) ?? "?");
  const { step, stage } = await progress(runs, folder, stages, most);
  return {
    id,
    name: typeof recipe?.name === "string" ? recipe.name.slice(0, 200) : id,
    damaged: recipe === undefined,
    stages,
    step,
    stage,
    finished: stages.length > 0 && stage >= stages.length,
    tokens: numberOf(cost?.tokens) ?? null,
    seconds: numberOf(cost?.seconds) ?? null,
    cost_usd: numberOf(cost?.cost_usd) ?? null,
    has_report: (await fileOf(runs, folder, "report.md")) !== undefined,
  };
}

/** How far a run is: by its newest checkpoint, or by its log where that is further. Only a checkpoint says that it is finished. */
async function progress(
  runs: RunsFolder,
  folder: string,
  stages: readonly string[],
  most: number,
): Promise<{ readonly step: number; readonly stage: number }> {
  const state = await newestState(runs, folder, most);
  const kept = { step: numberOf(state?.step) ?? 0, stage: numberOf(state?.stage) ?? 0 };
  if (stages.length > 0 && kept.stage >= stages.length) return kept;
  const row = await newestRow(runs, folder);
  const step = numberOf(row?.step) ?? 0;
  if (step <= kept.step) return kept;
  return { step, stage: Math.max(kept.stage, stages.indexOf(textOf(row?.stage) ?? "")) };
}

/** Lines of metrics are shorter than this. */
const tailBytes = 65_536;

/** The last whole line of the log of metrics that is an object; undefined where there is none, or while it is written. */
async function newestRow(runs: RunsFolder, folder: string): Promise<JsonObject | undefined> {
  const path = await fileOf(runs, folder, "metrics.jsonl");
  if (path === undefined) return undefined;
  try {
    const { size } = await piece(runs.files, path, 0, 0);
    const { text } = await piece(runs.files, path, Math.max(0, size - tailBytes), tailBytes);
    const value = parseJson(text.trimEnd().split("\n").at(-1) ?? "", { source: "a log of a run" });
    return isJsonObject(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

/** What the newest checkpoint says of how far the run is. */
async function newestState(runs: RunsFolder, folder: string, most: number): Promise<JsonObject | undefined> {
  const { files } = runs;
  const checkpoints = files.join(folder, "checkpoints");
  const steps = (await files.list(checkpoints)).map((name) => Number(/^checkpoint-(\d{1,12})$/.exec(name)?.[1] ?? -1));
  const newest = Math.max(-1, ...steps.slice(0, 10_000));
  if (newest < 0) return undefined;
  const path = await fileOf(runs, folder, files.join("checkpoints", `checkpoint-${newest}`, "trainer_state.json"));
  return path === undefined ? undefined : await readObject(files, path, most);
}

/** undefined for what is absent, damaged, too large or written just now. */
async function readObject(files: Files, path: string, most: number): Promise<JsonObject | undefined> {
  try {
    const value = parseJson(await files.readText(path, most), { source: "a file of a run" });
    return isJsonObject(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

function numberOf(value: JsonValue | undefined): number | undefined {
  return typeof value === "number" ? value : undefined;
}

function textOf(value: JsonValue | undefined): string | undefined {
  return typeof value === "string" ? value.slice(0, 100) : undefined;
}

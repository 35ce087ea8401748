// The routes that compute nothing: health, readiness, models, metrics, the OpenAPI document.

import type { Call, Server } from "./call.ts";
import type { ModelEntry } from "./shelf.ts";

/** The process is alive, whatever it does. */
export function health({ server }: Call): Response {
  return Response.json({ status: "ok", state: server.state });
}

/** Whether a request would be taken now. */
export function ready({ server }: Call): Response {
  const isReady = server.state === "ready" && !server.shelf.isMending;
  const state = server.state === "ready" && !isReady ? "mending" : server.state;
  return Response.json({ ready: isReady, state }, isReady ? {} : { status: 503, headers: { "retry-after": "2" } });
}

function describe({ name, created }: ModelEntry, server: Server): object {
  const loaded = server.shelf.loaded.find((model) => model.name === name);
  return {
    id: name,
    object: "model",
    created,
    owned_by: "gradually",
    ...(loaded && {
      max_model_len: loaded.engine.contextLength,
      thinks: loaded.thinkTags !== undefined,
      solves: loaded.isSolver ?? false,
    }),
  };
}

export function listModels({ server }: Call): Response {
  return Response.json({ object: "list", data: server.shelf.entries.map((entry) => describe(entry, server)) });
}

export function oneModel({ server, params }: Call): Response {
  return Response.json(describe(server.shelf.find(params.model ?? ""), server));
}

export function metricsPage({ server }: Call): Response {
  const { metrics, shelf } = server;
  let running = 0;
  let waiting = 0;
  let [pages, free, preemptions, drafted, accepted] = [0, 0, 0, 0, 0];
  for (const { admission, engine } of shelf.loaded) {
    const counts = admission.counts();
    running += counts.running;
    waiting += counts.waiting;
    pages += engine.counts.pages;
    free += engine.counts.freePages;
    preemptions += engine.counts.preemptions;
    drafted += engine.counts.drafted;
    accepted += engine.counts.accepted;
  }
  metrics.set("kv_cache_usage_perc", pages === 0 ? 0 : 1 - free / pages);
  metrics.set("preemptions_total", preemptions);
  metrics.set("spec_decode_num_draft_tokens_total", drafted);
  metrics.set("spec_decode_num_accepted_tokens_total", accepted);
  metrics.set("num_requests_running", running);
  metrics.set("num_requests_waiting", waiting);
  metrics.set("models_loaded", shelf.loaded.length);
  metrics.set("build_info", 1, { version: server.version });
  return new Response(metrics.text(), { headers: { "content-type": "text/plain; version=0.0.4; charset=utf-8" } });
}

export function openApiPage({ server }: Call): Response {
  return Response.json(server.openApi());
}

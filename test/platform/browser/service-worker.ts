// The script of a service worker that serves a model to its pages: the app of the server as it is, with no socket and no process of another kind behind it.
// In: what its pages fetch under /v1, /api and beside. Out: the app's answers; what no page asks of an API goes to the network.

import { makeApp } from "../../../src/server/app.ts";
import { tinyServed } from "../../server/tiny.ts";

type FetchEvent = Event & { readonly request: Request; respondWith(answer: Promise<Response>): void };
type Lifetime = Event & { waitUntil(work: Promise<unknown>): void };
type Scope = typeof globalThis & { skipWaiting(): Promise<void>; readonly clients: { claim(): Promise<void> } };

const scope = globalThis as Scope;

async function open() {
  const entry = { name: "tiny", bytes: 1000, created: 1_700_000_000, load: async () => tinyServed() };
  const app = await makeApp({ models: [entry], version: "0.0.0" });
  await app.start();
  return app;
}

const opened = open();

scope.addEventListener("install", () => void scope.skipWaiting());
scope.addEventListener("activate", (event) => (event as Lifetime).waitUntil(scope.clients.claim()));
scope.addEventListener("fetch", (event) => {
  const { request, respondWith } = event as FetchEvent;
  if (!/^\/(?:v1\/|api\/|tokenize|metrics|health|openapi)/.test(new URL(request.url).pathname)) return;
  respondWith.call(
    event,
    opened.then((app) => app.fetch(request)),
  );
});

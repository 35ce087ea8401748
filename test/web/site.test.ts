// The static site in a real browser: no server but one of files, everything runs in the tab. The bundled model opens by itself, answers as in Node, is there
// after a reload without the network, and can be deleted.

import { readFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import * as path from "node:path";
import type { Browser } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { buildSite } from "../../tools/build-page.ts";
import { cli } from "../cli/cli.ts";
import { chromium, launch, openPage, temporaryFolder } from "./place.ts";

const folder = temporaryFolder();
const types: Readonly<Record<string, string>> = {
  ".html": "text/html",
  ".js": "text/javascript",
  ".css": "text/css",
  ".json": "application/json",
  ".svg": "image/svg+xml",
};
let browser: Browser;
let server: Server;

/** `isolated`: with the headers that give the page threads. The site lies under a path, as on hosts that serve many. */
function start(): Promise<Server> {
  const made = createServer((request, response) => {
    const { pathname } = new URL(request.url ?? "/", "http://localhost");
    const [, kind, rest = ""] = /^\/(threads|plain)\/(.*)$/.exec(pathname) ?? [];
    const name = rest === "" ? "index.html" : rest;
    try {
      const bytes = readFileSync(path.join(folder.path, path.normalize(`/${name}`)));
      const isolated =
        kind === "threads" ? { "cross-origin-opener-policy": "same-origin", "cross-origin-embedder-policy": "require-corp" } : {};
      const head = { "content-type": types[path.extname(name)] ?? "application/octet-stream", "content-length": bytes.length, ...isolated };
      response.writeHead(200, head).end(bytes);
    } catch {
      response.writeHead(404).end("not found");
    }
  });
  return new Promise((resolve) => made.listen(0, "127.0.0.1", () => resolve(made)));
}

beforeAll(async () => {
  if (!chromium) return;
  await buildSite(folder.path);
  [browser, server] = await Promise.all([launch(), start()]);
}, 120_000);
afterAll(async () => {
  await browser?.close();
  server?.close();
  folder.remove();
});

describe.skipIf(!chromium)("the static site", () => {
  test.each(["threads", "plain"])(
    "solves in the tab what Node solves (%s)",
    async (kind) => {
      const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/${kind}/`;
      const node = cli(["run", "3 5 7=22", "--json", "--temperature", "0"]);
      const { page, errors, strangers } = await openPage(browser, url);
      await page.locator(".example").first().click({ timeout: 60_000 });
      await page.locator(".answer .numbers").waitFor({ timeout: 60_000 });
      expect(await page.locator(".verdict.is-right").count()).toBe(1);
      const { text, reasoning } = JSON.parse((await node).out) as { text: string; reasoning: string };
      expect(await page.locator(".expression").textContent()).toBe(text.trim());
      expect((await page.locator(".thoughts").textContent())?.replaceAll("\n", "")).toBe(reasoning);
      await page.getByRole("button", { name: "Wait, think on" }).click();
      await page.getByText("2 / 2").waitFor();
      await page.locator(".answer .numbers").waitFor({ timeout: 60_000 });
      expect(await page.locator(".thinking .tag").textContent()).toBe("“Wait” × 1");
      expect(await page.getByText("Runs in this tab").isVisible()).toBe(true);
      expect(strangers).toEqual([]);
      // A static host has no /health; the browser itself reports that 404.
      expect(errors.filter((text_) => !/status of 404/.test(text_))).toEqual([]);
      await page.goto(`${url}#/runs`);
      await page.getByText("This page has no server behind it").waitFor();
      await page.context().close();
    },
    120_000,
  );

  test("what is kept is listed and can be deleted; an address without a model is told", async () => {
    const { page } = await openPage(browser, `http://127.0.0.1:${(server.address() as AddressInfo).port}/threads/`);
    await page.locator(".example").first().waitFor({ timeout: 60_000 });
    await page.locator(".tab-models summary").click();
    await page.locator(".tab-models .row").waitFor();
    await page.getByLabel("Address of a model").fill("./nothing/");
    await page.getByRole("button", { name: "Fetch and open" }).click();
    await page.getByRole("alert").waitFor({ timeout: 30_000 });
    const rows = page.locator(".tab-models .row");
    // Nobody is told of a server that there is not, and what is no model is not kept.
    const before = await rows.allInnerTexts();
    await page.locator(".tab-models input[type=file]").setInputFiles({ name: "cat.gguf", mimeType: "x/y", buffer: Buffer.from("meow") });
    await page.getByRole("alert").filter({ hasText: "cat.gguf" }).waitFor({ timeout: 30_000 });
    expect(await page.getByRole("alert").textContent()).not.toMatch(/server/);
    expect(await rows.allInnerTexts()).toEqual(before);
    for (let left = await rows.count(); left > 0; left--) {
      await rows.first().getByRole("button", { name: "Delete" }).click();
      await page.locator("dialog[open]").getByRole("button", { name: "Delete" }).click();
      await page.waitForFunction((most) => document.querySelectorAll(".tab-models .row").length < most, left);
    }
    await page.getByText("Nothing is kept yet").waitFor();
    await page.context().close();
  }, 120_000);
});

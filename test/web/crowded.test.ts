// The page when there is much of everything, or when it is broken: two hundred conversations, a conversation of three hundred turns, names without end, logs with
// rubbish in them, a server that goes away in the middle; and what fingers, and the keyboard alone, need. Real browser, real `gradually serve`.

import { appendFileSync, mkdirSync, writeFileSync } from "node:fs";
import * as path from "node:path";
import type { Browser, Locator, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { buildPage } from "../../tools/build-page.ts";
import { chromium, launch, openPage, type Served, serve, temporaryFolder } from "./place.ts";

const folder = temporaryFolder();
const runs = path.join(folder.path, "runs");
const longName = `a-${"very-".repeat(30)}long-name`;
let browser: Browser;
let served: Served;

beforeAll(async () => {
  if (!chromium) return;
  const lines = (rows: readonly object[]) => rows.map((row) => `${JSON.stringify(row)}\n`).join("");
  const recipe = JSON.stringify({ name: "r", stages: [{ name: "pretrain" }, { name: "grpo" }] });
  const steps = Array.from({ length: 2000 }, (_, i) => ({ step: i + 1, stage: "pretrain", loss: i % 2, expert_load: { 1: [1, 3] } }));
  for (const [name, metrics] of [
    ["long-log", lines(steps)],
    ["broken-log", `${lines(steps.slice(0, 3))}rubbish\n[]\n`],
    [longName, ""],
  ] as const) {
    mkdirSync(path.join(runs, name), { recursive: true });
    writeFileSync(path.join(runs, name, "recipe.json"), recipe);
    writeFileSync(path.join(runs, name, "metrics.jsonl"), metrics);
  }
  await buildPage();
  [browser, served] = await Promise.all([launch(), serve("--runs", runs)]);
}, 180_000);
afterAll(async () => {
  await browser?.close();
  await served?.stop();
  folder.remove();
});

const desk = { viewport: { width: 1280, height: 800 } };
const phone = { viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true };
const open = (hash = "", options: object = desk) => openPage(browser, `${served.url}${hash}`, options);

/** The oldest has the highest number; conversation 3 has so many turns. */
async function fill(page: Page, many: number, turns = 2): Promise<void> {
  const version = { model: "m", seed: 1, extend: 0, reasoning: "2+2=4!", content: "3*5+7", state: "stop" };
  const conversations = Array.from({ length: many }, (_, i) => ({
    id: `c${i}`,
    created: 0,
    updated: 1e12 - i,
    messages: Array.from({ length: i === 3 ? turns : 1 }, (_turn, k) => [
      { role: "user", id: `u${i}-${k}`, text: i === 0 ? "A".repeat(200) : `Question ${i}.${k}` },
      { role: "assistant", id: `a${i}-${k}`, chosen: 0, versions: [version] },
    ]).flat(),
  }));
  const buffer = Buffer.from(JSON.stringify({ conversations }));
  await page.locator('input[type="file"]').setInputFiles({ name: "c.json", mimeType: "application/json", buffer });
  await page.waitForFunction((count) => document.querySelectorAll(".conversations .row").length === count, many);
}

/** What the model says in this page: these pieces, one after the other; with `isCut` the connection then breaks. */
async function speak(page: Page, pieces: readonly object[], isCut = false): Promise<void> {
  await page.evaluate(
    ([all, cut]) => {
      const real = window.fetch;
      window.fetch = async (input, init) => {
        if (!String(input).includes("chat/completions")) return await real(input, init);
        const left = [...all];
        const body = new ReadableStream({
          async pull(controller) {
            await new Promise((next) => setTimeout(next, 5));
            const piece = left.shift();
            if (piece) controller.enqueue(new TextEncoder().encode(`data: ${JSON.stringify(piece)}\n\n`));
            else if (cut) controller.error(new TypeError("network error"));
            else controller.close();
          },
        });
        return new Response(body);
      };
    },
    [pieces, isCut] as const,
  );
}
const delta = (more: object) => ({ choices: [{ delta: more }] });
const end = {
  choices: [{ delta: {}, finish_reason: "stop" }],
  usage: { prompt_tokens: 1, completion_tokens: 1, completion_tokens_details: { reasoning_tokens: 1 } },
};

describe.skipIf(!chromium)("many conversations", () => {
  test("two hundred: what works on all stays in sight, long titles end in dots, and words find the one that is sought", async () => {
    const { page, errors } = await open();
    await fill(page, 200);
    await page.locator(".conversations .row a").nth(0).click();
    await page.locator(".question").waitFor();
    const place = await page
      .locator(".side-list")
      .evaluate((list) => ({ left: list.scrollLeft, over: list.scrollWidth - list.clientWidth }));
    expect(place).toEqual({ left: 0, over: 0 });
    for (const name of ["New conversation", "Import", "Export", "Delete all"])
      expect(await inView(page.getByRole("button", { name, exact: true })), name).toBe(true);
    // The buttons of the row on show are where one can press them, however long its title.
    expect(await inView(page.locator(".row.is-shown").getByRole("button", { name: "Delete this conversation" }))).toBe(true);
    await page.getByLabel("Search conversations").fill("QUESTION 150.");
    expect(await page.locator(".conversations .row").allInnerTexts()).toEqual(["Question 150.0"]);
    await page.getByLabel("Search conversations").fill("zzz");
    await page.getByText("No conversation has these words").waitFor();
    expect(errors).toEqual([]);
    await page.context().close();
  });

  test("what is asked in an old conversation brings it to the top at once", async () => {
    const { page } = await open();
    await fill(page, 20);
    await page.locator(".conversations .row a").nth(7).click();
    await speak(page, [delta({ content: "x" }), end]);
    await page.locator("#composer").fill("more");
    await page.locator("#composer").press("Enter");
    await page.locator(".numbers").waitFor();
    expect(await page.locator(".conversations .row").first().textContent()).toBe("Question 7.0");
    await page.context().close();
  });

  test("three hundred turns: shown from the end; scrolled up, a button leads back; what one says oneself is always shown", async () => {
    const { page, errors } = await open();
    await fill(page, 5, 300);
    await page.locator(".conversations .row a").nth(3).click();
    await page.locator(".answer").nth(299).waitFor();
    const gap = () => page.locator(".messages").evaluate((one) => one.scrollHeight - one.scrollTop - one.clientHeight);
    await expect.poll(gap).toBeLessThan(60);
    const back = page.getByRole("button", { name: "To the latest" });
    expect(await back.count()).toBe(0);
    await page.locator(".messages").evaluate((one) => one.scrollTo(0, 0));
    await back.click();
    await expect.poll(gap).toBeLessThan(60);
    await page.locator(".messages").evaluate((one) => one.scrollTo(0, 0));
    await back.waitFor();
    await speak(page, [...Array.from({ length: 50 }, () => delta({ content: "word\n\n" })), end]);
    await page.locator("#composer").fill("once more");
    await page.locator("#composer").press("Enter");
    await page.locator(".answer").nth(300).locator(".numbers").waitFor();
    await expect.poll(gap).toBeLessThan(60);
    expect(errors).toEqual([]);
    await page.context().close();
  });

  test("another answer in the middle asks before what follows is dropped; the last one does not", async () => {
    const { page } = await open();
    await fill(page, 5, 3);
    await page.locator(".conversations .row a").nth(3).click();
    await page.locator(".answer").nth(2).waitFor();
    await speak(page, [delta({ content: "x" }), end]);
    await page.locator(".answer").nth(1).getByRole("button", { name: "Try again" }).click();
    const dialog = page.locator("dialog[open]");
    expect(await dialog.textContent()).toContain("The 2 messages after this one are dropped");
    await page.keyboard.press("Escape");
    await dialog.waitFor({ state: "detached" });
    expect(await page.locator(".answer").count()).toBe(3);
    await page.locator(".answer").nth(1).getByRole("button", { name: "Try again" }).click();
    await dialog.getByRole("button", { name: "Answer again" }).click();
    await page.getByText("2 / 2").waitFor();
    expect(await page.locator(".answer").count()).toBe(2);
    await page.locator(".answer .numbers").last().waitFor();
    await page.locator(".answer").nth(1).getByRole("button", { name: "Try again" }).click();
    await page.getByText("3 / 3").waitFor();
    await page.context().close();
  });
});

describe.skipIf(!chromium)("many models", () => {
  test("with names without end fit a phone", async () => {
    const { page } = await open("", phone);
    const data = ["x", longName, `other/${longName}`].map((id) => ({ id, max_model_len: 100 }));
    await page.route("**/v1/models", (route) => route.fulfill({ json: { object: "list", data } }));
    await page.reload();
    await page.getByLabel("Model").selectOption(longName);
    expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(390);
    await page.context().close();
  });
});

describe.skipIf(!chromium)("an answer", () => {
  test("of one token has no plural; a long thought is shown from its end while it grows", async () => {
    const { page } = await open();
    await page.locator(".example").first().waitFor();
    await speak(page, Array.from({ length: 400 }, (_, i) => delta({ reasoning_content: `${i}\n` })).concat(delta({ content: "x" }), end));
    await page.locator("#composer").fill("1 2=3");
    await page.locator("#composer").press("Enter");
    await page.waitForFunction(() => {
      const box = document.querySelector(".thoughts");
      return box && box.scrollHeight > box.clientHeight + 200 && box.scrollHeight - box.scrollTop - box.clientHeight < 60;
    });
    await page.locator(".numbers").waitFor();
    expect(await page.locator(".numbers").textContent()).toBe("1 token");
    expect(await page.locator(".thinking summary").textContent()).toMatch(/ · 1 token$/);
    await page.context().close();
  });

  test("to what was sent before the models were known comes when they are", async () => {
    const { page } = await open();
    let letGo: () => void = () => {};
    const held = new Promise<void>((resolve) => {
      letGo = resolve;
    });
    await page.route("**/v1/models", async (route) => {
      await held;
      await route.continue();
    });
    await page.reload();
    await speak(page, [delta({ content: "here" }), end]);
    await page.locator("#composer").fill("3 5 7=22");
    await page.locator("#composer").press("Enter");
    expect(await page.locator(".answer-tools").count()).toBe(0);
    letGo();
    await page.locator(".expression").getByText("here").waitFor();
    expect(await page.locator("#composer").inputValue()).toBe("");
    await page.context().close();
  });

  test("whose server goes away in the middle keeps what came, says so, and is asked for again by one button", async () => {
    const { page } = await open();
    await page.locator(".example").first().waitFor();
    await speak(page, [delta({ reasoning_content: "5*3=15!" }), delta({ content: "half" })], true);
    await page.locator(".example").first().click();
    await page.getByText("The server does not answer").waitFor();
    expect(await page.locator(".expression").textContent()).toBe("half");
    await speak(page, [delta({ content: "whole" }), end]);
    await page.getByRole("alert").getByRole("button", { name: "Try again" }).click();
    await page.locator(".expression").getByText("whole").waitFor();
    expect(await page.getByRole("alert").count()).toBe(0);
    await page.context().close();
  });
});

describe.skipIf(!chromium)("runs", () => {
  test("charts name their axis, tell the last values, and are smoothed as far as one wants", async () => {
    const { page, errors } = await open("#/runs/long-log");
    await page.locator(".plot canvas").first().waitFor();
    const legend = () => page.locator(".plot .u-legend").first().textContent();
    await expect.poll(legend).toMatch(/Step2,000/);
    // 0, 1, 0, 1, …: smoothed it is between them.
    expect(Number(/loss([\d.]+)$/.exec((await legend()) ?? "")?.[1])).toBeGreaterThan(0.5);
    expect(Number(/loss([\d.]+)$/.exec((await legend()) ?? "")?.[1])).toBeLessThan(0.8);
    await page.getByLabel("Smoothing").fill("0");
    await expect.poll(legend).toMatch(/loss1$/);
    expect(await page.locator(".run-state").textContent()).toContain("pretrain · step 2,000");
    expect(await page.locator("canvas.heat").getAttribute("width")).toBe("500");
    expect(errors).toEqual([]);
    await page.context().close();
  });

  test("broken lines are counted, an absent run is told, a long name stays inside, a run without a checkpoint says how far it is", async () => {
    const { page } = await open("#/runs/broken-log");
    await page.getByText("2 lines of its logs could not be read").waitFor();
    await page.getByRole("tab", { name: "Curves" }).focus();
    await page.keyboard.press("ArrowLeft");
    expect(await page.getByRole("tab", { name: "Recipe" }).getAttribute("aria-selected")).toBe("true");
    await page.goto(`${served.url}#/runs/none`);
    await page.getByText("There is no run “none”").waitFor();
    await page.getByRole("link", { name: "All runs" }).click();
    await page.locator(".run-card").filter({ hasText: "long-log" }).getByText("pretrain · step 2,000").waitFor();
    expect(await page.locator(".side-list").evaluate((list) => list.scrollWidth - list.clientWidth)).toBe(0);
    appendFileSync(path.join(runs, longName, "metrics.jsonl"), '{"step":7,"stage":"grpo"}\n');
    await page.locator(".run-card").filter({ hasText: longName }).getByText("grpo · step 7").waitFor({ timeout: 20_000 });
    await page.context().close();
  });
});

describe.skipIf(!chromium)("fingers and keys", () => {
  test.each(["", "#/runs", "#/runs/long-log", "#/lab"])(
    "%s: whatever is touched on a phone is 40 pixels high, and nothing is wider than it",
    async (hash) => {
      const { page } = await open(hash, phone);
      if (hash === "") await fill(page, 3);
      await page.locator("main *").first().waitFor();
      await page.waitForTimeout(500);
      const small = () =>
        page.evaluate(() =>
          [...document.querySelectorAll<HTMLElement>("button, a[href], select, summary, textarea, input:not([type=file]), .choices label")]
            .filter(
              (one) =>
                one.checkVisibility({ visibilityProperty: true }) &&
                !one.closest(".choices label > *") &&
                !one.matches(".skip, .choices input"),
            )
            .filter((one) => one.getBoundingClientRect().height < 40)
            .map((one) => one.outerHTML.slice(0, 120)),
        );
      expect(await small()).toEqual([]);
      expect(await page.locator("main").evaluate((main) => main.scrollWidth - main.clientWidth)).toBe(0);
      await page.getByRole("button", { name: "Menu" }).click();
      await page.locator(".side").waitFor();
      expect(await small()).toEqual([]);
      await page.context().close();
    },
  );

  test("the drawer of a phone takes the keyboard, keeps it, and gives it back at Escape", async () => {
    const { page } = await open("", phone);
    await page.locator(".example").first().waitFor();
    await page.getByRole("button", { name: "Menu" }).press("Enter");
    const isInside = () => page.evaluate(() => document.activeElement?.closest(".side") !== null);
    await expect.poll(isInside).toBe(true);
    for (let i = 0; i < 4; i++) {
      await page.keyboard.press("Tab");
      expect(await isInside()).toBe(true);
    }
    await page.keyboard.press("Escape");
    await page.locator(".side").waitFor({ state: "hidden" });
    expect(await page.evaluate(() => document.activeElement?.getAttribute("aria-label"))).toBe("Menu");
    await page.context().close();
  });

  test("/ writes in the Lab too", async () => {
    const { page } = await open("#/lab");
    await page.locator(".lab").waitFor();
    await page.locator("main").focus();
    await page.keyboard.press("/");
    await page.keyboard.type("3 5 7=22");
    expect(await page.getByLabel("Question").inputValue()).toBe("3 5 7=22");
    await page.context().close();
  });
});

/** Whether the middle of it is on the screen and nothing lies over it. */
async function inView(what: Locator): Promise<boolean> {
  const box = await what.boundingBox();
  if (!box) return false;
  const [x, y] = [box.x + box.width / 2, box.y + box.height / 2];
  return await what.evaluate((one, [at, down]) => one.contains(document.elementFromPoint(at, down)), [x, y] as const);
}

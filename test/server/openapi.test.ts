// The OpenAPI document and the server agree, because both are made of one table; and bodies made at random from the schemas, half right and half wrong,
// never make the server fail.

import fc from "fast-check";
import { expect, test } from "vitest";
import { limitTable, makeLimits } from "../../src/server/limits.ts";
import { openApi, refusals } from "../../src/server/openapi.ts";
import { routes } from "../../src/server/routes.ts";
import { openApp } from "./harness.ts";

type Document = {
  openapi: string;
  paths: Record<string, Record<string, Operation>>;
  components: { schemas: Record<string, Schema> };
};
type Content<S> = { content: { "application/json": { schema: S } } };
type Operation = { security: unknown[]; requestBody?: Content<Schema>; responses: { default: Content<{ $ref: string }> } };
type Schema = {
  type?: string;
  properties?: Record<string, Schema>;
  required?: string[];
  anyOf?: Schema[];
  oneOf?: Schema[];
  enum?: unknown[];
  const?: unknown;
  items?: Schema;
  minimum?: number;
  maximum?: number;
  pattern?: string;
};

const document = openApi(routes, "1.2.3", makeLimits()) as Document;

test("every route is described, with its body and whether it needs the key", () => {
  expect(document.openapi).toBe("3.1.0");
  for (const { method, path, access, body } of routes) {
    const operation = document.paths[path.replace(/:(\w+)(?:\{[^}]*\})?/g, "{$1}")]?.[method.toLowerCase()];
    expect(operation?.security).toEqual(access === "public" ? [] : [{ key: [] }]);
    expect(operation?.requestBody !== undefined).toBe(body !== undefined);
  }
  expect(routes.filter(({ access }) => access === "public").map(({ path }) => path)).toEqual(["/", "/assets/:file", "/health", "/ready"]);
});

test("each dialect's refusals are described as its clients get them", () => {
  const schemaOf = (path: string) => document.paths[path]?.post?.responses.default.content["application/json"].schema.$ref;
  expect(["/v1/chat/completions", "/v1/messages", "/api/chat"].map(schemaOf)).toEqual(
    ["openai", "anthropic", "ollama"].map((dialect) => `#/components/schemas/Error_${dialect}`),
  );
  expect(document.components.schemas.Error_ollama).toMatchObject({ properties: { error: { type: "string" } } });
});

test("the ranges of the document are those that are checked", () => {
  const schema = document.paths["/v1/chat/completions"]?.post?.requestBody?.content["application/json"].schema;
  const temperature = schema?.properties?.temperature?.anyOf?.[0];
  expect(temperature).toMatchObject({ type: "number", minimum: 0, maximum: 2 });
  expect(schema?.required).toEqual(["messages"]);
  expect(JSON.parse(JSON.stringify(document))).toEqual(document);
});

test("limits are within their own ranges; one out of range names itself", () => {
  for (const [name, { standard, least, most }] of Object.entries(limitTable)) {
    expect(standard).toBeGreaterThanOrEqual(least);
    expect(standard).toBeLessThanOrEqual(most);
    expect(() => makeLimits({ [name]: most + 1 })).toThrow(`server: limit ${name}`);
    expect(() => makeLimits({ [name]: Number.NaN })).toThrow(`server: limit ${name}`);
  }
});

/** Values that fit a schema, mostly. */
function fitting(schema: Schema, depth = 0): fc.Arbitrary<unknown> {
  const junk = fc.constantFrom<unknown>(null, -1, 1e300, "", "x", [], {}, true, [null], { type: "x" });
  const branches = schema.anyOf ?? schema.oneOf;
  const right = (): fc.Arbitrary<unknown> => {
    if (depth > 6) return fc.constant(null);
    if (schema.const !== undefined) return fc.constant(schema.const);
    if (schema.enum) return fc.constantFrom(...schema.enum);
    if (branches) return fc.oneof(...branches.map((branch) => fitting(branch, depth + 1)));
    if (schema.type === "boolean") return fc.boolean();
    if (schema.type === "integer") return fc.integer({ min: Math.max(schema.minimum ?? 0, -5), max: Math.min(schema.maximum ?? 5, 5) });
    if (schema.type === "number") return fc.double({ min: schema.minimum ?? 0, max: schema.maximum ?? 1, noNaN: true });
    if (schema.type === "string") return fc.constantFrom("test", "a", "user", "text", "1");
    if (schema.type === "array") return fc.array(fitting(schema.items ?? {}, depth + 1), { maxLength: 3 });
    if (schema.type !== "object") return junk;
    const fields = schema.properties ?? {};
    const required = schema.required ?? [];
    const optional = Object.keys(fields).filter((name) => !required.includes(name));
    return fc
      .subarray(optional, { maxLength: Math.min(4, optional.length) })
      .chain((some) => fc.record(Object.fromEntries([...required, ...some].map((name) => [name, fitting(fields[name] ?? {}, depth + 1)]))));
  };
  return fc.oneof({ weight: 60, arbitrary: right() }, { weight: 1, arbitrary: junk });
}

test("C09: bodies made from the schemas are answered or refused, never a failure", async () => {
  const { app, lines } = await openApp({ spoken: { contextLength: 128 } });
  const posts = routes.filter(({ method }) => method === "POST");
  const asked = fc.constantFrom(...posts).chain(({ path, dialect }) => {
    const schema = document.paths[path]?.post?.requestBody?.content["application/json"].schema as Schema;
    return fc.tuple(fc.constant({ path, dialect }), fitting(schema));
  });
  const statuses = new Map<number, number>();
  await fc.assert(
    fc.asyncProperty(asked, async ([{ path, dialect }, made]) => {
      const body =
        typeof made === "object" && made !== null && !Array.isArray(made)
          ? { ...made, model: "test", max_tokens: 2, max_completion_tokens: 2, max_output_tokens: 2, options: { num_predict: 2 } }
          : made;
      const request = new Request(`http://localhost${path}`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify(body),
      });
      const response = await app.fetch(request);
      const text = await response.text();
      statuses.set(response.status, (statuses.get(response.status) ?? 0) + 1);
      expect(response.status, text).toBeLessThan(500);
      if (response.status !== 200) expect(refusals[dialect].safeParse(JSON.parse(text)).error, text).toBeUndefined();
      else expect(text).not.toMatch(/"error":\{|failed inside/);
    }),
    { seed: 11, numRuns: 1500 },
  );
  expect(statuses.get(200)).toBeGreaterThan(100);
  expect(statuses.get(400)).toBeGreaterThan(100);
  expect(lines.filter((line) => line.startsWith("failure"))).toEqual([]);
}, 120_000);

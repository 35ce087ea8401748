// The OpenAPI document, made from the table of routes and the schemas that requests are really checked with. In: version and limits. Out: a plain
// object, OpenAPI 3.1.

import { z } from "zod";
import { type Limits, limitTable } from "./limits.ts";
import type { Dialect } from "./refusal.ts";
import type { Route } from "./routes.ts";

const error = { message: z.string(), type: z.string(), param: z.string().nullable(), code: z.string().nullable() };

/** What a refusal looks like to the clients of each dialect. */
export const refusals = {
  openai: z.strictObject({ error: z.strictObject(error) }),
  anthropic: z.strictObject({
    type: z.literal("error"),
    error: z.strictObject({ ...error, details: z.strictObject({ error_code: z.string() }).optional() }),
  }),
  ollama: z.strictObject({ error: z.string() }),
} satisfies Record<Dialect, z.ZodType>;

const errorName = (dialect: string) => `Error_${dialect}`;

export function openApi(routes: readonly Route[], version: string, limits: Limits): object {
  const paths: Record<string, Record<string, object>> = {};
  for (const route of routes) {
    const path = route.path.replace(/:(\w+)(?:\{[^}]*\})?/g, "{$1}");
    paths[path] ??= {};
    paths[path][route.method.toLowerCase()] = operation(route);
  }
  return {
    openapi: "3.1.0",
    info: { title: "gradually", version, description: "A server of open reasoning models that speaks what OpenAI's clients speak." },
    paths,
    components: {
      securitySchemes: { key: { type: "http", scheme: "bearer" } },
      schemas: Object.fromEntries(
        Object.entries(refusals).map(([dialect, schema]) => [errorName(dialect), z.toJSONSchema(schema, { unrepresentable: "any" })]),
      ),
    },
    "x-limits": Object.fromEntries(
      Object.entries(limitTable).map(([name, { about }]) => [name, { value: limits[name as keyof Limits], about }]),
    ),
  };
}

function operation({ method, path, access, summary, body, dialect }: Route): object {
  const parameters = [...path.matchAll(/:(\w+)/g)].map(([, name]) => ({ name, in: "path", required: true, schema: { type: "string" } }));
  const refusal = { description: "Refused; the message says why.", content: json({ $ref: `#/components/schemas/${errorName(dialect)}` }) };
  return {
    summary,
    operationId: `${method.toLowerCase()}${path.replace(/\{[^}]*\}/g, "").replace(/[^a-zA-Z0-9]+(\w)/g, (_, letter: string) => letter.toUpperCase())}`,
    security: access === "public" ? [] : [{ key: [] }],
    ...(parameters.length > 0 && { parameters }),
    ...(body && { requestBody: { required: true, content: json(z.toJSONSchema(body, { io: "input", unrepresentable: "any" })) } }),
    responses: { 200: { description: "The answer." }, default: refusal },
  };
}

function json(schema: object): object {
  return { "application/json": { schema } };
}

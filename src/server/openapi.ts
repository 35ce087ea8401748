// The OpenAPI document, made from the table of routes and the schemas that requests are really checked with. In: version and limits. Out: a plain
// object, OpenAPI 3.1.

import { z } from "zod";
import { type Limits, limitTable } from "./limits.ts";
import type { Route } from "./routes.ts";

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
      schemas: {
        Error: {
          type: "object",
          required: ["error"],
          properties: {
            error: {
              type: "object",
              required: ["message", "type", "param", "code"],
              properties: {
                message: { type: "string" },
                type: { type: "string" },
                param: { type: ["string", "null"] },
                code: { type: ["string", "null"] },
              },
            },
          },
        },
      },
    },
    "x-limits": Object.fromEntries(
      Object.entries(limitTable).map(([name, { about }]) => [name, { value: limits[name as keyof Limits], about }]),
    ),
  };
}

function operation({ method, path, access, summary, body }: Route): object {
  const parameters = [...path.matchAll(/:(\w+)/g)].map(([, name]) => ({ name, in: "path", required: true, schema: { type: "string" } }));
  const error = { description: "Refused; the message says why.", content: json({ $ref: "#/components/schemas/Error" }) };
  return {
    summary,
    operationId: `${method.toLowerCase()}${path.replace(/\{[^}]*\}/g, "").replace(/[^a-zA-Z0-9]+(\w)/g, (_, letter: string) => letter.toUpperCase())}`,
    security: access === "public" ? [] : [{ key: [] }],
    ...(parameters.length > 0 && { parameters }),
    ...(body && { requestBody: { required: true, content: json(z.toJSONSchema(body, { io: "input", unrepresentable: "any" })) } }),
    responses: { 200: { description: "The answer." }, default: error },
  };
}

function json(schema: object): object {
  return { "application/json": { schema } };
}

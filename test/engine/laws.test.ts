import { openReference } from "../../src/backend/reference/open.ts";
import { lawsSuite } from "./laws-suite.ts";
import { mockModel, tinyDeepseek, tinyLlama } from "./mock-model.ts";

const mock = (device = openReference()) =>
  mockModel({ vocabSize: 41, byPosition: (p, id) => Math.sin(p * 7 + id), byId: (last, id) => Math.cos(last * 3 + id * 5) }, device);

lawsSuite(
  "reference",
  () => [openReference()],
  [
    ["mock", mock, {}],
    ["llama", tinyLlama, {}],
    ["deepseek, absorbed", tinyDeepseek, { absorbed: true }],
    ["deepseek, plain", tinyDeepseek, { absorbed: false }],
    ["llama, f16", tinyLlama, { cacheType: "f16" }],
    ["deepseek, absorbed, q8_0", tinyDeepseek, { absorbed: true, cacheType: "q8_0" }],
  ],
  12,
);

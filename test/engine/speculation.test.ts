import { openReference } from "../../src/backend/reference/open.ts";
import { mockModel, tinyDeepseek, tinyLlama } from "./mock-model.ts";
import { speculationSuite } from "./speculation-suite.ts";

const tinyWithHead = (device = openReference()) => tinyDeepseek(device, 1);

/** Likes to follow its prompt's pairs, so that lookups come true now and then; its head errs at every third place. */
const mock = (device = openReference()) =>
  mockModel(
    {
      vocabSize: 41,
      byPosition: (p, id) => Math.sin(p * 7 + id),
      byId: (last, id) => 2.5 * Math.cos(last * 3 + id * 5),
      headErrs: (position) => position % 3 === 0,
    },
    device,
  );

speculationSuite(
  "reference",
  () => [openReference()],
  [
    ["mock", mock, {}, ["lookup", "mtp"]],
    ["llama", tinyLlama, {}, ["lookup"]],
    ["deepseek, absorbed", tinyWithHead, { absorbed: true }, ["lookup", "mtp", "mtp"]],
    ["deepseek, plain", tinyWithHead, { absorbed: false }, ["lookup", "mtp", "mtp"]],
  ],
  40,
);

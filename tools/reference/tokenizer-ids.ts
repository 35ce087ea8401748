// The TypeScript half of check_tokenizer.py. In: JSON on standard input, `{ train, options, texts }`. Out: JSON on standard
// output, `{ tokenizer, ids, plain, decoded }`: our trainer's tokenizer.json, our ids for each text with and without special tokens
// parsed, and what they decode to.

import { text } from "node:stream/consumers";
import { type TrainBpeOptions, trainBpe } from "../../src/text/bpe-train.ts";
import { loadTokenizer } from "../../src/text/tokenizer.ts";

type Request = { train: string[]; options: TrainBpeOptions; texts: string[] };

const { train, options, texts } = JSON.parse(await text(process.stdin)) as Request;
const tokenizer = trainBpe(train, options);
const ours = loadTokenizer(tokenizer);
const ids = texts.map((t) => ours.encode(t));
const plain = texts.map((t) => ours.encode(t, { parseSpecial: false }));
process.stdout.write(JSON.stringify({ tokenizer, ids, plain, decoded: ids.map((list) => ours.decode(list)) }));

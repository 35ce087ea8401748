// Llama on the reference device: the numbers of transformers, the bitwise laws, the round trip (model-suite.ts).

import { openReference } from "../../src/backend/reference/open.ts";
import { familySuite } from "./model-suite.ts";

familySuite("llama", "the reference device", () => openReference({ precision: "f32" }));

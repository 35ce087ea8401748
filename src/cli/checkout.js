// The `gradually` command in a checkout, where main.ts is TypeScript. In plain JavaScript, and so small, because Node loads a compiler to take the types
// out of the first file; with the compile cache on before it, all files come from there, and the compiler is not loaded. A tenth of what starting takes.

import { enableCompileCache } from "node:module";

enableCompileCache();
await import("./main.ts");

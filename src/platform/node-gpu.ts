// The GPU object in Node: navigator.gpu where the runtime has it (Deno), else the package `webgpu` (Dawn), which the user installs. In: nothing. Out: the object, one
// for the process, because the binding fails when an object is collected whose devices are in use.

import { DeviceError } from "../core/errors.ts";

type Binding = { readonly create: (options: readonly string[]) => GPU };

let found: Promise<GPU> | undefined;

/** Throws DeviceError where there is none, with what to install. */
export function nodeGpu(): Promise<GPU> {
  found ??= findGpu(() => import(packageName) as Promise<Binding>);
  return found;
}

const packageName: string = "webgpu"; // a variable, because most users do not have it, and compilers and bundlers would ask for it

/** `load`: imports the binding. */
export async function findGpu(load: () => Promise<Binding>): Promise<GPU> {
  const own = (globalThis as { navigator?: { gpu?: GPU } }).navigator?.gpu;
  if (own) return own;
  try {
    return (await load()).create([]);
  } catch (cause) {
    const isAbsent = (cause as { code?: unknown }).code === "ERR_MODULE_NOT_FOUND";
    const expected = `the package ${packageName}, WebGPU for Node`;
    throw new DeviceError(
      isAbsent
        ? { operation, got: `no package ${packageName}`, expected, cure: `npm install ${packageName}, or use the cpu` }
        : {
            operation,
            got: `a package ${packageName} that cannot be loaded: ${cause instanceof Error ? cause.message : String(cause)}`,
            expected,
            cure: `npm install ${packageName} for this system (on Linux it needs libvulkan.so.1), or use the cpu`,
          },
      { cause },
    );
  }
}

const operation = "open the webgpu device";

// The GPU object for tests: Dawn's binding for Node (the package `webgpu`) on SwiftShader, the software GPU that Chromium carries, so that results do not depend
// on the machine. `testGpu` is undefined, and says so loudly, where the package, the driver or the Vulkan loader is absent. A GPU that then has no adapter is a failure, not a
// reason to skip. GRADUALLY_GPU=system takes the machine's own GPU instead.

import { existsSync } from "node:fs";
import * as path from "node:path";

const drivers = [
  process.env.GRADUALLY_SWIFTSHADER,
  "/usr/lib/chromium/vk_swiftshader_icd.json",
  "/usr/lib64/chromium-browser/vk_swiftshader_icd.json",
  "/opt/google/chrome/vk_swiftshader_icd.json",
];

/** Where Linux keeps libraries. Dawn looks for the Vulkan loader there; without it there is no adapter, whatever the driver. */
const libraries = [
  ...(process.env.LD_LIBRARY_PATH ?? "").split(":").filter(Boolean),
  ...["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib", "/usr/local/lib"],
];

type Binding = { readonly create: (options: readonly string[]) => GPU };

async function load(): Promise<GPU | undefined> {
  const skip = (reason: string) => console.warn(`SKIPPED: tests of the WebGPU device, because ${reason}`);
  if (process.env.GRADUALLY_GPU !== "system") {
    const driver = drivers.find((path) => path && existsSync(path));
    if (!driver) {
      skip(`${drivers[1]} is absent (install Chromium, or set GRADUALLY_SWIFTSHADER)`);
      return undefined;
    }
    if (process.platform === "linux" && !libraries.some((folder) => existsSync(path.join(folder, "libvulkan.so.1")))) {
      skip("libvulkan.so.1 is absent (install libvulkan1)");
      return undefined;
    }
    // The Vulkan loader reads them when the binding is loaded.
    process.env.VK_DRIVER_FILES = driver;
    process.env.VK_ICD_FILENAMES = driver;
  }
  process.env.XDG_RUNTIME_DIR ??= "/tmp";
  try {
    const name: string = "webgpu"; // so that types do not ask for the package
    const { create } = (await import(name)) as Binding;
    // Without this switch SwiftShader compiles a store for every element of workgroup memory, seconds for a kernel; with it, it gets a loop of zeros.
    return create(["disable-dawn-features=use_vulkan_zero_initialize_workgroup_memory_extension"]);
  } catch (error) {
    skip(`the package webgpu cannot be loaded (${String(error)})`);
    return undefined;
  }
}

export const testGpu: GPU | undefined = await load();

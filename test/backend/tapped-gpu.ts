// A GPU object that shows the tests the GPUDevice behind an opened device, so that they can break it, and one that is made up. In: the real object, or facts. Out:
// what openWebGpu takes.

/** `onDevice` gets each device before the program does. */
export function tappedGpu(gpu: GPU, onDevice: (device: GPUDevice) => void): GPU {
  const requestAdapter = async (options?: GPURequestAdapterOptions) => {
    const adapter = await gpu.requestAdapter(options);
    if (!adapter) return null;
    const requestDevice = async (descriptor?: GPUDeviceDescriptor) => {
      const device = await adapter.requestDevice(descriptor);
      onDevice(device);
      return device;
    };
    return { info: adapter.info, limits: adapter.limits, features: adapter.features, requestDevice } as GPUAdapter;
  };
  return { requestAdapter, wgslLanguageFeatures: gpu.wgslLanguageFeatures } as GPU;
}

/** A GPU object with one adapter, which lends no device. */
export function madeUpGpu(info: Partial<GPUAdapterInfo>): GPU {
  const limits = { maxBufferSize: 2 ** 28, maxStorageBufferBindingSize: 2 ** 27, maxComputeWorkgroupStorageSize: 16384 };
  const requestDevice = () => Promise.reject(new Error("the driver is busy"));
  const named = { vendor: "", architecture: "", device: "", description: "", isFallbackAdapter: false, ...info };
  return { requestAdapter: async () => ({ info: named, limits, requestDevice }) } as unknown as GPU;
}

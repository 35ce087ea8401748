// The numbers behind GPUBufferUsage, GPUMapMode and GPUShaderStage, as the WebGPU specification fixes them: outside browsers these globals exist only
// where somebody has set them.

export const bufferUsage = { mapRead: 0x1, copySource: 0x4, copyDestination: 0x8, uniform: 0x40, storage: 0x80 } as const;
export const mapRead = 0x1;
export const computeStage = 0x4;

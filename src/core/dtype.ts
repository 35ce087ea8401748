// Element types. Devices compute in f32 and index with i32; the other names are storage types of files,
// decoded when they are loaded (formats/).

export type DType = "f32" | "i32";
export type HostArray = Float32Array | Float64Array | Int32Array;

export const bytesPerElement = 4;

// Loading and storing the ragged end of a row: the last 1 to 3 elements go through the same vector arithmetic as all others, so an element's
// bits do not depend on where it stands.

// @ts-ignore: decorator
@inline
export function load4(address: usize, count: i32): v128 {
  return count >= 4 ? v128.load(address) : loadPart(address, count);
}

// @ts-ignore: decorator
@inline
export function store4(address: usize, count: i32, value: v128): void {
  if (count >= 4) v128.store(address, value);
  else storePart(address, count, value);
}

function loadPart(address: usize, count: i32): v128 {
  let value = v128.load32_zero(address);
  if (count > 1) value = f32x4.replace_lane(value, 1, load<f32>(address, 4));
  if (count > 2) value = f32x4.replace_lane(value, 2, load<f32>(address, 8));
  return value;
}

function storePart(address: usize, count: i32, value: v128): void {
  store<f32>(address, f32x4.extract_lane(value, 0));
  if (count > 1) store<f32>(address, f32x4.extract_lane(value, 1), 4);
  if (count > 2) store<f32>(address, f32x4.extract_lane(value, 2), 8);
}

/** The first `valid` columns of a tile's row. */
// @ts-ignore: decorator
@inline
export function storeRow(out: usize, tile: usize, valid: i32): void {
  let n = 0;
  for (; n + 4 <= valid; n += 4) v128.store(out + (<usize>n << 2), v128.load(tile + (<usize>n << 2)));
  for (; n < valid; n++) store<f32>(out + (<usize>n << 2), load<f32>(tile + (<usize>n << 2)));
}

/**
 * Sets of small numbers that are never changed, cut into blocks of 512 which sets share with the sets they were made
 * from. A task's ancestors are mostly those of what it waits for: a union copies only the blocks that really differ, and a
 * block that is full is one and the same everywhere.
 */

/** A set. `undefined` stands for a block without members; so does whatever lies behind the end. */
export type NumberSet = readonly (Uint32Array | undefined)[];

/** How many words of 32 bits a block has: 64 bytes are what V8 keeps on its own heap, where making them costs little. */
export const BLOCK_WORDS = 16;
/** By how many bits a number is shifted to give its block. */
export const BLOCK_SHIFT = 9;
const ALL_ONES = 0xffff_ffff;

/** The block that has every number. */
export const FULL_BLOCK: Uint32Array = new Uint32Array(BLOCK_WORDS).fill(ALL_ONES);
/** The set that has none. */
export const NO_NUMBERS: NumberSet = [];

/** Whether a set has a number. */
export function hasNumber(set: NumberSet, number: number): boolean {
  const block = set[number >> BLOCK_SHIFT];
  return block !== undefined && (((block[wordOf(number)] ?? 0) >>> (number & 31)) & 1) === 1;
}

/** The set with one more number. */
export function withNumber(set: NumberSet, number: number): NumberSet {
  if (hasNumber(set, number)) return set;
  const blocks = set.slice();
  const at = number >> BLOCK_SHIFT;
  while (blocks.length < at) blocks.push(undefined); // no holes: lists with holes are slow
  const block = blocks[at]?.slice() ?? new Uint32Array(BLOCK_WORDS);
  putNumber(block, number);
  blocks[at] = isFull(block) ? FULL_BLOCK : block;
  return blocks;
}

/** Puts a number into the block it belongs to. */
export function putNumber(block: Uint32Array, number: number): void {
  const word = wordOf(number);
  block[word] = (block[word] ?? 0) | (1 << (number & 31));
}

/** Everything that is in one of two sets. */
export function union(a: NumberSet, b: NumberSet): NumberSet {
  if (a === b || b.length === 0) return a;
  if (a.length === 0) return b;
  const [long, short] = a.length >= b.length ? [a, b] : [b, a];
  let made: (Uint32Array | undefined)[] | undefined;
  for (const [at, theirs] of short.entries()) {
    const ours = long[at];
    const both = unionOfBlocks(ours, theirs);
    if (both === ours) continue;
    made ??= long.slice();
    made[at] = both;
  }
  return made ?? long;
}

function unionOfBlocks(a: Uint32Array | undefined, b: Uint32Array | undefined): Uint32Array | undefined {
  if (a === b || b === undefined) return a;
  if (a === undefined) return b;
  if (a === FULL_BLOCK || b === FULL_BLOCK) return FULL_BLOCK;
  let hasA = true;
  let hasB = true;
  for (let at = 0; at < BLOCK_WORDS; at++) {
    const [x, y] = [a[at] ?? 0, b[at] ?? 0];
    const both = x | y;
    hasA &&= both === (x | 0);
    hasB &&= both === (y | 0);
  }
  if (hasA) return a;
  if (hasB) return b;
  const block = new Uint32Array(BLOCK_WORDS);
  for (let at = 0; at < BLOCK_WORDS; at++) block[at] = (a[at] ?? 0) | (b[at] ?? 0);
  return isFull(block) ? FULL_BLOCK : block;
}

function isFull(block: Uint32Array): boolean {
  return block.every((word) => word === ALL_ONES);
}

function wordOf(number: number): number {
  return (number >> 5) & (BLOCK_WORDS - 1);
}

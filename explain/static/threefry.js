// Counter-based random numbers: the JavaScript twin of reference/threefry.py.

const ROTATIONS = [[13, 15, 26, 6], [17, 29, 16, 24]];
const PARITY = 0x1bd11bda;
const MASK = (1n << 64n) - 1n;

/** Encrypt one counter of two 32-bit words. Arithmetic is modulo 2^32. */
export function threefry2x32(key, first, second) {
  const schedule = [key[0], key[1], (key[0] ^ key[1] ^ PARITY) >>> 0];
  let a = (first + schedule[0]) >>> 0;
  let b = (second + schedule[1]) >>> 0;
  for (let group = 0; group < 5; group++) {
    for (const distance of ROTATIONS[group % 2]) {
      a = (a + b) >>> 0;
      b = ((b << distance) | (b >>> (32 - distance))) >>> 0;
      b = (b ^ a) >>> 0;
    }
    a = (a + schedule[(group + 1) % 3]) >>> 0;
    b = (b + schedule[(group + 2) % 3] + group + 1) >>> 0;
  }
  return [a, b];
}

/** Return the key of a seed (a BigInt): the seed modulo 2^64 as two words (high, low). */
export function seedKey(seed) {
  const unsigned = seed & MASK;
  return [Number(unsigned >> 32n), Number(unsigned & 0xffffffffn)];
}

/** Derive a new key from a key and a number below 2^32. */
export function foldIn(key, number) {
  return threefry2x32(key, 0, number);
}

/** Convert a random word to standard Gumbel noise, in float32. */
export function gumbel(bits) {
  const f = Math.fround;
  const u = Math.min(f(f(f(bits) + 0.5) * 2 ** -32), f(1 - 2 ** -24));
  return -f(Math.log(-f(Math.log1p(-u))));
}

/** Return the key of one sampling step. seed: a BigInt. */
export function drawKey(seed, choice, position) {
  return foldIn(foldIn(seedKey(seed), choice), position);
}

/** Return the noise of one token id. */
export function noiseOf(key, id) {
  const [a, b] = threefry2x32(key, 0, id);
  return gumbel((a ^ b) >>> 0);
}

/** Return the Gumbel noise of one sampling step, one value per token id. seed: a BigInt. */
export function noise(seed, choice, position, vocabSize) {
  const key = drawKey(seed, choice, position);
  return new Float32Array(vocabSize).map((_, i) => noiseOf(key, i));
}

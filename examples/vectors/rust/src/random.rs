//! Threefry-2x32 with 20 rounds, Gumbel noise, and draws.

use crate::steps::argmax;

pub type Key = (u32, u32);

pub fn threefry(key: Key, counter: (u32, u32)) -> (u32, u32) {
    const ROTATIONS: [[u32; 4]; 2] = [[13, 15, 26, 6], [17, 29, 16, 24]];
    let schedule = [key.0, key.1, key.0 ^ key.1 ^ 0x1BD1_1BDA];
    let mut a = counter.0.wrapping_add(schedule[0]);
    let mut b = counter.1.wrapping_add(schedule[1]);
    for group in 0..5 {
        for distance in ROTATIONS[group % 2] {
            a = a.wrapping_add(b);
            b = b.rotate_left(distance) ^ a;
        }
        a = a.wrapping_add(schedule[(group + 1) % 3]);
        b = b.wrapping_add(schedule[(group + 2) % 3]).wrapping_add(group as u32 + 1);
    }
    (a, b)
}

/// A seed is a decimal number from −2⁶³ to 2⁶⁴ − 1; its key is the number modulo 2⁶⁴.
pub fn seed_key(seed: &str) -> Key {
    let value = seed.parse::<i128>().unwrap() as u64;
    ((value >> 32) as u32, value as u32)
}

pub fn draw_key(seed: &str, choice: u32, position: u32) -> Key {
    threefry(threefry(seed_key(seed), (0, choice)), (0, position))
}

pub fn random_word(key: Key, id: u32) -> u32 {
    let (a, b) = threefry(key, (0, id));
    a ^ b
}

pub fn gumbel(bits: u32) -> f32 {
    let u = ((bits as f32 + 0.5) * (-32f32).exp2()).min(1.0 - (-24f32).exp2());
    -(-(-u).ln_1p()).ln()
}

pub fn draw(x: &[f32], key: Key) -> usize {
    let noise = (0..x.len()).map(|id| gumbel(random_word(key, id as u32)));
    argmax(&x.iter().zip(noise).map(|(logit, g)| logit + g).collect::<Vec<f32>>())
}

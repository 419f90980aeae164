//! The steps from logits to the logits that are sampled from.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

pub type Logits = Vec<f32>;

pub fn maximum(x: &[f32]) -> f32 {
    x.iter().copied().fold(f32::NEG_INFINITY, f32::max)
}

/// The first id with the highest value.
pub fn argmax(x: &[f32]) -> usize {
    let top = maximum(x);
    x.iter().position(|&v| v == top).unwrap()
}

/// The ids from the highest logit down, the lowest id first on a tie.
pub fn argsort(x: &[f32]) -> Vec<usize> {
    let mut ids: Vec<usize> = (0..x.len()).collect();
    ids.sort_by(|&a, &b| x[b].partial_cmp(&x[a]).unwrap_or(Ordering::Equal));
    ids
}

pub fn softmax(x: &[f32]) -> Vec<f64> {
    let top = maximum(x) as f64;
    let weights: Vec<f64> = x.iter().map(|&v| (v as f64 - top).exp()).collect();
    let total: f64 = weights.iter().sum();
    weights.iter().map(|w| w / total).collect()
}

fn retain(x: &mut Logits, keep: impl Fn(f32) -> bool) {
    for logit in x.iter_mut().filter(|logit| !keep(**logit)) {
        *logit = f32::NEG_INFINITY;
    }
}

pub fn mask(x: &mut Logits, allowed: &[usize]) {
    let mut kept = vec![f32::NEG_INFINITY; x.len()];
    for &id in allowed {
        kept[id] = x[id];
    }
    *x = kept;
}

pub fn repetition_penalty(x: &mut Logits, prompt: &[usize], output: &[usize], penalty: f32) {
    for &id in prompt.iter().chain(output).collect::<BTreeSet<_>>() {
        x[id] = if x[id] > 0.0 { x[id] / penalty } else { x[id] * penalty };
    }
}

pub fn frequency_penalty(x: &mut Logits, output: &[usize], penalty: f32) {
    let mut counts = BTreeMap::new();
    for &id in output {
        *counts.entry(id).or_insert(0) += 1;
    }
    for (id, count) in counts {
        x[id] -= penalty * count as f32;
    }
}

pub fn presence_penalty(x: &mut Logits, output: &[usize], penalty: f32) {
    for &id in output.iter().collect::<BTreeSet<_>>() {
        x[id] -= penalty;
    }
}

/// The result has a maximum of 0. Below the smallest normal number, division would give NaN.
pub fn temperature(x: &mut Logits, value: f32) {
    if value < f32::MIN_POSITIVE {
        let best = argmax(x);
        x.fill(f32::NEG_INFINITY);
        x[best] = 0.0;
        return;
    }
    let top = maximum(x);
    x.iter_mut().for_each(|logit| *logit = (*logit - top) / value);
}

pub fn min_p(x: &mut Logits, fraction: f32) {
    let top = maximum(x);
    retain(x, |logit| (logit - top).exp() >= fraction);
}

/// Ties are kept.
pub fn top_k(x: &mut Logits, k: usize) {
    if k == 0 || k >= x.len() {
        return;
    }
    let threshold = x[argsort(x)[k - 1]];
    retain(x, |logit| logit >= threshold);
}

/// Equal logits are added together, so the order in which a sort leaves them does not matter.
pub fn top_p(x: &mut Logits, mass: f32) {
    if mass >= 1.0 {
        return;
    }
    let p = softmax(x);
    let mut reached = 0.0;
    let ranked = argsort(x);
    for group in ranked.chunk_by(|&a, &b| x[a] == x[b]) {
        reached += group.iter().map(|&id| p[id]).sum::<f64>();
        if reached >= mass as f64 {
            let level = x[group[0]];
            return retain(x, |logit| logit >= level);
        }
    }
}

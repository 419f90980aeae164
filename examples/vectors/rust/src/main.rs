//! A sampler in Rust, and the program that `vectors check` runs.
//!
//!     cargo build --release
//!     completions-spec conformance vectors check target/release/sampler

mod random;
mod steps;
mod text;

use serde_json::{json, Map, Value};
use std::io::{self, BufRead, Write};

use random::{draw, draw_key, gumbel, random_word, seed_key, threefry, Key};
use steps::{argsort, softmax, Logits};

fn ids(value: &Value) -> Vec<usize> {
    let items = value.as_array().map(Vec::as_slice).unwrap_or(&[]);
    items.iter().map(|id| id.as_u64().unwrap() as usize).collect()
}

/// A parameter as float32, or the value that switches it off.
fn number(input: &Value, name: &str, off: f32) -> f32 {
    input[name].as_f64().map_or(off, |value| value as f32)
}

fn read_logits(values: &Value) -> Logits {
    let items = values.as_array().unwrap().iter();
    items.map(|v| v.as_f64().map_or(f32::NEG_INFINITY, |x| x as f32)).collect()
}

fn write_logits(x: &Logits) -> Value {
    x.iter().map(|&v| if v.is_finite() { json!(v as f64) } else { Value::Null }).collect()
}

fn kept(x: &Logits) -> Value {
    (0..x.len()).filter(|&id| x[id].is_finite()).collect()
}

/// Apply one step. An absent parameter is off.
fn apply_step(x: &mut Logits, step: &str, input: &Value) {
    let (prompt, output) = (ids(&input["prompt"]), ids(&input["output"]));
    match step {
        "response_format" => {
            if !input["allowed"].is_null() {
                steps::mask(x, &ids(&input["allowed"]))
            }
        }
        "repetition_penalty" => {
            steps::repetition_penalty(x, &prompt, &output, number(input, step, 1.0))
        }
        "frequency_penalty" => steps::frequency_penalty(x, &output, number(input, step, 0.0)),
        "presence_penalty" => steps::presence_penalty(x, &output, number(input, step, 0.0)),
        "temperature" => steps::temperature(x, number(input, step, 1.0)),
        "min_p" => steps::min_p(x, number(input, step, 0.0)),
        "top_k" => steps::top_k(x, input[step].as_u64().unwrap_or(0) as usize),
        "top_p" => steps::top_p(x, number(input, step, 1.0)),
        _ => unreachable!(),
    }
}

const STEPS: [&str; 8] = [
    "response_format",
    "repetition_penalty",
    "frequency_penalty",
    "presence_penalty",
    "temperature",
    "min_p",
    "top_k",
    "top_p",
];

fn apply_steps(x: &mut Logits, input: &Value) -> Map<String, Value> {
    let mut counts = Map::new();
    for step in STEPS {
        apply_step(x, step, input);
        counts.insert(step.into(), json!(x.iter().filter(|v| v.is_finite()).count()));
    }
    counts
}

fn final_logits(input: &Value) -> Logits {
    let mut x = read_logits(&input["logits"]);
    apply_steps(&mut x, input);
    x
}

fn one_step(input: &Value, step: &str) -> Value {
    let mut x = read_logits(&input["logits"]);
    apply_step(&mut x, step, input);
    json!({ "logits": write_logits(&x) })
}

fn chain(input: &Value) -> Value {
    let mut x = read_logits(&input["logits"]);
    let counts = apply_steps(&mut x, input);
    json!({ "kept": kept(&x), "probabilities": softmax(&x), "counts": counts })
}

/// A tensor of wide.safetensors: 8 bytes of length, a JSON header, then the data.
fn read_tensor(name: &str) -> Logits {
    let directory = std::env::var("VECTORS_DIR").unwrap();
    let data = std::fs::read(format!("{directory}/wide.safetensors")).unwrap();
    let size = u64::from_le_bytes(data[..8].try_into().unwrap()) as usize;
    let header: Value = serde_json::from_slice(&data[8..8 + size]).unwrap();
    let range = ids(&header[name]["data_offsets"]);
    let bytes = &data[8 + size + range[0]..8 + size + range[1]];
    if header[name]["dtype"] == "BF16" {
        // The 16 bits are the high half of a float32.
        let half = |b: &[u8]| f32::from_le_bytes([0, 0, b[0], b[1]]);
        return bytes.chunks(2).map(half).collect();
    }
    bytes.chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
}

fn key_of(input: &Value) -> Key {
    let word = |name: &str| input[name].as_u64().unwrap() as u32;
    draw_key(input["seed"].as_str().unwrap(), word("choice"), word("position"))
}

fn threefry_answer(input: &Value) -> Value {
    let pair = |name: &str| (input[name][0].as_u64().unwrap() as u32, input[name][1].as_u64().unwrap() as u32);
    let (a, b) = if !input["counter"].is_null() {
        threefry(pair("key"), pair("counter"))
    } else if input["choice"].is_null() {
        seed_key(input["seed"].as_str().unwrap())
    } else if let Some(size) = input["vocab_size"].as_u64() {
        let words: Vec<u32> = (0..size as u32).map(|id| random_word(key_of(input), id)).collect();
        return json!({ "words": words });
    } else {
        key_of(input)
    };
    json!({ "words": [a, b] })
}

fn logprobs(input: &Value) -> Value {
    let x = read_logits(&input["logits"]);
    let token = input["token"].as_u64().unwrap() as usize;
    let top = (input["top"].as_u64().unwrap() as usize).min(x.len());
    let highest = steps::maximum(&x) as f64;
    let total: f64 = x.iter().map(|&v| (v as f64 - highest).exp()).sum();
    let value = |id: usize| x[id] as f64 - highest - total.ln();
    let mut ranked = argsort(&x);
    ranked.truncate(top);
    if !ranked.contains(&token) {
        ranked.push(token);
    }
    let values: Vec<f64> = ranked.iter().map(|&id| value(id)).collect();
    json!({ "logprob": value(token), "top_ids": ranked, "top_logprobs": values })
}

fn finish(input: &Value) -> Value {
    let token = input["token"].as_u64().unwrap() as usize;
    if ids(&input["eos_token_ids"]).contains(&token) {
        return json!({ "finish_reason": "stop", "stop_reason": null });
    }
    if ids(&input["stop_token_ids"]).contains(&token) {
        return json!({ "finish_reason": "stop", "stop_reason": token });
    }
    let ended = input["generated"].as_u64() >= input["budget"].as_u64();
    json!({ "finish_reason": if ended { Some("length") } else { None }, "stop_reason": null })
}

fn budget(input: &Value) -> Value {
    let room = input["context"].as_i64().unwrap() - input["prompt_length"].as_i64().unwrap();
    let wanted = input["max_tokens"].as_i64().unwrap_or(16384);
    json!({ "budget": if room < 1 { None } else { Some(wanted.min(room)) } })
}

fn stop(input: &Value) -> Value {
    let texts = |name: &str| -> Vec<String> {
        input[name].as_array().unwrap().iter().map(|t| t.as_str().unwrap().into()).collect()
    };
    let (deltas, reason) = text::stop(&texts("stop"), &texts("parts"));
    json!({ "text": deltas.concat(), "deltas": deltas, "stop_reason": reason })
}

fn detokenization(input: &Value) -> Value {
    let pieces = input["pieces"].as_array().unwrap().iter();
    let pieces: Vec<Vec<u8>> = pieces.map(|hex| text::from_hex(hex.as_str().unwrap())).collect();
    let deltas = text::detokenize(pieces, input["strip_space"].as_bool().unwrap());
    json!({ "text": deltas.concat(), "deltas": deltas })
}

fn answer(family: &str, input: &Value) -> Value {
    match family {
        "mask" => one_step(input, "response_format"),
        "repetition_penalty" | "frequency_penalty" | "presence_penalty" | "temperature" | "min_p"
        | "top_k" | "top_p" => one_step(input, family),
        "chain" => chain(input),
        "wide" => {
            let mut x = read_tensor(input["tensor"].as_str().unwrap());
            apply_steps(&mut x, input);
            json!({ "kept": kept(&x) })
        }
        "distribution" => json!({ "probabilities": softmax(&final_logits(input)) }),
        "threefry" => threefry_answer(input),
        "gumbel" => {
            let bits = ids(&input["bits"]);
            json!({ "noise": bits.iter().map(|&b| gumbel(b as u32) as f64).collect::<Vec<_>>() })
        }
        "draw" => json!({ "token": draw(&final_logits(input), key_of(input)) }),
        "logprobs" => logprobs(input),
        "stop" => stop(input),
        "finish" => finish(input),
        "budget" => budget(input),
        "detokenization" => detokenization(input),
        _ => json!({ "unsupported": true }),
    }
}

fn main() -> io::Result<()> {
    let mut out = io::stdout().lock();
    for line in io::stdin().lock().lines() {
        let question: Value = serde_json::from_str(&line?)?;
        let mut result = answer(question["family"].as_str().unwrap(), &question["input"]);
        result["id"] = question["id"].clone();
        writeln!(out, "{result}")?;
        out.flush()?;
    }
    Ok(())
}

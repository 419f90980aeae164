//! Stop strings and detokenization of a text that arrives in parts.

/// Return the text that each part adds, and the stop string that ended it.
pub fn stop(stops: &[String], parts: &[String]) -> (Vec<String>, Option<String>) {
    let mut withheld = String::new();
    let mut deltas = Vec::new();
    for part in parts {
        let text = withheld.clone() + part;
        // The first to be complete; of several, the first in the list.
        let ends = stops.iter().filter_map(|s| text.find(s.as_str()).map(|at| (at + s.len(), s)));
        if let Some((end, stop)) = ends.min_by_key(|(end, _)| *end) {
            deltas.push(text[..end - stop.len()].to_string());
            return (deltas, Some(stop.clone()));
        }
        let keep = stops.iter().map(|s| partial_match(&text, s)).max().unwrap_or(0);
        let (safe, rest) = text.split_at(text.len() - keep);
        deltas.push(safe.to_string());
        withheld = rest.to_string();
    }
    if let Some(last) = deltas.last_mut() {
        last.push_str(&withheld);
    }
    (deltas, None)
}

/// Return the length of the longest end of a text that begins a stop string, in bytes.
fn partial_match(text: &str, stop: &str) -> usize {
    let starts = stop.char_indices().map(|(i, _)| i).rev();
    starts.into_iter().find(|&n| text.ends_with(&stop[..n])).unwrap_or(0)
}

/// Return the text that each piece adds. The bytes of an incomplete character are withheld.
pub fn detokenize(pieces: Vec<Vec<u8>>, strip_space: bool) -> Vec<String> {
    let mut pending = Vec::new();
    let last = pieces.len() - 1;
    let mut deltas = Vec::new();
    for (i, piece) in pieces.into_iter().enumerate() {
        let stripped = i == 0 && strip_space && piece.first() == Some(&b' ');
        pending.extend_from_slice(&piece[usize::from(stripped)..]);
        deltas.push(take_complete(&mut pending, i == last));
    }
    deltas
}

/// Remove and return the text of the complete characters; at the end, all of it.
fn take_complete(pending: &mut Vec<u8>, end: bool) -> String {
    let mut text = String::new();
    loop {
        let error = match std::str::from_utf8(pending) {
            Ok(valid) => {
                text.push_str(valid);
                pending.clear();
                return text;
            }
            Err(error) => error,
        };
        let valid = error.valid_up_to();
        text.push_str(std::str::from_utf8(&pending[..valid]).unwrap());
        match error.error_len() {
            Some(invalid) => pending.drain(..valid + invalid), // a maximal invalid part
            None if end => pending.drain(..),
            None => {
                pending.drain(..valid);
                return text;
            }
        };
        text.push('\u{FFFD}');
    }
}

pub fn from_hex(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect()
}

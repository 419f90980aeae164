"""A batched sampler in PyTorch, and the program that `vectors check` runs.

    completions-spec conformance vectors check 'python sampler.py'

The steps take logits of shape (B, V) and parameters of shape (B, 1), as in a serving engine; the
program has one row. float32 on any device.
"""

import json
import math
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

Input = Mapping[str, Any]
Answer = dict[str, Any]
DEVICE = os.environ.get("SAMPLER_DEVICE", "cpu")
NEG_INF = -math.inf
MIN_NORMAL = torch.finfo(torch.float32).tiny


def mask(x: Tensor, allowed: Tensor) -> Tensor:
    return x.masked_fill(~allowed, NEG_INF)


def repetition_penalty(x: Tensor, present: Tensor, penalty: Tensor) -> Tensor:
    return torch.where(present, torch.where(x > 0, x / penalty, x * penalty), x)


def frequency_penalty(x: Tensor, counts: Tensor, penalty: Tensor) -> Tensor:
    return x - penalty * counts


def presence_penalty(x: Tensor, counts: Tensor, penalty: Tensor) -> Tensor:
    return x - penalty * (counts > 0)


def temperature(x: Tensor, value: Tensor) -> Tensor:
    """Divide by the temperature. The result has a maximum of 0; 0 leaves the first argmax only."""
    first = torch.arange(x.shape[1], device=x.device) == first_argmax(x)[:, None]
    greedy = torch.where(first, 0.0, NEG_INF)
    scaled = (x - x.amax(1, keepdim=True)) / value.clamp(min=MIN_NORMAL)
    return torch.where(value < MIN_NORMAL, greedy, scaled)


def first_argmax(x: Tensor) -> Tensor:
    """Return the lowest id of the maximum; torch.argmax may return any of equal values."""
    return (x == x.amax(1, keepdim=True)).int().argmax(1)


def min_p(x: Tensor, fraction: Tensor) -> Tensor:
    return x.masked_fill((x - x.amax(1, keepdim=True)).exp() < fraction, NEG_INF)


def top_k(x: Tensor, k: Tensor) -> Tensor:
    """Keep the logits that reach the k-th largest, ties included. 0 is off."""
    size = x.shape[1]
    rank = torch.where((k <= 0) | (k > size), size, k)
    threshold = x.sort(1, descending=True).values.gather(1, rank - 1)
    return x.masked_fill(x < threshold, NEG_INF)


def top_p(x: Tensor, mass: Tensor) -> Tensor:
    """Keep the levels from the highest down, each as a whole, up to the one that reaches `mass`."""
    levels = x.sort(1, descending=True).values
    reached = levels.double().softmax(1).cumsum(1)
    position = (reached < mass).sum(1, keepdim=True).clamp(max=x.shape[1] - 1)
    threshold = levels.gather(1, position)
    return x.masked_fill((x < threshold) & (mass < 1), NEG_INF)


# Threefry-2x32 with 20 rounds, on int64 tensors: torch has few operations for uint32.
WORD = 0xFFFFFFFF
ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))


def threefry(key: tuple[Tensor, Tensor], counter: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    schedule = key[0], key[1], key[0] ^ key[1] ^ 0x1BD11BDA
    a, b = (counter[0] + schedule[0]) & WORD, (counter[1] + schedule[1]) & WORD
    for group in range(5):
        for distance in ROTATIONS[group % 2]:
            a = (a + b) & WORD
            b = ((b << distance) & WORD | (b >> (32 - distance))) ^ a
        a = (a + schedule[(group + 1) % 3]) & WORD
        b = (b + schedule[(group + 2) % 3] + group + 1) & WORD
    return a, b


def seed_key(seed: int) -> tuple[Tensor, Tensor]:
    high, low = divmod(seed % 2**64, 2**32)
    return torch.tensor([high]), torch.tensor([low])


def draw_key(seed: int, choice: int, position: int) -> tuple[Tensor, Tensor]:
    zero, key = torch.zeros(1, dtype=torch.int64), seed_key(seed)
    for number in choice, position:
        key = threefry(key, (zero, torch.tensor([number])))
    return key


def random_bits(key: tuple[Tensor, Tensor], vocab_size: int) -> Tensor:
    ids = torch.arange(vocab_size)
    a, b = threefry(key, (torch.zeros_like(ids), ids))
    return a ^ b


def gumbel(bits: Tensor) -> Tensor:
    u = ((bits.float() + 0.5) * 2.0**-32).clamp(max=1 - 2.0**-24)
    return -torch.log(-torch.log1p(-u))


# The program. A case is one row.


def logits_of(case: Input) -> Tensor:
    values = [NEG_INF if value is None else value for value in case["logits"]]
    return torch.tensor([values], dtype=torch.float32, device=DEVICE)


def row(value: float) -> Tensor:
    return torch.tensor([[value]], dtype=torch.float32, device=DEVICE)


def steps(case: Input, size: int) -> dict[str, Callable[[Tensor], Tensor]]:
    """Return the steps of a case, in their order. An absent parameter is off."""
    prompt, output = case.get("prompt", []), case.get("output", [])
    counts = torch.bincount(torch.tensor(output, dtype=torch.int64), minlength=size)[None]
    present = counts > 0
    present[0, prompt] = True
    allowed = torch.ones(1, size, dtype=torch.bool)
    if "allowed" in case:
        allowed[:] = False
        allowed[0, case["allowed"]] = True
    counts, present, allowed = (t.to(DEVICE) for t in (counts, present, allowed))
    k = torch.tensor([[min(case.get("top_k", 0), 2**31)]], device=DEVICE)

    def value(name: str, off: float) -> Tensor:
        return row(case.get(name, off))

    return {
        "response_format": lambda x: mask(x, allowed),
        "repetition_penalty": lambda x: repetition_penalty(
            x, present, value("repetition_penalty", 1)
        ),
        "frequency_penalty": lambda x: frequency_penalty(x, counts, value("frequency_penalty", 0)),
        "presence_penalty": lambda x: presence_penalty(x, counts, value("presence_penalty", 0)),
        "temperature": lambda x: temperature(x, value("temperature", 1)),
        "min_p": lambda x: min_p(x, value("min_p", 0)),
        "top_k": lambda x: top_k(x, k),
        "top_p": lambda x: top_p(x, value("top_p", 1)),
    }


def one_step(name: str) -> Callable[[Input], Answer]:
    def answer(case: Input) -> Answer:
        x = logits_of(case)
        return {"logits": write(steps(case, x.shape[1])[name](x))}

    return answer


def write(x: Tensor) -> list[float | None]:
    return [None if value == NEG_INF else value for value in x[0].tolist()]


def final(x: Tensor, case: Input) -> tuple[Tensor, dict[str, int]]:
    counts = {}
    for name, step in steps(case, x.shape[1]).items():
        x = step(x)
        counts[name] = int(x.isfinite().sum())
    return x, counts


def kept(x: Tensor) -> list[int]:
    return x[0].isfinite().nonzero()[:, 0].tolist()


def chain(case: Input) -> Answer:
    x, counts = final(logits_of(case), case)
    return {"kept": kept(x), "probabilities": x.double().softmax(1)[0].tolist(), "counts": counts}


def wide(case: Input) -> Answer:
    return {"kept": kept(final(tensor(case["tensor"])[None].float(), case)[0])}


def tensor(name: str) -> Tensor:
    """Read a tensor of wide.safetensors: 8 bytes of length, a JSON header, then the data."""
    with open(os.path.join(os.environ["VECTORS_DIR"], "wide.safetensors"), "rb") as file:
        header_size = int.from_bytes(file.read(8), "little")
        entry = json.loads(file.read(header_size))[name]
        begin, end = entry["data_offsets"]
        file.seek(8 + header_size + begin)
        data = bytearray(file.read(end - begin))
    dtype = torch.bfloat16 if entry["dtype"] == "BF16" else torch.float32
    return torch.frombuffer(data, dtype=dtype).to(DEVICE)


def random_numbers(case: Input) -> Answer:
    if "counter" in case:
        key, counter = (
            tuple(torch.tensor([word]) for word in case[name]) for name in ("key", "counter")
        )
        return {"words": [int(word) for word in threefry(key, counter)]}
    if "choice" not in case:
        return {"words": [int(word) for word in seed_key(int(case["seed"]))]}
    key = draw_key(int(case["seed"]), case["choice"], case["position"])
    if "vocab_size" not in case:
        return {"words": [int(word) for word in key]}
    return {"words": random_bits(key, case["vocab_size"]).tolist()}


def draw(case: Input) -> Answer:
    x, _ = final(logits_of(case), case)
    key = draw_key(int(case["seed"]), case["choice"], case["position"])
    noise = gumbel(random_bits(key, x.shape[1])).to(x.device)
    return {"token": int(first_argmax(x + noise))}


def distribution(case: Input) -> Answer:
    """Sample with torch's own generator."""
    x, _ = final(logits_of(case), case)
    return {"tokens": x.softmax(1).multinomial(2000, replacement=True)[0].tolist()}


def logprobs(case: Input) -> Answer:
    values = logits_of(case).log_softmax(1)[0]
    ranked = values.sort(descending=True, stable=True).indices.tolist()
    ids, token = ranked[: case["top"]], case["token"]
    if token not in ids:
        ids.append(token)
    return {
        "logprob": values[token].item(),
        "top_ids": ids,
        "top_logprobs": values[ids].tolist(),
    }


NAMES = ("repetition_penalty", "frequency_penalty", "presence_penalty", "temperature")
FAMILIES: dict[str, Callable[[Input], Answer]] = {
    "mask": one_step("response_format"),
    **{name: one_step(name) for name in (*NAMES, "min_p", "top_k", "top_p")},
    "chain": chain,
    "wide": wide,
    "threefry": random_numbers,
    "gumbel": lambda case: {"noise": gumbel(torch.tensor(case["bits"])).tolist()},
    "draw": draw,
    "distribution": distribution,
    "logprobs": logprobs,
}


def main() -> None:
    for line in sys.stdin:
        case = json.loads(line)
        answer = {"id": case["id"]}
        try:
            family = FAMILIES.get(case["family"])
            answer |= family(case["input"]) if family else {"unsupported": True}
        except Exception as error:
            answer["error"] = repr(error)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()

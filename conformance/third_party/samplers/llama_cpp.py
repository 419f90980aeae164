"""python -m conformance.third_party.samplers.llama_cpp LIBRARY: the samplers of llama.cpp's shared
library (libllama.so), by ctypes, in the order of its default chain: penalties, top_k, top_p, min_p,
temperature. No model is loaded. Prompt and output are accepted as its server does it.
"""

import ctypes
import sys
from ctypes import POINTER, c_bool, c_float, c_int32, c_int64, c_size_t, c_void_p
from typing import Any

from conformance.third_party.samplers import program
from conformance.third_party.samplers.program import PENALTIES, Answer, Input

MAX_K = 2**31 - 1  # its top_k is an int32


class TokenData(ctypes.Structure):
    """llama_token_data"""

    _fields_ = (("id", c_int32), ("logit", c_float), ("p", c_float))


class TokenDataArray(ctypes.Structure):
    """llama_token_data_array"""

    _fields_ = (
        ("data", POINTER(TokenData)),
        ("size", c_size_t),
        ("selected", c_int64),
        ("sorted", c_bool),
    )


class Samplers:
    """The functions of the library. penalties_with_size: whether that of the penalties begins with
    the size of the vocabulary, as in newer versions.
    """

    def __init__(self, path: str, *, penalties_with_size: bool = True) -> None:
        self.library = library = ctypes.CDLL(path)
        self.penalties_with_size = penalties_with_size
        sizes = [c_int32] * (1 + penalties_with_size)
        for name, arguments in {
            "penalties": [*sizes, c_float, c_float, c_float],
            "top_k": [c_int32],
            "top_p": [c_float, c_size_t],
            "min_p": [c_float, c_size_t],
            "temp": [c_float],
        }.items():
            function = getattr(library, f"llama_sampler_init_{name}")
            function.argtypes, function.restype = arguments, c_void_p
        library.llama_sampler_apply.argtypes = [c_void_p, POINTER(TokenDataArray)]
        library.llama_sampler_accept.argtypes = [c_void_p, c_int32]
        library.llama_sampler_free.argtypes = [c_void_p]

    def of(self, case: Input, vocab_size: int) -> list[Any]:
        """Return the samplers of a case, in the order of the default chain."""
        init, result = self.library, []
        if any(name in case for name in PENALTIES):
            last_n = max(1, len(case["prompt"]) + len(case["output"]))
            sizes = [vocab_size, last_n] if self.penalties_with_size else [last_n]
            values = (case.get(name, float(name.startswith("rep"))) for name in PENALTIES)
            result.append(init.llama_sampler_init_penalties(*sizes, *values))
        if "top_k" in case:
            result.append(init.llama_sampler_init_top_k(min(case["top_k"], MAX_K)))
        if "top_p" in case:
            result.append(init.llama_sampler_init_top_p(case["top_p"], 1))
        if "min_p" in case:
            result.append(init.llama_sampler_init_min_p(case["min_p"], 1))
        if "temperature" in case:
            result.append(init.llama_sampler_init_temp(case["temperature"]))
        return result

    def answer(self, case: Input) -> Answer:
        program.require_absent(case, "allowed")
        x = program.read(case["logits"])
        data = (TokenData * len(x))(*[TokenData(i, value, 0) for i, value in enumerate(x)])
        tokens = TokenDataArray(ctypes.cast(data, POINTER(TokenData)), len(x), -1, False)
        for sampler in self.of(case, len(x)):
            for token in (*case.get("prompt", ()), *case.get("output", ())):
                self.library.llama_sampler_accept(sampler, token)
            self.library.llama_sampler_apply(sampler, ctypes.byref(tokens))
            self.library.llama_sampler_free(sampler)
        logits = [-float("inf")] * len(x)
        for i in range(tokens.size):
            logits[tokens.data[i].id] = tokens.data[i].logit
        return program.write(logits)


FAMILIES = (*PENALTIES, "temperature", "min_p", "top_k", "top_p", "chain")

if __name__ == "__main__":
    samplers = Samplers(sys.argv[1], penalties_with_size="--old-penalties" not in sys.argv)
    program.run(dict.fromkeys(FAMILIES, samplers.answer))

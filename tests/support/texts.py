"""Texts that are hard for tokenizers."""

HARD_TEXTS = [
    "",
    " ",
    "  two  spaces  ",
    "\n\n\t x",
    " leading",
    "trailing ",
    "Zoë naïve café",
    "e\u0301 a\u0308\u0323",
    "👩‍👩‍👧‍👦 🇨🇦 🏳️‍🌈",
    "你好，世界 こんにちは 안녕",
    "שלום مرحبا नमस्ते",
    "\x00\x01\x1f\x7f\x80",
    "\u200b\u200d\ufeff\u2028\u00a0\u3000",
    "\ufffd\ufffe\uffff",
    "𐍈 𝔘𝔫𝔦 🜁 𠀀 \U000e0001 \U000f0000 \U0010ffff",
    "12345 3.14 1,000",
    "a" * 50,
    "don't DON'T I'll",
    "<0x0A> <0xFF>",
    "{'json': [1, 2, {\"a\": null}]}",
]

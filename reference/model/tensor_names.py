"""One name for each tensor of a LLaVA model.

Files spell them in four ways, which depend on the version of the library that wrote them: with or
without a leading `model.`, and with or without `vision_model.` in the vision encoder.

    language_model.model.x         model.language_model.x         →  model.x
    language_model.lm_head.x       lm_head.x                      →  lm_head.x
    vision_tower.vision_model.x    model.vision_tower.x  …        →  vision_tower.x
    multi_modal_projector.x        model.multi_modal_projector.x  →  multi_modal_projector.x
"""

TEXT, TOWER, PROJECTOR = "language_model.", "vision_tower.", "multi_modal_projector."


def canonical(name: str) -> str:
    """Return the canonical name. The text model has the same names as in a text-only checkpoint."""
    inner = name.removeprefix("model.")
    if inner.startswith(TEXT):
        inner = inner.removeprefix(TEXT)
        if inner.startswith(("model.", "lm_head.")):
            return inner
        return f"model.{inner}"
    if inner.startswith(TOWER):
        return TOWER + inner.removeprefix(TOWER).removeprefix("vision_model.")
    return inner if inner.startswith(PROJECTOR) else name

"""One name for each tensor of a LLaVA. Files call them in four ways: with or without a leading
`model.`, and with or without `vision_model.` within the tower, as the classes that wrote them were
built at the time.

    language_model.model.x         model.language_model.x         →  model.x
    language_model.lm_head.x       lm_head.x                      →  lm_head.x
    vision_tower.vision_model.x    model.vision_tower.x  …        →  vision_tower.x
    multi_modal_projector.x        model.multi_modal_projector.x  →  multi_modal_projector.x
"""

TEXT, TOWER, PROJECTOR = "language_model.", "vision_tower.", "multi_modal_projector."


def canonical(name: str) -> str:
    """The name of a tensor here: of the language model as in a file of its own."""
    inner = name.removeprefix("model.")
    if inner.startswith(TEXT):
        inner = inner.removeprefix(TEXT)
        if inner.startswith(("model.", "lm_head.")):
            return inner
        return f"model.{inner}"
    if inner.startswith(TOWER):
        return TOWER + inner.removeprefix(TOWER).removeprefix("vision_model.")
    return inner if inner.startswith(PROJECTOR) else name

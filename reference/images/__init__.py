"""Image inputs: from `data:` URIs to image tokens in the prompt.

Reading order:

    placement      `expand_placeholders`: one placeholder becomes the tokens of one image
    decoding       `data:` URIs of PNG, JPEG, WebP or GIF to RGB images
    preprocessor   RGB images to the input of the vision encoder
"""

"""Image inputs: from `data:` URIs to image tokens in the prompt.

Reading order:

    placement      `expand_placeholders`: one placeholder becomes the tokens of one image
    limits         limits on images, and the error of an image that is not accepted
    data_uri       `data:` URIs to a media type and bytes
    decoding       `data:` URIs of PNG, JPEG, WebP or GIF to RGB images
    preprocessor   RGB images to the input of the vision encoder
"""

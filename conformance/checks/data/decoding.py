"""Image decoding: format, palette, alpha channel, orientation, animation, size."""

from conformance.assertions.basic import assert_completion
from conformance.assertions.images import ONE_IMAGE_PROMPT, assert_equivalent_images, image_data
from conformance.assertions.logprobs import assert_reference_logprobs
from conformance.fixtures import images as image_files
from conformance.fixtures.images import mosaic, mosaic_uri
from conformance.harness.capabilities import LOGPROBS, VISION
from conformance.harness.registry import CheckGroup
from conformance.http.client import Server
from conformance.verdicts import Evidence, Level

checks = CheckGroup("data", spec="images.decoding.decode_image")

SIZES = ((37, 53), (101, 20), (20, 101), (1, 1), (400, 300))  # width and height


@checks.consistency(Level.MUST, Evidence.METAMORPHIC, VISION, LOGPROBS)
def pixel_identity(server: Server) -> None:
    """The same pixels in another format, or with a palette, are the same image."""
    for number in 0, 1:
        files = image_files.all_formats(number)
        lossless = {name: image for name, image in files.items() if name != "JPEG"}
        assert_equivalent_images(server, lossless, mosaic_uri(number))


@checks.consistency(
    Level.MUST, Evidence.METAMORPHIC, VISION, LOGPROBS, spec="images.data_uri.parse_data_uri"
)
def uri_spellings(server: Server) -> None:
    """Every spelling of a `data:` URI is the same image: white space, percent-encoding, missing
    padding, other parameters, a fragment, and a file without base64.
    """
    spellings = image_files.uri_spellings(mosaic(0).convert("RGB"))
    for image in spellings.values():
        assert_completion(server.post(prompt=ONE_IMAGE_PROMPT, max_tokens=1, **image_data(image)))
    assert_equivalent_images(server, spellings, mosaic_uri(0))


@checks.consistency(Level.MUST, Evidence.METAMORPHIC, VISION, LOGPROBS)
def alpha_channel_dropped(server: Server) -> None:
    """A transparent pixel has the color that is stored for it."""
    for number in 0, 1:
        image = image_files.with_alpha(mosaic(number))
        assert_equivalent_images(server, {"a PNG with an alpha channel": image}, mosaic_uri(number))


@checks.consistency(Level.MUST, Evidence.METAMORPHIC, VISION, LOGPROBS)
def exif_orientation(server: Server) -> None:
    """A JPEG with an EXIF orientation is rotated or mirrored accordingly."""
    image = mosaic(0)
    oriented = {
        f"a JPEG with orientation {orientation}": image_files.rotated_by_exif(image, orientation)
        for orientation in image_files.STORED_TRANSPOSES
    }
    assert_equivalent_images(server, oriented, image_files.jpeg(image))


@checks.consistency(Level.MUST, Evidence.METAMORPHIC, VISION, LOGPROBS)
def first_animation_frame(server: Server) -> None:
    """The image of an animation is its first frame."""
    animations = image_files.animations(*map(mosaic, range(3)))
    images = {f"the first frame of a {kind}": image for kind, image in animations.items()}
    assert_equivalent_images(server, images, mosaic_uri(0))


@checks.truth(Level.MUST, Evidence.EXACT, VISION, LOGPROBS, spec="images.preprocessor.Preprocessor")
def any_size_matches_model(server: Server) -> None:
    """An image of any size is resized and cropped as the checkpoint specifies: the
    log-probabilities after it are those of the model.
    """
    for number, size in enumerate(SIZES):
        image = image_files.resized_mosaic(number, *size)
        assert_reference_logprobs(
            server, 5, prompt=ONE_IMAGE_PROMPT, temperature=0, **image_data(image)
        )


@checks.truth(Level.MUST, Evidence.EXACT, VISION, LOGPROBS)
def any_format_matches_model(server: Server) -> None:
    """After a PNG, JPEG, WebP or GIF, in grayscale, with an alpha channel or an EXIF orientation,
    the log-probabilities are those of the model.
    """
    gray = 2  # of one color, so that every decoder decodes its JPEG to the same pixels
    image = mosaic(gray)
    files = [*image_files.all_formats(gray).values(), image_files.with_alpha(mosaic(0))]
    files += [image_files.png(image.convert(mode)) for mode in ("L", "LA")]
    files += [
        image_files.rotated_by_exif(image, orientation)
        for orientation in image_files.STORED_TRANSPOSES
    ]
    for file in files:
        assert_reference_logprobs(
            server, 5, prompt=ONE_IMAGE_PROMPT, temperature=0, **image_data(file)
        )

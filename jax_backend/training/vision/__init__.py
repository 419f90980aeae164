"""The embedded model that sees: pictures of coloured shapes, and what is in them."""

"""Sphinx's settings: https://www.sphinx-doc.org/en/master/usage/configuration.html"""

import importlib.metadata

project = "completions-spec"
release = importlib.metadata.version("completions-spec")
language = "en"
extensions = ["myst_parser"]
root_doc = "index"
myst_heading_anchors = 4
myst_enable_extensions = ["deflist"]
myst_links_external_new_tab = True

html_theme = "furo"
html_favicon = "../../explain/static/icon.svg"
html_title = f"completions-spec {release}"
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#6d28d9", "color-brand-content": "#6d28d9"},
    "dark_css_variables": {"color-brand-primary": "#c4b5fd", "color-brand-content": "#c4b5fd"},
}
pygments_style, pygments_dark_style = "friendly", "github-dark"
# A page refers to text, not to objects of Python.
nitpick_ignore_regex = [("py:.*", ".*")]

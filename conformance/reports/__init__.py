"""Reports of one run or several, for people and for programs.

printable    makes text from a server safe to show
view         several runs, check by check
table        tables and lines on the terminal
html         one self-contained page (page.html.jinja)
markdown     tables with notes for a document
junit        XML for CI
badge        the result of a run as a badge
recorded     a report as a small file that is kept
site         a static site: servers × parameters, and a page for each server (site.html.jinja)
colors.css   what the pages share
"""

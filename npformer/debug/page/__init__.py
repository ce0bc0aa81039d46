"""The page: a trace as one HTML file, to step through in a browser.

`file` writes it. `data` says what a page knows of a trace, `long_traces` says it for very many
steps, `which_cells` which cells feed which; `array_store` keeps the arrays. `web/src/main.js` draws
it all.
"""

from .file import to_html as to_html

"""The page: a trace as one HTML file, to step through in a browser. Read `file`, then `data`, then `web/src/main.js`."""

from .file import to_html as to_html

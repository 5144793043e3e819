#!/bin/sh
# Makes the component; `postern plugin build` runs this with the file to write. Needs: pip install componentize-py==0.25.0
set -eu
cd "$(dirname "$0")"
exec componentize-py --wit-path .sdk/wit --world rewriter componentize --stub-wasi plugin --output "${1:-{name}.wasm}"
